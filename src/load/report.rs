//! What a run says: the figures of a [`Report`], and the forms it is shown in.

pub mod compare;
pub mod html;
pub mod json;
pub mod live;
mod plot;
pub mod text;
mod units;

use std::collections::BTreeMap;
use std::time::Duration;

use rustls::NamedGroup;
use serde::{Deserialize, Serialize};

use super::plan::{Amount, Plan, Trust, Usage};
use super::stats::{Counts, Latency, Stats};

/// The shares of all operations at which the curve of latencies is drawn.
const CURVE: &[f64] = &[
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.98, 0.99,
    0.995, 0.9975, 0.999, 0.9995, 0.999_75, 0.9999, 0.999_99, 1.0,
];

/// All figures of a run. Its fields are those of `--json`, and docs/LOAD.md explains each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of cutwater.
    pub cutwater: String,
    /// What was asked for.
    pub plan: Setup,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// Operations a second that ended well.
    pub operations_per_second: f64,
    /// What happened how often.
    pub counts: Totals,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// All errors.
    pub errors_total: u64,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// How long things took.
    pub latency: Distributions,
    /// One entry for each second.
    pub series: Vec<Moment>,
    /// What the generator itself took.
    pub generator: Generator,
    /// What the server took, if `--server-pid` was given.
    pub server: Option<Server>,
    /// Expectations that did not hold, the plainest among them: that anything ended well.
    pub unmet: Vec<String>,
}

/// What was asked for, under the names of the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The target.
    pub url: String,
    /// Where connections went.
    pub connect: Vec<String>,
    /// How many server names were asked for in turn.
    pub names: usize,
    /// The request's method.
    pub method: String,
    /// `full`, `resumed` or `early`.
    pub handshake: String,
    /// `h1` or `h2`.
    pub protocol: String,
    /// Whether connections were kept.
    pub keep_alive: bool,
    /// Requests on each connection; none if they were kept.
    pub per_connection: Option<u64>,
    /// Connections open at once.
    pub connections: usize,
    /// Requests at once on each connection.
    pub streams: usize,
    /// Threads.
    pub threads: usize,
    /// Whether each thread had a core of its own.
    pub pin: bool,
    /// The planned length in seconds, if it was planned by time.
    pub duration: Option<f64>,
    /// The planned number of operations, if it was planned by number.
    pub requests: Option<u64>,
    /// Open loop: operations a second.
    pub rate: Option<f64>,
    /// Whether the server's certificate was verified.
    pub verified: bool,
    /// Cipher suites offered; empty: all.
    pub suites: Vec<String>,
    /// Groups offered; empty: all.
    pub groups: Vec<String>,
}

/// What happened how often: [`Counts`] without the statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Operations that ended well.
    pub operations: u64,
    /// TCP connections opened.
    pub connections: u64,
    /// Full handshakes.
    pub full: u64,
    /// Resumed handshakes, with or without early data.
    pub resumed: u64,
    /// Of the full handshakes, those that took a HelloRetryRequest.
    #[serde(default)]
    pub hello_retry_requests: u64,
    /// Of the full handshakes, those whose certificate came compressed.
    #[serde(default)]
    pub compressed_certificates: u64,
    /// Early requests accepted as early data.
    pub early_accepted: u64,
    /// Early requests refused as early data, and sent again.
    pub early_refused: u64,
    /// Early requests whose answer began before the handshake's end.
    pub answered_early: u64,
    /// Whole answers.
    pub requests: u64,
    /// Connections that only collected a ticket.
    pub collecting: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes of answers' bodies.
    pub body: u64,
    /// Open loop: operations that were due but could not begin.
    pub unsent: u64,
    /// Operations under way when the run was stopped.
    pub abandoned: u64,
}

/// How long things took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distributions {
    /// TCP connect.
    pub connect: Distribution,
    /// Connected → our Finished sent.
    pub handshake: Distribution,
    /// Begin of the operation → first byte of its answer.
    pub first_byte: Distribution,
    /// Begin of the operation → its end.
    pub total: Distribution,
    /// Begin of the operation → its failure.
    pub failed: Distribution,
}

/// One distribution, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many were measured.
    pub count: u64,
    /// The shortest.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 90 % took no longer.
    pub p90_us: f64,
    /// 99 % took no longer.
    pub p99_us: f64,
    /// 99.9 % took no longer.
    pub p99_9_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Share of all and the time it did not exceed.
    pub curve: Vec<(f64, f64)>,
}

/// One second of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Operations that ended well in it.
    pub operations: u64,
    /// Errors in it.
    pub errors: u64,
    /// The median of `total`.
    pub p50_us: f64,
    /// The 99th percentile of `total`.
    pub p99_us: f64,
}

/// What the generator itself took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time.
    pub cpu_seconds: f64,
    /// CPU time for each operation that ended well.
    pub cpu_us_per_operation: Option<f64>,
    /// The busiest thread's share of its time on a CPU.
    pub busiest: f64,
    /// Whether it was likely what held the run back.
    pub was_the_limit: bool,
}

/// What the server took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The process that was asked for.
    pub pid: u32,
    /// Processes counted: it and its descendants.
    pub processes: usize,
    /// Their CPU time.
    pub cpu_seconds: f64,
    /// Their CPU time for each operation that ended well.
    pub cpu_us_per_operation: Option<f64>,
}

/// What a server used during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerCpu {
    /// The process.
    pub pid: u32,
    /// It and its descendants.
    pub processes: usize,
    /// What they used.
    pub time: Duration,
}

