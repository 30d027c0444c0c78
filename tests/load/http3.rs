//! The engine over HTTP/3.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cutwater::load::plan::{Amount, Mode, Plan, Protocol, Sni, Trust, Usage};
use cutwater::load::relay::{DatagramRelay, Direction};
use cutwater::load::replay::{Finding, ReplayPlan, run as replay};
use cutwater::load::stats::{ErrorKind, Phase, Stats, TimedOut};
use cutwater::load::{Stop, run};
use cutwater::telemetry::labels::{Alert, HandshakeKind};
use http::Method;

use super::stand::{MODES, Stand, measure, measure_well, requests};
use crate::support::within;

fn over_quic(stand: &Stand, path: &str) -> Plan {
    let mut plan = stand.plan_for(path);
    plan.protocol = Protocol::Http3;
    plan
}

/// All operations failed for this one reason.
fn all(stats: &Stats, kind: ErrorKind) {
    let count = stats.errors.total();
    assert_eq!(
        stats.errors.by_kind(),
        [(kind, count)],
        "{:?}",
        stats.counts
    );
    assert_eq!(stats.counts.operations, 0);
    assert!(count > 0);
}

#[tokio::test]
async fn every_kind_of_handshake_carries_requests() {
    for mode in MODES {
        for usage in [Usage::ONE, requests(5)] {
            let case = format!("{mode:?} {usage:?}");
            let stand = Stand::start();
            let mut plan = over_quic(&stand, "/");
            (plan.mode, plan.usage) = (mode, usage);
            let stats = measure_well(&plan).await;
            let counts = &stats.counts;
            assert_eq!((counts.requests, counts.statuses[&200]), (20, 20), "{case}");
            assert_eq!(counts.body, 20 * 6, "{case}");
            let opened = counts.connections;
            match usage {
                Usage::ONE => assert_eq!(opened, 20, "{case}"),
                _ => assert!((4..=8).contains(&opened), "{case}: {opened}"),
            }
            let full = if mode == Mode::Full { opened } else { 0 };
            assert_eq!(
                (counts.full, counts.resumed),
                (full, opened - full),
                "{case}"
            );
            let early = if mode == Mode::Early { opened } else { 0 };
            assert_eq!(
                (counts.early_accepted, counts.early_refused),
                (early, 0),
                "{case}"
            );
            assert_eq!(stats.latencies.handshake.count(), opened, "{case}");
            assert!(stats.latencies.connect.is_empty(), "{case}");
            let full = full + counts.collecting;
            for (kind, count) in [
                (HandshakeKind::Resumed, counts.resumed - early),
                (HandshakeKind::Early, early),
                (HandshakeKind::Full, full),
            ] {
                // The edge counts a moment after its client has gone on.
                let counted = async {
                    while stand.handshakes(kind) != count {
                        tokio::task::yield_now().await;
                    }
                };
                within("the edge's count", counted).await;
            }
        }
    }
}

#[tokio::test]
async fn handshakes_alone_are_operations() {
    for mode in [Mode::Full, Mode::Resumed] {
        let stand = Stand::start();
        let mut plan = over_quic(&stand, "/");
        (plan.mode, plan.usage) = (mode, Usage::Handshake);
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.connections, 20);
        assert_eq!(stats.counts.requests, 0);
        assert_eq!(stats.latencies.handshake.count(), 20);
        let resumed = if mode == Mode::Resumed { 20 } else { 0 };
        assert_eq!(stats.counts.resumed, resumed);
    }
}

#[tokio::test]
async fn streams_share_kept_connections() {
    let stand = Stand::start();
    let mut plan = over_quic(&stand, "/");
    plan.usage = Usage::KeepAlive;
    (plan.connections, plan.streams, plan.threads) = (2, 8, 2);
    plan.amount = Amount::Operations(300);
    let stats = measure_well(&plan).await;
    assert_eq!((stats.counts.connections, stats.counts.full), (2, 2));
    assert_eq!(stats.latencies.first_byte.count(), 300);
    assert_eq!(stand.handshakes(HandshakeKind::Full), 2);
}

