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

/// How many requests a client may give up, one after the other, before any is answered: more than a
/// person does, fewer than an attack wants.
const GIVEN_UP: usize = 512;

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
    /// Requests that were given up since the last answer.
    given_up: AtomicUsize,
    /// Due when nothing was asked for `keep_alive`.
    idle: Alarm,
    keep_alive: Duration,
    nudge: Nudge,
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
    ) -> Arc<Self> {
        Arc::new(Self {
            quic,
            peer: Mutex::default(),
            ranks: Ranks::default(),
            open: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            given_up: AtomicUsize::new(0),
            idle: shared.worker.ticker.alarm(),
            keep_alive,
            nudge,
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

    /// A request is answered.
    pub(super) fn answered(&self) {
        self.given_up.store(0, Ordering::Relaxed);
    }

    /// A client gave up a request before it was answered. It costs us more than it costs the client
    /// (the "rapid reset" of HTTP/2, CVE-2023-44487).
    pub(super) fn given_up(&self) {
        if self.given_up.fetch_add(1, Ordering::Relaxed) >= GIVEN_UP {
            self.fail(Code::EXCESSIVE_LOAD);
        }
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
