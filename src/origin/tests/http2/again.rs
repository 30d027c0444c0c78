//! What an origin did nothing about, bodies and all.

use super::*;
use crate::telemetry::labels::RetryReason;

/// Refuses each stream as long as `refuse` says so of its number, with the body half read; then
/// answers with the body.
async fn refusing(refuse: fn(usize) -> bool) -> H2c {
    let streams = Arc::new(AtomicUsize::new(0));
    H2c::new(100, move |_, mut request, mut respond| {
        let number = streams.fetch_add(1, Ordering::SeqCst);
        async move {
            if refuse(number) {
                request.body_mut().data().await;
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            if request.headers().contains_key("early-data") {
                return drop(respond.send_response(head(425), true));
            }
            let (body, trailers) = read(request.body_mut()).await.unwrap();
            let mut stream = respond.send_response(head(200), false).unwrap();
            stream.send_data(body.into(), trailers.is_none()).unwrap();
            if let Some(trailers) = trailers {
                stream.send_trailers(trailers).unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_request_is_sent_again_with_its_body() {
    let worker = Worker::new();
    let origin = refusing(|number| number % 2 == 0).await;
    let frames = [
        Ok::<_, crate::body::BoxError>(Frame::data(Bytes::from("some"))),
        Ok(Frame::data(Bytes::from("thing"))),
        Ok(Frame::trailers(fields(&[("x-sum", "9")]))),
    ];
    let body = Body::new(http_body_util::StreamBody::new(iter(frames)));
    let forwarded = worker.send(post(&origin.spec(), body)).await.unwrap();
    let collected = forwarded.response.into_body().collect().await.unwrap();
    assert_eq!(
        collected.trailers().cloned(),
        Some(fields(&[("x-sum", "9")]))
    );
    assert_eq!(collected.to_bytes(), "something");

    // Also with what the client sends later, and as long as 64 KiB.
    let (feed, body) = fed();
    feed.try_send(Ok(Bytes::from(vec![b'x'; 60_000]))).unwrap();
    let (origins, forward) = (Arc::clone(&worker.origins), post(&origin.spec(), body));
    let sends = tokio::spawn(async move { whole(origins.forward(forward).await.unwrap()).await });
    let retries = &worker.metrics.origins.retries;
    worker.when(|| retries.get(RetryReason::NotSent) == 2).await;
    feed.try_send(Ok(Bytes::from(vec![b'y'; 60_000]))).unwrap();
    drop(feed);
    let (status, body) = sends.await.unwrap();
    assert_eq!((status, body.len()), (200, 120_000));
    assert!(body.starts_with("xxx") && body.ends_with("yyy"));
}

#[tokio::test]
async fn a_refused_request_whose_body_is_not_held_whole_makes_502() {
    let worker = Worker::new();
    let origin = refusing(|number| number == 0).await;
    // The window lets 65,535 bytes through at first.
    let body = Body::from(vec![b'x'; 64 * 1024 + 1]);
    let error = worker.send(post(&origin.spec(), body)).await.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (502, "unprocessed")
    );
}

#[tokio::test]
async fn a_refused_early_request_is_still_held_for_its_425() {
    let worker = Worker::new();
    let origin = refusing(|number| number == 0).await;
    let (forward, settler) = early(post(&origin.spec(), "body"));
    settler.confirm();
    assert_eq!(worker.fetch(forward).await, (200, "body".to_owned()));
    let retries = &worker.metrics.origins.retries;
    assert_eq!(retries.get(RetryReason::NotSent), 1);
    assert_eq!(retries.get(RetryReason::TooEarly), 1);
}

#[tokio::test]
async fn a_request_that_goaway_leaves_out_is_sent_again_with_its_body() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // No stream was processed; NO_ERROR.
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // `:status: 200`, the end of stream 1.
    const OK: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
    let stub = Stub::new(|number, mut peer| async move {
        peer.send(SETTINGS).await;
        while !peer.buffer.windows(4).any(|seen| seen == b"body") {
            assert_ne!(peer.more().await, 0);
        }
        match number {
            0 => peer.send(GOAWAY).await,
            _ => peer.send(OK).await,
        }
        peer.closed().await;
    })
    .await;
    let worker = Worker::new();
    let answer = worker.fetch(post(&h2c(stub.address), "body")).await;
    assert_eq!(answer, (200, String::new()));
    assert_eq!(stub.accepted(), 2);
}