#[tokio::test]
async fn an_early_request_may_have_company() {
    let stand = Stand::start();
    let mut plan = over_quic(&stand, "/");
    (plan.mode, plan.usage) = (Mode::Early, requests(4));
    (plan.connections, plan.streams) = (1, 4);
    let stats = measure_well(&plan).await;
    assert_eq!(stats.counts.early_accepted, stats.counts.connections);
    assert_eq!(stats.counts.early_refused, 0);
}

#[tokio::test]
async fn bodies_go_and_come() {
    let stand = Stand::start();
    for mode in [Mode::Full, Mode::Early] {
        let mut plan = over_quic(&stand, "/echo");
        plan.mode = mode;
        plan.request.method = Method::POST;
        plan.request.body = vec![b'x'; 300_000].into();
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.body, 20 * 300_000, "{mode:?}");
        assert!(stats.counts.sent > 20 * 300_000, "{mode:?}");
        assert!(stats.counts.received > 20 * 300_000, "{mode:?}");
    }
}

#[tokio::test]
async fn names_have_tickets_of_their_own() {
    let stand = Stand::with_names(&["s-1.test", "s-2.test", "s-3.test"]);
    let mut plan = over_quic(&stand, "/");
    plan.sni = Sni::parse("s-{1..3}.test").unwrap();
    (plan.mode, plan.connections) = (Mode::Early, 1);
    let stats = measure_well(&plan).await;
    assert_eq!(stats.counts.early_accepted, 20);
    assert_eq!(stats.counts.collecting, 3);
}

#[tokio::test]
async fn refused_early_requests_are_sent_again_behind_the_handshake() {
    let (first, second) = (Stand::start(), Stand::start());
    let line = DatagramRelay::to(first.address()).bind().await.unwrap();
    let mut plan = over_quic(&first, "/echo");
    plan.mode = Mode::Early;
    plan.connect = vec![line.address()];
    plan.tls.trust = Trust::Anyone;
    plan.request.method = Method::POST;
    plan.request.body = vec![b'x'; 20_000].into();
    // The tickets are the first server's, and nobody else's.
    let stats = tokio::task::spawn_blocking(move || {
        run(&plan, &Stop::default(), |progress| {
            if progress.phase == Phase::Running && progress.operations == 0 {
                line.retarget(second.address());
            }
        })
    });
    let stats = within("the run", stats).await.unwrap().unwrap();
    assert_eq!(stats.errors.by_kind(), []);
    let counts = &stats.counts;
    assert!(counts.early_refused >= 4, "{counts:?}");
    assert_eq!(counts.early_refused, counts.full, "{counts:?}");
    assert_eq!(counts.early_accepted, counts.resumed, "{counts:?}");
    assert_eq!(
        counts.early_refused + counts.early_accepted,
        20,
        "{counts:?}"
    );
    assert_eq!(
        (counts.requests, counts.body),
        (20, 20 * 20_000),
        "{counts:?}"
    );
    // Each began anew with a ticket of its own server.
    assert!(counts.early_accepted > 0, "{counts:?}");
}

#[tokio::test]
async fn a_bad_line_costs_time_and_no_answers() {
    let stand = Stand::start();
    let line = DatagramRelay::to(stand.address())
        .loss(Direction::ToServer, 0.05)
        .loss(Direction::ToClient, 0.05)
        .duplicate(Direction::ToServer, 0.1)
        .reorder(Direction::ToClient, 0.1, Duration::from_millis(2))
        .bind()
        .await
        .unwrap();
    let mut plan = over_quic(&stand, "/echo");
    plan.connect = vec![line.address()];
    plan.usage = Usage::KeepAlive;
    (plan.connections, plan.streams) = (1, 4);
    plan.request.method = Method::POST;
    plan.request.body = vec![b'x'; 50_000].into();
    let stats = measure_well(&plan).await;
    assert_eq!(stats.counts.body, 20 * 50_000);
    let passed = line.passed();
    assert!(
        passed.lost > 0 && passed.repeated > 0 && passed.late > 0,
        "{passed:?}"
    );
}

