use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::*;
use crate::config::snapshot;
use crate::telemetry::labels::{OriginError, Resolution};

/// A DNS server that says what it is told to.
pub(super) struct Dns {
    address: SocketAddr,
    says: Arc<Mutex<Option<Vec<Ipv4Addr>>>>,
    asked: watch::Receiver<usize>,
}

impl Dns {
    pub(super) async fn new(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new(Some(addresses.to_vec())));
        let (counts, asked) = watch::channel(0);
        let answers = Arc::clone(&says);
        // Of its own, since the resolver has a thread of its own too.
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let says = answers.lock().unwrap().clone();
                let answer = answer(&query[..length], says.as_deref());
                socket.send_to(&answer, from).await.unwrap();
                counts.send_modify(|count| *count += 1);
            }
        });
        Self {
            address,
            says,
            asked,
        }
    }

    /// From now on; `None` is SERVFAIL.
    pub(super) fn say(&self, addresses: Option<&[Ipv4Addr]>) {
        *self.says.lock().unwrap() = addresses.map(<[_]>::to_vec);
    }

    /// Waits until what is said now was asked for: both kinds of address, twice, since a query may
    /// be under way.
    pub(super) async fn until_asked(&self) {
        let mut asked = self.asked.clone();
        let now = *asked.borrow();
        asked.wait_for(|count| *count >= now + 4).await.unwrap();
    }
}

/// RFC 1035 §4: a response with A records of a TTL of 1 s.
fn answer(query: &[u8], says: Option<&[Ipv4Addr]>) -> Vec<u8> {
    let name = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[12..name + 4];
    let is_a = question[question.len() - 3] == 1;
    let addresses = says.filter(|_| is_a).unwrap_or_default();
    let code = if says.is_some() { 0x80 } else { 0x82 };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    answer.extend(question);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

pub(super) fn worker(dns: &Dns) -> Worker {
    let settings = snapshot::Resolver {
        servers: vec![dns.address],
        timeout: Duration::from_secs(2),
        ttl: (Duration::from_millis(50), Duration::from_millis(50)),
    };
    Worker::resolving(settings)
}

pub(super) fn named(port: u16) -> Arc<OriginSpec> {
    Arc::new(OriginSpec {
        name: "app".into(),
        servers: vec![OriginServer::plain(
            OriginHost::Name("app.test".into()),
            port,
        )],
        early_data_aware: false,
        host: HostHeader::default(),
        forwarded: Default::default(),
        proxy_protocol: None,
        tls: None,
        pool: PoolSpec::default(),
    })
}

pub(super) const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
pub(super) const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);

