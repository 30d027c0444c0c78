//! `--replay` over HTTP/3.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cutwater::load::plan::{Plan, Protocol};
use cutwater::load::replay::{Finding, Order, Outcome, ReplayReport};
use http::Method;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::{CipherSuite, NamedGroup};
use tokio::net::UdpSocket;

use super::replay::{NAME, accepted, counted, edge, edge_with, plan, replay, troubles};
use crate::support::pki::Pki;

const URL: &str = "https://replay.example/safe";

fn over_quic(pki: &Pki, addresses: &[SocketAddr]) -> Plan {
    let mut plan = plan(pki, URL, addresses);
    plan.protocol = Protocol::Http3;
    plan
}

/// How many copies came to this, by round.
fn came_to(report: &ReplayReport, outcome: &Outcome) -> Vec<u64> {
    let rounds = report.rounds.iter();
    let count = |round: &cutwater::load::replay::Round| {
        let outcomes = round.addresses.iter().map(|each| &each.outcomes);
        outcomes.filter_map(|each| each.get(outcome)).sum()
    };
    rounds.map(count).collect()
}

#[tokio::test]
async fn our_server_is_cleared_on_all_its_addresses() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let both = [edge.listener("a"), edge.listener("b")];
    let report = replay(over_quic(&pki, &both), 5).await;
    assert_eq!((report.finding, report.exit_code), (Finding::Clear, 0));
    assert_eq!(accepted(&report), [1, 1, 1]);
    let orders: Vec<_> = report.rounds.iter().map(|round| round.order).collect();
    assert_eq!(orders, [Order::InTurn, Order::AtOnce, Order::OtherIds]);
    for round in &report.rounds {
        let sent: Vec<_> = round.addresses.iter().map(|each| each.sent).collect();
        assert_eq!(sent, [3, 3]);
    }
    assert_eq!(came_to(&report, &Outcome::FullHandshake), [5, 5, 5]);
    assert_eq!(report.rounds[0].original, Some(Outcome::Accepted));
    assert_eq!(report.rounds[2].original, None);
    // The server counts the same.
    assert_eq!(counted(&edge, 18.0).await, (3.0, 15.0));
    // The early requests are real ones: those whose 0-RTT packets reached their connection.
    let served = |line: &serde_json::Value| line["early"] == "served" && line["status"] == 200;
    let lines = edge.until_accesses(3, served).await;
    assert!(lines.iter().all(|line| line["protocol"] == "h3"));
}

#[tokio::test]
async fn acceptance_is_read_with_every_suite_and_group() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let variants = [
        (CipherSuite::TLS13_AES_256_GCM_SHA384, NamedGroup::secp256r1),
        // A hello of two datagrams.
        (
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            NamedGroup::X25519MLKEM768,
        ),
    ];
    for (suite, group) in variants {
        let mut plan = over_quic(&pki, &[edge.listener("a")]);
        plan.tls.suites = vec![suite];
        plan.tls.groups = vec![group];
        let report = replay(plan, 1).await;
        assert_eq!(accepted(&report), [1, 1, 1], "{suite:?} {group:?}");
        assert_eq!(report.finding, Finding::Clear);
        let flight = report.rounds[0].flight.as_ref().unwrap();
        assert_eq!(flight.suite, format!("{suite:?}"));
        assert_eq!(flight.group, format!("{group:?}"));
    }
}

#[tokio::test]
async fn a_flight_may_be_long() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let mut long = plan(&pki, "https://replay.example/wait", &[edge.listener("a")]);
    long.protocol = Protocol::Http3;
    long.request.method = Method::POST;
    long.request.body = vec![b'x'; 100_000].into();
    let report = replay(long, 1).await;
    assert_eq!(accepted(&report), [1, 1, 1]);
    let flight = report.rounds[0].flight.as_ref().unwrap();
    assert!(flight.early_data > 100_000 && flight.bytes > flight.early_data);

    // Past what clients remember of our windows.
    let mut longer = over_quic(&pki, &[edge.listener("a")]);
    longer.request.body = vec![b'x'; 2_000_000].into();
    let report = replay(longer, 1).await;
    assert_eq!(report.finding, Finding::Inconclusive);
    for trouble in troubles(&report) {
        assert!(trouble.contains("the ticket allows"), "{trouble}");
    }
}

/// Sessions that are not single use.
struct Forgetful(Arc<ServerSessionMemoryCache>);

impl fmt::Debug for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forgetful")
    }
}

impl StoresServerSessions for Forgetful {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// A server of quinn's that takes a flight as often as it comes.
fn forgetful(pki: &Pki) -> quinn::Endpoint {
    let leaf = pki.leaf(&[NAME]);
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.max_early_data_size = u32::MAX;
    config.session_storage = Arc::new(Forgetful(ServerSessionMemoryCache::new(100)));
    let config = QuicServerConfig::try_from(config).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let Ok(connecting) = incoming.accept() else {
                    return;
                };
                if let Ok((quic, _)) = connecting.into_0rtt() {
                    quic.closed().await;
                }
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn a_server_that_forgets_is_found() {
    let pki = Pki::new();
    let server = forgetful(&pki);
    let report = replay(over_quic(&pki, &[server.local_addr().unwrap()]), 2).await;
    assert_eq!(
        (report.finding, report.exit_code),
        (Finding::AcceptedTwice, 1)
    );
    assert_eq!(accepted(&report), [3, 3, 3]);
}

#[tokio::test]
async fn a_retry_proves_nothing() {
    let pki = Pki::new();
    let edge = edge_with(&pki, "quic_retry = \"always\"").await;
    let report = replay(over_quic(&pki, &[edge.listener("a")]), 1).await;
    assert_eq!(
        (report.finding, report.exit_code),
        (Finding::Inconclusive, 3)
    );
    assert_eq!(came_to(&report, &Outcome::Retry), [2, 2, 2]);
}

#[tokio::test]
async fn whatever_a_copy_meets_is_counted_under_its_name() {
    let pki = Pki::new();
    let edge = edge(&pki).await;
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let unreachable = Outcome::Unreachable("refused".to_owned());
    for (other, outcome) in [(nobody, unreachable), (silent_address, Outcome::Timeout)] {
        let mut plan = over_quic(&pki, &[edge.listener("a"), other]);
        plan.timeouts.handshake = Duration::from_secs(2);
        let report = replay(plan, 1).await;
        assert_eq!(report.finding, Finding::Inconclusive, "{outcome:?}");
        assert_eq!(accepted(&report), [1, 1, 1]);
        assert_eq!(came_to(&report, &outcome), [1, 1, 1]);
    }
    drop(silent);

    let mut plan = over_quic(&pki, &[nobody]);
    plan.timeouts.handshake = Duration::from_millis(300);
    let report = replay(plan, 1).await;
    assert_eq!(report.finding, Finding::Inconclusive);
    for trouble in troubles(&report) {
        assert!(trouble.ends_with("timeout: handshake"), "{trouble}");
    }
}
