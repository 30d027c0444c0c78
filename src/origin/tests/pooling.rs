use super::*;
use crate::telemetry::labels::{Ejection, OriginConnection, RetryReason};

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let worker = Worker::new();
    let mut stub = Stub::answering(HELLO).await;
    let spec = spec(&[stub.address]);
    for _ in 0..5 {
        let forwarded = worker.send(get(&spec)).await.unwrap();
        assert_eq!(forwarded.address, Some(stub.address.into()));
        assert_eq!(whole(forwarded).await, (200, "hello".into()));
    }
    assert_eq!(stub.accepted(), 1);
    let head = stub.head().await;
    assert!(head.starts_with("get / http/1.1\r\n"), "{head}");
    assert!(head.contains("host: site.example\r\n"), "{head}");
    let connections = &worker.metrics.origins.connections;
    assert_eq!(connections.get(OriginConnection::Opened), 1);
    assert_eq!(connections.get(OriginConnection::Reused), 4);
    assert_eq!(worker.metrics.origins.requests.get(), 5);
}

#[tokio::test]
async fn equal_specs_share_a_pool_and_survive_a_reload() {
    let worker = Worker::new();
    let stub = Stub::answering(HELLO).await;
    worker.fetch(get(&spec(&[stub.address]))).await;
    worker.fetch(get(&spec(&[stub.address]))).await;
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        for answer in [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ] {
            peer.head().await;
            peer.send(answer).await;
        }
        peer.closed().await;
    })
    .await;
    let spec = spec(&[stub.address]);
    let head = || forward(&spec, Request::head("/").body(Body::empty()).unwrap());
    assert_eq!(worker.fetch(get(&spec)).await, (204, String::new()));
    assert_eq!(worker.fetch(get(&spec)).await, (304, String::new()));
    let forwarded = worker.send(head()).await.unwrap();
    assert_eq!(forwarded.response.headers()["content-length"], "9");
    assert_eq!(whole(forwarded).await, (200, String::new()));
    assert_eq!(worker.fetch(get(&spec)).await, (200, String::new()));
    assert_eq!(worker.fetch(get(&spec)).await, (200, "hi".into()));
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn connections_that_must_end_are_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n",
    ] {
        let worker = Worker::new();
        let stub = Stub::answering(answer).await;
        let spec = spec(&[stub.address]);
        for _ in 0..2 {
            assert_eq!(worker.fetch(get(&spec)).await, (200, "hello".into()));
        }
        assert_eq!(stub.accepted(), 2, "{answer}");
    }
}

#[tokio::test]
async fn the_server_with_the_fewest_requests_is_asked_and_ties_go_round() {
    let worker = Worker::new();
    let (slow, quick) = (
        Stub::new(|_, mut peer| async move {
            peer.head().await;
            peer.closed().await;
        })
        .await,
        Stub::answering(HELLO).await,
    );
    let both = spec(&[slow.address, quick.address]);
    let held = tokio::spawn({
        let (origins, forward) = (Arc::clone(&worker.origins), get(&both));
        async move { origins.forward(forward).await.map(drop) }
    });
    let mut slow = slow;
    slow.head().await;
    for _ in 0..4 {
        let forwarded = worker.send(get(&both)).await.unwrap();
        assert_eq!(forwarded.address, Some(quick.address.into()));
        whole(forwarded).await;
    }
    held.abort();
    let (a, b) = (Stub::answering(HELLO).await, Stub::answering(HELLO).await);
    let idle = spec(&[a.address, b.address]);
    let mut asked = [0, 0];
    for _ in 0..6 {
        let forwarded = worker.send(get(&idle)).await.unwrap();
        asked[usize::from(forwarded.address == Some(b.address.into()))] += 1;
        whole(forwarded).await;
    }
    assert_eq!(asked, [3, 3]);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_noticed_before_it_is_used() {
    let worker = Worker::new();
    let (stub, mut was_closed) = Stub::telling(|mut peer, closed| async move {
        peer.head().await;
        peer.bytes(1).await;
        peer.send(HELLO).await;
        drop(peer);
        closed.try_send(()).ok();
    })
    .await;
    let spec = spec(&[stub.address]);
    for _ in 0..2 {
        assert_eq!(worker.fetch(post(&spec, "x")).await.0, 200);
        was_closed.recv().await;
        settle().await;
    }
    assert_eq!(stub.accepted(), 2);
}

#[tokio::test]
async fn a_reused_connection_that_closes_is_tried_once_more_for_idempotent_requests_only() {
    // Even connections answer once, then read a request and close without a word.
    let script = |number, mut peer: Peer| async move {
        peer.head().await;
        peer.send(HELLO).await;
        peer.head().await;
        if number % 2 == 1 {
            peer.send(HELLO).await;
            peer.closed().await;
        }
    };
    let worker = Worker::new();
    let stub = Stub::new(script).await;
    let one = spec(&[stub.address]);
    worker.fetch(get(&one)).await;
    assert_eq!(worker.fetch(get(&one)).await, (200, "hello".into()));
    assert_eq!(stub.accepted(), 2);
    let retries = &worker.metrics.origins.retries;
    assert_eq!(retries.get(RetryReason::ReusedClosed), 1);

    for body in ["", "x"] {
        let stub = Stub::new(script).await;
        let one = spec(&[stub.address]);
        worker.fetch(get(&one)).await;
        let error = worker.send(post(&one, body)).await.unwrap_err();
        assert_eq!(error.status().as_u16(), 502);
        assert_eq!(stub.accepted(), 1, "a POST is not sent twice");
    }
}

/// Answers one request on each connection, and dies of the second one when it is told.
async fn mortal() -> (Stub, Arc<tokio::sync::Notify>) {
    let die = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&die);
    let stub = Stub::new(move |_, mut peer| {
        let told = Arc::clone(&told);
        async move {
            peer.head().await;
            peer.send(HELLO).await;
            peer.head().await;
            told.notified().await;
        }
    });
    (stub.await, die)
}

