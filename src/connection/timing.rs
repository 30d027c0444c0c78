//! Which deadline of a connection is next.
//!
//! One alarm per connection; what it stands for changes with what the connection awaits.

use std::num::NonZeroU64;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Duration;

use crate::config::snapshot::SiteTimeouts;
use crate::connection::hyper::Hyper;
use crate::connection::link::Link;
use crate::connection::shared::Shared;
use crate::deadline::{Alarm, TICK, Ticker};
use crate::state::Protocol;
use crate::telemetry::labels::TimeoutKind;

/// How often a client that is held back is looked after.
const PROBE: Duration = Duration::from_secs(1);

/// What the client is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// The handshake goes on and nothing else counts.
    Handshake,
    /// Its first request.
    First,
    /// The rest of a head.
    Head,
    /// Nothing: a request is under way.
    Nothing,
    /// Another request.
    Next,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing, after all.
    Nothing,
    /// hyper has been idle for a tick: it may go.
    Rest,
    /// A client that is held back may be gone.
    Probe,
    /// Close properly.
    Close(TimeoutKind),
    /// Cut, with no answer.
    Cut(TimeoutKind),
    /// The time to let go is over.
    Forced,
}

/// The deadlines of one connection, on its worker's clock.
#[derive(Debug)]
pub(super) struct Timing {
    alarm: Alarm,
    accepted: Moment,
    handshake: Option<Moment>,
    awaits: Awaits,
    /// Requests that were handed out when `awaits` was seen.
    calls: u64,
    since: Moment,
    /// When what is awaited is overdue.
    overdue: Option<Moment>,
    /// When an idle hyper may go.
    rest: Option<Moment>,
    /// Bytes sent when the socket was last seen blocked.
    blocked: Option<u64>,
    write: Option<Moment>,
    total: Option<Moment>,
    /// When to see whether a client that is held back is still there.
    probe: Option<Moment>,
    forced: Option<Moment>,
    bounded: bool,
}

/// A moment on the worker's clock. Every connection keeps many, and an `Option<Duration>` takes
/// twice as much room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(NonZeroU64);

impl From<Duration> for Moment {
    fn from(since_start: Duration) -> Self {
        let millis = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(millis))
    }
}

impl From<Moment> for Duration {
    fn from(moment: Moment) -> Self {
        Self::from_millis(moment.0.get() - 1)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        (Duration::from(self) + after).into()
    }
}

impl Timing {
    pub(super) fn new(alarm: Alarm, accepted: Duration, client_hello: Duration) -> Self {
        alarm.set_at(Some(accepted + client_hello + TICK));
        Self {
            alarm,
            accepted: accepted.into(),
            handshake: None,
            awaits: Awaits::Handshake,
            calls: 0,
            since: accepted.into(),
            overdue: None,
            rest: None,
            blocked: None,
            write: None,
            total: None,
            probe: None,
            forced: None,
            bounded: false,
        }
    }

    /// The PROXY protocol header is there: the client's own time begins.
    pub(super) fn restart(&mut self, now: Duration, client_hello: Duration) {
        self.accepted = now.into();
        self.since = self.accepted;
        self.alarm.set_at(Some(now + client_hello + TICK));
    }

    /// The site is known, and with it how long the handshake may take from accept on.
    pub(super) fn handshake(&mut self, limit: Duration) {
        self.handshake = Some(self.accepted + limit + TICK);
        self.set_at(self.handshake);
    }

    /// Requests that were handed out when the connection was seen last.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Whether the alarm went off; if not, the task is woken when it does.
    pub(super) fn poll_due(&self, cx: &mut Context<'_>) -> bool {
        self.alarm.poll_due(cx).is_ready()
    }

    /// Sees what the connection awaits now, and sets the alarm for the next deadline.
    pub(super) fn observe(
        &mut self,
        link: &Link,
        hyper: Option<&Hyper>,
        shared: Option<&Shared>,
        timeouts: Option<&SiteTimeouts>,
        now: Duration,
    ) {
        let now = Moment::from(now);
        let calls = shared.map_or(self.calls, Shared::calls);
        let awaits = awaits(link, shared, calls);
        // A request that is answered within one turn leaves only its count behind.
        if awaits != self.awaits || calls != self.calls {
            self.awaits = awaits;
            self.calls = calls;
            self.since = now;
            self.overdue = timeouts
                .and_then(|timeouts| match awaits {
                    Awaits::First | Awaits::Head => Some(timeouts.request_headers),
                    Awaits::Next => Some(timeouts.keep_alive),
                    Awaits::Handshake | Awaits::Nothing => None,
                })
                .map(|limit| now + limit + TICK);
        }
        if !link.tls.is_unconfirmed() {
            self.handshake = None;
        }
        self.rest = (awaits == Awaits::Next && hyper.is_some_and(Hyper::is_http1))
            .then(|| self.since + 2 * TICK);
        self.observe_writing(link, shared, now);
        self.probe =
            (hyper.is_some() && link.holds_back()).then(|| self.probe.unwrap_or(now + PROBE));
        self.total = shared
            .and_then(Shared::total_left)
            .filter(|_| link.tls.is_blocked())
            .map(|left| now + left);
        self.set();
    }

