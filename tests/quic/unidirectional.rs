//! What comes beside requests and is no HTTP/3: control stream, QPACK streams.

use crate::quic::client::endpoint;
use crate::quic::limits::{connect, hello};
use crate::quic::raw::{Connection, On, each, frame, head, raw, settings};
use crate::quic::scene::Scene;

#[tokio::test]
async fn each_stream_that_is_wrong_has_its_error() {
    let control = |bytes: Vec<u8>| vec![[settings(), bytes].concat()];
    each(vec![
        // RFC 9114 §6.2: streams.
        (
            "two control streams",
            On::Others,
            vec![settings(), settings()],
            Connection(0x103),
        ),
        (
            "two encoder streams",
            On::Others,
            vec![vec![2], vec![2]],
            Connection(0x103),
        ),
        (
            "two decoder streams",
            On::Others,
            vec![vec![3], vec![3]],
            Connection(0x103),
        ),
        ("a push stream", On::Others, raw(&[1, 0]), Connection(0x103)),
        (
            "the end of the control stream",
            On::Ended,
            vec![settings()],
            Connection(0x104),
        ),
        (
            "the end of the encoder stream",
            On::Ended,
            raw(&[2]),
            Connection(0x104),
        ),
        (
            "the end of the decoder stream",
            On::Ended,
            raw(&[3]),
            Connection(0x104),
        ),
        (
            "a reset of the control stream",
            On::Reset,
            vec![settings()],
            Connection(0x104),
        ),
        (
            "a reset of the encoder stream",
            On::Reset,
            raw(&[2]),
            Connection(0x104),
        ),
        (
            "a reset of the decoder stream",
            On::Reset,
            raw(&[3]),
            Connection(0x104),
        ),
        (
            "no settings",
            On::Others,
            vec![[&[0][..], &frame(7, b"\0")].concat()],
            Connection(0x10a),
        ),
        (
            "a push cancelled instead of them",
            On::Others,
            vec![[&[0][..], &frame(3, &[0])].concat()],
            Connection(0x10a),
        ),
        (
            "a push ranked instead of them",
            On::Others,
            raw(b"\x00\x80\x0f\x07\x01\x01\x00"),
            Connection(0x10a),
        ),
        // RFC 9218 §7.1: the 129th request is not allowed yet, the 128th is.
        (
            "a rank beyond the limit",
            On::Others,
            control(b"\x80\x0f\x07\x00\x02\x41\xfc\x80\x0f\x07\x00\x02\x42\x00".to_vec()),
            Connection(0x108),
        ),
        // §7.2: the control stream.
        (
            "settings again",
            On::Others,
            control(frame(4, b"")),
            Connection(0x105),
        ),
        (
            "content on it",
            On::Others,
            control(frame(0, b"x")),
            Connection(0x105),
        ),
        (
            "a head on it",
            On::Others,
            control(head(b"")),
            Connection(0x105),
        ),
        (
            "a setting of HTTP/2",
            On::Others,
            vec![[&[0][..], &frame(4, &[2, 0])].concat()],
            Connection(0x109),
        ),
        (
            "a setting twice",
            On::Others,
            vec![[&[0][..], &frame(4, &[6, 1, 6, 1])].concat()],
            Connection(0x109),
        ),
        // RFC 9297 §2.1.1, RFC 9220 §3: flags.
        (
            "two datagrams",
            On::Others,
            vec![[&[0][..], &frame(4, &[0x33, 2])].concat()],
            Connection(0x109),
        ),
        (
            "two extended CONNECTs",
            On::Others,
            vec![[&[0][..], &frame(4, &[0x8, 2])].concat()],
            Connection(0x109),
        ),
        (
            "half a setting",
            On::Others,
            vec![[&[0][..], &frame(4, &[6])].concat()],
            Connection(0x106),
        ),
        (
            "a longer goaway",
            On::Others,
            control(frame(7, &[0, 0])),
            Connection(0x106),
        ),
        (
            "a rising goaway",
            On::Others,
            control([frame(7, &[4]), frame(7, &[8])].concat()),
            Connection(0x108),
        ),
        (
            "a falling push id",
            On::Others,
            control([frame(13, &[4]), frame(13, &[3])].concat()),
            Connection(0x108),
        ),
        (
            "a push cancelled",
            On::Others,
            control(frame(3, &[0])),
            Connection(0x108),
        ),
        (
            "settings as long as can be named",
            On::Others,
            raw(b"\0\x04\xff\xff\xff\xff\xff\xff\xff\xff"),
            Connection(0x107),
        ),
        (
            "a push id that is none",
            On::Others,
            control(frame(13, b"")),
            Connection(0x106),
        ),
        (
            "a rank of nothing",
            On::Others,
            control(b"\x80\x0f\x07\x00\x00".to_vec()),
            Connection(0x106),
        ),
        (
            "a rank of our control stream",
            On::Others,
            control(b"\x80\x0f\x07\x00\x01\x03".to_vec()),
            Connection(0x108),
        ),
        (
            "a rank of a push",
            On::Others,
            control(b"\x80\x0f\x07\x01\x01\x00".to_vec()),
            Connection(0x108),
        ),
        // RFC 9204 §4.3, §4.4.
        (
            "an insertion",
            On::Others,
            raw(&[2, 0xc0, 0]),
            Connection(0x201),
        ),
        ("a capacity", On::Others, raw(&[2, 0x21]), Connection(0x201)),
        (
            "an acknowledgement",
            On::Others,
            raw(&[3, 0x80]),
            Connection(0x202),
        ),
        (
            "an increment",
            On::Others,
            raw(&[3, 0x01]),
            Connection(0x202),
        ),
        (
            "a cancellation of a stream of more than 62 bits",
            On::Others,
            raw(b"\x03\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
            Connection(0x202),
        ),
    ])
    .await;
}

#[tokio::test]
async fn any_stream_may_be_cancelled_for_the_decoder() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let mut decoder = quic.open_uni().await.unwrap();
    decoder.write_all(&[3, 0x40]).await.unwrap();
    // The last that can be, 2^62 - 4, in pieces of one byte, again and again (RFC 9204 §4.4.2).
    let last = b"\x7f\xbd\xff\xff\xff\xff\xff\xff\xff\x3f";
    for _ in 0..3 {
        for byte in last {
            decoder.write_all(&[*byte]).await.unwrap();
        }
        hello(&quic).await;
    }
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}
