//! Several who wait for one connection, and names whose addresses do not answer.

use std::net::Ipv4Addr;

use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::endpoint::Endpoint;
use super::http2::{h2c, hello};
use super::names::{Dns, ONE, TWO, h2c_origin, named, named_h2c, origin, shares, worker};
use super::*;
use crate::telemetry::labels::{Ejection, OriginConnection, OriginError, RetryReason};

/// An origin of HTTP/2 that says nothing on its connections, which are numbered, until it may.
async fn reluctant() -> (Stub, watch::Sender<usize>) {
    let (may, allowed) = watch::channel(0);
    let stub = Stub::new(move |number, peer| {
        let mut allowed = allowed.clone();
        async move {
            if allowed.wait_for(|allowed| *allowed > number).await.is_ok() {
                serve(peer.stream).await;
            }
        }
    })
    .await;
    (stub, may)
}

async fn serve(stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((_, respond))) = connection.accept().await {
        hello(respond);
    }
}

type Running = JoinHandle<Result<u16, ForwardError>>;

/// Begins a request, which waits for a connection then.
async fn begun(worker: &Worker, forward: Forward) -> Running {
    let origins = Arc::clone(&worker.origins);
    let running = tokio::spawn(async move {
        let forwarded = origins.forward(forward).await?;
        Ok(whole(forwarded).await.0)
    });
    settle().await;
    running
}

async fn until_accepted(worker: &Worker, stub: &Stub, count: usize) {
    worker.when(|| stub.accepted() == count).await;
}

#[tokio::test]
async fn an_attempt_goes_on_for_those_who_wait_when_the_one_that_began_it_leaves() {
    let worker = Worker::new();
    let (stub, may) = reluctant().await;
    let spec = h2c(stub.address);
    let leads = begun(&worker, get(&spec)).await;
    until_accepted(&worker, &stub, 1).await;
    let waits = [
        begun(&worker, get(&spec)).await,
        begun(&worker, get(&spec)).await,
    ];
    leads.abort();
    settle().await;
    may.send_replace(usize::MAX);
    for waits in waits {
        assert_eq!(waits.await.unwrap().unwrap(), 200);
    }
    assert_eq!(stub.accepted(), 1);
    let connections = &worker.metrics.origins.connections;
    assert_eq!(connections.get(OriginConnection::Opened), 1);
    assert_eq!(connections.get(OriginConnection::Reused), 1);
}

#[tokio::test]
async fn an_attempt_ends_when_nobody_waits_any_more() {
    let worker = Worker::new();
    let (stub, mut ended) = Stub::telling(|mut peer, tell: mpsc::Sender<()>| async move {
        peer.closed().await;
        tell.try_send(()).unwrap();
    })
    .await;
    let spec = h2c(stub.address);
    let both = [
        begun(&worker, get(&spec)).await,
        begun(&worker, get(&spec)).await,
    ];
    until_accepted(&worker, &stub, 1).await;
    for running in both {
        assert!(ended.try_recv().is_err());
        running.abort();
    }
    ended.recv().await.unwrap();
    // And says nothing about the server.
    assert_eq!(worker.metrics.origins.errors.get(OriginError::Closed), 0);
}

#[tokio::test]
async fn each_waits_as_long_as_its_own_route_lets_it() {
    let worker = Worker::new();
    let (stub, may) = reluctant().await;
    let spec = h2c(stub.address);
    let within = |time| {
        let mut forward = get(&spec);
        forward.timeouts.connect = time;
        forward
    };
    let leads = begun(&worker, within(Duration::from_millis(1500))).await;
    let hasty = begun(&worker, within(Duration::from_millis(100))).await;
    let patient = begun(&worker, within(Duration::from_secs(20))).await;
    let error = hasty.await.unwrap().unwrap_err();
    assert_eq!(error.label(), "connect_timeout");
    assert_eq!(error.address, Some(stub.address.into()));
    assert!(!leads.is_finished() && !patient.is_finished());
    let error = leads.await.unwrap().unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (504, "connect_timeout")
    );
    // Who has time left goes on with a new attempt.
    until_accepted(&worker, &stub, 2).await;
    may.send_replace(usize::MAX);
    assert_eq!(patient.await.unwrap().unwrap(), 200);
    assert_eq!(stub.accepted(), 2);
}

