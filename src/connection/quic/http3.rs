//! What a connection of HTTP/3 and its streams share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use super::code;
use super::ranks::Ranks;
use crate::connection::shared::Shared;
use crate::deadline::{Alarm, Nudge};
use crate::http::h3::{Code, Peer};
use crate::telemetry::labels::Limit;
use crate::tls::quic::Progress;

/// How many requests a client may give up at once: more than a person does, fewer than an attack wants.
const GIVEN_UP: u64 = 512;

/// How many bytes all heads of a connection may take that are not whole. A head comes in one packet or
/// a few, so that few are in this state at once.
const HEADS: usize = 256 * 1024;

/// How long it takes, in milliseconds, until one of them is forgotten: 32 in a second.
const FORGOTTEN: u64 = 31;

/// What a connection and the tasks of its streams share.
pub(super) struct Http3 {
    pub(super) quic: quinn::Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Mutex<Peer>,
    pub(super) ranks: Ranks,
    /// Streams of requests that have a task.
    open: AtomicUsize,
    /// The first request that is not here yet.
    next: AtomicU64,
    /// When all requests that were given up are forgotten, in milliseconds on the worker's clock.
    given_up: AtomicU64,
    /// Due when nothing was asked for `keep_alive`.
    idle: Alarm,
    keep_alive: Duration,
    nudge: Nudge,
    progress: Progress,
    /// Bytes of heads that are not whole.
    heads: AtomicUsize,
    /// What ends the connection.
    wrong: OnceLock<Code>,
    /// Whether further requests are turned away.
    turns_away: AtomicBool,
}

impl Http3 {
    /// `nudge` wakes the connection's task.
    pub(super) fn new(
        quic: quinn::Connection,
        shared: Arc<Shared>,
        keep_alive: Duration,
        nudge: Nudge,
        progress: Progress,
    ) -> Arc<Self> {
        Arc::new(Self {
            quic,
            peer: Mutex::default(),
            ranks: Ranks::default(),
            open: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            idle: shared.worker.ticker.alarm(),
            keep_alive,
            nudge,
            progress,
            heads: AtomicUsize::new(0),
            wrong: OnceLock::new(),
            turns_away: AtomicBool::new(false),
            shared,
        })
    }

    /// A request is here. They come in order (RFC 9000 §2.1).
    pub(super) fn begin(self: &Arc<Self>, stream: u64) -> Place {
        self.next.store(stream + 4, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.idle.clear();
        Place {
            http3: Arc::clone(self),
            stream,
        }
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// From now on `keep_alive` runs whenever no request is under way.
    pub(super) fn rest(&self) {
        if !self.is_busy() {
            self.idle.set(Some(self.keep_alive));
        }
    }

    /// `keep_alive` is over, or does not matter any more.
    pub(super) fn forget_idle(&self) {
        self.idle.clear();
    }

    /// Ready once nothing was asked for `keep_alive`.
    pub(super) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.idle.poll_due(cx)
    }

    /// Turns away further requests.
    pub(super) fn turn_away(&self) {
        self.turns_away.store(true, Ordering::Relaxed);
    }

    /// Whether further requests are turned away.
    pub(super) fn turns_away(&self) -> bool {
        self.turns_away.load(Ordering::Relaxed)
    }

    /// What was wrong with the client.
    pub(super) fn wrong(&self) -> Option<Code> {
        self.wrong.get().copied()
    }

    /// Ends the connection with an error.
    pub(super) fn fail(&self, wrong: Code) {
        if self.quic.close_reason().is_none() {
            let _ = self.wrong.set(wrong);
            self.quic.close(code(wrong), b"");
        }
    }

    /// The first request that is not here yet.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn peer(&self) -> MutexGuard<'_, Peer> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's task sees that the connection has ended, perhaps before the connection's own: then
    /// what it ends because of that has a handshake that failed (EARLY-DATA R11).
    pub(super) fn lost(&self) {
        self.progress.give_up();
    }

    /// Bytes of a head that is not whole are kept, as long as there is room.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        Held {
            http3: Arc::clone(self),
            bytes: 0,
        }
    }

    /// A client gave up a request before it was answered. It costs us more than it costs the client
    /// (the "rapid reset" of HTTP/2, CVE-2023-44487).
    pub(super) fn given_up(&self) {
        let now = self.shared.worker.ticker.now().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        // All tasks of a connection are its worker's: none comes between.
        match give_up(self.given_up.load(Ordering::Relaxed), now) {
            Some(forgotten) => self.given_up.store(forgotten, Ordering::Relaxed),
            None => {
                let metrics = &self.shared.metrics().requests;
                metrics.limits_hit.inc(Limit::GivenUp);
                self.fail(Code::EXCESSIVE_LOAD);
            }
        }
    }
}

/// One more request is given up: when all are forgotten, or `None` if it is too many. Answers do not
/// count against them: an attack could have cheap ones between.
fn give_up(forgotten: u64, now: u64) -> Option<u64> {
    let forgotten = forgotten.max(now) + FORGOTTEN;
    (forgotten - now <= GIVEN_UP * FORGOTTEN).then_some(forgotten)
}

/// What is kept of a head.
pub(super) struct Held {
    http3: Arc<Http3>,
    bytes: usize,
}

impl Held {
    /// So many bytes more. Whether there is room for them: for one head there always is.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let before = self.http3.heads.fetch_add(bytes, Ordering::Relaxed);
        let others = before - self.bytes;
        self.bytes += bytes;
        others == 0 || before + bytes <= HEADS
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.http3.heads.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request's place in the count of open ones.
pub(super) struct Place {
    http3: Arc<Http3>,
    stream: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let http3 = &self.http3;
        http3.ranks.end(self.stream);
        if http3.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            http3.idle.set(Some(http3.keep_alive));
        }
        if http3.shared.is_closing() || http3.turns_away() {
            http3.nudge.nudge();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_are_given_up_are_forgotten_by_and_by() {
        let mut forgotten = 0;
        for _ in 0..GIVEN_UP {
            forgotten = give_up(forgotten, 1000).unwrap();
        }
        assert_eq!(give_up(forgotten, 1000), None);
        assert_eq!(give_up(forgotten, 1000 + FORGOTTEN - 1), None);
        let later = 1000 + FORGOTTEN;
        forgotten = give_up(forgotten, later).unwrap();
        assert_eq!(give_up(forgotten, later), None);
        // After a rest all are.
        assert_eq!(give_up(forgotten, 100_000), Some(100_000 + FORGOTTEN));
    }
}