/// Listens at an address of ours on this port, or on any; closes after each answer, so that the
/// next request connects anew.
pub(super) async fn origin(ip: Ipv4Addr, port: u16) -> u16 {
    let listener = TcpListener::bind((ip, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = Vec::new();
            while !buffer.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

/// Serves HTTP/2 at an address of ours on this port, or on any.
pub(super) async fn h2c_origin(ip: Ipv4Addr, port: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((ip, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counts = Arc::clone(&counts);
            counts.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head: Response<()> = Response::new(());
                    let mut body = respond.send_response(head, false).unwrap();
                    body.send_data(bytes::Bytes::from("hello"), true).unwrap();
                }
                counts.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (port, open)
}

pub(super) fn named_h2c(port: u16) -> Arc<OriginSpec> {
    let mut spec = Arc::into_inner(named(port)).unwrap();
    spec.servers[0].protocol = OriginProtocol::Http2;
    Arc::new(spec)
}

/// Asks so often, reads each answer, and says how often each address gave it.
pub(super) async fn shares(worker: &Worker, spec: &Arc<OriginSpec>, times: usize) -> [usize; 2] {
    let mut shares = [0; 2];
    for _ in 0..times {
        let forwarded = worker.send(get(spec)).await.unwrap();
        match forwarded.address {
            Some(Address::Tcp(address)) if address.ip() == ONE => shares[0] += 1,
            Some(Address::Tcp(address)) if address.ip() == TWO => shares[1] += 1,
            ref other => panic!("{other:?}"),
        }
        assert_eq!(whole(forwarded).await, (200, "hello".into()));
    }
    shares
}

#[tokio::test]
async fn http2_is_spread_over_all_addresses_and_follows_dns() {
    let dns = Dns::new(&[ONE, TWO]).await;
    let (port, at_one) = h2c_origin(ONE, 0).await;
    let (_, at_two) = h2c_origin(TWO, port).await;
    let open = || [&at_one, &at_two].map(|open| open.load(Ordering::SeqCst));
    let worker = worker(&dns);
    let spec = named_h2c(port);
    let even = |shares: [usize; 2]| shares[0].abs_diff(shares[1]) <= 2;
    assert!(even(shares(&worker, &spec, 20).await));
    assert_eq!(open(), [1, 1]);
    // One goes: its connection too, and all requests to the other.
    dns.say(Some(&[TWO]));
    dns.until_asked().await;
    assert_eq!(shares(&worker, &spec, 5).await, [0, 5]);
    worker.when(|| open() == [0, 1]).await;
    // Others come instead.
    dns.say(Some(&[ONE]));
    dns.until_asked().await;
    assert_eq!(shares(&worker, &spec, 5).await, [5, 0]);
    worker.when(|| open() == [1, 0]).await;
    dns.say(Some(&[ONE, TWO]));
    dns.until_asked().await;
    assert!(even(shares(&worker, &spec, 10).await));
    assert_eq!(open(), [1, 1]);
}

#[tokio::test]
async fn http2_leaves_an_address_alone_where_nobody_listens() {
    let dns = Dns::new(&[ONE, TWO]).await;
    let (port, open) = h2c_origin(ONE, 0).await;
    let worker = worker(&dns);
    let spec = named_h2c(port);
    assert_eq!(shares(&worker, &spec, 10).await, [10, 0]);
    assert_eq!(open.load(Ordering::SeqCst), 1);
    assert_eq!(worker.metrics.origins.errors.get(OriginError::Refused), 0);
}

#[tokio::test]
async fn a_kept_connection_is_not_used_once_dns_has_other_addresses() {
    let dns = Dns::new(&[ONE]).await;
    let listener = TcpListener::bind((ONE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer {
            stream,
            buffer: Vec::new(),
            seen: mpsc::channel(64).0,
        };
        while peer.until(b"\r\n\r\n").await.is_some() {
            peer.send(HELLO).await;
        }
    });
    origin(TWO, port).await;
    let worker = worker(&dns);
    let spec = named(port);
    assert_eq!(shares(&worker, &spec, 3).await, [3, 0]);
    dns.say(Some(&[TWO]));
    dns.until_asked().await;
    assert_eq!(who(&worker, &spec).await, TWO);
}

async fn who(worker: &Worker, spec: &Arc<OriginSpec>) -> IpAddr {
    let forwarded = worker.send(get(spec)).await.unwrap();
    match forwarded.address {
        Some(Address::Tcp(address)) => address.ip(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_is_resolved_again_when_its_time_is_over() {
    let dns = Dns::new(&[ONE]).await;
    let port = origin(ONE, 0).await;
    origin(TWO, port).await;
    let worker = worker(&dns);
    let spec = named(port);
    assert_eq!(who(&worker, &spec).await, ONE);
    dns.say(Some(&[TWO]));
    dns.until_asked().await;
    assert_eq!(who(&worker, &spec).await, TWO);
}

#[tokio::test]
async fn all_addresses_take_turns_and_one_that_is_dead_is_passed_over() {
    let dns = Dns::new(&[ONE, TWO]).await;
    let port = origin(ONE, 0).await;
    let worker = worker(&dns);
    let spec = named(port);
    // Nobody listens at the second address.
    for _ in 0..4 {
        assert_eq!(who(&worker, &spec).await, ONE);
    }
    assert_eq!(worker.metrics.origins.errors.get(OriginError::Refused), 0);
    origin(TWO, port).await;
    let other = Worker::resolving(snapshot::Resolver {
        servers: vec![dns.address],
        ..Default::default()
    });
    let seen = [who(&other, &spec).await, who(&other, &spec).await];
    assert!(seen.contains(&ONE.into()) && seen.contains(&TWO.into()));
}

#[tokio::test]
async fn a_failed_resolution_keeps_the_last_answer() {
    let dns = Dns::new(&[ONE]).await;
    let port = origin(ONE, 0).await;
    let worker = worker(&dns);
    let spec = named(port);
    assert_eq!(who(&worker, &spec).await, ONE);
    dns.say(None);
    let failed = || worker.metrics.origins.resolutions.get(Resolution::Failed);
    while failed() == 0 {
        dns.until_asked().await;
    }
    assert_eq!(who(&worker, &spec).await, ONE);
}

#[tokio::test]
async fn a_name_that_never_was_resolved_makes_502_until_it_is() {
    let dns = Dns::new(&[]).await;
    let port = origin(ONE, 0).await;
    let worker = worker(&dns);
    let spec = named(port);
    let error = worker.send(get(&spec)).await.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (502, "unreachable")
    );
    assert_eq!(error.address, None);
    dns.say(Some(&[ONE]));
    dns.until_asked().await;
    let ok = || worker.metrics.origins.resolutions.get(Resolution::Ok);
    while ok() == 0 {
        dns.until_asked().await;
    }
    assert_eq!(who(&worker, &spec).await, ONE);
}

#[tokio::test]
async fn other_servers_are_asked_at_once_after_a_reload() {
    let dns = Dns::new(&[ONE]).await;
    let other = Dns::new(&[TWO]).await;
    let port = origin(ONE, 0).await;
    origin(TWO, port).await;
    // Not resolved again by itself in the time of a test.
    let settings = |dns: &Dns| snapshot::Resolver {
        servers: vec![dns.address],
        ttl: (Duration::from_secs(600), Duration::from_secs(600)),
        ..Default::default()
    };
    let worker = Worker::resolving(settings(&dns));
    let spec = named(port);
    assert_eq!(who(&worker, &spec).await, ONE);
    worker.resolver.configure(&settings(&other));
    let mut asked = other.asked.clone();
    asked.wait_for(|count| *count >= 2).await.unwrap();
    let ok = || worker.metrics.origins.resolutions.get(Resolution::Ok);
    while ok() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(who(&worker, &spec).await, TWO);
}
