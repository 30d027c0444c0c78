//! Which answer comes first, and which by turns (RFC 9218): the order of bytes at a client.

use std::sync::{Arc, Mutex};

use quinn::{Endpoint, TransportConfig, VarInt};

use crate::quic::limits::{GET, head};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::support::within;

/// More than the edge keeps of all answers of a connection.
const LENGTH: usize = 1_500_000;

/// How much of an answer may have come before its turn: of what comes at once it is chance which part
/// the client sees first.
const LITTLE: usize = LENGTH / 4;

/// What the client takes unread of all answers: less than the kernel holds for its socket, so that
/// nothing is lost. What is sent again comes behind much of the next answer.
const WINDOW: VarInt = VarInt::from_u32(1 << 16);

/// What each answer had of its bytes when one of them was whole, in the order of that.
type Ends = Vec<(usize, Vec<usize>)>;

/// Asks for large answers with these priorities and lets none begin before all are asked for; some
/// streams have others, that are said in frames of their own.
async fn ends(scene: &Scene, priorities: &[&str], updates: &[(u8, &str)]) -> Ends {
    let asked: Vec<_> = priorities.iter().map(|said| ("/large", *said)).collect();
    ends_of(scene, &asked, updates).await
}

/// The same of any answers: path and priority of each.
async fn ends_of(scene: &Scene, asks: &[(&str, &str)], updates: &[(u8, &str)]) -> Ends {
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(
        scene.setup.clone().alpn(&["h3"]).config(),
    );
    let mut transport = TransportConfig::default();
    // Nothing may be sent to it at first.
    transport
        .receive_window(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(1 << 24));
    let mut config = quinn::ClientConfig::new(Arc::new(crypto.unwrap()));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let quic = within("the handshake", connecting).await.unwrap();

    let mut control = quic.open_uni().await.unwrap();
    control.write_all(&[0, 4, 0]).await.unwrap();
    for (stream, priority) in updates {
        // RFC 9218 §7.2: the type 0xf0700 in four bytes.
        let length = u8::try_from(priority.len() + 1).unwrap();
        let begin = [0x80, 0x0f, 0x07, 0x00, length, *stream];
        let frame = [&begin[..], priority.as_bytes()].concat();
        control.write_all(&frame).await.unwrap();
    }
    let mut asked = Vec::new();
    for (path, priority) in asks {
        let (mut send, recv) = quic.open_bi().await.unwrap();
        let mut more = Vec::new();
        if !priority.is_empty() {
            more.extend_from_slice(b"\x27\x01priority");
            more.push(u8::try_from(priority.len()).unwrap());
            more.extend_from_slice(priority.as_bytes());
        }
        send.write_all(&head(GET, path, &more)).await.unwrap();
        send.finish().unwrap();
        // The edge has it all.
        within("its receipt", send.stopped()).await.unwrap();
        asked.push(recv);
    }
    let got = Arc::new(Mutex::new((vec![0; asked.len()], Ends::new())));
    let reading: Vec<_> = asked
        .into_iter()
        .enumerate()
        .map(|(number, mut recv)| {
            let got = Arc::clone(&got);
            tokio::spawn(async move {
                while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.unwrap() {
                    got.lock().unwrap().0[number] += chunk.bytes.len();
                }
                let mut got = got.lock().unwrap();
                let had = got.0.clone();
                got.1.push((number, had));
            })
        })
        .collect();
    quic.set_receive_window(WINDOW);
    for reading in reading {
        within("an answer", reading).await.unwrap();
    }
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    let (had, ends) = got.lock().unwrap().clone();
    for ((path, _), had) in asks.iter().zip(had) {
        assert!(had > LENGTH || *path != "/large");
    }
    ends
}

/// The answers were whole in this order, and none had got much before those ahead of it were.
fn one_after_another(ends: &Ends, order: &[usize]) {
    let found: Vec<_> = ends.iter().map(|(number, _)| *number).collect();
    assert_eq!(found, order, "{ends:?}");
    for (at, (_, had)) in ends.iter().enumerate() {
        for later in &order[at + 1..] {
            assert!(had[*later] < LITTLE, "{ends:?}");
        }
    }
}

async fn scene() -> Scene {
    // All of it is there at once: who has to read more meanwhile leaves the room to others.
    let body = "x".repeat(LENGTH);
    let routes = format!(
        "[[site.route]]\npath = \"/large\"\nrespond = {{ status = 200, body = \"{body}\" }}\n\
         [[site.route]]\npath = \"/small\"\nrespond = {{ status = 200, body = \"small\" }}"
    );
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    Scene::with(wants).await
}

#[tokio::test]
async fn answers_come_by_urgency_and_one_after_another() {
    let scene = scene().await;
    // By the order of requests where nothing is said, and where the same is said.
    one_after_another(&ends(&scene, &["", "", ""], &[]).await, &[0, 1, 2]);
    one_after_another(&ends(&scene, &["u=5", "u=0", "u=2"], &[]).await, &[1, 2, 0]);
    one_after_another(&ends(&scene, &["u=1, i=?0", "u=1"], &[]).await, &[0, 1]);
    // A frame counts more than a field.
    let updates = [(4, "u=6"), (8, "u=1")];
    one_after_another(&ends(&scene, &["", "u=0", ""], &updates).await, &[2, 0, 1]);
    scene.settle().await;
}

#[tokio::test]
async fn incremental_answers_share() {
    let scene = scene().await;
    let ends = ends(&scene, &["u=4, i", "u=4, i", "u=4, i"], &[]).await;
    let (_, had) = &ends[0];
    assert!(had.iter().all(|had| *had > LENGTH * 2 / 3), "{ends:?}");
    scene.settle().await;
}

#[tokio::test]
async fn what_is_of_use_as_a_whole_comes_before_what_is_of_use_in_pieces() {
    let scene = scene().await;
    let ends = ends(&scene, &["i", "", "i"], &[]).await;
    let (first, had) = &ends[0];
    assert_eq!(*first, 1);
    assert!(had[0] < LITTLE && had[2] < LITTLE, "{ends:?}");
    // The other two share.
    let (_, had) = &ends[1];
    assert!(had[0].min(had[2]) > LENGTH * 2 / 3, "{ends:?}");
    scene.settle().await;
}

#[tokio::test]
async fn an_answer_that_is_ready_has_its_place_among_others() {
    let scene = scene().await;
    let asks = [
        ("/large", ""),
        ("/large", "u=1"),
        ("/small", ""),
        ("/small", "u=5"),
        ("/small", "u=0"),
    ];
    one_after_another(&ends_of(&scene, &asks, &[]).await, &[4, 1, 0, 2, 3]);
    // A frame counts more than a field here too.
    let asks = [("/large", ""), ("/small", "u=6")];
    let ends = ends_of(&scene, &asks, &[(4, "u=2")]).await;
    one_after_another(&ends, &[1, 0]);
    scene.settle().await;
}
