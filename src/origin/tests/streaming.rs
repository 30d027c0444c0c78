use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

use super::*;
use crate::body::BoxError;

/// A body made of what is sent into a channel.
struct Fed(mpsc::Receiver<Result<Bytes, BoxError>>);

pub(super) fn fed() -> (mpsc::Sender<Result<Bytes, BoxError>>, Body) {
    let (sender, receiver) = mpsc::channel(64);
    (sender, Body::new(Fed(receiver)))
}

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = self.0.poll_recv(cx);
        next.map(|next| next.map(|piece| piece.map(Frame::data)))
    }
}

/// `chunks` chunks of 16 KiB, then trailers if there are any; counts what was asked for.
struct Chunks {
    left: usize,
    pulled: Arc<AtomicUsize>,
    trailers: Option<HeaderMap>,
}

const CHUNK: usize = 16 * 1024;

fn chunks(left: usize) -> (Arc<AtomicUsize>, Body) {
    let pulled = Arc::new(AtomicUsize::new(0));
    let body = Body::new(Chunks {
        left,
        pulled: Arc::clone(&pulled),
        trailers: None,
    });
    (pulled, body)
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            let trailers = self.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        self.left -= 1;
        self.pulled.fetch_add(CHUNK, Ordering::SeqCst);
        static ZEROS: [u8; CHUNK] = [0; CHUNK];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS)))))
    }
}

#[tokio::test]
async fn ten_megabytes_stream_both_ways_at_once() {
    const SIZE: usize = 640 * CHUNK;
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
            .await;
        let mut left = SIZE;
        while left > 0 {
            if peer.buffer.is_empty() {
                assert_ne!(peer.more().await, 0);
            }
            let piece = std::mem::take(&mut peer.buffer);
            left -= piece.len();
            peer.send(piece).await;
        }
        // The connection is whole after that.
        peer.head().await;
        peer.send(HELLO).await;
    })
    .await;
    let spec = spec(&[stub.address]);
    let mut upload = post(&spec, chunks(640).1);
    upload.parts.headers.insert("content-length", SIZE.into());
    let mut body = worker.send(upload).await.unwrap().response.into_body();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(received, SIZE);
    assert_eq!(worker.fetch(get(&spec)).await, (200, "hello".into()));
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn an_origin_that_does_not_read_stops_the_client() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.until(b"\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let (pulled, body) = chunks(usize::MAX);
    let mut upload = post(&spec(&[stub.address]), body);
    upload.timeouts.response_headers = Duration::from_millis(200);
    let error = worker.send(upload).await.unwrap_err();
    // Nothing moves, so the origin is the one waited for.
    assert_eq!(error.label(), "response_headers_timeout");
    // What the kernel's buffers hold (a few megabytes), and 64 KiB of ours.
    assert!(pulled.load(Ordering::SeqCst) < 32 << 20);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_origin() {
    let worker = Worker::new();
    let (stub, mut was_stuck) = Stub::telling(|mut peer, stuck| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
        let mut sent = 0_usize;
        let blocked = Duration::from_millis(200);
        let piece = vec![0; CHUNK];
        while tokio::time::timeout(blocked, peer.send(&piece))
            .await
            .is_ok()
        {
            sent += CHUNK;
            assert!(sent < 32 << 20, "nothing holds the origin back");
        }
        stuck.try_send(()).unwrap();
    })
    .await;
    let forwarded = worker.send(get(&spec(&[stub.address]))).await.unwrap();
    was_stuck.recv().await.unwrap();
    drop(forwarded);
}

