//! What all workers know of one origin: how its servers stand, and what it is spared.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::health::{self, Change, Standing};
use super::queue::Queue;
use crate::config::snapshot::OriginSpec;
use crate::telemetry::labels::{Ejection, ServerState};
use crate::telemetry::metrics::Metrics;

/// One origin, of the process. Times are those since the [`Upstreams`](super::Upstreams) began.
#[derive(Debug)]
pub(super) struct Upstream {
    spec: Arc<OriginSpec>,
    /// The servers as logs and metrics call them.
    names: Box<[Box<str>]>,
    metrics: Arc<Metrics>,
    standings: Mutex<Vec<Standing>>,
    /// Changes with every standing, so that workers need not look at those.
    version: AtomicU64,
    /// Failed requests of each server since the last good one.
    failures: Box<[AtomicU32]>,
    /// Requests under way, while `limits.requests` bounds them; shared with those that it came after.
    requests: Arc<AtomicUsize>,
    /// The rooms of the servers, if `limits.connections` bounds them.
    queue: Option<Arc<Queue>>,
    /// Whether a snapshot in force has it.
    pub(super) current: AtomicBool,
}

/// A request's share of `limits.requests`; dropped, it gives it back.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<Upstream>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(upstream) = &self.0 {
            upstream.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Upstream {
    /// `former` is an origin of the same name: servers that it had stand as they stood, the share of
    /// others grows. `replaced` is one that this one comes instead of: what that still has under way
    /// counts under the limits.
    pub(super) fn new(
        spec: &Arc<OriginSpec>,
        former: Option<&Self>,
        replaced: Option<&Self>,
        metrics: &Arc<Metrics>,
        now: Duration,
    ) -> Arc<Self> {
        let names: Box<[Box<str>]> = spec
            .servers
            .iter()
            .map(|server| server.to_string().into())
            .collect();
        let before = former.map(|former| (former, former.standings()));
        let standing = |name: &str| match &before {
            None => Standing::default(),
            Some((former, standings)) => {
                let at = former.names.iter().position(|former| **former == *name);
                let standing = at.and_then(|at| standings.get(at)).copied();
                let standing = standing.unwrap_or_else(|| Standing::added(now));
                match spec.pool.health {
                    Some(_) => standing,
                    None => standing.unchecked(),
                }
            }
        };
        let standings = names.iter().map(|name| standing(name)).collect();
        let limits = &spec.pool.limits;
        let gauge = &metrics.origins.queued;
        let queue = |most| match replaced.and_then(|one| Some((one, one.queue()?))) {
            None => Queue::new(names.len(), most, limits.queue, gauge.clone()),
            Some((replaced, queue)) => {
                let places = (0..names.len()).map(|server| replaced.place(&names, server));
                Queue::after(queue, places, most, limits.queue)
            }
        };
        let upstream = Self {
            spec: Arc::clone(spec),
            metrics: Arc::clone(metrics),
            standings: Mutex::new(standings),
            version: AtomicU64::new(1),
            failures: names.iter().map(|_| AtomicU32::new(0)).collect(),
            requests: replaced.map_or_else(Arc::default, |one| Arc::clone(&one.requests)),
            queue: limits.connections.map(queue),
            current: AtomicBool::new(false),
            names,
        };
        drop(before);
        upstream.open(&upstream.standings(), now);
        Arc::new(upstream)
    }

    pub(super) fn spec(&self) -> &Arc<OriginSpec> {
        &self.spec
    }

    /// The servers' names.
    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Where a server of these stands here. Of several that are called alike, each is one here.
    fn place(&self, names: &[Box<str>], server: usize) -> Option<usize> {
        let name = names.get(server)?;
        let before = names.iter().take(server).filter(|one| *one == name).count();
        let here = self.names.iter().enumerate();
        let mut here = here.filter(|(_, one)| *one == name);
        here.nth(before).map(|(place, _)| place)
    }

    fn standings(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each server stands.
    pub(super) fn states(&self) -> Vec<ServerState> {
        let standings = self.standings();
        let state = |standing: &Standing| match (standing.is_healthy(), standing.is_ejected()) {
            (false, _) => ServerState::Unhealthy,
            (true, true) => ServerState::Ejected,
            (true, false) => ServerState::Healthy,
        };
        standings.iter().map(state).collect()
    }

    /// A number that changes whenever shares do, other than by growing.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The servers' shares of the requests; whether they grow.
    pub(super) fn shares(&self, now: Duration, shares: &mut Vec<u32>) -> bool {
        self.share_out(&self.standings(), now, shares)
    }

    fn share_out(&self, standings: &[Standing], now: Duration, shares: &mut Vec<u32>) -> bool {
        let weights = self.spec.servers.iter().map(|server| server.weight.max(1));
        health::shares(standings, weights, self.spec.pool.slow_start, now, shares)
    }

    /// Tells those who wait which servers get requests.
    fn open(&self, standings: &[Standing], now: Duration) {
        if let Some(queue) = &self.queue {
            let mut shares = Vec::new();
            self.share_out(standings, now, &mut shares);
            queue.open(shares.iter().map(|share| *share > 0));
        }
    }

    /// Admits a request under `limits.requests`.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Permit> {
        let Some(most) = self.spec.pool.limits.requests else {
            return Some(Permit(None));
        };
        let below = |active| (active < most).then_some(active + 1);
        let order = Ordering::Relaxed;
        let admitted = self.requests.fetch_update(order, order, below);
        admitted.ok().map(|_| Permit(Some(Arc::clone(self))))
    }

    /// The rooms of the servers, if they are bounded.
    pub(super) fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.as_ref()
    }

    /// A server answered a request as it should.
    pub(super) fn succeeded(&self, server: usize) {
        if let Some(failures) = self.failures.get(server)
            // Mostly there are none, and a load is cheaper than a store that all workers share.
            && failures.load(Ordering::Relaxed) != 0
        {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// A server failed a request.
    pub(super) fn failed(&self, server: usize, now: Duration) {
        let (Some(spec), Some(failures)) = (&self.spec.pool.ejection, self.failures.get(server))
        else {
            return;
        };
        if failures.fetch_add(1, Ordering::Relaxed) + 1 < spec.failures {
            return;
        }
        failures.store(0, Ordering::Relaxed);
        let mut standings = self.standings();
        let change = health::eject(&mut standings, server, spec, now);
        let ejections = &self.metrics.origins.ejections;
        match change {
            Some(change) => {
                ejections.inc(Ejection::Ejected);
                self.changed(&standings, server, change, now);
            }
            None => ejections.inc(Ejection::Spared),
        }
    }

    /// A check of a server ended.
    pub(super) fn checked(&self, server: usize, passed: bool, now: Duration) {
        let Some(spec) = &self.spec.pool.health else {
            return;
        };
        let mut standings = self.standings();
        let standing = standings.get_mut(server);
        if let Some(change) = standing.and_then(|standing| standing.check(passed, spec, now)) {
            self.changed(&standings, server, change, now);
        }
    }

    /// Time passes: ejections end, and those who wait get the room that there is.
    pub(super) fn tick(&self, now: Duration) {
        let mut standings = self.standings();
        for server in 0..standings.len() {
            let standing = standings.get_mut(server);
            if let Some(change) = standing.and_then(|standing| standing.tick(now)) {
                // It has to prove itself: one more failure and it is out again.
                if let (Some(failures), Some(spec)) =
                    (self.failures.get(server), &self.spec.pool.ejection)
                {
                    failures.store(spec.failures.saturating_sub(1), Ordering::Relaxed);
                }
                self.changed(&standings, server, change, now);
            }
        }
        drop(standings);
        if let Some(queue) = &self.queue {
            queue.serve();
        }
    }

    fn changed(&self, standings: &[Standing], server: usize, change: Change, now: Duration) {
        self.open(standings, now);
        self.version.fetch_add(1, Ordering::Release);
        let origin = &*self.spec.name;
        let server = self.names.get(server).map_or("", |name| &**name);
        match change {
            Change::Unhealthy => {
                tracing::warn!(origin, server, "origin server is unhealthy: checks failed");
            }
            Change::Healthy => tracing::info!(origin, server, "origin server is healthy again"),
            Change::Ejected(time) => {
                tracing::warn!(
                    origin,
                    server,
                    ?time,
                    "origin server ejected: requests failed"
                );
            }
            Change::Returned => tracing::info!(origin, server, "origin server is back"),
        }
    }
}
