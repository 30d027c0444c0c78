//! Origins that refuse, exceed, break the protocol or vanish.

use super::*;
use crate::config::snapshot::HealthSpec;
use crate::telemetry::labels::{Ejection, HealthCheck, OriginError, RetryReason, ServerState};

#[tokio::test]
async fn a_request_that_was_not_processed_goes_to_another_connection() {
    // The first connection takes one request, and says so when the second is on its way.
    let origin = H2c::closing(100, 1, |_, _, respond| async move { hello(respond) }).await;
    let worker = Worker::new();
    for _ in 0..5 {
        assert_eq!(worker.fetch(get(&origin.spec())).await.0, 200);
    }

    // A refused stream was not processed either.
    let refuse = Arc::new(AtomicUsize::new(0));
    let origin = H2c::new(100, move |_, _, mut respond| {
        let nth = refuse.fetch_add(1, Ordering::SeqCst);
        async move {
            match nth {
                1 => respond.send_reset(Reason::REFUSED_STREAM),
                _ => hello(respond),
            }
        }
    })
    .await;
    let worker = Worker::new();
    for _ in 0..3 {
        let request = Request::post("/").body(Body::empty()).unwrap();
        let answer = worker.fetch(forward(&origin.spec(), request)).await;
        assert_eq!(answer.0, 200);
    }
    let retries = &worker.metrics.origins.retries;
    assert_eq!(retries.get(RetryReason::NotSent), 1);
}

/// An origin whose connections, each with its number, are served by `script`.
async fn scripted<F, A>(script: F) -> (Arc<OriginSpec>, Arc<AtomicUsize>)
where
    F: Fn(usize, server::Connection<TcpStream, Bytes>) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = h2c(listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = counts.fetch_add(1, Ordering::SeqCst);
            let connection = server::handshake(stream).await.unwrap();
            tokio::spawn(script(number, connection));
        }
    });
    (spec, accepted)
}

/// Takes so many requests.
async fn take(
    connection: &mut server::Connection<TcpStream, Bytes>,
    count: usize,
) -> Vec<(Asked, Answer)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(connection.accept().await.unwrap().unwrap());
    }
    taken
}

