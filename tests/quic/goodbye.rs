//! Goodbye as it is said on the control stream (RFC 9114 §5.2).

use quinn::{ReadError, ReadToEndError, RecvStream};

use crate::quic::client::{closed, endpoint};
use crate::quic::limits::{GET, connect, head, hello};
use crate::quic::scene::{Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// The largest id that a stream of a request can have.
const LARGEST: u64 = (1 << 62) - 4;

/// An integer of variable length.
async fn number(control: &mut RecvStream) -> u64 {
    let mut bytes = vec![0; 1];
    control.read_exact(&mut bytes).await.unwrap();
    let length = 1 << (bytes[0] >> 6);
    bytes.resize(length, 0);
    control.read_exact(&mut bytes[1..]).await.unwrap();
    let rest = bytes[1..].iter();
    rest.fold(u64::from(bytes[0] & 0x3f), |all, byte| {
        all << 8 | u64::from(*byte)
    })
}

/// The next frame of the control stream that is a GOAWAY: what it names.
async fn goaway(control: &mut RecvStream) -> u64 {
    loop {
        let kind = number(control).await;
        let length = number(control).await;
        if kind == 7 {
            return number(control).await;
        }
        let mut payload = vec![0; length as usize];
        control.read_exact(&mut payload).await.unwrap();
    }
}

/// Asks, and gives the answer or how it ended.
async fn ask(quic: &quinn::Connection, path: &str) -> Result<Vec<u8>, ReadToEndError> {
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    // It may be turned away before it is written.
    let _ = send.write_all(&head(GET, path, b"")).await;
    let _ = send.finish();
    within("an answer", recv.read_to_end(1000)).await
}

#[tokio::test]
async fn a_goodbye_names_the_first_request_that_is_not_taken() {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("slow"))).await;
    let mut scene = Scene::with(Wants {
        routes: &route_to("/slow", &origin.url(), ""),
        ..Wants::default()
    })
    .await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let mut control = within("the control stream", quic.accept_uni())
        .await
        .unwrap();
    assert_eq!(number(&mut control).await, 0);
    // Stream 0 is over, stream 4 under way.
    hello(&quic).await;
    let (mut send, mut slow) = quic.open_bi().await.unwrap();
    send.write_all(&head(GET, "/slow", b"")).await.unwrap();
    send.finish().unwrap();
    origin.until_heads(1).await;

    scene.edge.signal("TERM").await;
    let first = within("the first GOAWAY", goaway(&mut control)).await;
    assert_eq!(first, LARGEST);
    // What was sent before it came is taken, stream 8: unless it comes after the second.
    let crossing = ask(&quic, "/").await;
    let second = within("the second GOAWAY", goaway(&mut control)).await;
    let rejected = Err(ReadToEndError::Read(ReadError::Reset(0x10bu32.into())));
    match second {
        8 => assert_eq!(crossing, rejected),
        12 => assert!(crossing.unwrap().ends_with(b"hello")),
        other => panic!("GOAWAY {other}"),
    }
    // Nothing later is.
    assert_eq!(ask(&quic, "/").await, rejected);
    assert_eq!(ask(&quic, "/slow").await, rejected);
    assert_eq!(origin.heads().len(), 1);

    // What was taken is answered, and then it is over.
    origin.release();
    let answer = within("the answer", slow.read_to_end(1000)).await.unwrap();
    assert!(answer.ends_with(b"slow"));
    assert_eq!(closed(&quic).await, 0x100);
    assert!(scene.edge.exit().await.success());
}
