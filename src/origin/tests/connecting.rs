//! Names whose addresses do not answer.

use std::net::Ipv4Addr;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use super::super::endpoint::Endpoint;
use super::names::{Dns, ONE, TWO, named, origin, worker};
use super::*;
use crate::telemetry::labels::{OriginConnection, OriginError};

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
