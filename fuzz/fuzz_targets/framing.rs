//! The framing scanner: no panic, no difference between bytes at once and bytes one by one, and
//! hyper sees in the bytes that pass the same requests with bodies of the same lengths.

#![no_main]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cutwater::http::framing::{Limits, Reason, Scanner};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fuzz_target!(|data: &[u8]| {
    let mut scanner = Scanner::new(Limits::default());
    let (good, reason) = match scanner.scan(data) {
        Ok(good) => (good, None),
        Err(violation) => (violation.deliver, Some(violation.reason)),
    };
    let (dribbled, bodies) = dribble(data);
    assert_eq!(dribbled, (good, reason));
    assert_eq!(as_hyper_sees(&data[..good]), bodies);
});

/// What passes when every byte comes alone, why no more, and the lengths of the whole bodies.
fn dribble(data: &[u8]) -> ((usize, Option<Reason>), Vec<usize>) {
    let mut scanner = Scanner::new(Limits::default());
    let (mut good, mut start, mut heads, mut bodies) = (0, 0, 0, Vec::new());
    let mut chunked = false;
    for end in 1..=data.len() {
        let held = &data[good..end];
        match scanner.scan(held) {
            Ok(approved) => good += approved,
            Err(violation) => return ((good + violation.deliver, Some(violation.reason)), bodies),
        }
        let begins = scanner.heads() > heads;
        if begins {
            heads = scanner.heads();
            start = end;
            let head = held.to_ascii_lowercase();
            chunked = head
                .windows(20)
                .any(|line| line == b"\r\ntransfer-encoding:");
        }
        if !scanner.in_body() && (begins || start > 0) {
            let body = &data[start..end];
            bodies.push(if chunked { dechunked(body) } else { body.len() });
            start = 0;
        }
    }
    ((good, None), bodies)
}

/// The length of the data in a chunked body that is known to be well formed.
fn dechunked(mut body: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let line = body.iter().position(|&b| b == b'\n').expect("a line");
        let digits = body.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let digits = std::str::from_utf8(&body[..digits]).expect("text");
        let size = usize::from_str_radix(digits, 16).expect("a size");
        if size == 0 {
            return length;
        }
        length += size;
        body = &body[line + 1 + size + 2..];
    }
}

/// The lengths of the whole bodies that hyper sees in a stream that ends after its last byte.
fn as_hyper_sees(stream: &[u8]) -> Vec<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let bodies = seen.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let bodies = bodies.clone();
        async move {
            if let Ok(body) = request.into_body().collect().await {
                bodies.lock().expect("a lock").push(body.to_bytes().len());
            }
            // Not 2xx, which would end HTTP after a CONNECT.
            let answer = Response::builder().status(404);
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
