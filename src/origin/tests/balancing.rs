//! Which server is asked, and how often.

use super::*;
use crate::config::snapshot::{
    Balance, EjectionSpec, HashKey, HealthSpec, RetrySpec, StatusRange, StatusSet,
};
use crate::telemetry::labels::{Ejection, HealthCheck, OriginError, RetryReason, ServerState};

/// Closes every connection after its first request, without a word.
async fn closing() -> Stub {
    Stub::new(|_, mut peer| async move {
        peer.head().await;
    })
    .await
}

#[tokio::test]
async fn a_lost_answer_is_asked_of_another_server_if_the_request_may_be_sent_again() {
    let worker = Worker::new();
    let (bad, good) = (closing().await, Stub::answering(HELLO).await);
    let both = spec(&[bad.address, good.address]);
    for _ in 0..4 {
        assert_eq!(worker.fetch(get(&both)).await.0, 200);
    }
    let origins = &worker.metrics.origins;
    assert_eq!(origins.retries.get(RetryReason::NoAnswer), 2);
    assert_eq!(origins.errors.get(OriginError::Closed), 2);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let error = worker.send(post(&both, "x")).await;
        statuses.push(error.map_or_else(|error| error.status().as_u16(), |_| 200));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[tokio::test]
async fn attempts_bound_how_often_a_request_is_sent_again() {
    for attempts in 0..4 {
        let worker = Worker::new();
        let mut servers = Vec::new();
        for _ in 0..4 {
            servers.push(nobody().await);
        }
        let all = pooled(&servers, |pool| pool.retries.attempts = attempts);
        let error = worker.send(post(&all, "x")).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.label()), (502, "refused"));
        assert_eq!(error.effort.tries, attempts + 1);
    }
}

#[tokio::test]
async fn a_budget_bounds_how_much_is_sent_again() {
    let worker = Worker::new();
    let (one, two) = (closing().await, closing().await);
    let both = pooled(&[one.address, two.address], |pool| {
        pool.ejection = None;
        pool.retries = RetrySpec {
            attempts: 10,
            budget: 10,
            min: 0,
            status: StatusSet::default(),
        };
    });
    for _ in 0..100 {
        let error = worker.send(get(&both)).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.label()), (502, "closed"));
    }
    let origins = &worker.metrics.origins;
    assert_eq!(origins.retries.get(RetryReason::NoAnswer), 10);
    assert_eq!(origins.retries_over_budget.get(), 90);
    assert_eq!(one.accepted() + two.accepted(), 110);
}

#[tokio::test]
async fn an_answer_that_is_not_wanted_is_asked_of_another_server() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
    let worker = Worker::new();
    let (busy, good) = (Stub::answering(BUSY).await, Stub::answering(HELLO).await);
    let spec = |attempts| {
        pooled(&[busy.address, good.address], move |pool| {
            pool.retries.status = StatusSet::new([StatusRange::class(5)]);
            pool.retries.attempts = attempts;
        })
    };
    for _ in 0..4 {
        assert_eq!(worker.fetch(get(&spec(1))).await, (200, "hello".into()));
    }
    assert_eq!(busy.accepted(), 1, "its connection is kept");
    let retries = &worker.metrics.origins.retries;
    assert_eq!(retries.get(RetryReason::Status), 2);
    // What may not be sent again is passed on, and so is the last one's answer.
    let mut statuses = [0; 4];
    for (index, status) in statuses.iter_mut().enumerate() {
        let request = if index < 2 {
            post(&spec(1), "x")
        } else {
            get(&spec(0))
        };
        *status = worker.fetch(request).await.0;
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
    let alone = pooled(&[busy.address], |pool| {
        pool.retries.status = StatusSet::new([StatusRange::code(503)]);
    });
    assert_eq!(worker.fetch(get(&alone)).await, (503, "busy".into()));
}

