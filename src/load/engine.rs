//! The engine: threads with a runtime each, and their slots.

mod cpu;
mod frames;
mod h1;
mod h2;
mod h2io;
mod h3;
mod http1;
mod opening;
mod pace;
mod record;
mod slot;
mod stream;
mod tickets;
mod tls;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub(super) use self::opening::{ask, harmless, harmless_ask, opening};
pub(super) use self::slot::dial;
pub(super) use self::tls::with_provider;

use self::pace::Arrivals;
use self::record::Live;
use self::slot::Endpoint;
use self::tickets::Tickets;
use self::worker::{Report, Worker};
use super::plan::{Amount, Plan, PlanError};
use super::stats::{Phase, Progress, Stats};

/// How often the observer is told.
const INTERVAL: Duration = Duration::from_millis(100);
/// Seconds whose percentiles are still open: threads tell of theirs a moment after its end.
const OPEN_SECONDS: u64 = 3;

/// Ends a run from elsewhere. Clones stop the same run.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the run within some tenths of a second: what is under way is abandoned.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run is to end.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a run could not begin.
#[derive(Debug)]
pub enum RunError {
    /// The plan contradicts itself.
    Plan(PlanError),
    /// The plan's certificates or keys cannot be used.
    Tls(rustls::Error),
    /// A suite or group that is not there, or not in TLS 1.3.
    Unsupported(String),
    /// No thread, runtime or timer was to be had, or a thread could not be pinned.
    Io(io::Error),
    /// A thread of the generator panicked: a bug.
    Thread,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Unsupported(name) => write!(f, "{name} is not supported"),
            Self::Io(error) => write!(f, "the generator cannot start: {error}"),
            Self::Thread => f.write_str("a thread of the generator panicked"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<rustls::Error> for RunError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    endpoints: Vec<Endpoint>,
    arrivals: Arrivals,
    /// Numbers for connections.
    numbers: AtomicUsize,
    /// Numbers for connections that collect tickets before the start.
    collected: AtomicUsize,
    live: Arc<Live>,
    stop: Stop,
}

/// Runs a plan to its end and blocks until then; `observer` is called on this thread, about ten
/// times a second. It is told that [`Phase::Running`] begins before anything is measured.
///
/// # Errors
/// The run could not begin. What fails in it is counted in the [`Stats`].
pub fn run(
    plan: &Plan,
    stop: &Stop,
    mut observer: impl FnMut(&Progress),
) -> Result<Stats, RunError> {
    plan.check()?;
    // Some servers give two tickets for each connection.
    let most = 2 * plan.connections.max(2);
    let endpoints = plan.connect.iter().map(|address| {
        let tickets = Tickets::new(most);
        Ok(Endpoint {
            address: *address,
            config: tls::config(plan, &tickets)?,
            tickets,
            holds_tickets: AtomicBool::new(false),
        })
    });
    let shared = Arc::new(Shared {
        endpoints: endpoints.collect::<Result<_, RunError>>()?,
        arrivals: Arrivals::new(plan),
        numbers: AtomicUsize::new(0),
        collected: AtomicUsize::new(0),
        live: Arc::default(),
        stop: stop.clone(),
        plan: plan.clone(),
    });
    let cores = match plan.pinned {
        true => cpu::allowed()?,
        false => Vec::new(),
    };
    let (sender, reports) = channel();
    let (start, started) = watch::channel(None);
    let mut threads = Vec::new();
    for index in 0..plan.threads {
        let (shared, sender, started) = (Arc::clone(&shared), sender.clone(), started.clone());
        let core = (!cores.is_empty()).then(|| cores[index % cores.len()]);
        let builder = thread::Builder::new().name(format!("load-{index}"));
        threads.push(builder.spawn(move || {
            let result = core.map_or(Ok(()), cpu::pin);
            let result = result.and_then(|()| worker::run(&shared, index, &sender, started));
            // Whoever waits has given up if this fails.
            let _ = result.map_err(|error| sender.send(Report::Failed(error)));
        })?);
    }
    drop((sender, started));
    let mut watcher = Watcher {
        shared: &shared,
        start: None,
        before: (Duration::ZERO, 0),
        rate: 0.0,
    };
    let result = watcher.watch(&reports, &start, &mut observer);
    // A thread that waits for the start after an error elsewhere is freed by this.
    drop(start);
    for thread in threads {
        thread.join().map_err(|_| RunError::Thread)?;
    }
    result
}

/// Follows a run.
struct Watcher<'a> {
    shared: &'a Shared,
    start: Option<Instant>,
    /// Time and operations about a second ago.
    before: (Duration, u64),
    rate: f64,
}

impl Watcher<'_> {
    fn watch(
        &mut self,
        reports: &Receiver<Report>,
        start: &watch::Sender<Option<Instant>>,
        observer: &mut impl FnMut(&Progress),
    ) -> Result<Stats, RunError> {
        let threads = self.shared.plan.threads;
        let mut stats = Stats::default();
        let mut last = Duration::ZERO;
        let (mut ready, mut done) = (0, 0);
        while done < threads {
            match reports.recv_timeout(INTERVAL) {
                Ok(Report::Ready) => {
                    ready += 1;
                    if ready == threads {
                        self.start = Some(Instant::now());
                        observer(&self.progress());
                        let now = Instant::now();
                        self.start = Some(now);
                        start.send_replace(Some(now));
                    }
                    continue;
                }
                Ok(Report::Done {
                    stats: part,
                    last: end,
                    cpu,
                    share,
                }) => {
                    done += 1;
                    stats.merge(&part);
                    last = last.max(end.saturating_duration_since(self.start.unwrap_or(end)));
                    stats.generator.cpu += cpu;
                    stats.generator.threads.push(share);
                    continue;
                }
                Ok(Report::Failed(error)) => return Err(RunError::Io(error)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::Thread),
            }
            observer(&self.progress());
        }
        stats.stopped = self.shared.stop.is_stopped();
        stats.elapsed = match self.shared.plan.amount {
            Amount::Time(time) if !stats.stopped => last.max(time),
            _ => last,
        };
        if !stats.stopped {
            stats.counts.unsent = self.shared.arrivals.unsent();
        }
        stats.series = self.shared.live.series();
        observer(&Progress {
            phase: Phase::Ending,
            ..self.progress()
        });
        Ok(stats)
    }

    fn progress(&mut self) -> Progress {
        let elapsed = self.start.map_or(Duration::ZERO, |start| start.elapsed());
        let live = &self.shared.live;
        let (operations, errors) = (live.operations(), live.errors());
        let since = elapsed.saturating_sub(self.before.0);
        if since >= Duration::from_secs(1) || self.before.1 == 0 && !since.is_zero() {
            let count = operations - self.before.1;
            self.rate = count as f64 / since.as_secs_f64();
            if since >= Duration::from_secs(1) {
                self.before = (elapsed, operations);
            }
        }
        live.settle(elapsed.as_secs().saturating_sub(OPEN_SECONDS));
        let over = match self.shared.plan.amount {
            Amount::Time(time) => elapsed >= time,
            Amount::Operations(_) => false,
        };
        Progress {
            phase: match self.start {
                None => Phase::Collecting,
                Some(_) if over || self.shared.stop.is_stopped() => Phase::Ending,
                Some(_) => Phase::Running,
            },
            elapsed,
            operations,
            errors,
            rate: self.rate,
            p99: elapsed.as_secs().checked_sub(1).and_then(|it| live.p99(it)),
            done: self.shared.arrivals.done(elapsed, operations + errors),
        }
    }
}