impl Report {
    /// Of a run that has ended.
    pub fn new(plan: &Plan, stats: &Stats, server: Option<ServerCpu>) -> Self {
        let operations = stats.counts.operations;
        let mut unmet = plan.expect.unmet(stats);
        if operations == 0 && !stats.stopped {
            unmet.push("not one operation ended well".into());
        }
        Self {
            cutwater: env!("CARGO_PKG_VERSION").into(),
            plan: Setup::new(plan),
            seconds: round(stats.elapsed.as_secs_f64()),
            stopped: stats.stopped,
            operations_per_second: round(stats.rate()),
            counts: Totals::new(&stats.counts),
            statuses: stats.counts.statuses.clone(),
            errors_total: stats.errors.total(),
            errors: stats
                .errors
                .by_kind()
                .into_iter()
                .map(|(kind, count)| (kind.to_string(), count))
                .collect(),
            latency: Distributions {
                connect: Distribution::new(&stats.latencies.connect),
                handshake: Distribution::new(&stats.latencies.handshake),
                first_byte: Distribution::new(&stats.latencies.first_byte),
                total: Distribution::new(&stats.latencies.total),
                failed: Distribution::new(&stats.latencies.failed),
            },
            series: stats
                .series
                .iter()
                .map(|second| Moment {
                    operations: second.operations,
                    errors: second.errors,
                    p50_us: micros(second.p50),
                    p99_us: micros(second.p99),
                })
                .collect(),
            generator: Generator {
                cpu_seconds: round(stats.generator.cpu.as_secs_f64()),
                cpu_us_per_operation: stats.generator_cpu_per_operation().map(micros),
                busiest: round(stats.generator.busiest()),
                was_the_limit: stats.generator.was_the_limit(),
            },
            server: server.map(|used| Server {
                pid: used.pid,
                processes: used.processes,
                cpu_seconds: round(used.time.as_secs_f64()),
                cpu_us_per_operation: (operations > 0)
                    .then(|| round(used.time.as_secs_f64() * 1e6 / operations as f64)),
            }),
            unmet,
        }
    }

    /// Errors by kind, the most frequent first.
    pub fn errors_by_count(&self) -> Vec<(&str, u64)> {
        let kinds = self.errors.iter();
        let mut kinds: Vec<_> = kinds.map(|(kind, count)| (kind.as_str(), *count)).collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        kinds
    }
}

impl Setup {
    fn new(plan: &Plan) -> Self {
        Self {
            url: plan.target.to_string(),
            connect: plan.connect.iter().map(ToString::to_string).collect(),
            names: plan.sni.count(),
            method: plan.request.method.to_string(),
            handshake: plan.mode.as_str().into(),
            protocol: plan.protocol.as_str().into(),
            keep_alive: plan.usage == Usage::KeepAlive,
            per_connection: match plan.usage {
                Usage::Handshake => Some(0),
                Usage::Requests(count) => Some(count.get()),
                Usage::KeepAlive => None,
            },
            connections: plan.connections,
            streams: plan.streams,
            threads: plan.threads,
            pin: plan.pinned,
            duration: match plan.amount {
                Amount::Time(time) => Some(round(time.as_secs_f64())),
                Amount::Operations(_) => None,
            },
            requests: match plan.amount {
                Amount::Operations(count) => Some(count),
                Amount::Time(_) => None,
            },
            rate: plan.rate,
            verified: matches!(plan.tls.trust, Trust::Roots(_)),
            suites: plan
                .tls
                .suites
                .iter()
                .map(|suite| format!("{suite:?}").replace("TLS13_", "TLS_"))
                .collect(),
            groups: plan.tls.groups.iter().copied().map(group).collect(),
        }
    }
}

fn group(group: NamedGroup) -> String {
    match group {
        NamedGroup::secp256r1 => "P-256".into(),
        NamedGroup::secp384r1 => "P-384".into(),
        other => format!("{other:?}"),
    }
}

impl Totals {
    fn new(counts: &Counts) -> Self {
        Self {
            operations: counts.operations,
            connections: counts.connections,
            full: counts.full,
            resumed: counts.resumed,
            hello_retry_requests: counts.hello_retry_requests,
            compressed_certificates: counts.compressed_certificates,
            early_accepted: counts.early_accepted,
            early_refused: counts.early_refused,
            answered_early: counts.answered_early,
            requests: counts.requests,
            collecting: counts.collecting,
            sent: counts.sent,
            received: counts.received,
            body: counts.body,
            unsent: counts.unsent,
            abandoned: counts.abandoned,
        }
    }
}

impl Distributions {
    /// Those of operations that ended well, with the names they are shown under.
    pub fn named(&self) -> [(&'static str, &Distribution); 4] {
        [
            ("TCP connect", &self.connect),
            ("handshake", &self.handshake),
            ("first byte", &self.first_byte),
            ("total", &self.total),
        ]
    }
}

impl Distribution {
    fn new(latency: &Latency) -> Self {
        if latency.is_empty() {
            return Self::default();
        }
        let at = |share| micros(latency.quantile(share));
        Self {
            count: latency.count(),
            min_us: micros(latency.min()),
            mean_us: micros(latency.mean()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: micros(latency.max()),
            curve: CURVE.iter().map(|share| (*share, at(*share))).collect(),
        }
    }

    /// The figures in the order of the table's columns: min, mean, p50, p90, p99, p99.9, max.
    pub fn columns(&self) -> [f64; 7] {
        [
            self.min_us,
            self.mean_us,
            self.p50_us,
            self.p90_us,
            self.p99_us,
            self.p99_9_us,
            self.max_us,
        ]
    }
}

/// What [`Distribution::columns`] are called.
pub(crate) const COLUMNS: [&str; 7] = ["min", "mean", "p50", "p90", "p99", "p99.9", "max"];

fn micros(time: Duration) -> f64 {
    round(time.as_secs_f64() * 1e6)
}

/// To three decimals: more would only pretend.
fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod testing;
