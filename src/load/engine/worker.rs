//! One thread of a run.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet, spawn_local};

use super::h1::Http1;
use super::h2::{self, Http2};
use super::h3::{self, Http3};
use super::record::Recorder;
use super::slot::Slot;
use super::{Shared, cpu};
use crate::deadline::Ticker;
use crate::load::plan::{Mode, Protocol, Usage};
use crate::load::stats::Stats;

/// What the slots of a thread share.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) recorder: Rc<Recorder>,
    pub(super) ticker: Arc<Ticker>,
    /// The run was stopped: seen once in each tick.
    pub(super) stopped: Cell<bool>,
}

/// What a thread tells.
pub(super) enum Report {
    /// It has its tickets and waits for the start.
    Ready,
    /// All of its slots have ended.
    Done {
        /// What it counted.
        stats: Box<Stats>,
        /// When its last operation ended.
        last: Instant,
        /// Its CPU time since the start.
        cpu: Duration,
        /// The share of its time that it was on a CPU.
        share: f64,
    },
    /// It could not begin.
    Failed(io::Error),
}

/// Runs the thread with this index.
pub(super) fn run(
    shared: &Arc<Shared>,
    index: usize,
    reports: &Sender<Report>,
    started: watch::Receiver<Option<Instant>>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work(shared, index, reports, started))
}

async fn work(
    shared: &Arc<Shared>,
    index: usize,
    reports: &Sender<Report>,
    mut started: watch::Receiver<Option<Instant>>,
) -> io::Result<()> {
    let plan = &shared.plan;
    let worker = Rc::new(Worker {
        shared: Arc::clone(shared),
        recorder: Rc::new(Recorder::new(Arc::clone(&shared.live))),
        ticker: Ticker::new(),
        stopped: Cell::new(false),
    });
    for endpoint in &shared.endpoints {
        // The first random bytes of a thread take some 20 ms: seeds are gathered. They belong to
        // no handshake. Whether it fails is seen there.
        let random = endpoint.config.crypto_provider().secure_random;
        let _ = random.fill(&mut [0; 32]);
    }
    let ticking = spawn_local(tick(Rc::clone(&worker)));
    // Connections are dealt out evenly.
    let connections = (index..plan.connections).step_by(plan.threads).len();
    if plan.mode != Mode::Full {
        collect(&worker, connections).await?;
    }
    let mut slots = JoinSet::new();
    let mut waiting = Vec::new();
    for _ in 0..connections {
        let pools = (Rc::<h2::Pool>::default(), Rc::<h3::Pool>::default());
        let streams = match plan.protocol {
            Protocol::Http2 | Protocol::Http3 if plan.usage != Usage::Handshake => plan.streams,
            _ => 1,
        };
        for _ in 0..streams {
            waiting.push((Slot::new(&worker)?, pools.clone()));
        }
    }
    let _ = reports.send(Report::Ready);
    let start = match started.wait_for(Option::is_some).await {
        Ok(start) => start.unwrap_or_else(Instant::now),
        // Another thread could not begin.
        Err(_) => return Ok(()),
    };
    worker.recorder.begin(start);
    let cpu = cpu::thread_time();
    for (slot, (h2, h3)) in waiting {
        match (plan.usage, plan.protocol) {
            (Usage::Handshake, Protocol::Http3) => slots.spawn_local(h3::shake_only(slot)),
            (Usage::Handshake, _) => slots.spawn_local(slot.shake_only()),
            (_, Protocol::Http1) => slots.spawn_local(Http1::new(slot).run()),
            (_, Protocol::Http2) => slots.spawn_local(Http2::new(slot, &h2).run()),
            (_, Protocol::Http3) => slots.spawn_local(Http3::new(slot, &h3).run()),
        };
    }
    while let Some(result) = slots.join_next().await {
        if let Err(error) = result
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    ticking.abort();
    let cpu = cpu::thread_time().saturating_sub(cpu);
    let elapsed = start.elapsed().as_secs_f64();
    let (mut stats, mut last) = worker.recorder.end();
    if worker.stopped.get() {
        stats.stopped = true;
        last = Instant::now();
    }
    let _ = reports.send(Report::Done {
        stats: Box::new(stats),
        last,
        cpu,
        share: cpu.as_secs_f64() / elapsed.max(f64::MIN_POSITIVE),
    });
    Ok(())
}

/// The thread's clock: deadlines, the live figures, the end.
async fn tick(worker: Rc<Worker>) {
    let ticker = Arc::clone(&worker.ticker);
    ticker
        .run(|_| {
            worker.recorder.publish();
            if worker.shared.stop.is_stopped() {
                worker.stopped.set(true);
                worker.ticker.wake_all();
            }
        })
        .await;
}

/// Collects the first ticket of each connection and of each name, before anything is measured.
async fn collect(worker: &Rc<Worker>, connections: usize) -> io::Result<()> {
    let shared = &worker.shared;
    let all = shared.plan.connections.max(shared.plan.sni.count());
    let mut collectors = JoinSet::new();
    for _ in 0..connections {
        let slot = Slot::new(worker)?;
        collectors.spawn_local(async move {
            let shared = Arc::clone(&slot.worker.shared);
            loop {
                let number = shared.collected.fetch_add(1, Ordering::Relaxed);
                if number >= all {
                    return;
                }
                // What fails here fails again as an operation, and is counted there.
                if slot.collect(shared.place(number)).await.is_err() {
                    return;
                }
            }
        });
    }
    while collectors.join_next().await.is_some() {}
    Ok(())
}
