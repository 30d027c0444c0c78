//! Requests that are no HTTP/3, and the error that RFC 9114 and RFC 9204 name for each.

use quinn::{ReadError, VarInt};

use crate::quic::client::{closed, endpoint};
use crate::quic::limits::hello;
use crate::quic::scene::{NAME, Scene};
use crate::support::within;

/// `:method GET`, `:scheme https`, `:path /` of the static table, and an authority.
const GET: &[u8] = b"\x00\x00\xd1\xd7\xc1\x50\x0bexample.com";

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    assert!(kind < 0x40 && payload.len() < 0x40);
    [&[kind, payload.len() as u8], payload].concat()
}

pub fn head(more: &[u8]) -> Vec<u8> {
    frame(1, &[GET, more].concat())
}

/// What a client begins its control stream with.
pub fn settings() -> Vec<u8> {
    [&[0][..], &frame(4, &[])].concat()
}

pub enum Ends {
    /// The connection, with this code.
    Connection(u64),
    /// The request, with this code.
    Request(u64),
}

pub use Ends::{Connection, Request};

/// Where bytes go.
pub enum On {
    /// A stream of requests, that ends after them.
    Request,
    /// Unidirectional streams, that stay open; each its own.
    Others,
    /// A unidirectional stream that ends after them.
    Ended,
    /// One that is reset once they are read.
    Reset,
}

