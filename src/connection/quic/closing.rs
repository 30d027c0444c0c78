//! Connections that have ended and are kept until nothing late can come for them, which takes three
//! times as long as a probe (RFC 9000 §10.2). They have given back their permit, so nothing else
//! bounds them: whoever makes many handshakes fail has many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use quinn::Endpoint;

use super::port::PRESSURE;
use crate::config::snapshot::Limits;

/// Those of one port.
pub(super) struct Closing {
    endpoint: Endpoint,
    workers: usize,
    /// Connections that have a task.
    live: Arc<AtomicUsize>,
    gauge: IntGauge,
    reported: AtomicUsize,
}

/// A connection that has a task.
pub(super) struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a new connection has to expect because of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is enough.
    Enough,
    /// There is little: who comes must prove its address.
    Little,
    /// There is none.
    No,
}

impl Closing {
    pub(super) fn new(endpoint: Endpoint, workers: usize, gauge: IntGauge) -> Self {
        Self {
            endpoint,
            workers,
            live: Arc::default(),
            gauge,
            reported: AtomicUsize::new(0),
        }
    }

    /// A connection gets a task.
    pub(super) fn live(&self) -> Live {
        self.live.fetch_add(1, Ordering::Relaxed);
        Live(Arc::clone(&self.live))
    }

    /// Counts them.
    pub(super) fn count(&self) -> usize {
        let live = self.live.load(Ordering::Relaxed);
        let count = self.endpoint.open_connections().saturating_sub(live);
        let before = self.reported.swap(count, Ordering::Relaxed);
        self.gauge.add(count as i64 - before as i64);
        count
    }

    /// Whether there is room for one more connection.
    pub(super) fn room(&self, limits: &Limits) -> Room {
        room(self.count().saturating_mul(self.workers), limits)
    }
}

/// `closing` is what all workers have, if each has as many as this one.
fn room(closing: usize, limits: &Limits) -> Room {
    if closing >= limits.connections {
        Room::No
    } else if closing as f64 > limits.handshakes as f64 * PRESSURE {
        Room::Little
    } else {
        Room::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_takes_up_room() {
        let limits = Limits {
            connections: 100,
            handshakes: 20,
        };
        assert_eq!(room(0, &limits), Room::Enough);
        assert_eq!(room(10, &limits), Room::Enough);
        assert_eq!(room(11, &limits), Room::Little);
        assert_eq!(room(99, &limits), Room::Little);
        assert_eq!(room(100, &limits), Room::No);
    }
}