/// Sends a GET to a server that takes a second to die of it.
async fn kill(
    worker: &Worker,
    spec: &Arc<OriginSpec>,
    stub: &mut Stub,
    die: &tokio::sync::Notify,
) -> Result<Forwarded, ForwardError> {
    while stub.heads.try_recv().is_ok() {}
    let (origins, forward) = (Arc::clone(&worker.origins), get(spec));
    let sends = tokio::spawn(async move { origins.forward(forward).await });
    stub.head().await;
    tokio::time::pause();
    worker.until(1).await;
    tokio::time::resume();
    die.notify_one();
    sends.await.unwrap()
}

#[tokio::test]
async fn a_reused_connection_that_dies_of_its_request_is_no_idle_one_that_closed() {
    let worker = Worker::new();
    let (mut stub, die) = mortal().await;
    let one = pooled(&[stub.address], |pool| {
        pool.ejection.as_mut().unwrap().failures = 1;
    });
    worker.fetch(get(&one)).await;
    let error = kill(&worker, &one, &mut stub, &die).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "closed"));
    assert_eq!(stub.accepted(), 1);
    let origins = &worker.metrics.origins;
    assert_eq!(origins.ejections.get(Ejection::Spared), 1, "not counted");

    // Where there is another server it is asked, within the budget.
    let ((mut stub, die), good) = (mortal().await, Stub::answering(HELLO).await);
    let both = spec(&[stub.address, good.address]);
    // They take turns, and after this it is the mortal one's.
    let mut last = None;
    while stub.accepted() == 0 || last != Some(good.address.into()) {
        let forwarded = worker.send(get(&both)).await.unwrap();
        last = forwarded.address.clone();
        whole(forwarded).await;
    }
    let forwarded = kill(&worker, &both, &mut stub, &die).await.unwrap();
    assert_eq!(forwarded.address, Some(good.address.into()));
    assert_eq!(stub.accepted(), 1);
    assert_eq!(origins.retries.get(RetryReason::NoAnswer), 1);
    assert_eq!(origins.retries.get(RetryReason::ReusedClosed), 0);
}

#[tokio::test]
async fn a_request_that_kills_a_reused_connection_and_a_fresh_one_failed_twice() {
    let worker = Worker::new();
    let stub = Stub::new(|number, mut peer| async move {
        peer.head().await;
        if number == 0 {
            peer.send(HELLO).await;
            peer.head().await;
        }
    })
    .await;
    let one = pooled(&[stub.address], |pool| {
        pool.ejection.as_mut().unwrap().failures = 2;
    });
    worker.fetch(get(&one)).await;
    let error = worker.send(get(&one)).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "closed"));
    assert_eq!(stub.accepted(), 2);
    let ejections = &worker.metrics.origins.ejections;
    assert_eq!(ejections.get(Ejection::Spared), 1);
}

#[tokio::test]
async fn a_fresh_connection_that_closes_is_not_tried_again() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
    })
    .await;
    let error = worker.send(get(&spec(&[stub.address]))).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "closed"));
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn a_half_answer_on_a_reused_connection_is_not_tried_again() {
    let worker = Worker::new();
    let stub = Stub::new(|_, mut peer| async move {
        peer.head().await;
        peer.send(HELLO).await;
        peer.head().await;
        peer.send("HTTP/1.1 2").await;
    })
    .await;
    let one = spec(&[stub.address]);
    worker.fetch(get(&one)).await;
    assert_eq!(
        worker.send(get(&one)).await.unwrap_err().status().as_u16(),
        502
    );
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_its_origin_closed_is_closed() {
    let worker = Worker::new();
    let (stub, mut told) = Stub::telling(|mut peer, tell| async move {
        peer.head().await;
        peer.send(HELLO).await;
        peer.stream.shutdown().await.unwrap();
        tell.try_send(()).ok();
        peer.closed().await;
        tell.try_send(()).ok();
    })
    .await;
    worker.fetch(get(&spec(&[stub.address]))).await;
    told.recv().await;
    settle().await;
    worker.origins.sweep();
    let closed = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
    assert!(closed.is_ok(), "it waits to be idle for long enough");
}

#[tokio::test]
async fn idle_connections_and_unused_pools_go() {
    let worker = Worker::new();
    let (stub, mut was_closed) = Stub::telling(|mut peer, closed| async move {
        peer.head().await;
        peer.send(HELLO).await;
        peer.closed().await;
        closed.try_send(()).ok();
    })
    .await;
    worker.fetch(get(&spec(&[stub.address]))).await;
    tokio::time::pause();
    let until = |seconds| {
        let ticker = Arc::clone(&worker.ticker);
        async move {
            let due = ticker.now() + Duration::from_secs(seconds);
            while ticker.now() < due {
                tokio::time::advance(crate::deadline::TICK).await;
            }
        }
    };
    until(61).await;
    worker.origins.sweep();
    tokio::time::resume();
    was_closed.recv().await;
    assert_eq!(worker.origins.pools().by_spec.len(), 1);
    tokio::time::pause();
    until(121).await;
    worker.origins.sweep();
    assert!(worker.origins.pools().by_spec.is_empty());
    assert!(worker.origins.pools().by_address.is_empty());
}
