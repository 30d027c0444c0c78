//! A report with something in every field.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::{CipherSuite, NamedGroup};

use super::{Report, ServerCpu};
use crate::load::plan::{Expectations, Mode, Plan, Target};
use crate::load::stats::{ErrorKind, Second, Stats};

pub(super) fn report() -> Report {
    let target = Target::parse("https://a.test:8443/x?y&z").unwrap();
    let mut plan = Plan::new(target, SocketAddr::from(([127, 0, 0, 1], 8443))).unwrap();
    plan.mode = Mode::Early;
    plan.connections = 64;
    plan.rate = Some(5_000.0);
    plan.tls.suites = vec![CipherSuite::TLS13_AES_128_GCM_SHA256];
    plan.tls.groups = vec![NamedGroup::secp256r1];
    plan.expect = Expectations {
        early: true,
        max_errors: Some(1),
    };

    let mut stats = Stats {
        elapsed: Duration::from_secs(3),
        ..Stats::default()
    };
    let counts = &mut stats.counts;
    counts.operations = 3_000;
    counts.connections = 3_003;
    counts.resumed = 3_001;
    counts.early_accepted = 2_990;
    counts.early_refused = 10;
    counts.answered_early = 2_980;
    counts.requests = 3_001;
    counts.statuses = [(200, 3_000), (503, 1)].into();
    counts.sent = 1_500_000;
    counts.received = 4_500_000;
    counts.body = 18_000;
    counts.collecting = 64;
    for _ in 0..2 {
        stats.errors.count(ErrorKind::Refused);
    }
    stats.errors.count(ErrorKind::Status(503));
    for number in 1..=3_000u64 {
        let latencies = &mut stats.latencies;
        latencies
            .connect
            .record(Duration::from_micros(50 + number / 30));
        latencies
            .handshake
            .record(Duration::from_micros(400 + number));
        latencies
            .first_byte
            .record(Duration::from_micros(500 + number));
        let tail = if number > 2_990 { 40_000 } else { 0 };
        latencies
            .total
            .record(Duration::from_micros(520 + number + tail));
    }
    stats.latencies.failed.record(Duration::from_millis(5));
    stats.series = [(990, 0), (1_010, 2), (1_000, 1)]
        .map(|(operations, errors)| Second {
            operations,
            errors,
            p50: Duration::from_micros(1_500),
            p99: Duration::from_micros(3_400 + 20 * errors),
        })
        .into();
    stats.generator.cpu = Duration::from_millis(2_940);
    stats.generator.threads = vec![0.98];
    let server = ServerCpu {
        pid: 4242,
        processes: 3,
        time: Duration::from_millis(300),
    };
    Report::new(&plan, &stats, Some(server))
}