#[tokio::test]
async fn a_connection_that_rested_and_closes_at_once_fails_nobody() {
    let (spec, accepted) = scripted(|number, mut connection| async move {
        if number == 0 {
            hello(take(&mut connection, 1).await.remove(0).1);
            take(&mut connection, 10).await;
            return;
        }
        while let Some(Ok((_, respond))) = connection.accept().await {
            hello(respond);
        }
    })
    .await;
    let worker = Worker::new();
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    let asked: Vec<_> = (0..10).map(|_| tokio::spawn(ask(&worker, &spec))).collect();
    for task in asked {
        assert_eq!(task.await.unwrap().0, 200);
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
    let retries = &worker.metrics.origins.retries;
    assert_eq!(retries.get(RetryReason::ReusedClosed), 10);
}

#[tokio::test]
async fn a_busy_connection_that_dies_fails_each_of_its_requests() {
    let (spec, accepted) = scripted(|number, mut connection| async move {
        if number == 0 {
            hello(take(&mut connection, 1).await.remove(0).1);
            let mut taken = take(&mut connection, 10).await;
            hello(taken.pop().unwrap().1);
            // Dies when it has answered one more, which came after that answer was there.
            hello(take(&mut connection, 1).await.remove(0).1);
            take(&mut connection, 1).await;
            return;
        }
        while let Some(Ok((_, respond))) = connection.accept().await {
            hello(respond);
        }
    })
    .await;
    let worker = Worker::new();
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    let send = || {
        let (origins, forward) = (Arc::clone(&worker.origins), get(&spec));
        tokio::spawn(async move { origins.forward(forward).await.map(drop) })
    };
    let mut asked: Vec<_> = (0..10).map(|_| send()).collect();
    let sent = &worker.metrics.origins.requests;
    worker.when(|| sent.get() == 11).await;
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    asked.push(send());
    let mut lost = 0;
    for task in asked {
        if let Err(error) = task.await.unwrap() {
            assert_eq!((error.status().as_u16(), error.label()), (502, "closed"));
            lost += 1;
        }
    }
    assert_eq!(lost, 10);
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    let origins = &worker.metrics.origins;
    // Of the five in a row that eject a server, twice: were it not the only one.
    assert_eq!(origins.ejections.get(Ejection::Spared), 2);
    assert_eq!(origins.retries.get(RetryReason::ReusedClosed), 0);
}

#[tokio::test]
async fn a_body_of_another_length_than_was_said_resets_the_stream() {
    let origin = H2c::new(100, |_, mut request, respond| async move {
        match read(request.body_mut()).await {
            Ok(_) => hello(respond),
            Err(error) => assert_eq!(error.reason(), Some(Reason::CANCEL)),
        }
    })
    .await;
    let worker = Worker::new();
    for length in ["4", "6"] {
        let (feed, body) = fed();
        feed.try_send(Ok(Bytes::from("hello"))).unwrap();
        drop(feed);
        let request = Request::post("/").header("content-length", length);
        let upload = forward(&origin.spec(), request.body(body).unwrap());
        let error = worker.send(upload).await.unwrap_err();
        assert_eq!(error.label(), "request_body", "{length}");
    }
    assert_eq!(worker.fetch(post(&origin.spec(), "hello")).await.0, 200);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    let origin = H2c::new(100, |_, _, mut respond| async move {
        respond.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let worker = Worker::new();
    let error = worker.send(post(&origin.spec(), "x")).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "reset"));
}

#[tokio::test]
async fn deadlines_end_a_stream_and_nobody_elses() {
    let origin = H2c::new(100, |_, request, mut respond| async move {
        match request.uri().path() {
            "/silent" => std::future::pending().await,
            "/stops" => {
                let mut stream = respond.send_response(head(200), false).unwrap();
                stream.send_data("some".into(), false).unwrap();
                std::future::pending().await
            }
            _ => hello(respond),
        }
    })
    .await;
    let worker = Worker::new();
    let spec = origin.spec();
    let slow = |path: &str| {
        let mut slow = forward(&spec, Request::get(path).body(Body::empty()).unwrap());
        slow.timeouts.response_headers = Duration::from_millis(200);
        slow.timeouts.response_idle = Some(Duration::from_millis(200));
        slow
    };
    let stays = worker.send(slow("/stops")).await.unwrap();
    let error = worker.send(slow("/silent")).await.unwrap_err();
    assert_eq!(error.label(), "response_headers_timeout");
    assert_eq!(error.status(), 504);
    let cut = stays.response.into_body().collect().await.unwrap_err();
    assert!(cut.to_string().contains("fell silent"), "{cut}");
    // The origin has to answer a PING first; then it is asked over the same connection again.
    assert_eq!(worker.fetch(get(&spec)).await, (200, "hello".to_owned()));
    assert!(origin.accepted() <= 2);
}

#[tokio::test]
async fn a_client_that_stalls_and_leaves_says_nothing_about_the_connection() {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let origin = H2c::new(100, move |_, request, mut respond| {
        let told = Arc::clone(&told);
        async move {
            if request.uri().path() == "/" {
                return hello(respond);
            }
            let mut stream = respond.send_response(head(200), false).unwrap();
            stream.send_data("some".into(), false).unwrap();
            if request.uri().path() == "/more" {
                told.notified().await;
                stream.send_data("more".into(), false).unwrap();
            }
            std::future::pending().await
        }
    })
    .await;
    let worker = Worker::new();
    let spec = origin.spec();
    let begin = |path: &str, idle| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let mut slow = forward(&spec, request);
        slow.timeouts.response_headers = Duration::from_secs(2);
        slow.timeouts.response_idle = Some(Duration::from_secs(idle));
        worker.send(slow)
    };
    // What they wait for is the client; and with the last one, which awaits more, it is there.
    let head_only = begin("/some", 300).await.unwrap();
    let mut some = begin("/some", 2).await.unwrap().response.into_body();
    some.frame().await.unwrap().unwrap();
    let mut more = begin("/more", 2).await.unwrap().response.into_body();
    more.frame().await.unwrap().unwrap();
    std::future::poll_fn(|cx| {
        let polled = std::pin::Pin::new(&mut more);
        assert!(http_body::Body::poll_frame(polled, cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    go.notify_one();
    tokio::time::pause();
    worker.until(4).await;
    tokio::time::resume();
    for leaves in [head_only.response.into_body(), some, more] {
        drop(leaves);
        assert_eq!(worker.fetch(get(&spec)).await.0, 200);
        assert_eq!(origin.accepted(), 1);
    }
}

#[tokio::test]
async fn interim_answers_are_dropped_and_a_storm_of_them_ends() {
    let origin = H2c::new(100, |_, request, mut respond| async move {
        let storm = request.uri().path() == "/storm";
        for _ in 0..if storm { 1000 } else { 3 } {
            if respond.send_informational(head(103)).is_err() {
                return;
            }
        }
        hello(respond);
    })
    .await;
    let worker = Worker::new();
    let spec = origin.spec();
    assert_eq!(worker.fetch(get(&spec)).await, (200, "hello".to_owned()));
    let request = Request::get("/storm").body(Body::empty()).unwrap();
    let error = worker.send(forward(&spec, request)).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "malformed"));
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
}

#[tokio::test]
async fn header_sections_are_bounded() {
    let origin = H2c::new(100, |_, request, mut respond| async move {
        let mut head = head(200);
        let (count, size) = match request.uri().path() {
            "/many" => (200, 1),
            _ => (3, 40_000),
        };
        for index in 0..count {
            let name = http::HeaderName::try_from(format!("x-{index}")).unwrap();
            let value = HeaderValue::try_from("v".repeat(size)).unwrap();
            head.headers_mut().insert(name, value);
        }
        let _ = respond.send_response(head, true);
    })
    .await;
    let worker = Worker::new();
    for path in ["/many", "/large"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let error = worker
            .send(forward(&origin.spec(), request))
            .await
            .unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.label()),
            (502, "malformed"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_origin_that_speaks_no_http2_makes_502() {
    let stub = Stub::answering(HELLO).await;
    let worker = Worker::new();
    let error = worker.send(get(&h2c(stub.address))).await.unwrap_err();
    assert_eq!(error.status(), 502, "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_gone_without_a_word_does_not_hold_its_requests() {
    // It takes everything, but after its SETTINGS it says nothing, not even to a PING.
    let stub = Stub::new(|_, mut peer| async move {
        peer.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        peer.closed().await;
    })
    .await;
    let worker = Worker::new();
    let mut waits = get(&h2c(stub.address));
    waits.timeouts.response_headers = Duration::from_secs(300);
    let begin = tokio::time::Instant::now();
    let error = worker.send(waits).await.unwrap_err();
    assert_eq!(error.label(), "closed", "{error}");
    let took = begin.elapsed();
    // A PING after 10 s, and 5 s for its answer. Not sent again: the connection was new, and there
    // is no other server.
    assert!(took < Duration::from_secs(17), "{took:?}");
    assert_eq!(stub.accepted(), 1);
    assert_eq!(worker.metrics.origins.errors.get(OriginError::Closed), 1);
}

#[tokio::test]
async fn a_check_sees_that_nobody_accepts_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut spec = Arc::into_inner(h2c(listener.local_addr().unwrap())).unwrap();
    spec.pool.health = Some(HealthSpec {
        interval: Duration::from_millis(1),
        jitter: Duration::ZERO,
        unhealthy: 2,
        ..HealthSpec::new("/")
    });
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(async move {
        // Connections that are there are served on.
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            tokio::spawn(async move {
                let mut connection = server::handshake(stream).await.unwrap();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    hello(respond);
                }
            });
        }
    });
    let worker = Worker::new();
    worker.upstreams.reconcile([&Arc::new(spec)].into_iter());
    let origins = &worker.metrics.origins;
    let passed = || origins.health_checks.get(HealthCheck::Passed) >= 2;
    worker.when(passed).await;
    stop.send_replace(true);
    let out = worker.when(|| origins.servers.get(ServerState::Unhealthy) == 1);
    let waits = tokio::time::timeout(Duration::from_secs(5), out).await;
    waits.expect("a connection of old days answers the checks");
}

#[tokio::test]
async fn who_finds_all_streams_taken_waits_in_a_bounded_queue_and_blames_nobody() {
    let (release, held) = watch::channel(false);
    let origin = H2c::new(1, move |_, _, respond| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|released| *released).await;
            hello(respond);
        }
    })
    .await;
    let mut spec = Arc::into_inner(origin.spec()).unwrap();
    spec.pool.limits.queue = 1;
    spec.pool.timeouts.queue = Duration::from_millis(300);
    let spec = Arc::new(spec);
    let worker = Worker::new();
    // As many connections as there may be, and a stream is all that each of them takes.
    let taken: Vec<_> = (0..16).map(|_| tokio::spawn(ask(&worker, &spec))).collect();
    worker
        .when(|| origin.accepted.load(Ordering::SeqCst) == 16)
        .await;
    let (waits, too_many) = tokio::join!(worker.send(get(&spec)), worker.send(get(&spec)));
    let labels = [waits.unwrap_err().label(), too_many.unwrap_err().label()];
    assert_eq!(labels, ["queue_timeout", "queue_full"]);
    assert_eq!(worker.metrics.origins.servers.get(ServerState::Ejected), 0);
    // Whose turn comes in time is served.
    let next = tokio::spawn(ask(&worker, &spec));
    release.send_replace(true);
    for task in taken.into_iter().chain([next]) {
        assert_eq!(task.await.unwrap().0, 200);
    }
    assert_eq!(origin.accepted.load(Ordering::SeqCst), 16);
}
