//! How much servers are asked at once, and who waits.

use super::*;
use crate::config::snapshot::{PoolLimits, PoolTimeouts};

/// Holds every request until it is told how to end.
async fn holding() -> (Stub, tokio::sync::watch::Sender<bool>) {
    let (release, released) = tokio::sync::watch::channel(false);
    let stub = Stub::new(move |_, mut peer| {
        let mut released = released.clone();
        async move {
            while peer.head().await.is_some() {
                released.wait_for(|released| *released).await.ok();
                peer.send(HELLO).await;
            }
        }
    })
    .await;
    (stub, release)
}

/// Begins a request and waits until its server has it.
async fn begun(
    worker: &Worker,
    forward: Forward,
    stub: &mut Stub,
) -> tokio::task::JoinHandle<Result<Forwarded, ForwardError>> {
    let origins = Arc::clone(&worker.origins);
    let running = tokio::spawn(async move { origins.forward(forward).await });
    stub.head().await;
    running
}

#[tokio::test]
async fn a_server_with_all_it_may_have_makes_requests_wait_in_order() {
    let worker = Worker::new();
    let (mut stub, release) = holding().await;
    let one_at_once = pooled(&[stub.address], |pool| pool.limits.connections = Some(1));
    let first = begun(&worker, get(&one_at_once), &mut stub).await;
    let (ended, mut ends) = mpsc::channel(8);
    let other = worker.beside();
    for (number, worker) in [&worker, &other, &worker].into_iter().enumerate() {
        let (origins, forward) = (Arc::clone(&worker.origins), get(&one_at_once));
        let ended = ended.clone();
        tokio::spawn(async move {
            let forwarded = origins.forward(forward).await.unwrap();
            let queued = forwarded.effort.queued;
            whole(forwarded).await;
            ended.send((number, queued.is_some())).await.unwrap();
        });
        let queued = &worker.metrics.origins.queued;
        worker.when(|| queued.get() == number as i64 + 1).await;
    }
    assert_eq!(stub.accepted(), 1);
    release.send_replace(true);
    assert_eq!(first.await.unwrap().unwrap().effort.queued, None);
    for number in 0..3 {
        assert_eq!(ends.recv().await, Some((number, true)));
    }
    assert_eq!(worker.metrics.origins.queued.get(), 0);
    assert_eq!(worker.metrics.origins.queue_seconds.get_sample_count(), 3);
}

#[tokio::test]
async fn a_full_queue_and_a_wait_too_long_are_503() {
    let worker = Worker::new();
    let (mut stub, _release) = holding().await;
    let spec = pooled(&[stub.address], |pool| {
        pool.limits = PoolLimits {
            connections: Some(1),
            queue: 1,
            ..PoolLimits::default()
        };
        pool.timeouts = PoolTimeouts {
            queue: Duration::from_millis(200),
            ..PoolTimeouts::default()
        };
    });
    let _first = begun(&worker, get(&spec), &mut stub).await;
    let origins = Arc::clone(&worker.origins);
    let waits = tokio::spawn({
        let forward = get(&spec);
        async move { origins.forward(forward).await }
    });
    let queued = &worker.metrics.origins.queued;
    worker.when(|| queued.get() == 1).await;
    let error = worker.send(get(&spec)).await.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (503, "queue_full")
    );
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (503, "queue_timeout")
    );
    assert!(error.effort.queued >= Some(Duration::from_millis(200)));
    assert_eq!(stub.accepted(), 1);
}

#[tokio::test]
async fn who_queues_in_vain_for_a_retry_is_told_of_the_failure() {
    let worker = Worker::new();
    let (mut held, _release) = holding().await;
    let failing = Stub::new(|_, mut peer| async move {
        peer.head().await;
    })
    .await;
    let both = pooled(&[held.address, failing.address], |pool| {
        pool.limits.connections = Some(1);
        pool.timeouts.queue = Duration::from_millis(200);
    });
    let _first = begun(&worker, get(&both), &mut held).await;
    let error = worker.send(get(&both)).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "closed"));
    assert!(error.effort.queued >= Some(Duration::from_millis(200)));
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue() {
    let worker = Worker::new();
    let (mut stub, release) = holding().await;
    let spec = pooled(&[stub.address], |pool| pool.limits.connections = Some(1));
    let first = begun(&worker, get(&spec), &mut stub).await;
    let queued = &worker.metrics.origins.queued;
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let (origins, forward) = (Arc::clone(&worker.origins), get(&spec));
        waiting.push(tokio::spawn(async move { origins.forward(forward).await }));
        worker.when(|| queued.get() == number).await;
    }
    waiting.remove(0).abort();
    worker.when(|| queued.get() == 1).await;
    release.send_replace(true);
    first.await.unwrap().unwrap();
    waiting.remove(0).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_circuit_that_is_full_is_503_at_once_and_open_again_after_an_answer() {
    let worker = Worker::new();
    let (mut stub, release) = holding().await;
    let spec = pooled(&[stub.address], |pool| pool.limits.requests = Some(2));
    let other = worker.beside();
    let one = begun(&worker, get(&spec), &mut stub).await;
    let two = begun(&other, get(&spec), &mut stub).await;
    for worker in [&worker, &other] {
        let error = worker.send(get(&spec)).await.unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.label()),
            (503, "circuit_open")
        );
    }
    release.send_replace(true);
    for running in [one, two] {
        whole(running.await.unwrap().unwrap()).await;
    }
    assert_eq!(worker.fetch(get(&spec)).await.0, 200);
}

#[tokio::test]
async fn limits_count_what_an_origin_had_under_way_before_a_reload() {
    let worker = Worker::new();
    let (mut stub, release) = holding().await;
    let address = stub.address;
    let limited = |attempts| {
        pooled(&[address], |pool| {
            pool.limits.connections = Some(1);
            pool.limits.requests = Some(2);
            pool.retries.attempts = attempts;
        })
    };
    let (former, spec) = (limited(1), limited(2));
    worker.upstreams.reconcile([&former].into_iter());
    let first = begun(&worker, get(&former), &mut stub).await;
    worker.upstreams.reconcile([&spec].into_iter());
    let origins = Arc::clone(&worker.origins);
    let second = get(&spec);
    let second = tokio::spawn(async move { whole(origins.forward(second).await.unwrap()).await });
    let queued = &worker.metrics.origins.queued;
    worker.when(|| queued.get() == 1).await;
    assert_eq!(stub.accepted(), 1);
    // With the one before the reload these are two.
    let third = worker.send(get(&spec)).await.unwrap_err();
    assert_eq!(third.status(), 503);
    release.send_replace(true);
    whole(first.await.unwrap().unwrap()).await;
    assert_eq!(second.await.unwrap().0, 200);
    // One of the same name that is in force at the same time has limits of its own.
    let beside = limited(3);
    worker.upstreams.reconcile([&spec, &beside].into_iter());
    release.send_replace(false);
    let _running = begun(&worker, get(&spec), &mut stub).await;
    let _beside = begun(&worker, get(&beside), &mut stub).await;
}
