//! What connections share: with their process, and with their worker.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use crate::certs::describe::{Anchors, Known, describe};
use crate::certs::ocsp::keeper::Keeper;
use crate::config::reload::Current;
use crate::config::snapshot::Snapshot;
use crate::confirm::Confirmation;
use crate::connection::quic::Prepared;
use crate::deadline::{Nudge, Ticker};
use crate::origin::{Origins, Resolver, Upstreams};
use crate::telemetry::connections::ConnectionLog;
use crate::telemetry::labels::Cap;
use crate::telemetry::metrics::{CertificateSeries, Metrics, StapleSeries};
use crate::telemetry::sink::LineSink;
use crate::tls::selector::Selector;
use crate::tls::session::{Sessions, Stats};

/// Under this share of the handshakes cap early data is taken, above it is refused (EARLY-DATA R8).
const PRESSURE: f64 = 0.75;

/// An unfinished handshake may be evicted after so much time without a complete message.
const SILENT: Duration = Duration::from_secs(1);

/// What all connections of a process share.
pub struct Process {
    /// The snapshot in force.
    pub current: Current,
    /// Sessions and ticket keys.
    pub sessions: Arc<Sessions>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// What workers share of the origins.
    pub upstreams: Arc<Upstreams>,
    /// The access log; `None` is off.
    pub access: Option<Arc<LineSink>>,
    /// The connection log; `None` is off.
    pub connections: Option<Arc<LineSink>>,
    /// Which connections get a line.
    pub connection_log: ConnectionLog,
    /// Replaces site selection by a library user's choice.
    pub selector: Option<Arc<dyn Selector>>,
    /// Keeps the staples of all certificates.
    pub keeper: Keeper,
    /// Knows the addresses of origins.
    pub resolver: Arc<Resolver>,
    /// Whether a drain began.
    pub draining: AtomicBool,
    /// Open connections.
    pub open: AtomicUsize,
    /// Unfinished handshakes.
    pub unfinished: AtomicUsize,
    /// The figures of the session store, and the rotations of the ticket keys, that the metrics
    /// have already.
    pub reported: Mutex<(Stats, u64)>,
    /// The unfinished handshakes of each worker, by the time of accept.
    pub waiting: Vec<Mutex<VecDeque<Weak<Vitals>>>>,
}

impl Process {
    /// Whether early data is to be refused for want of room (EARLY-DATA R8).
    pub fn under_pressure(&self) -> bool {
        let limit = self.current.peek().limits.handshakes;
        self.unfinished.load(Ordering::Relaxed) as f64 > limit as f64 * PRESSURE
    }

    /// Tells the metrics and the origins which snapshot is in force.
    pub fn report_snapshot(&self) {
        let snapshot = self.current.peek();
        self.upstreams.reconcile(snapshot.origins());
        let refused = snapshot.sites.iter().filter(|site| site.tls.is_none());
        let refused = refused.count();
        let config = &self.metrics.config;
        config
            .generation
            .set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        config.sites.set((snapshot.sites.len() - refused) as i64);
        config.sites_refused.set(refused as i64);
        self.report_certificates(&snapshot);
    }

    fn report_certificates(&self, snapshot: &Snapshot) {
        let now = SystemTime::now();
        // As a check has them: what is told of a chain is told alike.
        let anchors = Anchors::of_system();
        let known = Known {
            anchors: anchors.as_ref(),
            logs: snapshot.logs.as_deref(),
        };
        let mut series = Vec::new();
        for site in &snapshot.sites {
            let Some(tls) = &site.tls else { continue };
            let kinds = tls.certificates.kinds().iter();
            for (certificate, kind) in tls.certificates.certificates().iter().zip(kinds) {
                // One that cannot be read is told by nothing but the load.
                let Ok(described) = describe(&certificate.cert, now, &known) else {
                    continue;
                };
                series.push(CertificateSeries {
                    site: &site.name,
                    key: kind.label(),
                    problems: described.complaints().len(),
                    scts: described.scts.len(),
                    not_before: described.not_before,
                    not_after: described.not_after,
                    issuer: described.issuer,
                });
            }
        }
        self.metrics.certificates.replace(series);
        self.report_staples(snapshot);
    }

    fn report_staples(&self, snapshot: &Snapshot) {
        let now = SystemTime::now();
        let mut series = Vec::new();
        for site in &snapshot.sites {
            let Some(tls) = &site.tls else { continue };
            let kinds = tls.certificates.kinds().iter();
            for (stapled, kind) in tls.certificates.staples().iter().zip(kinds) {
                let says = stapled.current(|| now).says;
                if let Some((this_update, next_update)) = stapled.dates(now) {
                    series.push(StapleSeries {
                        site: &site.name,
                        key: kind.label(),
                        this_update,
                        next_update,
                        revoked: says == Some("revoked"),
                    });
                }
            }
        }
        self.metrics.certificates.replace_staples(series);
    }

    /// Forgets old ticket keys, and copies the figures of the session store and the dates of the
    /// staples into the metrics.
    pub fn keep_house(&self) {
        self.report_staples(&self.current.peek());
        self.sessions.tick(self.sessions.now());
        let stats = self.sessions.stats();
        let rotations = self.sessions.ticket_key_rotations();
        let mut before = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let (reported, rotated) = &*before;
        let metrics = &self.metrics.sessions;
        metrics.held.set(stats.held as i64);
        metrics.stored.inc_by(stats.stored - reported.stored);
        metrics.taken.inc_by(stats.taken - reported.taken);
        metrics.missed.inc_by(stats.missed - reported.missed);
        metrics.evicted.inc_by(stats.evicted - reported.evicted);
        metrics.expired.inc_by(stats.expired - reported.expired);
        metrics.key_rotations.inc_by(rotations - rotated);
        *before = (stats, rotations);
    }