#[tokio::test]
async fn what_goes_wrong_has_its_name() {
    let stand = Stand::start();
    let mut plan = over_quic(&stand, "/none");
    plan.usage = Usage::KeepAlive;
    let stats = measure(&plan).await;
    all(&stats, ErrorKind::Status(404));
    assert_eq!(stats.counts.connections, 4);

    let mut plan = over_quic(&stand, "/");
    plan.tls.trust = Trust::Roots(Vec::new());
    all(
        &measure(&plan).await,
        ErrorKind::Certificate("unknown issuer"),
    );

    let mut plan = over_quic(&stand, "/");
    plan.alpn = Some(vec![b"h9".to_vec()]);
    let alert = Alert::from(rustls::AlertDescription::NoApplicationProtocol);
    all(&measure(&plan).await, ErrorKind::Alert(alert));

    // Nobody listens there, which UDP need not tell.
    let silent = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let mut plan = over_quic(&stand, "/");
    plan.connect = vec![silent.as_ref().unwrap().local_addr().unwrap()];
    plan.timeouts.handshake = Duration::from_millis(300);
    plan.amount = Amount::Operations(4);
    let late = ErrorKind::Timeout(TimedOut::Handshake);
    all(&measure(&plan).await, late);
}

#[tokio::test]
async fn a_server_that_says_goodbye_loses_no_request() {
    let (leaving, other) = (Stand::start(), Stand::start());
    let line = DatagramRelay::to(leaving.address()).bind().await.unwrap();
    let mut plan = over_quic(&leaving, "/");
    plan.tls.trust = Trust::Anyone;
    plan.connect = vec![line.address(), other.address()];
    plan.usage = Usage::KeepAlive;
    (plan.connections, plan.streams) = (1, 2);
    plan.amount = Amount::Operations(3000);
    let handle = leaving.edge.handle();
    let serving = tokio::spawn(leaving.edge.run(std::future::pending()));
    let run = tokio::spawn(async move { measure_well(&plan).await });
    let busy = line.until(|passed| passed.to_client > 100);
    within("some requests", busy).await;
    handle.drain();
    let stats = run.await.unwrap();
    assert_eq!(stats.counts.connections, 2, "{:?}", stats.counts);
    assert_eq!(other.handshakes(HandshakeKind::Full), 1);
    within("the drain", serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_bit_is_greased_before_the_server_has_allowed_it() {
    let stand = Stand::start();
    let (seen, cleared) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counts = (Arc::clone(&seen), Arc::clone(&cleared));
    // Of a long header (0x80) the second bit. RFC 9000 §17.2
    let line = DatagramRelay::to(stand.address()).watch(move |it| {
        let first = it.bytes.first().copied().unwrap_or_default();
        if it.at_server || it.direction == Direction::ToClient || first & 0x80 == 0 {
            return;
        }
        counts.0.fetch_add(1, Ordering::Relaxed);
        let is_cleared = u64::from(first & 0x40 == 0);
        counts.1.fetch_add(is_cleared, Ordering::Relaxed);
    });
    let line = line.bind().await.unwrap();
    let mut plan = over_quic(&stand, "/");
    plan.connect = vec![line.address()];
    plan.mode = Mode::Early;
    // Both of them remember what the server allowed on another connection.
    let stats = measure_well(&plan).await;
    assert_eq!(stats.counts.early_accepted, 20);
    let replay = within("the replays", replay(ReplayPlan { plan, replays: 8 })).await;
    assert_eq!(replay.finding, Finding::Clear, "{replay}");
    assert!(seen.load(Ordering::Relaxed) > 40);
    assert_eq!(cleared.load(Ordering::Relaxed), 0);
}
