//! What is past a limit or not offered gets its answer, and the connection lives on.

use std::future::{Future, poll_fn};
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::quic::client::{endpoint, request};
use crate::quic::forger::{Forger, Level, by_transport};
use crate::quic::limits::{GET, POST, connect, head, hello};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::support::within;

/// Extended CONNECT and datagrams. RFC 9220 §3, RFC 9297 §2.1.1
const NOT_OFFERED: [u64; 2] = [0x08, 0x33];

/// A HEADERS frame of these field lines.
pub fn section(lines: &[u8]) -> Vec<u8> {
    let length = u8::try_from(lines.len() + 2).unwrap();
    assert!(length < 64);
    [&[1, length, 0, 0], lines].concat()
}

fn number(bytes: &mut &[u8]) -> u64 {
    let length = 1 << (bytes[0] >> 6);
    let (own, rest) = bytes.split_at(length);
    *bytes = rest;
    let first = u64::from(own[0] & 0x3f);
    own[1..]
        .iter()
        .fold(first, |all, byte| all << 8 | u64::from(*byte))
}

#[tokio::test]
async fn tunnels_and_datagrams_are_neither_offered_nor_made() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    // What the edge does not offer is not in its SETTINGS and its transport parameters.
    assert_eq!(quic.max_datagram_size(), None);
    let mut control = within("the control stream", quic.accept_uni())
        .await
        .unwrap();
    let mut begin = vec![0; 3];
    within("SETTINGS", control.read_exact(&mut begin))
        .await
        .unwrap();
    assert_eq!(begin[..2], [0, 4]);
    let mut payload = vec![0; usize::from(begin[2])];
    within("SETTINGS", control.read_exact(&mut payload))
        .await
        .unwrap();
    let mut rest = &payload[..];
    while !rest.is_empty() {
        let (setting, _) = (number(&mut rest), number(&mut rest));
        assert!(!NOT_OFFERED.contains(&setting), "{setting:#x}");
    }

    // A `:protocol` that nobody has allowed is malformed (RFC 9220 §3).
    let extended = section(b"\xcf\xd7\xc1\x50\x0bexample.com\x27\x02:protocol\x09websocket");
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&extended).await.unwrap();
    let end = within("the end", recv.read_to_end(1000)).await;
    let reset = quinn::ReadError::Reset(0x10eu32.into());
    assert_eq!(end, Err(quinn::ReadToEndError::Read(reset)));

    // A plain CONNECT is well formed, and not implemented: `:status 501` by its name and value.
    let plain = section(b"\xcf\x50\x0fexample.com:443");
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&plain).await.unwrap();
    let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
    assert_eq!((answer[0], answer[4] & 0xf0), (1, 0x50), "{answer:x?}");
    scene.edge.until_access(|line| line["status"] == 501).await;

    hello(&quic).await;
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

#[tokio::test]
async fn a_datagram_that_was_not_offered_ends_the_connection() {
    const PROTOCOL_VIOLATION: u64 = 0xa;
    let scene = Scene::start().await;
    // RFC 9221 §3, §4: without its length and with it.
    for datagram in [&b"\x30\x00text"[..], b"\x31\x05\x00text"] {
        let mut forger = Forger::connected(scene.address(), NAME, &scene.setup).await;
        forger.send(Level::Full, datagram).await;
        assert_eq!(forger.closed().await, by_transport(PROTOCOL_VIOLATION));
    }
    scene.settle().await;
}

