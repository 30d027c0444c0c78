//! What a connection of HTTP/3 and its streams share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::Authority;

use super::budget::{Budget, too_much};
use super::code;
use super::ranks::Ranks;
use super::unacknowledged::Unacknowledged;
use crate::connection::shared::Shared;
use crate::deadline::{Alarm, Nudge};
use crate::http::h3::{Code, Peer};
use crate::telemetry::labels::{Limit, TimeoutKind};
use crate::tls::quic::{PACKETS, Progress};

/// How many bytes all heads of a connection may take that are not whole. A head comes in one packet or
/// a few, so that few are in this state at once.
const HEADS: usize = 256 * 1024;

/// How many frames of its own each request lets a client send beside it.
const FOR_EACH: u64 = 8;

/// What a connection and the tasks of its streams share.
pub(super) struct Http3 {
    pub(super) quic: quinn::Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Mutex<Peer>,
    pub(super) ranks: Ranks,
    /// What the first request that names an authority asks for.
    pub(super) authority: OnceLock<Authority>,
    /// Requests that are not answered, and answers that are waited for.
    open: AtomicUsize,
    /// All others that their clients do not have yet.
    pub(super) unacknowledged: Unacknowledged,
    /// The first request that is not here yet.
    next: AtomicU64,
    given_up: Budget,
    control: Budget,
    /// Due when nothing was asked for `keep_alive`.
    idle: Alarm,
    keep_alive: Duration,
    nudge: Nudge,
    progress: Progress,
    /// When the handshake began, on the worker's clock.
    began: Duration,
    /// How many packets had come when their frames were last looked at.
    weighed: AtomicU64,
    /// Bytes of heads that are not whole.
    heads: AtomicUsize,
    /// What ends the connection.
    wrong: OnceLock<Code>,
    /// Whether further requests are turned away.
    turns_away: AtomicBool,
    http09: bool,
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
        let http09 = progress.facts().http09;
        Arc::new(Self {
            quic,
            peer: Mutex::default(),
            ranks: Ranks::default(),
            authority: OnceLock::new(),
            open: AtomicUsize::new(0),
            unacknowledged: Unacknowledged::new(&shared.worker.ticker),
            next: AtomicU64::new(0),
            given_up: Budget::given_up(),
            control: Budget::control(),
            idle: shared.worker.ticker.alarm(),
            keep_alive,
            nudge,
            progress,
            began: shared.worker.ticker.now(),
            weighed: AtomicU64::new(0),
            heads: AtomicUsize::new(0),
            http09,
            wrong: OnceLock::new(),
            turns_away: AtomicBool::new(false),
            shared,
        })
    }

    /// Whether HTTP/0.9 is spoken here: a line asks, the content is all of the answer.
    pub(super) fn is_http09(&self) -> bool {
        self.http09
    }

    /// A request is here. They come in order (RFC 9000 §2.1).
    pub(super) fn begin(self: &Arc<Self>, stream: u64) -> Place {
        self.next.store(stream + 4, Ordering::Relaxed);
        // Who asks for much has much to say about it.
        self.control.earn(FOR_EACH);
        self.place(stream)
    }

    /// Something is under way on the stream of a request.
    pub(super) fn place(self: &Arc<Self>, stream: u64) -> Place {
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

    /// Ready once nothing was asked for `keep_alive`, nor is anything under way.
    pub(super) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.idle.poll_due(cx));
        if !self.unacknowledged.is_waiting() {
            return Poll::Ready(());
        }
        self.idle.set(Some(self.keep_alive));
        self.idle.poll_due(cx)
    }

    /// Gives up answers that their client takes nothing of. Must be called whenever its task is woken.
    pub(super) fn give_up_late(&self, cx: &mut Context<'_>) {
        let late = self.unacknowledged.poll_late(cx, || self.acknowledged());
        for _ in 0..late {
            self.shared.metrics().timeouts.inc(TimeoutKind::WriteIdle);
        }
    }

    /// How often the client has acknowledged something.
    pub(super) fn acknowledged(&self) -> u64 {
        self.quic.stats().frame_rx.acks
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

    /// A client gave up a request before it was answered, or made it one that has no answer. Answers
    /// do not count against it: an attack could have cheap ones between.
    pub(super) fn given_up(&self) {
        let now = self.shared.worker.ticker.now();
        if !self.given_up.spend(1, now) {
            self.exceed(Limit::GivenUp);
        }
    }

    /// So many frames or streams came that are no part of a request.
    pub(super) fn beside(&self, count: u64) {
        if count > 0 && !self.control.spend(count, self.shared.worker.ticker.now()) {
            self.exceed(Limit::Control);
        }
    }

    /// Looks at what frames of QUIC have come, once some packets have.
    pub(super) fn weigh(&self) {
        let packets = self.progress.packets();
        if packets < self.weighed.load(Ordering::Relaxed) + PACKETS {
            return;
        }
        self.weighed.store(packets, Ordering::Relaxed);
        let age = self.shared.worker.ticker.now().saturating_sub(self.began);
        // Streams of requests count by four (RFC 9000 §2.1).
        let requests = self.next() / 4;
        let stats = self.quic.stats();
        let proofs = stats.frame_tx.path_challenge;
        if let Some(limit) = too_much(&stats.frame_rx, proofs, packets, requests, age) {
            self.exceed(limit);
        }
    }

    fn exceed(&self, limit: Limit) {
        if self.quic.close_reason().is_none() {
            self.shared.metrics().requests.limits_hit.inc(limit);
            self.fail(Code::EXCESSIVE_LOAD);
        }
    }
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