#[tokio::test]
async fn an_answer_passed_on_because_the_other_server_is_full_costs_no_budget() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
    let worker = Worker::new();
    let (tell, told) = tokio::sync::watch::channel(false);
    let (busy, mut full) = (
        Stub::answering(BUSY).await,
        Stub::new(move |_, mut peer| {
            let mut told = told.clone();
            async move {
                while peer.head().await.is_some() {
                    told.wait_for(|told| *told).await.ok();
                    peer.send(HELLO).await;
                }
            }
        })
        .await,
    );
    let both = pooled(&[busy.address, full.address], |pool| {
        pool.limits.connections = Some(1);
        pool.retries = RetrySpec {
            attempts: 1,
            budget: 0,
            min: 1,
            status: StatusSet::new([StatusRange::class(5)]),
        };
    });
    // One of two that may not be sent again fills the second server.
    let send = |forward| {
        let origins = Arc::clone(&worker.origins);
        tokio::spawn(async move { whole(origins.forward(forward).await.unwrap()).await })
    };
    let held = [send(post(&both, "x")), send(post(&both, "x"))];
    full.head().await;
    let (over, retries) = (
        &worker.metrics.origins.retries_over_budget,
        &worker.metrics.origins.retries,
    );
    for _ in 0..3 {
        assert_eq!(worker.fetch(get(&both)).await.0, 503);
    }
    tell.send_replace(true);
    for task in held {
        task.await.unwrap();
    }
    // The one retry that a second brings is still there.
    while over.get() + retries.get(RetryReason::Status) == 0 {
        worker.fetch(get(&both)).await;
    }
    assert_eq!(over.get(), 0);
}

#[tokio::test]
async fn the_first_checks_of_many_servers_do_not_come_at_once() {
    let worker = Worker::new();
    let mut servers = Vec::new();
    for _ in 0..32 {
        servers.push(nobody().await);
    }
    let spec = pooled(&servers, |pool| {
        pool.health = Some(HealthSpec {
            interval: Duration::from_secs(10),
            jitter: Duration::ZERO,
            ..HealthSpec::new("/")
        });
    });
    tokio::time::pause();
    worker.upstreams.reconcile([&spec].into_iter());
    let checks = || worker.metrics.origins.health_checks.get(HealthCheck::Error);
    worker.until(1).await;
    assert!(checks() < 20, "{} at once", checks());
    worker.until(10).await;
    assert!(checks() >= 32, "{} after their interval", checks());
}

#[tokio::test]
async fn a_server_that_fails_requests_is_ejected_and_comes_back() {
    let worker = Worker::new();
    let (bad, good) = (closing().await, Stub::answering(HELLO).await);
    let both = spec(&[bad.address, good.address]);
    worker.upstreams.reconcile([&both].into_iter());
    for _ in 0..20 {
        assert_eq!(worker.fetch(get(&both)).await.0, 200);
    }
    let origins = &worker.metrics.origins;
    assert_eq!(bad.accepted(), 5, "no more after five failures");
    assert_eq!(origins.ejections.get(Ejection::Ejected), 1);
    tokio::time::pause();
    worker.until(11).await;
    assert_eq!(origins.servers.get(ServerState::Ejected), 0);
    tokio::time::resume();
    for _ in 0..10 {
        assert_eq!(worker.fetch(get(&both)).await.0, 200);
    }
    // It had to prove itself, and failed: out again at once.
    assert_eq!(bad.accepted(), 6);
    assert_eq!(origins.ejections.get(Ejection::Ejected), 2);
    tokio::time::pause();
    worker.until(1).await;
    assert_eq!(origins.servers.get(ServerState::Ejected), 1);
    assert_eq!(origins.servers.get(ServerState::Healthy), 1);
    let url = |stub: &Stub| format!("http://{}", stub.address);
    assert_eq!(origins.server_usable.get(["app", &url(&bad)]), 0);
    assert_eq!(origins.server_usable.get(["app", &url(&good)]), 1);
}

#[tokio::test]
async fn a_server_alone_is_never_ejected() {
    let worker = Worker::new();
    let bad = closing().await;
    let alone = spec(&[bad.address]);
    for _ in 0..12 {
        let error = worker.send(get(&alone)).await.unwrap_err();
        assert_eq!(error.status().as_u16(), 502);
    }
    assert_eq!(bad.accepted(), 12);
    let ejections = &worker.metrics.origins.ejections;
    assert_eq!(ejections.get(Ejection::Ejected), 0);
    assert_eq!(ejections.get(Ejection::Spared), 2);
}