    /// Whether a drain began.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// What the connections of one worker share.
pub struct Worker {
    /// Its index.
    pub index: usize,
    /// The process.
    pub process: Arc<Process>,
    /// Its clock.
    pub ticker: Arc<Ticker>,
    /// Its origin connections.
    pub origins: Origins,
    /// What every connection at rest shares: their handshakes are finished.
    pub confirmed: Confirmation,
    /// Fixed answers as they go over HTTP/3.
    pub prepared: Prepared,
}

impl Worker {
    /// Admits a connection under the caps, or says which cap is reached.
    ///
    /// At the cap of unfinished handshakes the oldest without a complete handshake message (over QUIC:
    /// without a packet of the handshake) for one second goes; one whose early answer is being read goes last.
    ///
    /// # Errors
    /// The cap that is reached.
    pub fn admit(self: &Arc<Self>, nudge: Nudge) -> Result<Permit, Cap> {
        let process = &self.process;
        let limits = process.current.peek().limits.clone();
        if process.open.load(Ordering::Relaxed) >= limits.connections {
            return Err(Cap::Connections);
        }
        if process.unfinished.load(Ordering::Relaxed) >= limits.handshakes && !self.evict() {
            return Err(Cap::Handshakes);
        }
        process.open.fetch_add(1, Ordering::Relaxed);
        process.unfinished.fetch_add(1, Ordering::Relaxed);
        process.metrics.connections.open.inc();
        process.metrics.handshakes.unfinished.inc();
        let vitals = Arc::new(Vitals {
            accepted: self.ticker.now(),
            heard: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            nudge,
        });
        let permit = Permit {
            process: Arc::clone(process),
            vitals: Some(Arc::clone(&vitals)),
        };
        let Some(waiting) = process.waiting.get(self.index) else {
            return Ok(permit);
        };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // What is finished leaves from the front; what finished behind an unfinished one leaves
        // with it, so the list is swept when it has grown to twice what it can hold.
        while waiting
            .front()
            .is_some_and(|first| first.strong_count() == 0)
        {
            waiting.pop_front();
        }
        if waiting.len() > 64 && waiting.len() > 2 * process.unfinished.load(Ordering::Relaxed) {
            waiting.retain(|entry| entry.strong_count() > 0);
        }
        waiting.push_back(Arc::downgrade(&vitals));
        drop(waiting);
        Ok(permit)
    }

    /// Evicts one unfinished handshake, of this worker if there is one, else of another.
    fn evict(&self) -> bool {
        let (before, own) = self
            .process
            .waiting
            .split_at(self.index.min(self.process.waiting.len()));
        // All workers' clocks start with the process.
        let now = self.ticker.now();
        let mut last_resort = None;
        for waiting in own.iter().chain(before) {
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for vitals in waiting.iter().filter_map(Weak::upgrade) {
                if now.saturating_sub(vitals.accepted) < SILENT {
                    break;
                }
                if vitals.is_evicted() || now.saturating_sub(vitals.heard()) < SILENT {
                    continue;
                }
                if vitals.answering.load(Ordering::Relaxed) {
                    last_resort.get_or_insert(vitals);
                    continue;
                }
                self.end(&vitals);
                return true;
            }
        }
        let found = last_resort.inspect(|vitals| self.end(vitals));
        found.is_some()
    }

    fn end(&self, vitals: &Vitals) {
        vitals.evicted.store(true, Ordering::Relaxed);
        vitals.nudge.nudge();
        self.process.metrics.handshakes.evicted.inc();
    }
}

/// The signs of life of one unfinished handshake.
#[derive(Debug)]
pub struct Vitals {
    accepted: Duration,
    /// Milliseconds on the worker's clock of the last complete handshake message, or packet of the
    /// handshake; 0 if none.
    heard: AtomicU64,
    /// Whether an early answer is being read.
    answering: AtomicBool,
    evicted: AtomicBool,
    nudge: Nudge,
}

impl Vitals {
    /// A complete handshake message came; over QUIC, a packet of the handshake.
    pub fn hear(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now.max(1), Ordering::Relaxed);
    }

    /// An early answer leaves.
    pub fn answer(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// Whether this handshake has to go.
    pub fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Relaxed)
    }

    fn heard(&self) -> Duration {
        match self.heard.load(Ordering::Relaxed) {
            0 => self.accepted,
            millis => Duration::from_millis(millis),
        }
    }
}

/// A connection's place under the caps; dropped, it gives it back.
pub struct Permit {
    process: Arc<Process>,
    vitals: Option<Arc<Vitals>>,
}

impl Permit {
    /// The signs of life, until the handshake is finished.
    pub fn vitals(&self) -> Option<&Arc<Vitals>> {
        self.vitals.as_ref()
    }

    /// The handshake is finished.
    pub fn finish_handshake(&mut self) {
        if self.vitals.take().is_some() {
            self.process.unfinished.fetch_sub(1, Ordering::Relaxed);
            self.process.metrics.handshakes.unfinished.dec();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.finish_handshake();
        self.process.open.fetch_sub(1, Ordering::Relaxed);
        self.process.metrics.connections.open.dec();
    }
}
