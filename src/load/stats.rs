//! What a run counted and measured.
//!
//! Every thread fills a [`Stats`] of its own; they are merged at the end. Times of operations that
//! failed are kept apart: they neither raise nor lower the figures of those that succeeded.

mod error;
mod latency;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

pub use error::{ErrorKind, TimedOut};
pub use latency::Latency;

/// A thread that used this much of its time was likely what held the run back.
const BUSY: f64 = 0.95;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// How long operations were measured: without collecting the first tickets.
    pub elapsed: Duration,
    /// What happened how often.
    pub counts: Counts,
    /// What failed, by kind.
    pub errors: Errors,
    /// How long things took.
    pub latencies: Latencies,
    /// One entry for each second of `elapsed`, gaps included.
    pub series: Vec<Second>,
    /// What the generator itself took.
    pub generator: Generator,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

/// What happened how often. Connections that only collect tickets count nowhere but in
/// `collecting`, `sent` and `received`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that ended well: handshakes, or requests with an answer below 400.
    pub operations: u64,
    /// TCP connections that were opened.
    pub connections: u64,
    /// Handshakes finished, full.
    pub full: u64,
    /// Handshakes finished, resumed; those with early data are among them.
    pub resumed: u64,
    /// Of the full ones, those that took a HelloRetryRequest.
    pub hello_retry_requests: u64,
    /// Of the full ones, those whose certificate came compressed.
    pub compressed_certificates: u64,
    /// Early requests that were accepted as early data.
    pub early_accepted: u64,
    /// Early requests that were refused as early data and sent again behind the handshake.
    pub early_refused: u64,
    /// Of the accepted, those whose answer began before our Finished was sent.
    pub answered_early: u64,
    /// Answers that came whole, whatever their status.
    pub requests: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections with a full handshake, only to get tickets; without a request, unless the server
    /// holds its tickets back for one.
    pub collecting: u64,
    /// Bytes sent on TCP connections.
    pub sent: u64,
    /// Bytes received on TCP connections.
    pub received: u64,
    /// Bytes of the answers' bodies, without their framing.
    pub body: u64,
    /// Open loop: operations whose moment came before the end, but no slot was free to begin them.
    pub unsent: u64,
    /// Operations under way when the run was stopped.
    pub abandoned: u64,
}

/// Failed operations by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    kinds: HashMap<ErrorKind, u64>,
}

/// How long things took, to the microsecond.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// TCP connect.
    pub connect: Latency,
    /// Connected → our Finished sent.
    pub handshake: Latency,
    /// Begin of the operation → first byte of the answer. In an open loop the begin is the moment
    /// that was intended.
    pub first_byte: Latency,
    /// Begin of the operation → its end.
    pub total: Latency,
    /// Begin of the operation → its failure.
    pub failed: Latency,
}

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Operations that ended well in it.
    pub operations: u64,
    /// Errors in it.
    pub errors: u64,
    /// The median of `total` of its operations.
    pub p50: Duration,
    /// The 99th percentile of `total` of its operations.
    pub p99: Duration,
}

/// What the generator itself took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generator {
    /// CPU time of its threads during `elapsed`.
    pub cpu: Duration,
    /// The share of its time that each thread was on a CPU: 0 to 1.
    pub threads: Vec<f64>,
}

impl Stats {
    /// CPU time of the generator for each operation that ended well.
    pub fn generator_cpu_per_operation(&self) -> Option<Duration> {
        let count = self.counts.operations;
        let nanoseconds = self.generator.cpu.as_nanos().checked_div(count.into())?;
        Some(Duration::from_nanos(nanoseconds.try_into().ok()?))
    }

    /// Operations a second that ended well.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.counts.operations as f64 / seconds
        } else {
            0.0
        }
    }

    /// Adds what another thread counted. Its series, generator and time stay out: whoever runs
    /// the threads knows these for all of them.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        for (kind, count) in &other.errors.kinds {
            *self.errors.kinds.entry(*kind).or_default() += count;
        }
        let (ours, theirs) = (&mut self.latencies, &other.latencies);
        ours.connect.merge(&theirs.connect);
        ours.handshake.merge(&theirs.handshake);
        ours.first_byte.merge(&theirs.first_byte);
        ours.total.merge(&theirs.total);
        ours.failed.merge(&theirs.failed);
        self.stopped |= other.stopped;
    }
}