#[tokio::test]
async fn an_attempt_has_its_whole_time_though_who_began_it_had_little_left() {
    let worker = Worker::new();
    let (stub, may) = reluctant().await;
    let spec = h2c(stub.address);
    let usual = || {
        let mut forward = get(&spec);
        forward.timeouts.connect = Duration::from_secs(2);
        forward
    };
    let leads = begun(&worker, usual()).await;
    worker.until(1).await;
    let follows = begun(&worker, usual()).await;
    let waits = begun(&worker, patient(&spec)).await;
    assert!(leads.await.unwrap().is_err());
    // It has a second left, and gives up. The attempt that it began goes on.
    until_accepted(&worker, &stub, 2).await;
    assert!(follows.await.unwrap().is_err());
    may.send_replace(usize::MAX);
    assert_eq!(waits.await.unwrap().unwrap(), 200);
    assert_eq!(stub.accepted(), 2);
}

#[tokio::test]
async fn an_attempt_that_fails_fails_one_request() {
    let worker = Worker::new();
    let (may, allowed) = watch::channel(false);
    let stub = Stub::new(move |number, peer| {
        let mut allowed = allowed.clone();
        async move {
            let _ = allowed.wait_for(|allowed| *allowed).await;
            if number > 0 {
                serve(peer.stream).await;
            }
        }
    })
    .await;
    let spec = h2c(stub.address);
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(begun(&worker, get(&spec)).await);
    }
    until_accepted(&worker, &stub, 1).await;
    may.send_replace(true);
    let mut failed = 0;
    for running in all {
        failed += usize::from(running.await.unwrap().is_err());
    }
    assert_eq!((failed, stub.accepted()), (1, 2));
    let ejections = &worker.metrics.origins.ejections;
    assert_eq!(ejections.get(Ejection::Spared), 0);
}

#[tokio::test]
async fn who_waits_in_vain_after_a_failure_is_told_of_that() {
    let worker = Worker::new();
    let (may, allowed) = watch::channel(false);
    let stub = Stub::new(move |number, mut peer| {
        let mut allowed = allowed.clone();
        async move {
            match number {
                0 => drop(allowed.wait_for(|allowed| *allowed).await),
                _ => peer.closed().await,
            }
        }
    })
    .await;
    let spec = h2c(stub.address);
    let leads = begun(&worker, patient(&spec)).await;
    let mut hasty = get(&spec);
    hasty.timeouts.connect = Duration::from_secs(1);
    let waits = begun(&worker, hasty).await;
    until_accepted(&worker, &stub, 1).await;
    may.send_replace(true);
    let [told, overdue] = [leads, waits].map(async |one: Running| one.await.unwrap().unwrap_err());
    let (told, overdue) = (told.await, overdue.await);
    assert_eq!(overdue.status().as_u16(), 502);
    assert_eq!(overdue.label(), told.label());
    assert_eq!(overdue.address, Some(stub.address.into()));
    // It had begun another attempt.
    assert_eq!(stub.accepted(), 2);
}

#[tokio::test]
async fn whoever_gets_a_place_under_the_limit_joins_the_attempt_that_is_under_way() {
    let worker = Worker::new();
    let (stub, may) = reluctant().await;
    let mut spec = Arc::into_inner(h2c(stub.address)).unwrap();
    spec.pool.limits.connections = Some(2);
    let spec = Arc::new(spec);
    let leads = begun(&worker, get(&spec)).await;
    let waits = begun(&worker, get(&spec)).await;
    let queues = begun(&worker, get(&spec)).await;
    let queued = &worker.metrics.origins.queued;
    assert_eq!(queued.get(), 1);
    until_accepted(&worker, &stub, 1).await;
    leads.abort();
    worker.when(|| queued.get() == 0).await;
    may.send_replace(usize::MAX);
    for running in [waits, queues] {
        assert_eq!(running.await.unwrap().unwrap(), 200);
    }
    assert_eq!(stub.accepted(), 1);
    // All places are free again.
    for _ in 0..3 {
        assert_eq!(worker.fetch(get(&spec)).await.0, 200);
    }
}

