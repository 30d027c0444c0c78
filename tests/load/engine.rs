//! What is counted against Cutwater agrees with its own counts.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cutwater::load::plan::{Amount, Mode, Protocol, Sni, Trust, Usage};
use cutwater::load::stats::{ErrorKind, Phase};
use cutwater::load::{Stop, run};
use cutwater::telemetry::labels::HandshakeKind;
use http::{HeaderValue, Method};
use rustls::NamedGroup;

use super::stand::{MODES, Stand, measure, measure_well, requests};
use crate::support::within;

#[tokio::test]
async fn every_mode_does_the_handshakes_that_the_server_counts() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for mode in MODES {
            let stand = Stand::start();
            let mut plan = stand.plan();
            (plan.mode, plan.protocol, plan.threads) = (mode, protocol, 2);
            let stats = measure_well(&plan).await;
            let counts = &stats.counts;
            let case = format!("{mode:?} {protocol:?} {counts:?}");
            let (full, resumed, early) = match mode {
                Mode::Full => (20, 0, 0),
                Mode::Resumed => (0, 20, 0),
                Mode::Early => (0, 20, 20),
            };
            assert_eq!((counts.full, counts.resumed), (full, resumed), "{case}");
            assert_eq!(counts.early_accepted, early, "{case}");
            assert_eq!(counts.early_refused, 0, "{case}");
            // On loopback flight and answer come in one piece, mostly.
            assert!((counts.answered_early > 0) == (early > 0), "{case}");
            assert_eq!((counts.connections, counts.requests), (20, 20), "{case}");
            assert_eq!(counts.statuses[&200], 20, "{case}");
            assert_eq!(counts.body, 20 * 6, "{case}");
            // Four connections collected a ticket, and every connection brought one more.
            let collecting = if mode == Mode::Full { 0 } else { 4 };
            assert_eq!(counts.collecting, collecting, "{case}");
            let server = |kind| stand.handshakes(kind);
            assert_eq!(server(HandshakeKind::Full), full + collecting, "{case}");
            assert_eq!(server(HandshakeKind::Resumed), resumed - early, "{case}");
            assert_eq!(server(HandshakeKind::Early), early, "{case}");
            assert_eq!(stats.latencies.connect.count(), 20);
            assert_eq!(stats.latencies.handshake.count(), 20);
            assert_eq!(stats.latencies.first_byte.count(), 20);
        }
    }
}

#[tokio::test]
async fn what_waits_for_the_handshake_is_not_answered_early() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let stand = Stand::start();
        let mut plan = stand.plan_for("/wait");
        (plan.mode, plan.protocol) = (Mode::Early, protocol);
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.early_accepted, 20);
        assert_eq!(stats.counts.answered_early, 0);
    }
}

#[tokio::test]
async fn handshakes_alone_need_no_request() {
    for mode in [Mode::Full, Mode::Resumed] {
        let stand = Stand::start();
        let mut plan = stand.plan();
        (plan.mode, plan.usage) = (mode, Usage::Handshake);
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.full + stats.counts.resumed, 20);
        assert_eq!(stats.counts.requests, 0);
        let kind = match mode {
            Mode::Full => HandshakeKind::Full,
            _ => HandshakeKind::Resumed,
        };
        assert_eq!(stand.handshakes(kind), 20);
    }
}

#[tokio::test]
async fn kept_connections_carry_all_requests() {
    for (protocol, streams) in [(Protocol::Http1, 1), (Protocol::Http2, 5)] {
        let stand = Stand::start();
        let mut plan = stand.plan();
        (plan.protocol, plan.streams, plan.usage) = (protocol, streams, Usage::KeepAlive);
        plan.amount = Amount::Operations(500);
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.connections, 4);
        assert_eq!(stats.counts.requests, 500);
        assert_eq!(stand.handshakes(HandshakeKind::Full), 4);
        let body: u64 = 500 * 6;
        assert_eq!(stats.counts.body, body);
        assert!(stats.counts.received > body);
    }
}

#[tokio::test]
async fn a_connection_can_carry_a_few_requests() {
    for (protocol, streams) in [(Protocol::Http1, 1), (Protocol::Http2, 2)] {
        let stand = Stand::start();
        let mut plan = stand.plan();
        (plan.protocol, plan.streams, plan.usage) = (protocol, streams, requests(5));
        plan.connections = 1;
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.connections, 4);
    }
}

#[tokio::test]
async fn method_headers_and_body_are_the_plans() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let stand = Stand::start();
        let mut plan = stand.plan_for("/echo");
        (plan.protocol, plan.usage) = (protocol, Usage::KeepAlive);
        plan.request.method = Method::POST;
        // More than TLS buffers at a time.
        plan.request.body = Bytes::from(vec![b'x'; 300_000]);
        let value = HeaderValue::from_static("text/plain");
        plan.request.headers.insert("content-type", value);
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.body, 20 * 300_000);
    }
}

#[tokio::test]
async fn early_data_longer_than_its_limit_goes_on_behind_the_handshake() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let stand = Stand::start();
        let mut plan = stand.plan_for("/echo");
        (plan.protocol, plan.mode) = (protocol, Mode::Early);
        plan.request.method = Method::POST;
        plan.request.body = Bytes::from(vec![b'x'; 50_000]);
        let stats = measure_well(&plan).await;
        assert_eq!(stats.counts.early_accepted, 20);
        assert_eq!(stats.counts.body, 20 * 50_000);
    }
}

#[tokio::test]
async fn names_are_asked_for_in_turn_and_have_tickets_of_their_own() {
    let names = ["s-1.test", "s-2.test", "s-3.test"];
    let stand = Stand::with_names(&names);
    let mut plan = stand.plan();
    plan.sni = Sni::parse("s-{1..3}.test").unwrap();
    (plan.mode, plan.connections) = (Mode::Early, 1);
    let stats = measure_well(&plan).await;
    assert_eq!(stats.counts.early_accepted, 20);
    assert_eq!(stats.counts.collecting, 3);
}