#[tokio::test]
async fn answers_that_break_off_and_answers_of_some_statuses_are_failures_too() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 200),
        ("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", 502),
    ] {
        let worker = Worker::new();
        let bad = Stub::new(move |_, mut peer| async move {
            peer.head().await;
            peer.send(answer).await;
        })
        .await;
        let good = Stub::answering(HELLO).await;
        let both = pooled(&[bad.address, good.address], |pool| {
            pool.ejection = Some(EjectionSpec {
                failures: 3,
                status: StatusSet::new([StatusRange::code(502)]),
                ..EjectionSpec::default()
            });
        });
        for _ in 0..20 {
            let forwarded = worker.send(get(&both)).await.unwrap();
            assert!([200, status].contains(&forwarded.response.status().as_u16()));
            let _ = forwarded.response.into_body().collect().await;
        }
        assert_eq!(bad.accepted(), 3, "{answer}");
    }
}

#[tokio::test]
async fn ejection_is_known_to_all_workers_and_survives_a_reload() {
    let one = Worker::new();
    let two = one.beside();
    let (bad, good) = (closing().await, Stub::answering(HELLO).await);
    let both = || spec(&[bad.address, good.address]);
    for _ in 0..20 {
        one.fetch(get(&both())).await;
    }
    let third = Stub::answering(HELLO).await;
    let more = spec(&[bad.address, good.address, third.address]);
    for _ in 0..20 {
        two.fetch(get(&both())).await;
        two.fetch(get(&more)).await;
    }
    assert_eq!(bad.accepted(), 5);
    assert!(third.accepted() > 0);
}

#[tokio::test]
async fn checks_take_a_server_out_and_bring_it_back() {
    let worker = Worker::new();
    let (tell, told) = tokio::sync::watch::channel(true);
    let stub = Stub::new(move |_, mut peer| {
        let told = told.clone();
        async move {
            while let Some(head) = peer.head().await {
                match head.starts_with("get /healthz?deep ") && !*told.borrow() {
                    true => {
                        peer.send("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n")
                            .await
                    }
                    false => peer.send(HELLO).await,
                }
            }
        }
    })
    .await;
    let mut stub = stub;
    let spec = pooled(&[stub.address], |pool| {
        pool.health = Some(HealthSpec {
            interval: Duration::from_millis(1),
            jitter: Duration::ZERO,
            ..HealthSpec::new("/healthz?deep")
        });
    });
    worker.upstreams.reconcile([&spec].into_iter());
    let origins = &worker.metrics.origins;
    worker
        .when(|| origins.health_checks.get(HealthCheck::Passed) > 0)
        .await;
    let head = stub.head().await;
    assert!(
        head.contains(&format!("host: {}\r\n", stub.address)),
        "{head}"
    );
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    tell.send_replace(false);
    worker
        .when(|| origins.servers.get(ServerState::Unhealthy) == 1)
        .await;
    assert!(origins.health_checks.get(HealthCheck::Status) >= 3);
    let error = worker.send(get(&spec)).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (503, "no_server"));
    assert_eq!(error.effort.tries, 0);
    tell.send_replace(true);
    worker
        .when(|| origins.servers.get(ServerState::Healthy) == 1)
        .await;
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    // Ill again, and a snapshot that checks nothing: nobody else could bring it back.
    tell.send_replace(false);
    worker
        .when(|| origins.servers.get(ServerState::Unhealthy) == 1)
        .await;
    let unchecked = pooled(&[stub.address], |_| ());
    worker.upstreams.reconcile([&unchecked].into_iter());
    assert_eq!(worker.fetch(get(&unchecked)).await.0, 200);
    // A snapshot without it: nobody asks any more.
    worker.upstreams.reconcile([].into_iter());
    let checks = || {
        let each = [
            HealthCheck::Passed,
            HealthCheck::Status,
            HealthCheck::Timeout,
            HealthCheck::Error,
        ];
        each.map(|end| origins.health_checks.get(end))
            .iter()
            .sum::<u64>()
    };
    worker.until(1).await;
    let before = checks();
    worker.until(1).await;
    assert_eq!(checks(), before);
    assert_eq!(origins.servers.get(ServerState::Healthy), 0);
}