impl Counts {
    fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        self.connections += other.connections;
        self.full += other.full;
        self.resumed += other.resumed;
        self.hello_retry_requests += other.hello_retry_requests;
        self.compressed_certificates += other.compressed_certificates;
        self.early_accepted += other.early_accepted;
        self.early_refused += other.early_refused;
        self.answered_early += other.answered_early;
        self.requests += other.requests;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.collecting += other.collecting;
        self.sent += other.sent;
        self.received += other.received;
        self.body += other.body;
        self.unsent += other.unsent;
        self.abandoned += other.abandoned;
    }
}

impl Errors {
    /// Counts one.
    pub fn count(&mut self, kind: ErrorKind) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    /// How often this happened.
    pub fn of(&self, kind: ErrorKind) -> u64 {
        self.kinds.get(&kind).copied().unwrap_or(0)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Every kind that happened, the most frequent first.
    pub fn by_kind(&self) -> Vec<(ErrorKind, u64)> {
        let mut kinds: Vec<_> = self.kinds.iter().map(|(kind, n)| (*kind, *n)).collect();
        kinds.sort_by_cached_key(|(kind, count)| (u64::MAX - count, kind.to_string()));
        kinds
    }
}

impl Generator {
    /// The busiest thread's share of its time on a CPU: 0 to 1.
    pub fn busiest(&self) -> f64 {
        self.threads.iter().copied().fold(0.0, f64::max)
    }

    /// Whether the generator was likely what held the run back, rather than the server.
    pub fn was_the_limit(&self) -> bool {
        self.busiest() >= BUSY
    }
}

/// How far a run has come; given to the observer several times a second.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// Since the measured part began.
    pub elapsed: Duration,
    /// Operations that ended well so far.
    pub operations: u64,
    /// Errors so far.
    pub errors: u64,
    /// Operations a second, over the last second.
    pub rate: f64,
    /// The 99th percentile of the last whole second; `None` if nothing ended in it.
    pub p99: Option<Duration>,
    /// How much of the plan is done: 0 to 1.
    pub done: f64,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Collecting the first ticket of each connection; nothing is measured yet.
    Collecting,
    /// Measuring. The observer is told at once when this begins.
    Running,
    /// Nothing new begins; what is under way ends. Told once more when all has ended.
    Ending,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_merged() {
        let mut one = Stats::default();
        one.counts.operations = 3;
        one.counts.statuses.insert(200, 3);
        one.errors.count(ErrorKind::Refused);
        one.latencies.total.record(Duration::from_millis(1));
        let mut two = Stats::default();
        two.counts.operations = 4;
        two.counts.statuses.insert(200, 4);
        two.errors.count(ErrorKind::Refused);
        two.errors.count(ErrorKind::Status(503));
        two.latencies.total.record(Duration::from_millis(9));
        one.merge(&two);
        assert_eq!(one.counts.operations, 7);
        assert_eq!(one.counts.statuses[&200], 7);
        assert_eq!(one.errors.of(ErrorKind::Refused), 2);
        assert_eq!(one.errors.total(), 3);
        assert_eq!(one.errors.by_kind()[0], (ErrorKind::Refused, 2));
        assert_eq!(one.latencies.total.count(), 2);
        assert!(one.latencies.total.max() >= Duration::from_millis(9));
    }

    #[test]
    fn the_generator_says_when_it_was_the_limit() {
        let mut stats = Stats::default();
        assert_eq!(stats.generator_cpu_per_operation(), None);
        stats.counts.operations = 10;
        stats.generator.cpu = Duration::from_millis(1);
        stats.generator.threads = vec![0.2, 0.99];
        let each = stats.generator_cpu_per_operation();
        assert_eq!(each, Some(Duration::from_micros(100)));
        assert!(stats.generator.was_the_limit());
        stats.generator.threads = vec![0.2, 0.5];
        assert!(!stats.generator.was_the_limit());
    }
}