/// An address where no SYN is answered: its queue is full.
struct Silent {
    port: u16,
    _listener: Socket,
    _filler: TcpStream,
}

async fn silent(ip: Ipv4Addr, port: u16) -> Silent {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((ip, port)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    Silent {
        port: address.port(),
        _filler: TcpStream::connect(address).await.unwrap(),
        _listener: listener,
    }
}

#[tokio::test]
async fn families_take_turns_and_addresses_that_failed_come_after_both() {
    let worker = Worker::new();
    let spec = named(443);
    let endpoint = Endpoint::new(&spec.servers[0], &spec, &worker.resolver);
    let parse = |address: &str| address.parse::<SocketAddr>().unwrap();
    let all = ["1.1.1.1:443", "2.2.2.2:443", "[::1]:443", "[::2]:443"].map(parse);
    let gone = parse("3.3.3.3:443");
    endpoint.avoid(gone, worker.ticker.now());
    let mut begins = std::collections::HashSet::new();
    for _ in 0..5 {
        let addresses = [&[gone], &all[..]].concat();
        let order = endpoint.order(addresses, worker.ticker.now());
        assert_eq!((order.len(), order[4]), (5, gone));
        let families = order[..4].windows(2);
        let turns = |pair: &[SocketAddr]| pair[0].is_ipv4() != pair[1].is_ipv4();
        assert!(families.into_iter().all(turns), "{order:?}");
        begins.insert(order[0]);
    }
    // Each address is the first one at times.
    assert_eq!(begins.len(), 4);
}

/// With so much time for connecting that half of it would be noticed.
fn patient(spec: &Arc<OriginSpec>) -> Forward {
    let mut forward = get(spec);
    forward.timeouts.connect = Duration::from_secs(20);
    forward
}

#[tokio::test]
async fn a_silent_address_delays_one_request_by_a_little() {
    let dns = Dns::new(&[ONE, TWO]).await;
    let silent = silent(ONE, 0).await;
    origin(TWO, silent.port).await;
    let worker = worker(&dns);
    let spec = named(silent.port);
    let begin = Instant::now();
    for _ in 0..6 {
        let forwarded = worker.send(patient(&spec)).await.unwrap();
        let expected = SocketAddr::from((TWO, silent.port));
        assert_eq!(forwarded.address, Some(expected.into()));
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    let origins = &worker.metrics.origins;
    assert_eq!(origins.errors.get(OriginError::ConnectTimeout), 0);
    assert_eq!(origins.connections.get(OriginConnection::Opened), 6);
}

#[tokio::test]
async fn silent_addresses_are_a_failure_when_the_time_is_over_and_not_later() {
    let dns = Dns::new(&[ONE, TWO]).await;
    let one = silent(ONE, 0).await;
    let _two = silent(TWO, one.port).await;
    let worker = worker(&dns);
    let mut hasty = get(&named(one.port));
    hasty.timeouts.connect = Duration::from_millis(700);
    let begin = Instant::now();
    let error = worker.send(hasty).await.unwrap_err();
    let took = begin.elapsed();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (504, "connect_timeout")
    );
    assert!(error.address.is_some());
    let least = Duration::from_millis(700);
    assert!(least <= took && took < 3 * least, "{took:?}");
    let errors = &worker.metrics.origins.errors;
    assert_eq!(errors.get(OriginError::ConnectTimeout), 1);
}

#[tokio::test]
async fn http2_takes_what_is_there_while_another_address_is_silent() {
    let dns = Dns::new(&[ONE, TWO]).await;
    let silent = silent(ONE, 0).await;
    let (_, open) = h2c_origin(TWO, silent.port).await;
    let worker = worker(&dns);
    let spec = named_h2c(silent.port);
    let begin = Instant::now();
    for _ in 0..6 {
        let forwarded = worker.send(patient(&spec)).await.unwrap();
        assert_eq!(whole(forwarded).await.0, 200);
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(open.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_silent_address_does_not_keep_another_one_from_its_http2_connection() {
    let [one, two] = [ONE, TWO];
    let three = Ipv4Addr::new(127, 0, 1, 3);
    let dns = Dns::new(&[three]).await;
    let (port, at_three) = h2c_origin(three, 0).await;
    let silent = silent(one, port).await;
    let (_, at_two) = h2c_origin(two, silent.port).await;
    let worker = worker(&dns);
    let spec = named_h2c(port);
    assert_eq!(
        whole(worker.send(patient(&spec)).await.unwrap()).await.0,
        200
    );
    dns.say(Some(&[one, two, three]));
    dns.until_asked().await;
    // Whichever of the other two is tried first.
    for _ in 0..3 {
        let forwarded = worker.send(patient(&spec)).await.unwrap();
        assert_eq!(whole(forwarded).await.0, 200);
    }
    let open = [&at_two, &at_three].map(|open| open.load(Ordering::SeqCst));
    assert_eq!(open, [1, 1]);
}

#[tokio::test]
async fn an_address_that_is_slow_gets_its_http2_connection_and_nobody_waits_for_it() {
    let dns = Dns::new(&[ONE, TWO]).await;
    let (may, allowed) = watch::channel(false);
    let listener = TcpListener::bind((ONE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.fetch_add(1, Ordering::SeqCst);
            let mut allowed = allowed.clone();
            tokio::spawn(async move {
                allowed.wait_for(|allowed| *allowed).await.unwrap();
                serve(stream).await;
            });
        }
    });
    let (_, at_two) = h2c_origin(TWO, port).await;
    let worker = worker(&dns);
    let spec = named_h2c(port);
    // The first one connects to the other address, whichever is tried first.
    dns.say(Some(&[TWO]));
    assert_eq!(shares(&worker, &spec, 1).await, [0, 1]);
    dns.say(Some(&[ONE, TWO]));
    dns.until_asked().await;
    let begin = Instant::now();
    for _ in 0..6 {
        let forwarded = worker.send(patient(&spec)).await.unwrap();
        assert_eq!(whole(forwarded).await.0, 200);
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    may.send_replace(true);
    let connections = &worker.metrics.origins.connections;
    let opened = || connections.get(OriginConnection::Opened);
    while opened() == 1 {
        assert_eq!(
            worker.send(patient(&spec)).await.unwrap().response.status(),
            200
        );
        tokio::task::yield_now().await;
    }
    let shared = shares(&worker, &spec, 10).await;
    assert!(shared[0].abs_diff(shared[1]) <= 2, "{shared:?}");
    assert_eq!((accepted.load(Ordering::SeqCst), opened()), (1, 2));
    assert_eq!(at_two.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_nobody_waited_for_may_idle_before_its_first_request() {
    let dns = Dns::new(&[TWO]).await;
    let (may, allowed) = watch::channel(false);
    let listener = TcpListener::bind((ONE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((stream, _)) = listener.accept().await {
            let mut allowed = allowed.clone();
            let closes = std::mem::replace(&mut first, false);
            tokio::spawn(async move {
                allowed.wait_for(|allowed| *allowed).await.unwrap();
                if closes {
                    // As the first request goes out.
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    connection.accept().await;
                } else {
                    serve(stream).await;
                }
            });
        }
    });
    h2c_origin(TWO, port).await;
    let worker = worker(&dns);
    let spec = named_h2c(port);
    assert_eq!(shares(&worker, &spec, 1).await, [0, 1]);
    dns.say(Some(&[ONE, TWO]));
    dns.until_asked().await;
    let ask = async || {
        let forwarded = worker.send(patient(&spec)).await.unwrap();
        assert_eq!(whole(forwarded).await.0, 200);
    };
    // It waits a little for the other address, and takes what is there.
    ask().await;
    may.send_replace(true);
    let retries = &worker.metrics.origins.retries;
    while retries.get(RetryReason::ReusedClosed) == 0 {
        ask().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(retries.get(RetryReason::NoAnswer), 0);
}