#[tokio::test]
async fn groups_are_the_plans() {
    let groups = [
        NamedGroup::X25519,
        NamedGroup::secp256r1,
        NamedGroup::X25519MLKEM768,
    ];
    let mut sent = Vec::new();
    for group in groups {
        let stand = Stand::start();
        let mut plan = stand.plan();
        plan.tls.groups = vec![group];
        plan.tls.trust = Trust::Anyone;
        sent.push(measure_well(&plan).await.counts.sent);
    }
    // An ML-KEM share is 1,184 bytes longer.
    assert!(sent[2] > sent[0] + 20 * 1_100, "{sent:?}");
}

#[tokio::test]
async fn compressed_certificates_are_counted_where_they_are_asked_for_and_come() {
    let stand = Stand::start();
    let mut plan = stand.plan();
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Http3] {
        for asked in [true, false] {
            (plan.protocol, plan.tls.certificate_compression) = (protocol, asked);
            plan.mode = Mode::Full;
            let counts = measure_well(&plan).await.counts;
            let compressed = if asked { counts.full } else { 0 };
            assert_eq!(counts.full, 20, "{protocol:?}");
            assert_eq!(counts.compressed_certificates, compressed, "{protocol:?}");
        }
        // Who resumes is shown none.
        (plan.mode, plan.tls.certificate_compression) = (Mode::Resumed, true);
        let counts = measure_well(&plan).await.counts;
        assert_eq!((counts.resumed, counts.compressed_certificates), (20, 0));
    }
}

#[tokio::test]
async fn an_answer_of_400_or_above_is_an_error_of_its_status() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let stand = Stand::start();
        let mut plan = stand.plan_for("/none");
        (plan.protocol, plan.usage) = (protocol, Usage::KeepAlive);
        let stats = measure(&plan).await;
        assert_eq!(stats.errors.by_kind(), [(ErrorKind::Status(404), 20)]);
        assert_eq!(stats.counts.operations, 0);
        assert_eq!((stats.counts.requests, stats.counts.connections), (20, 4));
        assert!(stats.latencies.total.is_empty());
        assert_eq!(stats.latencies.failed.count(), 20);
        assert_eq!(plan.expect.unmet(&stats), Vec::<String>::new());
        plan.expect.max_errors = Some(19);
        assert_eq!(plan.expect.unmet(&stats).len(), 1);
    }
}

#[tokio::test]
async fn a_run_ends_with_its_time_and_has_its_seconds() {
    let stand = Stand::start();
    let mut plan = stand.plan();
    plan.usage = Usage::KeepAlive;
    plan.amount = Amount::Time(Duration::from_millis(1200));
    let stats = measure_well(&plan).await;
    assert!(stats.counts.operations > 0);
    assert!(stats.elapsed >= Duration::from_millis(1200));
    assert!(stats.series.len() >= 2);
    assert!(stats.generator.cpu > Duration::ZERO);
    assert!(stats.generator_cpu_per_operation().is_some());
    assert_eq!(stats.generator.threads.len(), 1);
}

#[tokio::test]
async fn a_run_can_be_stopped_and_tells_its_progress() {
    let stand = Stand::start();
    let mut plan = stand.plan();
    (plan.usage, plan.mode) = (Usage::ONE, Mode::Resumed);
    plan.amount = Amount::Time(Duration::from_secs(3600));
    let stop = Stop::default();
    let task = tokio::task::spawn_blocking(move || {
        let mut phases = Vec::new();
        let stats = run(&plan, &stop, |progress| {
            phases.push(progress.phase);
            if progress.operations > 10 {
                stop.stop();
            }
        });
        (stats.unwrap(), phases)
    });
    let (stats, mut phases) = within("the run's end", task).await.unwrap();
    assert!(stats.stopped);
    assert!(stats.counts.operations > 10);
    assert!(stats.elapsed < Duration::from_secs(3600));
    phases.dedup();
    phases.retain(|phase| *phase != Phase::Collecting);
    assert_eq!(phases, [Phase::Running, Phase::Ending]);
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate() {
    let stand = Stand::start();
    let mut plan = stand.plan();
    (plan.usage, plan.rate) = (Usage::KeepAlive, Some(100.0));
    plan.amount = Amount::Operations(60);
    let begin = Instant::now();
    let stats = measure_well(&plan).await;
    // The last is due 590 ms after the first.
    assert!(begin.elapsed() >= Duration::from_millis(590));
    assert!(stats.elapsed >= Duration::from_millis(590));
}

#[test]
fn contradictions_are_found_before_anything_begins() {
    let stand = Stand::start();
    let plan = stand.plan();
    let refused = |change: &dyn Fn(&mut cutwater::load::Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        plan.check().is_err() && run(&plan, &Stop::default(), |_| {}).is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|plan| plan.connect.clear()));
    assert!(refused(&|plan| plan.threads = 5));
    assert!(refused(&|plan| plan.streams = 2));
    assert!(refused(&|plan| plan.rate = Some(-1.0)));
    assert!(refused(&|plan| plan.amount = Amount::Operations(0)));
    assert!(refused(&|plan| {
        (plan.mode, plan.usage) = (Mode::Early, Usage::Handshake);
    }));
    assert!(refused(&|plan| {
        (plan.mode, plan.usage) = (Mode::Resumed, Usage::KeepAlive);
    }));
    assert!(refused(&|plan| {
        plan.usage = Usage::Requests(NonZeroU64::MIN);
        (plan.protocol, plan.streams) = (Protocol::Http2, 2);
    }));
}
