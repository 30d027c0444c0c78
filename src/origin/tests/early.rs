//! EARLY-DATA R11 and R16–R20 towards an origin that speaks 425.

use super::*;
use crate::telemetry::labels::RetryReason;

const TOO_EARLY: &str = "HTTP/1.1 425 Too Early\r\nContent-Length: 4\r\n\r\nlate";

/// Answers 425 to what is marked.
async fn aware() -> Stub {
    Stub::new(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            if let Some(length) = head.split("content-length: ").nth(1) {
                let length = length.split("\r\n").next().unwrap().parse().unwrap();
                peer.bytes(length).await;
            }
            let marked = head.contains("early-data: 1\r\n");
            peer.send(if marked { TOO_EARLY } else { HELLO }).await;
        }
    })
    .await
}

fn with_mark(mut forward: Forward) -> Forward {
    let mark = HeaderValue::from_static("1");
    forward.parts.headers.insert("early-data", mark);
    forward.early = EarlyForward::Marked;
    forward
}

#[tokio::test]
async fn r17_an_early_request_is_marked_and_its_answer_comes_before_finished() {
    let worker = Worker::new();
    let mut stub = Stub::answering(HELLO).await;
    let (forward, settler) = early(get(&spec(&[stub.address])));
    assert_eq!(worker.fetch(forward).await, (200, "hello".into()));
    assert!(stub.head().await.contains("early-data: 1\r\n"));
    drop(settler);
}

#[tokio::test]
async fn r19_a_425_is_answered_by_sending_again_after_completion_without_the_mark() {
    let body = vec![b'x'; 64 * 1024];
    for body in [Body::empty(), body.into()] {
        let worker = Worker::new();
        let mut stub = aware().await;
        let (forward, settler) = early(post(&spec(&[stub.address]), body));
        let origins = Arc::clone(&worker.origins);
        let sends = tokio::spawn(async move { origins.forward(forward).await });
        assert!(stub.head().await.contains("early-data: 1\r\n"));
        settle().await;
        assert!(stub.heads.try_recv().is_err(), "it waits for Finished");
        settler.confirm();
        let forwarded = sends.await.unwrap().unwrap();
        assert_eq!(whole(forwarded).await, (200, "hello".into()));
        assert!(!stub.head().await.contains("early-data"));
        let retries = &worker.metrics.origins.retries;
        assert_eq!(retries.get(RetryReason::TooEarly), 1);
        assert_eq!(worker.metrics.origins.too_early.get(), 1);
        assert_eq!(worker.metrics.early.confirmations_awaited.get(), 1);
    }
}

#[tokio::test]
async fn r19_a_second_425_is_passed_on() {
    let worker = Worker::new();
    let stub = Stub::answering(TOO_EARLY).await;
    let (forward, settler) = early(get(&spec(&[stub.address])));
    settler.confirm();
    assert_eq!(worker.fetch(forward).await, (425, "late".into()));
    assert_eq!(worker.metrics.origins.requests.get(), 2);
    assert_eq!(worker.metrics.origins.too_early.get(), 2);
}

#[tokio::test]
async fn r19_a_body_that_is_not_held_passes_the_425_on() {
    let worker = Worker::new();
    let mut stub = aware().await;
    let body = vec![b'x'; 64 * 1024 + 1];
    let (forward, _pending) = early(post(&spec(&[stub.address]), body));
    assert_eq!(worker.fetch(forward).await, (425, "late".into()));
    stub.head().await;
    assert!(stub.heads.try_recv().is_err());
}

#[tokio::test]
async fn r19_the_handshake_may_fail_while_the_second_try_waits() {
    let worker = Worker::new();
    let mut stub = aware().await;
    let (forward, settler) = early(get(&spec(&[stub.address])));
    let origins = Arc::clone(&worker.origins);
    let sends = tokio::spawn(async move { origins.forward(forward).await });
    stub.head().await;
    settle().await;
    settler.fail();
    let error = sends.await.unwrap().unwrap_err();
    assert_eq!(error.label(), "handshake_failed");
    assert!(stub.heads.try_recv().is_err(), "nothing is retried");
}

#[tokio::test]
async fn r19_a_425_to_a_marked_request_is_passed_on() {
    let worker = Worker::new();
    let mut stub = aware().await;
    let forward = with_mark(get(&spec(&[stub.address])));
    assert_eq!(worker.fetch(forward).await, (425, "late".into()));
    assert!(stub.head().await.contains("early-data: 1\r\n"));
    assert!(stub.heads.try_recv().is_err());
}

#[tokio::test]
async fn r20_an_unasked_425_is_passed_on_and_counted() {
    let worker = Worker::new();
    let stub = Stub::answering(TOO_EARLY).await;
    let answer = worker.fetch(get(&spec(&[stub.address]))).await;
    assert_eq!(answer, (425, "late".into()));
    assert_eq!(worker.metrics.origins.too_early.get(), 1);
    assert_eq!(worker.metrics.origins.requests.get(), 1);
}

#[tokio::test]
async fn r11_a_failed_handshake_aborts_the_origin_request() {
    let worker = Worker::new();
    let (mut stub, mut was_closed) = Stub::telling(|mut peer, closed| async move {
        peer.head().await;
        peer.closed().await;
        closed.try_send(()).unwrap();
    })
    .await;
    for marked in [false, true] {
        let (mut forward, settler) = early(get(&spec(&[stub.address])));
        if marked {
            forward = with_mark(forward);
        }
        let origins = Arc::clone(&worker.origins);
        let sends = tokio::spawn(async move { origins.forward(forward).await });
        stub.head().await;
        settler.fail();
        let error = sends.await.unwrap().unwrap_err();
        assert!(matches!(error.kind, ForwardErrorKind::HandshakeFailed));
        was_closed.recv().await.unwrap();
    }
    assert_eq!(stub.accepted(), 2, "its connection is not pooled");
    assert_eq!(
        worker.metrics.origins.requests.get(),
        2,
        "nothing is retried"
    );
}

#[tokio::test]
async fn r11_a_failed_handshake_cuts_an_answer_that_streams() {
    let worker = Worker::new();
    let (stub, mut was_closed) = Stub::telling(|mut peer, closed| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
            .await;
        peer.closed().await;
        closed.try_send(()).unwrap();
    })
    .await;
    let (forward, settler) = early(get(&spec(&[stub.address])));
    let forwarded = worker.send(forward).await.unwrap();
    let reads = tokio::spawn(forwarded.response.into_body().collect());
    settle().await;
    settler.fail();
    let error = reads.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("handshake failed"), "{error}");
    was_closed.recv().await.unwrap();
}