#[tokio::test]
async fn the_clock_of_response_headers_does_not_run_while_the_client_sends() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
        peer.until(b"0\r\n\r\n").await;
        peer.send(HELLO).await;
    })
    .await;
    let (feed, body) = fed();
    let mut upload = post(&spec(&[stub.address]), body);
    upload.timeouts.response_headers = Duration::from_millis(200);
    let origins = Arc::clone(&worker.origins);
    let sends = tokio::spawn(async move { origins.forward(upload).await });
    feed.try_send(Ok("part".into())).unwrap();
    // The client takes three times as long as the origin may.
    let alarm = worker.ticker.alarm();
    alarm.set(Some(Duration::from_millis(600)));
    std::future::poll_fn(|cx| alarm.poll_due(cx)).await;
    drop(feed);
    assert_eq!(whole(sends.await.unwrap().unwrap()).await.0, 200);
}

#[tokio::test]
async fn trailers_pass_both_ways_without_marks() {
    let worker = Worker::new();
    let (stub, mut trailers) = Stub::telling(|mut peer, got| async move {
        peer.head().await;
        peer.until(b"\r\n0\r\n").await;
        got.try_send(peer.until(b"\r\n\r\n").await).unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        peer.send("2\r\nhi\r\n0\r\nX-Sum: 1\r\nEarly-Data: 1\r\n\r\n")
            .await;
        peer.head().await;
        peer.send(HELLO).await;
    })
    .await;
    let spec = spec(&[stub.address]);
    let mut fields = HeaderMap::new();
    for name in ["x-sum", "early-data"] {
        fields.insert(name, HeaderValue::from_static("1"));
    }
    let mut upload = post(
        &spec,
        Body::new(Chunks {
            left: 1,
            pulled: Arc::default(),
            trailers: Some(fields),
        }),
    );
    let announced = HeaderValue::from_static("x-sum, early-data");
    upload.parts.headers.insert("trailer", announced);
    let forwarded = worker.send(upload).await.unwrap();
    assert_eq!(trailers.recv().await.unwrap().unwrap(), "x-sum: 1\r\n\r\n");
    assert_eq!(forwarded.response.headers()["trailer"], "x-sum");
    let body = forwarded.response.into_body().collect().await.unwrap();
    let received = body.trailers().unwrap();
    assert_eq!(received.len(), 1);
    assert_eq!(received["x-sum"], "1");
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn an_answer_without_length_ends_with_its_connection() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
    })
    .await;
    let spec = spec(&[stub.address]);
    for _ in 0..2 {
        assert_eq!(worker.fetch(get(&spec)).await, (200, "hello".into()));
    }
    assert_eq!(stub.accepted(), 2);
}

#[tokio::test]
async fn an_answer_before_the_requests_end_gets_through() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
        // Closed with the upload unread: the edge's next write fails.
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await;
    })
    .await;
    let spec = spec(&[stub.address]);
    let answer = worker.fetch(post(&spec, chunks(1 << 20).1)).await;
    assert_eq!(answer, (413, "big".into()));
    worker.fetch(post(&spec, chunks(1 << 20).1)).await;
    assert_eq!(
        stub.accepted(),
        2,
        "a half-sent request's connection is not used again"
    );
}

#[tokio::test]
async fn a_get_keeps_its_body() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
        let body = peer.until(b"0\r\n\r\n").await.unwrap();
        assert_eq!(body, "4\r\nbody\r\n0\r\n\r\n");
        peer.send(HELLO).await;
    })
    .await;
    let (feed, body) = fed();
    feed.try_send(Ok("body".into())).unwrap();
    drop(feed);
    let request = Request::get("/").body(body).unwrap();
    let forward = forward(&spec(&[stub.address]), request);
    assert_eq!(worker.fetch(forward).await, (200, "hello".into()));
}

#[tokio::test]
async fn dropping_the_answer_closes_the_connection() {
    let worker = Worker::new();
    let (stub, mut was_closed) = Stub::telling(|mut peer, closed| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
            .await;
        peer.closed().await;
        closed.try_send(()).unwrap();
    })
    .await;
    drop(worker.send(get(&spec(&[stub.address]))).await.unwrap());
    was_closed.recv().await.unwrap();
}
