//! What goes wrong is counted under its name.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cutwater::load::plan::{Amount, Mode, Plan, Protocol, Trust, Usage};
use cutwater::load::stats::{ErrorKind, Stats, TimedOut};
use rustls::ServerConnection;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, version};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stand::{LONG, NAME, Stand, measure, plan, requests};
use crate::support::pki::Pki;

/// All operations failed for this one reason.
fn all(stats: &Stats, kind: ErrorKind) {
    let count = stats.errors.total();
    assert_eq!(
        stats.errors.by_kind(),
        [(kind, count)],
        "{:?}",
        stats.counts
    );
    assert_eq!((count, stats.counts.operations), (20, 0));
    assert_eq!(stats.latencies.failed.count(), 20);
    assert!(stats.latencies.total.is_empty());
}

fn plan_for(address: SocketAddr) -> Plan {
    let mut plan = plan(address, "/", Vec::new());
    plan.tls.trust = Trust::Anyone;
    plan
}

/// A TCP server that does this with each connection.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    address
}

/// A TLS server that reads something of a request, sends these bytes, and closes: with a
/// close_notify or without.
async fn says(answer: &'static str, close_notify: bool) -> SocketAddr {
    let leaf = Pki::new().leaf(&[NAME]);
    let key = PrivateKeyDer::try_from(leaf.key_der).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain, key)
        .unwrap();
    let config = Arc::new(config);
    server(move |mut socket| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        async move {
            let mut request = Vec::new();
            while request.is_empty() {
                let mut buffer = [0; 16 * 1024];
                let count = socket.read(&mut buffer).await.unwrap_or(0);
                if count == 0 {
                    return;
                }
                tls.read_tls(&mut &buffer[..count]).unwrap();
                let state = tls.process_new_packets().unwrap();
                request.resize(state.plaintext_bytes_to_read(), 0);
                std::io::Read::read_exact(&mut tls.reader(), &mut request).unwrap();
                if !request.is_empty() {
                    std::io::Write::write_all(&mut tls.writer(), answer.as_bytes()).unwrap();
                    if close_notify {
                        tls.send_close_notify();
                    }
                }
                let mut out = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut out).unwrap();
                }
                socket.write_all(&out).await.unwrap();
            }
            socket.shutdown().await.unwrap();
            let _ = socket.read(&mut [0; 64]).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let free = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let stats = measure(&plan_for(address)).await;
    all(&stats, ErrorKind::Refused);
    assert_eq!(stats.counts.connections, 0);
    // To collect tickets there fails as well.
    let mut plan = plan_for(address);
    plan.mode = Mode::Early;
    all(&measure(&plan).await, ErrorKind::Refused);
}

#[tokio::test]
async fn a_server_that_is_not_known() {
    let stand = Stand::start();
    let mut plan = stand.plan();
    let other = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    plan.tls.trust = Trust::Roots(vec![other.cert.der().clone()]);
    let stats = measure(&plan).await;
    all(&stats, ErrorKind::Certificate("unknown issuer"));
    assert_eq!(stats.counts.full, 0);
    // Another name than the certificate's, and a server that has no certificate for it.
    let mut plan = stand.plan();
    plan.sni = cutwater::load::plan::Sni::parse("b.test").unwrap();
    let stats = measure(&plan).await;
    let kind = stats.errors.by_kind()[0].0;
    assert_eq!(kind.to_string(), "alert: unrecognized_name");
    all(&stats, kind);
}

