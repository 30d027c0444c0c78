//! A server that holds its tickets back until it writes something, as BoringSSL does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cutwater::load::plan::{Amount, Mode, Plan, Trust, Usage};
use cutwater::load::replay::{Finding, Outcome, ReplayPlan, run};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::{ServerConfig, ServerConnection, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stand::{NAME, measure_well, plan};
use crate::support::pki::Pki;
use crate::support::within;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The server, and how often it was asked by `HEAD`.
struct Holder {
    address: SocketAddr,
    heads: Arc<AtomicU64>,
}

impl Holder {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With something else in its configuration.
    async fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let leaf = Pki::new().leaf(&[NAME]);
        let key = PrivateKeyDer::try_from(leaf.key_der).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(leaf.chain, key)
            .unwrap();
        config.max_early_data_size = 4096;
        config.send_half_rtt_data = true;
        change(&mut config);
        let (config, heads) = (Arc::new(config), Arc::new(AtomicU64::new(0)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let counted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                tokio::spawn(serve(socket, tls, Arc::clone(&counted)));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    /// One connection at a time, so that its requests can be counted.
    fn plan(&self) -> Plan {
        let mut plan = plan(self.address, "/", Vec::new());
        plan.tls.trust = Trust::Anyone;
        plan.connections = 1;
        plan
    }
}

/// Answers one request. What rustls has to send behind the handshake waits until then.
async fn serve(mut socket: TcpStream, mut tls: ServerConnection, heads: Arc<AtomicU64>) {
    let (mut request, mut answered) = (Vec::new(), false);
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = socket.read(&mut buffer).await {
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).unwrap();
            if tls.process_new_packets().is_err() {
                return;
            }
            if let Some(mut early) = tls.early_data() {
                let _ = early.read_to_end(&mut request);
            }
            let _ = tls.reader().read_to_end(&mut request);
        }
        if !answered && request.ends_with(b"\r\n\r\n") {
            let head = u64::from(request.starts_with(b"HEAD "));
            heads.fetch_add(head, Ordering::Relaxed);
            tls.writer().write_all(ANSWER).unwrap();
            answered = true;
        }
        let handshaking = tls.is_handshaking();
        if answered && !handshaking {
            tls.send_close_notify();
        }
        let mut out = Vec::new();
        while (handshaking || answered) && tls.wants_write() {
            tls.write_tls(&mut out).unwrap();
        }
        if socket.write_all(&out).await.is_err() {
            return;
        }
        if answered && !handshaking {
            let _ = socket.shutdown().await;
            while let Ok(1..) = socket.read(&mut buffer).await {}
            return;
        }
    }
}

#[tokio::test]
async fn a_server_that_holds_its_tickets_back_is_asked_for_something() {
    let server = Holder::start().await;
    let mut plan = server.plan();
    plan.mode = Mode::Resumed;
    let stats = measure_well(&plan).await;
    assert_eq!((stats.counts.resumed, stats.counts.full), (20, 0));
    // The operations' own answers bring the other tickets.
    assert_eq!((stats.counts.collecting, server.heads()), (1, 1));

    let server = Holder::start().await;
    let mut plan = server.plan();
    plan.mode = Mode::Early;
    let stats = measure_well(&plan).await;
    assert_eq!(stats.counts.early_accepted, 20);
    assert_eq!(server.heads(), 1);
}

#[tokio::test]
async fn what_was_asked_once_is_asked_at_once_from_then_on() {
    let server = Holder::start().await;
    let mut plan = server.plan();
    (plan.mode, plan.usage) = (Mode::Resumed, Usage::Handshake);
    plan.amount = Amount::Operations(8);
    plan.timeouts.closing = Duration::from_secs(2);
    let stats = measure_well(&plan).await;
    assert_eq!((stats.counts.resumed, stats.counts.collecting), (8, 1));
    assert_eq!(server.heads(), 9);
    // Not one of them waited in vain: only the first one did, before the start.
    assert!(
        stats.elapsed < Duration::from_secs(2),
        "{:?}",
        stats.elapsed
    );
}

#[tokio::test]
async fn a_full_handshake_asks_for_nothing() {
    let server = Holder::start().await;
    let mut plan = server.plan();
    plan.usage = Usage::Handshake;
    plan.amount = Amount::Operations(1);
    measure_well(&plan).await;
    assert_eq!(server.heads(), 0);
}

#[tokio::test]
async fn the_replay_test_gets_its_ticket_there_too() {
    let server = Holder::start().await;
    let plan = server.plan();
    let report = within("the replays", run(ReplayPlan { plan, replays: 3 })).await;
    assert_eq!(report.finding, Finding::Clear, "{report}");
    let accepted: Vec<u64> = report.rounds.iter().map(|round| round.accepted).collect();
    assert_eq!((accepted, server.heads()), (vec![1, 1], 2));
}

/// A store that has lost the first sessions it is asked for.
#[derive(Debug)]
struct Forgetful {
    kept: Arc<ServerSessionMemoryCache>,
    lost: AtomicUsize,
}

impl StoresServerSessions for Forgetful {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.kept.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.kept.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let session = self.kept.take(key)?;
        let less = |lost: usize| lost.checked_sub(1);
        let lost = self
            .lost
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        lost.is_err().then_some(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

async fn forgetful(lost: usize) -> Holder {
    let store = Forgetful {
        kept: ServerSessionMemoryCache::new(64),
        lost: AtomicUsize::new(lost),
    };
    Holder::with(|config| config.session_storage = Arc::new(store)).await
}

#[tokio::test]
async fn a_flight_that_is_refused_at_once_makes_room_for_another_one() {
    let server = forgetful(2).await;
    let plan = server.plan();
    let report = within("the replays", run(ReplayPlan { plan, replays: 3 })).await;
    assert_eq!(report.finding, Finding::Clear, "{report}");
    let sent: Vec<u64> = report.rounds.iter().map(|round| round.sent).collect();
    assert_eq!(sent, [4, 4]);
    let flights: Vec<usize> = report.rounds.iter().map(|round| round.flights).collect();
    assert_eq!(flights, [3, 1]);
    // A ticket for each flight: two were refused, two accepted.
    assert_eq!(server.heads(), 4);

    let server = forgetful(usize::MAX).await;
    let plan = server.plan();
    let report = within("the replays", run(ReplayPlan { plan, replays: 3 })).await;
    assert_eq!(report.finding, Finding::Inconclusive, "{report}");
    assert_eq!(report.rounds[0].original, Some(Outcome::FullHandshake));
    assert_eq!(report.rounds[0].flights, 3);
    assert_eq!(server.heads(), 6);
}
