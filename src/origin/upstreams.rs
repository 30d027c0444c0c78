//! The origins of the process: kept over reloads, checked by one prober, shared by all workers.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::probe::Prober;
use super::resolver::Resolver;
use super::upstream::Upstream;
use crate::config::snapshot::OriginSpec;
use crate::deadline::Ticker;
use crate::telemetry::labels::{Label, ServerState};
use crate::telemetry::metrics::Metrics;

/// The origins of the process. Equal specs are one origin, before and after a reload.
#[derive(Debug)]
pub struct Upstreams {
    epoch: Instant,
    metrics: Arc<Metrics>,
    resolver: Arc<Resolver>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    upstreams: HashMap<Arc<OriginSpec>, Arc<Upstream>>,
    probers: HashMap<Arc<OriginSpec>, Prober>,
    /// The sum of all versions that the metrics know.
    reported: u64,
}

impl Upstreams {
    /// No origins yet.
    pub fn new(metrics: &Arc<Metrics>, resolver: &Arc<Resolver>) -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            metrics: Arc::clone(metrics),
            resolver: Arc::clone(resolver),
            known: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the process's origins began: what a worker's clock, which began later, has to
    /// be put forward by.
    pub(super) fn elapsed(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// What knows the addresses of all names.
    pub(super) fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// The origin of this spec.
    pub(super) fn get(&self, spec: &Arc<OriginSpec>) -> Arc<Upstream> {
        self.known().get(spec, None, &self.metrics, self.elapsed())
    }

    /// These are the origins of the snapshot in force: they are checked, others are not any more.
    pub fn reconcile<'a>(&self, specs: impl Iterator<Item = &'a Arc<OriginSpec>>) {
        let now = self.elapsed();
        let mut known = self.known();
        let mut probers = HashMap::new();
        let specs: HashSet<_> = specs.collect();
        // By name, so that one of the same name takes the place of each.
        let mut leaving = HashMap::new();
        for upstream in known.upstreams.values() {
            let stays = specs.contains(upstream.spec());
            if upstream.current.swap(stays, Ordering::Relaxed) && !stays {
                leaving.insert(Arc::clone(&upstream.spec().name), Arc::clone(upstream));
            }
        }
        for spec in specs {
            let upstream = match known.upstreams.get(spec) {
                Some(upstream) => Arc::clone(upstream),
                None => known.get(spec, leaving.remove(&spec.name), &self.metrics, now),
            };
            upstream.current.store(true, Ordering::Relaxed);
            let prober = known.probers.remove(spec);
            if let Some(prober) = prober.or_else(|| Prober::new(&upstream, &self.resolver, now)) {
                probers.insert(Arc::clone(spec), prober);
            }
        }
        known.probers = probers;
        self.report(&mut known);
    }

    /// Time passes. To be called by one worker with every tick; checks run on that one.
    pub fn tick(&self, ticker: &Arc<Ticker>) {
        let now = self.elapsed();
        let mut known = self.known();
        for prober in known.probers.values_mut() {
            prober.tick(self.epoch, now, ticker, &self.metrics);
        }
        let mut versions: u64 = 0;
        for upstream in known.upstreams.values() {
            upstream.tick(now);
            versions = versions.wrapping_add(upstream.version());
        }
        if versions != known.reported {
            self.report(&mut known);
        }
        // Here alone: no worker has a pool of it, and no snapshot a route.
        known.upstreams.retain(|_, upstream| {
            upstream.current.load(Ordering::Relaxed) || Arc::strong_count(upstream) > 1
        });
    }

    /// Tells the metrics how all servers stand.
    fn report(&self, known: &mut Known) {
        let origins = &self.metrics.origins;
        let mut count = [0; ServerState::ALL.len()];
        // Origins in place that differ in other things may have the same name.
        let mut usable: HashMap<(&str, &str), bool> = HashMap::new();
        for upstream in known.upstreams.values() {
            if !upstream.current.load(Ordering::Relaxed) {
                continue;
            }
            for (name, state) in upstream.names().iter().zip(upstream.states()) {
                if let Some(count) = count.get_mut(state.index()) {
                    *count += 1;
                }
                let usable = usable.entry((&upstream.spec().name, name)).or_insert(true);
                *usable &= state == ServerState::Healthy;
            }
        }
        for (state, count) in ServerState::ALL.iter().zip(count) {
            origins.servers.set(*state, count);
        }
        origins.server_usable.replace(
            usable
                .iter()
                .map(|(&(origin, server), &usable)| ([origin, server], i64::from(usable))),
        );
        let versions = known.upstreams.values().map(|upstream| upstream.version());
        known.reported = versions.fold(0, u64::wrapping_add);
    }
}

impl Known {
    fn get(
        &mut self,
        spec: &Arc<OriginSpec>,
        replaced: Option<Arc<Upstream>>,
        metrics: &Arc<Metrics>,
        now: Duration,
    ) -> Arc<Upstream> {
        if let Some(upstream) = self.upstreams.get(spec) {
            return Arc::clone(upstream);
        }
        // A named origin that says something else than before. The one in force, if there are more.
        let named = self.upstreams.values();
        let named = named.filter(|upstream| upstream.spec().name == spec.name);
        let named = named.max_by_key(|upstream| upstream.current.load(Ordering::Relaxed));
        let replaced = replaced.as_deref();
        let former = replaced.or(named.map(|named| &**named));
        let upstream = Upstream::new(spec, former, replaced, metrics, now);
        self.upstreams
            .insert(Arc::clone(spec), Arc::clone(&upstream));
        upstream
    }
}