#[tokio::test]
async fn a_request_has_so_many_fields_and_so_large_ones() {
    let route = "[[site.route]]\npath = \"/narrow\"\nrespond = { status = 200 }\n\
                 limits = { headers = 10, header_bytes = \"1KiB\" }";
    let scene = Scene::with(Wants {
        routes: route,
        ..Wants::default()
    })
    .await;
    let mut client = scene.client().await;
    for (count, size, status) in [(5, 1, 200), (11, 1, 431), (2, 600, 431), (1, 600, 200)] {
        let mut asked = request("GET", "https://example.com/narrow");
        for number in 0..count {
            let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
            let value = "x".repeat(size).parse().unwrap();
            asked.headers_mut().insert(name, value);
        }
        let answer = client.ask(asked, Bytes::new()).await;
        assert_eq!(answer.status, status, "{count} of {size}");
    }
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn no_more_requests_are_open_than_the_edge_allows() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let mut open = Vec::new();
    for _ in 0..128 {
        let (mut send, recv) = within("a stream", quic.open_bi()).await.unwrap();
        // Half a head.
        send.write_all(&[1]).await.unwrap();
        open.push((send, recv));
    }
    let mut one_more = std::pin::pin!(quic.open_bi());
    let waits = poll_fn(|cx| Poll::Ready(one_more.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "a stream more than allowed");
    // Those that are over make room; it is told of by the score.
    let rest = &head(GET, "/", b"")[1..];
    for (mut send, mut recv) in open.drain(..32) {
        send.write_all(rest).await.unwrap();
        send.finish().unwrap();
        let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
        assert!(answer.ends_with(b"hello"));
    }
    within("a stream", one_more).await.unwrap();
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

#[tokio::test]
async fn trailers_past_their_limit_end_their_stream() {
    let scene = Scene::with(Wants {
        routes: "[[site.route]]\npath = \"/body\"\nrespond = { status = 200 }",
        ..Wants::default()
    })
    .await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&head(POST, "/body", b"")).await.unwrap();
    send.write_all(&[0, 1, b'x']).await.unwrap();
    // HEADERS of a mebibyte.
    send.write_all(b"\x01\x80\x10\x00\x00").await.unwrap();
    // No more than may be under way at once: quinn says no goodbye while a full window holds back data.
    let _ = send.write_all(&[b'x'; 5000]).await;
    let end = within("the end", recv.read_to_end(1000)).await;
    match end {
        // Answered without them, or ended by them.
        Ok(answer) => assert_eq!(answer[0], 1, "{answer:x?}"),
        Err(end) => {
            let reset = quinn::ReadError::Reset(0x107u32.into());
            assert_eq!(end, quinn::ReadToEndError::Read(reset));
        }
    }
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

/// Reads what an edge sends to an origin of HTTP/2, up to the first HEADERS: their field block.
async fn first_headers(listener: &tokio::net::TcpListener) -> Vec<u8> {
    let (mut tcp, _) = listener.accept().await.unwrap();
    // SETTINGS, without which nothing is asked.
    tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut preface = [0; 24];
    tcp.read_exact(&mut preface).await.unwrap();
    loop {
        let mut frame = [0; 9];
        tcp.read_exact(&mut frame).await.unwrap();
        let length = usize::from(frame[1]) << 8 | usize::from(frame[2]);
        let mut payload = vec![0; length];
        tcp.read_exact(&mut payload).await.unwrap();
        if frame[3] == 1 {
            return payload;
        }
    }
}

#[tokio::test]
async fn what_nobody_may_put_into_a_table_goes_to_an_origin_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = format!(
        "[[site.route]]\npath = \"/x\"\norigin = [\"h2c://{}\"]",
        listener.local_addr().unwrap()
    );
    let scene = Scene::with(Wants {
        routes: &route,
        ..Wants::default()
    })
    .await;
    let client = scene.client().await;
    let (mut send, _recv) = client.quic.open_bi().await.unwrap();
    // `authorization` by its place in the static table, 84, with the N bit; `x-a` without it.
    let fields = b"\x7f\x45\x06secret\x23x-a\x01b";
    send.write_all(&head(GET, "/x", fields)).await.unwrap();
    send.finish().unwrap();
    let block = within("the request", first_headers(&listener)).await;
    // RFC 7541 §6.2.3: never indexed, named by place 23.
    let named = block
        .windows(2)
        .filter(|pair| *pair == [0x1f, 0x08])
        .count();
    assert_eq!(named, 1, "{block:x?}");
    client.close().await;
}