    fn observe_writing(&mut self, link: &Link, shared: Option<&Shared>, now: Moment) {
        let limit = shared.and_then(Shared::write_idle);
        let (true, Some(limit)) = (link.tls.is_blocked(), limit) else {
            self.blocked = None;
            self.write = None;
            return;
        };
        let sent = link.tls.facts().bytes_out;
        if self.blocked.is_none_or(|before| before != sent) {
            self.blocked = Some(sent);
            self.write = Some(now + limit + TICK);
        }
    }

    fn set(&self) {
        let all = [
            self.handshake,
            self.overdue,
            self.rest,
            self.write,
            self.total,
            self.probe,
            self.forced(),
        ];
        self.set_at(all.into_iter().flatten().min());
    }

    fn set_at(&self, due: Option<Moment>) {
        self.alarm.set_at(due.map(Duration::from));
    }

    /// What is due at `now`.
    pub(super) fn due(&self, now: Duration) -> Due {
        let now = Moment::from(now);
        let passed = |deadline: Option<Moment>| deadline.is_some_and(|deadline| deadline <= now);
        if passed(self.forced()) {
            Due::Forced
        } else if passed(self.handshake) {
            Due::Cut(TimeoutKind::Handshake)
        } else if passed(self.write) {
            Due::Cut(TimeoutKind::WriteIdle)
        } else if passed(self.total) {
            Due::Cut(TimeoutKind::Total)
        } else if passed(self.overdue) {
            Due::Close(match self.awaits {
                Awaits::Next => TimeoutKind::KeepAlive,
                _ => TimeoutKind::RequestHeaders,
            })
        } else if passed(self.probe) {
            Due::Probe
        } else if passed(self.rest) {
            Due::Rest
        } else {
            Due::Nothing
        }
    }

    /// What still runs when the connection is asked to let go may end.
    fn forced(&self) -> Option<Moment> {
        self.forced.filter(|_| self.awaits != Awaits::Nothing)
    }

    pub(super) fn is_due_handshake(&self, now: Duration) -> bool {
        self.handshake
            .is_some_and(|deadline| deadline <= now.into())
    }

    /// Whether part of a head is there.
    pub(super) fn in_head(&self) -> bool {
        self.awaits == Awaits::Head
    }

    /// Whether the last request is answered and no other has begun.
    pub(super) fn is_between(&self) -> bool {
        self.awaits == Awaits::Next
    }

    /// Bounds how long the first request is waited for.
    pub(super) fn hurry_first(&mut self, limit: Duration) {
        if self.awaits == Awaits::First {
            let soon = self.since + limit + TICK;
            self.overdue = self.overdue.map(|overdue| overdue.min(soon));
            self.set();
        }
    }

    /// A client that is held back was looked after.
    pub(super) fn probed(&mut self) {
        self.probe = None;
    }

    /// hyper is gone until the next request.
    pub(super) fn rested(&mut self) {
        self.rest = None;
        self.set();
    }

    /// Bounds how long the connection may still go on.
    pub(super) fn force_in(&mut self, ticker: &Ticker, limit: Duration) {
        self.overdue = None;
        self.forced = Some(ticker.due(limit).into());
        self.set();
    }

    /// The connection closes: only the handshake still counts.
    pub(super) fn close(&mut self) {
        self.set_at(self.handshake);
    }

    /// Bounds, once, how long the last bytes may take.
    pub(super) fn bound_close(&mut self, ticker: &Ticker, limit: Duration) {
        if !self.bounded {
            self.bounded = true;
            self.alarm.set_at(Some(ticker.due(limit)));
        }
    }

    /// Our side is closed: bounds how long the client's side is waited for.
    pub(super) fn linger(&mut self, ticker: &Arc<Ticker>, limit: Duration) {
        self.alarm.set_at(Some(ticker.due(limit)));
    }
}

fn awaits(link: &Link, shared: Option<&Shared>, calls: u64) -> Awaits {
    let unconfirmed = link.tls.is_unconfirmed();
    let Some(shared) = shared else {
        return match (unconfirmed, calls) {
            (true, _) => Awaits::Handshake,
            (false, 0) => Awaits::First,
            // At rest.
            (false, _) => Awaits::Next,
        };
    };
    let busy = shared.in_flight() > 0;
    match (shared.state.protocol, link.scanner()) {
        (Protocol::Http1, Some(scanner)) => {
            // While the socket is blocked hyper may hold the end of an answer.
            let blocked = link.holds_output();
            // A body that was not read to its end may be in hyper's read buffer. Put before a new
            // hyper it would be read as a request.
            let unread = shared.unread_bodies.load(Ordering::Relaxed) > 0;
            if busy
                || blocked
                || unread
                || calls < scanner.heads()
                || scanner.in_body()
                || link.has_approved()
            {
                Awaits::Nothing
            } else if scanner.in_head() {
                Awaits::Head
            } else if calls == 0 {
                Awaits::First
            } else {
                Awaits::Next
            }
        }
        _ if busy => Awaits::Nothing,
        _ if calls == 0 => Awaits::First,
        _ => Awaits::Next,
    }
}
