//! Which snapshot is current.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::snapshot::Snapshot;

/// The current snapshot: read at every handshake and request, replaced whole by a reload.
#[derive(Debug)]
pub struct Current(ArcSwap<Snapshot>);

impl Current {
    /// Begins with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The current snapshot, for a moment: cheaper than [`load`](Self::load), but not to be held
    /// over an await.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The current snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Makes `snapshot` current; it counts as the next generation. Gives what it replaces.
    pub fn store(&self, mut snapshot: Snapshot) -> Arc<Snapshot> {
        let former = self.0.load();
        snapshot.generation = former.generation + 1;
        for listener in &mut snapshot.listeners {
            let mut bound = former.listeners.iter();
            let Some(bound) = bound.find(|bound| bound.name == listener.name) else {
                continue;
            };
            // A UDP port is there or not since the start, and clients are told of no other. One that
            // is there goes on as before if the file has it no longer: above all with its Retry.
            listener.quic = bound.quic.as_ref().map(|before| {
                let mut quic = listener.quic.take().unwrap_or_else(|| before.clone());
                quic.at(before.address);
                quic.migration = before.migration;
                quic
            });
        }
        self.0.swap(Arc::new(snapshot))
    }
}

/// What differs between two snapshots, but is only read at start: a reload does not change it.
pub fn fixed_at_start(old: &Snapshot, new: &Snapshot) -> Vec<&'static str> {
    let sockets = |snapshot: &Snapshot| {
        let listeners = snapshot.listeners.iter();
        listeners
            .map(|listener| {
                (
                    listener.name.clone(),
                    listener.address,
                    listener.tls,
                    listener.backlog,
                    listener.quic.as_ref().map(|quic| quic.migration),
                )
            })
            .collect::<Vec<_>>()
    };
    let mut differs = Vec::new();
    let mut compare = |what, same: bool| {
        if !same {
            differs.push(what);
        }
    };
    compare("[[listen]]", sockets(old) == sockets(new));
    compare("workers", old.server.workers == new.server.workers);
    compare("[log]", old.log == new.log);
    compare("[admin]", old.admin == new.admin);
    compare("capacity", old.sessions.capacity == new.sessions.capacity);
    differs
}
