//! hyper reads everything that passes exactly as the scanner does.

use super::super::*;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One piece of a stream: mostly right, sometimes one of the shapes that parsers disagree about.
fn piece() -> impl Strategy<Value = String> {
    let request_line = prop_oneof![
        20 => Just("POST / HTTP/1.1\r\n"),
        8 => Just("GET /a?b HTTP/1.1\r\n"),
        1 => Just("GET / HTTP/1.0\r\n"),
        1 => Just("\r\nGET https://a/b HTTP/1.1\r\n"),
        1 => Just("OPTIONS * HTTP/1.1\r\n"),
        1 => Just("GET /{a|\"}?`^ HTTP/1.1\r\n"),
        1 => Just("GET / HTTP/1.1\n"),
        1 => Just("GET /a#b HTTP/1.1\r\n"),
        1 => Just("GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n"),
        1 => Just("CONNECT a:1 HTTP/1.1\r\n"),
    ];
    let field = prop_oneof![
        16 => Just("Host: a\r\n"),
        6 => Just("X:\t\u{e9} \r\n"),
        4 => Just("Connection: keep-alive\r\n"),
        1 => Just("Connection: x,close\r\n"),
        3 => Just("Expect: 100-continue\r\n"),
        4 => Just("Upgrade: websocket\r\nConnection: upgrade\r\n"),
        1 => Just("Content-Length: 3\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n"),
        1 => Just(" fold\r\n"),
        1 => Just("a : b\r\n"),
    ];
    let body = prop_oneof![
        8 => Just("\r\n"),
        8 => Just("Content-Length: 5\r\n\r\nhello"),
        6 => Just("Content-Length: 0\r\n\r\n"),
        6 => Just("content-length: 0005\r\n\r\n\r\n0\r\n"),
        1 => Just("Content-Length: +5\r\n\r\nhello"),
        1 => Just("Content-Length: 5\n\r\nhello"),
        6 => Just("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        8 => Just("transfer-encoding:\tCHUNKED \r\n\r\n5;a=b\r\nhello\r\n0A ;x\r\n0123456789\r\n0\r\nX: y\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\nHost: b\r\n\r\n"),
        1 => Just("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n"),
    ];
    (request_line, proptest::collection::vec(field, 0..3), body)
        .prop_map(|(line, fields, body)| format!("{line}{}{body}", fields.concat()))
}

/// Streams of up to six requests, sometimes with a few bytes changed.
pub(super) fn streams() -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        prop::sample::select(b"\r\n \t:;,0aG\0\x0b\x7f\xff".to_vec()),
    );
    let changes = prop_oneof![3 => Just(vec![]), 1 => proptest::collection::vec(change, 1..3)];
    (proptest::collection::vec(piece(), 1..7), changes).prop_map(|(pieces, changes)| {
        let mut stream = pieces.concat().into_bytes();
        for (at, byte) in changes {
            if let Some(place) = stream.get_mut(at.index(pieces.concat().len())) {
                *place = byte;
            }
        }
        stream
    })
}

/// The body lengths of the requests hyper sees in a stream that ends after its last byte.
fn as_hyper_sees(stream: &[u8]) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let bodies = seen.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let bodies = bodies.clone();
        async move {
            if let Ok(body) = request.into_body().collect().await {
                let length = body.to_bytes().len() as u64;
                bodies.lock().expect("a lock").push(length);
            }
            // Not 2xx, which would end HTTP after a CONNECT.
            let answer = hyper::Response::builder().status(404);
            Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).expect("an answer"))
        }
    });
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let connection = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(server), service);
        let talk = async {
            let _ = client.write_all(stream).await;
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
        };
        let _ = tokio::join!(connection, talk);
    });
    let bodies = seen.lock().expect("a lock");
    bodies.clone()
}

/// The body lengths the scanner counts in the good part of a stream, incomplete messages left out,
/// and that good part.
fn as_the_scanner_sees(stream: &[u8]) -> (Vec<u64>, usize) {
    let mut scanner = Scanner::new(Limits::default());
    let good = match scanner.scan(stream) {
        Ok(n) => n,
        Err(violation) => violation.deliver,
    };
    // Again, one unit at a time: each step is one head, one run of body bytes or one line.
    let mut scanner = Scanner::new(Limits::default());
    let (mut lengths, mut length, mut at) = (Vec::new(), 0, 0);
    while let Some(rest) = stream.get(at..good).filter(|rest| !rest.is_empty()) {
        let data = matches!(scanner.state, State::Length(_) | State::ChunkData(_));
        let Ok(Some(taken)) = scanner.step(rest) else {
            break;
        };
        at += taken;
        if data {
            length += taken as u64;
        }
        if matches!(scanner.state, State::Head | State::Finished) {
            lengths.push(std::mem::take(&mut length));
        }
    }
    assert_eq!(at, good, "approved bytes are whole units");
    (lengths, good)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn hyper_sees_the_requests_that_pass_with_the_same_bodies(stream in streams()) {
        let (lengths, good) = as_the_scanner_sees(&stream);
        prop_assert_eq!(as_hyper_sees(&stream[..good]), lengths);
    }
}
