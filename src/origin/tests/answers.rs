//! Answers of every shape, and those that are none.

use super::*;
use crate::origin::AnswerCut;
use crate::telemetry::labels::OriginError;

/// Sends a script for each request, in pieces of `size` bytes.
async fn in_pieces(script: &'static [u8], size: usize) -> Stub {
    Stub::new(move |_, mut peer| async move {
        peer.stream.set_nodelay(true).unwrap();
        while peer.head().await.is_some() {
            for piece in script.chunks(size) {
                peer.send(piece).await;
                tokio::task::yield_now().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_answer_may_come_in_any_pieces() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200\r\ncontent-length:5\r\nx-empty:\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n003;a=b\r\nllo\r\n00\r\nX: 1\r\n\r\n",
    ] {
        for size in [1, 2, 3, 7, answer.len()] {
            let worker = Worker::new();
            let stub = in_pieces(answer.as_bytes(), size).await;
            let spec = spec(&[stub.address]);
            for _ in 0..2 {
                let got = worker.fetch(get(&spec)).await;
                assert_eq!(got, (200, "hello".into()), "{size} of {answer}");
            }
            assert_eq!(stub.accepted(), 1, "{size} of {answer}");
        }
    }
}

#[tokio::test]
async fn answers_without_content_end_with_their_head() {
    for (answer, status) in [
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            304,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ] {
        let worker = Worker::new();
        let stub = Stub::answering(answer).await;
        let spec = spec(&[stub.address]);
        for _ in 0..2 {
            assert_eq!(worker.fetch(get(&spec)).await, (status, String::new()));
        }
        assert_eq!(stub.accepted(), 1, "{answer}");
    }
    for answer in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        // What it announces could come when the next answer is waited for, and be taken for it.
        let worker = Worker::new();
        let stub = Stub::answering(answer).await;
        let spec = spec(&[stub.address]);
        for _ in 0..2 {
            assert_eq!(worker.fetch(get(&spec)).await, (204, String::new()));
        }
        assert_eq!(stub.accepted(), 2, "{answer}");
    }
    let worker = Worker::new();
    let stub = Stub::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let spec = spec(&[stub.address]);
    for _ in 0..2 {
        let head = Request::head("/").body(Body::empty()).unwrap();
        let forwarded = worker.send(forward(&spec, head)).await.unwrap();
        assert_eq!(forwarded.response.headers()["content-length"], "5");
        assert_eq!(whole(forwarded).await, (200, String::new()));
    }
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn heads_that_never_end_make_502() {
    let endless = |before: &'static str, line: &'static str| async move {
        Stub::new(move |_, mut peer| async move {
            peer.head().await;
            peer.send(before).await;
            while peer.stream.write_all(line.as_bytes()).await.is_ok() {}
        })
        .await
    };
    for (before, line) in [
        ("HTTP/1.1 200 OK\r\n", "X-Field: value\r\n"),
        ("HTTP/1.1 200 OK\r\nX-Field: ", "value"),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("", "HTTP/1.1 "),
        ("", "\r\n"),
    ] {
        let worker = Worker::new();
        let stub = endless(before, line).await;
        let error = worker.send(get(&spec(&[stub.address]))).await.unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.label()),
            (502, "malformed"),
            "{before}{line}"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_is_cut() {
    let chunked =
        |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let line = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(600));
    let trailers = format!("0\r\n{}\r\n", "X-Field: value\r\n".repeat(101));
    for (body, error) in [
        ("x\r\nhello\r\n0\r\n\r\n", OriginError::Malformed),
        ("\r\nhello", OriginError::Malformed),
        ("5\r\nhello\r\n\r\n\r\n", OriginError::Malformed),
        (" 5\r\nhello\r\n0\r\n\r\n", OriginError::Malformed),
        (";a\r\n\r\n", OriginError::Malformed),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", OriginError::Malformed),
        ("5;a\rb\r\nhello\r\n0\r\n\r\n", OriginError::Malformed),
        ("5 a\r\nhello\r\n0\r\n\r\n", OriginError::Malformed),
        ("5\nhello\r\n0\r\n\r\n", OriginError::Malformed),
        ("5\r\nhello0\r\n\r\n", OriginError::Malformed),
        ("5\r\nhelloo\r\n0\r\n\r\n", OriginError::Malformed),
        ("-5\r\nhello\r\n0\r\n\r\n", OriginError::Malformed),
        ("fffffffffffffffff\r\nhello", OriginError::Malformed),
        (
            "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
            OriginError::Malformed,
        ),
        (&line, OriginError::Malformed),
        (&trailers, OriginError::Malformed),
        ("5\r\nhel", OriginError::Closed),
        ("5\r\nhello\r\n", OriginError::Closed),
        ("5\r\nhello\r\n0\r\n", OriginError::Closed),
    ] {
        let worker = Worker::new();
        let answer = chunked(body);
        let stub = Stub::new(move |_, mut peer| {
            let answer = answer.clone();
            async move {
                peer.head().await;
                peer.send(answer).await;
            }
        })
        .await;
        let forwarded = worker.send(get(&spec(&[stub.address]))).await.unwrap();
        let cut = forwarded.response.into_body().collect().await.unwrap_err();
        match cut.downcast_ref::<AnswerCut>() {
            Some(AnswerCut::Origin(got)) => assert_eq!(*got, error, "{body}"),
            other => panic!("{other:?} of {body}"),
        }
        assert_eq!(worker.metrics.origins.errors.get(error), 1, "{body}");
    }
}

#[tokio::test]
async fn a_request_body_that_is_not_as_long_as_it_says_is_given_up() {
    for length in ["3", "9"] {
        let worker = Worker::new();
        let (stub, mut was_closed) = Stub::telling(|mut peer, closed| async move {
            peer.head().await;
            peer.closed().await;
            closed.try_send(peer.buffer.clone()).unwrap();
        })
        .await;
        let mut upload = post(&spec(&[stub.address]), "hello");
        let value = HeaderValue::from_static(length);
        upload.parts.headers.insert("content-length", value);
        let error = worker.send(upload).await.unwrap_err();
        assert_eq!(error.label(), "request_body");
        let got = was_closed.recv().await.unwrap();
        assert!(got.len() < length.parse().unwrap(), "{got:?} of {length}");
    }
}

#[tokio::test]
async fn an_empty_body_may_end_late() {
    // An HTTP/2 client says so with an empty DATA frame behind its HEADERS.
    let worker = Worker::new();
    let stub = Stub::answering(HELLO).await;
    let spec = spec(&[stub.address]);
    for _ in 0..2 {
        let (feed, body) = super::streaming::fed();
        let mut upload = post(&spec, body);
        let none = HeaderValue::from_static("0");
        upload.parts.headers.insert("content-length", none);
        drop(feed);
        assert_eq!(worker.fetch(upload).await, (200, "hello".into()));
    }
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn an_answer_of_trailers_alone_has_no_length() {
    let worker = Worker::new();
    let stub = Stub::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let forwarded = worker.send(get(&spec(&[stub.address]))).await.unwrap();
    let body = forwarded.response.into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), None);
    let body = body.collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "1");
}

#[tokio::test]
async fn an_origin_that_reads_nothing_is_timed_though_the_client_has_more_to_send() {
    let worker = Worker::new();
    let (stub, _held) = Stub::telling(|mut peer, held| async move {
        peer.head().await;
        held.try_send(()).ok();
        std::future::pending::<()>().await;
    })
    .await;
    let (feed, body) = super::streaming::fed();
    let mut upload = post(&spec(&[stub.address]), body);
    upload.timeouts.response_headers = Duration::from_millis(300);
    let origins = Arc::clone(&worker.origins);
    let sends = tokio::spawn(async move { origins.forward(upload).await });
    // Until the kernel takes no more; then the client pauses.
    let piece = bytes::Bytes::from(vec![0; 64 * 1024]);
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(100), feed.send(Ok(piece.clone()))).await
    {}
    let error = sends.await.unwrap().unwrap_err();
    assert_eq!(error.label(), "response_headers_timeout");
}

#[tokio::test]
async fn trailers_of_a_request_pass_unannounced_too() {
    let worker = Worker::new();
    let (stub, mut trailers) = Stub::telling(|mut peer, got| async move {
        peer.head().await;
        got.try_send(peer.until(b"0\r\n").await).unwrap();
        got.try_send(peer.until(b"\r\n\r\n").await).unwrap();
        peer.send(HELLO).await;
    })
    .await;
    let (feed, body) = super::streaming::fed();
    let mut fields = http::HeaderMap::new();
    fields.insert("x-sum", HeaderValue::from_static("1"));
    let body = body.with_trailers(async move { Some(Ok(fields)) });
    drop(feed);
    let upload = post(&spec(&[stub.address]), Body::new(body));
    assert_eq!(worker.fetch(upload).await.0, 200);
    assert_eq!(trailers.recv().await.unwrap().unwrap(), "0\r\n");
    assert_eq!(trailers.recv().await.unwrap().unwrap(), "x-sum: 1\r\n\r\n");
}