#[tokio::test]
async fn a_server_that_speaks_something_else() {
    let address = server(|mut socket| async move {
        let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    all(&measure(&plan_for(address)).await, ErrorKind::Tls);
    let address = says("SSH-2.0-OpenSSH_9.9\r\n\r\n", true).await;
    all(&measure(&plan_for(address)).await, ErrorKind::Http);
}

#[tokio::test]
async fn a_server_that_closes_in_the_handshake() {
    let address = server(|mut socket| async move {
        let _ = socket.read(&mut [0; 4096]).await;
    })
    .await;
    all(
        &measure(&plan_for(address)).await,
        ErrorKind::ClosedInHandshake,
    );
}

#[tokio::test]
async fn a_server_that_resets() {
    let address = server(|mut socket| async move {
        let _ = socket.read(&mut [0; 4096]).await;
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await;
    all(&measure(&plan_for(address)).await, ErrorKind::Reset);
}

#[tokio::test]
async fn half_an_answer_and_none() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    for close_notify in [true, false] {
        let address = says(half, close_notify).await;
        all(&measure(&plan_for(address)).await, ErrorKind::HalfAnswer);
        let address = says("", close_notify).await;
        all(&measure(&plan_for(address)).await, ErrorKind::NoAnswer);
    }
    // It ends with the connection, and nobody said that this is its end.
    let address = says("HTTP/1.1 200 OK\r\n\r\nhalf", false).await;
    all(&measure(&plan_for(address)).await, ErrorKind::HalfAnswer);
}

#[tokio::test]
async fn a_server_without_h2() {
    let address = says("HTTP/1.1 200 OK\r\n\r\n", true).await;
    let mut plan = plan_for(address);
    plan.protocol = Protocol::Http2;
    all(&measure(&plan).await, ErrorKind::Alpn);
}

#[tokio::test]
async fn a_server_that_gives_no_tickets() {
    let pki = Pki::new();
    let leaf = pki.leaf(&[NAME]);
    let key = PrivateKeyDer::try_from(leaf.key_der).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain, key)
        .unwrap();
    config.send_tls13_tickets = 0;
    let config = Arc::new(config);
    let address = server(move |mut socket| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        async move {
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                tls.read_tls(&mut &buffer[..count]).unwrap();
                tls.process_new_packets().unwrap();
                let mut out = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut out).unwrap();
                }
                socket.write_all(&out).await.unwrap();
            }
        }
    })
    .await;
    let mut plan = plan_for(address);
    plan.mode = Mode::Resumed;
    plan.timeouts.closing = Duration::from_millis(10);
    let stats = measure(&plan).await;
    all(&stats, ErrorKind::NoTicket);
    assert_eq!(stats.counts.connections, 0);
    // Each of four connections looked for one before the start, and each operation again.
    assert_eq!(stats.counts.collecting, 24);
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let address = server(|mut socket| async move {
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut plan = plan_for(address);
    plan.connections = 20;
    plan.timeouts.handshake = Duration::from_millis(100);
    let stats = measure(&plan).await;
    all(&stats, ErrorKind::Timeout(TimedOut::Handshake));
}

/// Coordinated omission: a closed loop would see one slow answer; an open loop sees all those that
/// should have been asked for meanwhile.
#[tokio::test]
async fn an_open_loop_sees_a_stall_in_its_percentiles() {
    const STALL: Duration = Duration::from_millis(1000);
    let stand = Stand::start();
    let edge = stand.address();
    let seen = Arc::new(AtomicUsize::new(0));
    // Passes bytes on, but stalls once, in the middle.
    let address = server(move |mut socket| {
        let seen = Arc::clone(&seen);
        async move {
            let mut server = TcpStream::connect(edge).await.unwrap();
            let (mut from, mut to) = ([0; 16 * 1024], [0; 16 * 1024]);
            loop {
                tokio::select! {
                    count = socket.read(&mut from) => match count {
                        Ok(count @ 1..) => {
                            if seen.fetch_add(1, Ordering::Relaxed) == 50 {
                                #[expect(clippy::disallowed_methods, reason = "a stall")]
                                tokio::time::sleep(STALL).await;
                            }
                            server.write_all(&from[..count]).await.unwrap();
                        }
                        _ => return,
                    },
                    count = server.read(&mut to) => match count {
                        Ok(count @ 1..) => socket.write_all(&to[..count]).await.unwrap(),
                        _ => return,
                    },
                }
            }
        }
    })
    .await;
    let mut plan = stand.plan();
    plan.connect = vec![address];
    (plan.connections, plan.usage) = (1, Usage::KeepAlive);
    plan.amount = Amount::Operations(200);
    plan.rate = Some(100.0);
    let stats = measure(&plan).await;
    assert_eq!((stats.counts.operations, stats.errors.total()), (200, 0));
    // The stall's second held up half of two seconds' requests, half a second at the median.
    let total = &stats.latencies.total;
    assert!(total.max() >= STALL, "{:?}", total.max());
    assert!(
        total.quantile(0.75) >= STALL / 5,
        "{:?}",
        total.quantile(0.75)
    );
    assert!(
        total.quantile(0.9) >= STALL / 2,
        "{:?}",
        total.quantile(0.9)
    );
}

#[tokio::test]
async fn what_an_open_loop_could_not_send_is_counted() {
    let address = server(|mut socket| async move {
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut plan = plan_for(address);
    (plan.connections, plan.usage) = (2, requests(1));
    plan.amount = Amount::Time(Duration::from_millis(300));
    plan.rate = Some(100.0);
    plan.timeouts.handshake = Duration::from_millis(300);
    assert!(plan.timeouts.handshake < LONG);
    let stats = measure(&plan).await;
    let (failed, unsent) = (stats.errors.total(), stats.counts.unsent);
    assert_eq!(
        stats.errors.of(ErrorKind::Timeout(TimedOut::Handshake)),
        failed
    );
    assert_eq!(failed + unsent, 30);
    assert!(unsent > 20, "{unsent}");
}