/// What is done, where, with which bytes, and what comes of it.
pub type Case = (&'static str, On, Vec<Vec<u8>>, Ends);

/// One stream's bytes.
pub fn raw(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![bytes.to_vec()]
}

/// Tries each on a connection of its own.
pub async fn each(cases: Vec<Case>) {
    let scene = Scene::start().await;
    for (what, on, streams, expected) in cases {
        let expected = match expected {
            Connection(code) => Ok(code),
            Request(code) => Err(code),
        };
        let ended = within(what, try_it(&scene, &on, &streams)).await;
        let hex = |result: Result<u64, u64>| {
            result
                .map(|code| format!("{code:#x}"))
                .map_err(|code| format!("{code:#x}"))
        };
        assert_eq!(hex(ended), hex(expected), "{what}");
    }
    scene.settle().await;
}

async fn try_it(scene: &Scene, on: &On, streams: &[Vec<u8>]) -> Result<u64, u64> {
    let endpoint = endpoint(&scene.setup);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let quic = within("the handshake", connecting).await.unwrap();
    let result = match on {
        On::Request => {
            let (mut send, mut recv) = quic.open_bi().await.unwrap();
            for bytes in streams {
                send.write_all(bytes).await.unwrap();
            }
            let _ = send.finish();
            match within("an answer", recv.read_to_end(100_000)).await {
                Err(quinn::ReadToEndError::Read(ReadError::Reset(code))) => Err(code.into_inner()),
                Err(quinn::ReadToEndError::Read(ReadError::ConnectionLost(_))) => {
                    Ok(closed(&quic).await)
                }
                other => panic!("an answer to {streams:x?}: {other:?}"),
            }
        }
        On::Others | On::Ended | On::Reset => {
            let mut kept = Vec::new();
            for bytes in streams {
                let mut send = quic.open_uni().await.unwrap();
                // The edge may be quicker to close.
                let _ = send.write_all(bytes).await;
                if matches!(on, On::Ended) {
                    let _ = send.finish();
                }
                if matches!(on, On::Reset) {
                    // What has come is dropped by a reset; a request comes behind it.
                    hello(&quic).await;
                    let _ = send.reset(VarInt::from_u32(0x100));
                }
                kept.push(send);
            }
            Ok(closed(&quic).await)
        }
    };
    quic.close(VarInt::from_u32(0x100), b"");
    result
}

#[tokio::test]
async fn each_request_that_is_wrong_has_its_error() {
    each(vec![
        // RFC 9114 §4.1, §7.2: frames on request streams.
        (
            "content before the head",
            On::Request,
            raw(&frame(0, b"x")),
            Connection(0x105),
        ),
        (
            "settings in a request",
            On::Request,
            raw(&frame(4, b"")),
            Connection(0x105),
        ),
        (
            "goaway in a request",
            On::Request,
            raw(&frame(7, b"\0")),
            Connection(0x105),
        ),
        (
            "push promise",
            On::Request,
            raw(&frame(5, b"\0")),
            Connection(0x105),
        ),
        (
            "max push id",
            On::Request,
            raw(&frame(0xd, b"\0")),
            Connection(0x105),
        ),
        (
            "a frame of HTTP/2",
            On::Request,
            raw(&frame(6, b"")),
            Connection(0x105),
        ),
        (
            "a head cut short",
            On::Request,
            raw(&head(b"")[..5]),
            Connection(0x106),
        ),
        ("nothing", On::Request, raw(b""), Request(0x10d)),
        // RFC 9218 §7.1, §7.2.
        (
            "a request ranked in a request",
            On::Request,
            raw(b"\x80\x0f\x07\x00\x01\x00"),
            Connection(0x105),
        ),
        (
            "a push ranked in a request",
            On::Request,
            raw(b"\x80\x0f\x07\x01\x01\x00"),
            Connection(0x105),
        ),
        // RFC 9114 §7.1: the end inside a frame.
        (
            "content cut short",
            On::Request,
            vec![head(b""), vec![0, 5], b"abc".to_vec()],
            Connection(0x106),
        ),
        (
            "content of which nothing comes",
            On::Request,
            vec![head(b""), vec![0, 5]],
            Connection(0x106),
        ),
        (
            "as much content as can be named",
            On::Request,
            vec![head(b""), b"\0\xff\xff\xff\xff\xff\xff\xff\xffabc".to_vec()],
            Connection(0x106),
        ),
        (
            "a type without a length",
            On::Request,
            vec![head(b""), vec![0]],
            Connection(0x106),
        ),
        (
            "half a length",
            On::Request,
            vec![head(b""), vec![0, 0x40]],
            Connection(0x106),
        ),
        (
            "trailers cut short",
            On::Request,
            vec![head(b""), vec![1, 5, 0, 0]],
            Connection(0x106),
        ),
        (
            "an unknown frame cut short",
            On::Request,
            vec![head(b""), vec![0x21, 5, 0]],
            Connection(0x106),
        ),
        // §4.2, §4.3: messages.
        (
            "no method",
            On::Request,
            raw(&frame(1, b"\0\0\xd7\xc1\x50\x01a")),
            Request(0x10e),
        ),
        (
            "two paths",
            On::Request,
            raw(&head(b"\xc1")),
            Request(0x10e),
        ),
        (
            "an answer's status",
            On::Request,
            raw(&head(b"\xd9")),
            Request(0x10e),
        ),
        (
            "capitals",
            On::Request,
            raw(&head(b"\x21A\x011")),
            Request(0x10e),
        ),
        (
            "a line end",
            On::Request,
            raw(&head(b"\x21a\x03b\r\n")),
            Request(0x10e),
        ),
        (
            "connection",
            On::Request,
            raw(&head(b"\x27\x03connection\x011")),
            Request(0x10e),
        ),
        // §4.1.2: content-length 4, of which three bytes come.
        (
            "less content than announced",
            On::Request,
            vec![head(b"\x54\x014"), frame(0, b"abc")],
            Request(0x10e),
        ),
        (
            "less content than announced, and trailers",
            On::Request,
            vec![
                head(b"\x54\x014"),
                frame(0, b"abc"),
                frame(1, b"\0\0\x21a\x011"),
            ],
            Request(0x10e),
        ),
        (
            "content after trailers",
            On::Request,
            vec![
                head(b""),
                frame(0, b"abc"),
                frame(1, b"\0\0\x21a\x011"),
                frame(0, b"d"),
            ],
            Connection(0x105),
        ),
        // RFC 9204 §2.2, §3.2.
        (
            "a dynamic entry",
            On::Request,
            raw(&head(b"\x80")),
            Connection(0x200),
        ),
        (
            "an insert count",
            On::Request,
            raw(&frame(1, b"\x02\0\xd1")),
            Connection(0x200),
        ),
        (
            "no such static entry",
            On::Request,
            raw(&head(b"\xff\x24")),
            Connection(0x200),
        ),
        (
            "no field section",
            On::Request,
            raw(&frame(1, b"")),
            Connection(0x200),
        ),
        // RFC 9204 §4.1.1, §4.1.2: strings, in Huffman's code too (RFC 7541 §5.2), and integers.
        (
            "padding of zeros",
            On::Request,
            raw(&head(b"\x21x\x81\x00")),
            Connection(0x200),
        ),
        (
            "a byte of padding",
            On::Request,
            raw(&head(b"\x21x\x82\x07\xff")),
            Connection(0x200),
        ),
        (
            "the code of the end",
            On::Request,
            raw(&head(b"\x21x\x84\xff\xff\xff\xff")),
            Connection(0x200),
        ),
        (
            "padding of zeros in a name",
            On::Request,
            raw(&head(b"\x29\x00\x011")),
            Connection(0x200),
        ),
        (
            "padding of zeros in trailers",
            On::Request,
            vec![head(b""), frame(1, b"\0\0\x21x\x81\x00")],
            Connection(0x200),
        ),
        (
            "a value longer than its section",
            On::Request,
            raw(&head(b"\x21x\x02a")),
            Connection(0x200),
        ),
        (
            "a length of more than 62 bits",
            On::Request,
            raw(&head(b"\x21x\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
            Connection(0x200),
        ),
        (
            "a place of more than 62 bits",
            On::Request,
            raw(&head(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
            Connection(0x200),
        ),
        (
            "a length cut short",
            On::Request,
            raw(&head(b"\x21x\x7f\xff")),
            Connection(0x200),
        ),
        (
            "a base below the insertions",
            On::Request,
            raw(&frame(1, b"\0\x80\xd1\xd7\xc1\x50\x01a")),
            Connection(0x200),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_nobody_knows_is_passed_over() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let quic = within("the handshake", connecting).await.unwrap();
    let mut control = quic.open_uni().await.unwrap();
    let unknown = [settings(), frame(0x21, b"grease")].concat();
    control.write_all(&unknown).await.unwrap();
    let mut strange = quic.open_uni().await.unwrap();
    strange.write_all(&[0x21, 1, 2, 3]).await.unwrap();
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    let request = [frame(0x21, b"grease"), head(b""), frame(0x3f, b"")].concat();
    // In pieces of one byte.
    for byte in request {
        send.write_all(&[byte]).await.unwrap();
    }
    send.finish().unwrap();
    let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
    // HEADERS with `:status 200`, and the content at the end.
    assert_eq!(answer[0], 1);
    assert_eq!(answer[4], 0xd9);
    assert!(answer.ends_with(b"hello"));
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}