#[tokio::test]
async fn checks_tell_silence_from_refusal() {
    let worker = Worker::new();
    let silent = Stub::new(|_, mut peer| async move { peer.closed().await }).await;
    let spec = pooled(&[silent.address, nobody().await], |pool| {
        pool.health = Some(HealthSpec {
            interval: Duration::from_millis(1),
            timeout: Duration::from_millis(10),
            unhealthy: 1,
            ..HealthSpec::new("/")
        });
    });
    worker.upstreams.reconcile([&spec].into_iter());
    let origins = &worker.metrics.origins;
    worker
        .when(|| origins.servers.get(ServerState::Unhealthy) == 2)
        .await;
    assert!(origins.health_checks.get(HealthCheck::Timeout) > 0);
    assert!(origins.health_checks.get(HealthCheck::Error) > 0);
}

#[tokio::test]
async fn the_same_key_has_the_same_server_while_that_lasts() {
    let worker = Worker::new();
    let mut stubs = Vec::new();
    for _ in 0..4 {
        stubs.push(Stub::answering(HELLO).await);
    }
    let servers: Vec<SocketAddr> = stubs.iter().map(|stub| stub.address).collect();
    let hashed = |servers: &[SocketAddr]| {
        pooled(servers, |pool| {
            pool.balance = Balance::Hash {
                key: HashKey::Cookie("id".into()),
                factor: None,
            };
        })
    };
    let ask = async |spec: &Arc<OriginSpec>, id: usize| {
        let mut forward = get(spec);
        let cookie = HeaderValue::try_from(format!("a=b; id={id}")).unwrap();
        forward.parts.headers.insert("cookie", cookie);
        let forwarded = worker.send(forward).await.unwrap();
        let address = forwarded.address.clone();
        whole(forwarded).await;
        address
    };
    let all = hashed(&servers);
    let fewer = hashed(&servers[..3]);
    let last = Some(servers[3].into());
    let mut moved = 0;
    for id in 0..40 {
        let home = ask(&all, id).await;
        assert_eq!(ask(&all, id).await, home);
        let then = ask(&fewer, id).await;
        match home == last {
            true => moved += 1,
            false => assert_eq!(then, home),
        }
    }
    assert!((1..30).contains(&moved), "{moved}");
}

#[tokio::test]
async fn a_server_that_a_reload_adds_gets_its_share_slowly() {
    let worker = Worker::new();
    let (old, new) = (Stub::answering(HELLO).await, Stub::answering(HELLO).await);
    let slow = |servers: &[SocketAddr]| {
        pooled(servers, |pool| {
            pool.balance = Balance::RoundRobin;
            pool.slow_start = Some(Duration::from_secs(100));
        })
    };
    worker.fetch(get(&slow(&[old.address]))).await;
    let both = slow(&[old.address, new.address]);
    let share = async || {
        let mut asked = 0;
        for _ in 0..44 {
            let forwarded = worker.send(get(&both)).await.unwrap();
            asked += usize::from(forwarded.address == Some(new.address.into()));
            whole(forwarded).await;
        }
        asked
    };
    assert_eq!(share().await, 4, "a tenth of the other's");
    tokio::time::pause();
    worker.until(100).await;
    tokio::time::resume();
    assert_eq!(share().await, 22);
}

#[tokio::test]
async fn the_server_of_a_client_does_not_depend_on_its_proxies() {
    let worker = Worker::new();
    let mut stubs = Vec::new();
    for _ in 0..4 {
        stubs.push(Stub::answering(HELLO).await);
    }
    let servers: Vec<SocketAddr> = stubs.iter().map(|stub| stub.address).collect();
    let spec = pooled(&servers, |pool| {
        pool.balance = Balance::Hash {
            key: HashKey::Client,
            factor: None,
        };
    });
    for number in 0..20 {
        // The client says anything it likes before what a trusted proxy says of it.
        let mut forward = get(&spec);
        forward.client = HeaderValue::try_from(format!("10.0.0.{number}, 192.0.2.7")).unwrap();
        worker.fetch(forward).await;
    }
    let asked = stubs.iter().filter(|stub| stub.accepted() > 0).count();
    assert_eq!(asked, 1);
}
