//! Which answers a client wants first (RFC 9218).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::h3::Priority;

/// How many requests may have a rank before they are here.
const AHEAD: usize = 64;

/// The urgencies of a connection's requests, as its client has last said.
#[derive(Debug, Default)]
pub(super) struct Ranks(Mutex<HashMap<u64, Arc<AtomicU8>>>);

/// The urgency of one request.
#[derive(Clone, Debug)]
pub(super) struct Rank(Arc<AtomicU8>);

impl Rank {
    /// As quinn orders streams: the highest first, 0 where nothing was said.
    pub(super) fn order(&self) -> i32 {
        let default = i32::from(Priority::default().urgency);
        default - i32::from(self.0.load(Ordering::Relaxed))
    }
}

impl Ranks {
    /// A request is here; `said` is what its own field says. A frame that came before counts more
    /// (RFC 9218 §7).
    pub(super) fn begin(&self, stream: u64, said: Priority) -> Rank {
        let mut ranks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rank = || Arc::new(AtomicU8::new(said.urgency));
        Rank(Arc::clone(ranks.entry(stream).or_insert_with(rank)))
    }

    /// A request is over.
    pub(super) fn end(&self, stream: u64) {
        let mut ranks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ranks.remove(&stream);
    }

    /// A PRIORITY_UPDATE came. `next` is the first request that is not here yet.
    pub(super) fn update(&self, stream: u64, said: Priority, next: u64) {
        let mut ranks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rank) = ranks.get(&stream) {
            rank.store(said.urgency, Ordering::Relaxed);
            return;
        }
        let ahead = ranks.keys().filter(|stream| **stream >= next).count();
        if stream >= next && ahead < AHEAD {
            ranks.insert(stream, Arc::new(AtomicU8::new(said.urgency)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_more_than_a_field_and_the_last_one_most() {
        let ranks = Ranks::default();
        let said = |urgency| Priority {
            urgency,
            incremental: false,
        };
        ranks.update(4, said(1), 0);
        let first = ranks.begin(0, Priority::default());
        let second = ranks.begin(4, said(7));
        assert_eq!((first.order(), second.order()), (0, 2));
        ranks.update(0, said(7), 8);
        assert_eq!(first.order(), -4);
        ranks.end(0);
        ranks.end(4);
        // What is over is not remembered, nor is more than a few ahead.
        ranks.update(0, said(1), 8);
        for stream in 0..1000 {
            ranks.update(8 + 4 * stream, said(1), 8);
        }
        assert_eq!(ranks.0.lock().unwrap().len(), AHEAD);
    }
}
