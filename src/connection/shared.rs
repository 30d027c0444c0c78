//! What the requests of one connection share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::config::snapshot::{Listener, RouteTimeouts, Site, Snapshot, TrustedProxies};
use crate::confirm::{Confirmation, Status};
use crate::connection::context::{Vitals, Worker};
use crate::connection::exchange::Line;
use crate::connection::handshake::Chosen;
use crate::connection::stage::Watch;
use crate::deadline::Deadline;
use crate::forwarded;
use crate::state::{ConnectionState, Protocol};
use crate::tags::Tag;
use crate::telemetry::labels::TimeoutKind;
use crate::telemetry::metrics::Metrics;

/// The facts and counters that a connection's requests share with its task.
pub(super) struct Shared {
    pub(super) worker: Arc<Worker>,
    pub(super) state: Arc<ConnectionState>,
    pub(super) confirmation: Confirmation,
    /// Gone once the handshake is finished: who is finished is not to be evicted.
    pub(super) vitals: Weak<Vitals>,
    /// The site that the ClientHello chose, as it was then.
    pub(super) site: Arc<Site>,
    /// The trust that the connection was made with.
    pub(super) trust: Tag,
    /// Whether the site was chosen as the listener's default.
    pub(super) by_default: bool,
    /// The snapshot that the site is from.
    pub(super) generation: u64,
    /// Whether packets come from another address now than the one that was proved.
    moved: AtomicBool,
    /// The status for framing that was found broken inside a body; 0 if none was.
    violation: Arc<AtomicU16>,
    /// The client's address as X-Forwarded-For shows it.
    pub(super) forwarded_for: HeaderValue,
    /// Whether the connection's client is a trusted proxy, in the snapshot of this generation.
    trusts: (u64, Option<Arc<TrustedProxies>>),
    /// Requests that hyper has handed out, ever.
    pub(super) calls: AtomicU64,
    /// Requests that are not answered whole.
    in_flight: AtomicUsize,
    /// Bodies of requests that somebody may still read, perhaps after the answer.
    pub(super) unread_bodies: AtomicUsize,
    /// Requests that begin now may have bytes that came as early data.
    early_bytes: AtomicBool,
    /// The connection is to be closed after the answers under way.
    pub(super) closing: AtomicBool,
    /// `write_idle` of the route asked last, in milliseconds; 0 is off.
    write_idle: AtomicU64,
    /// The total deadline of the HTTP/1.1 request under way.
    total: Mutex<Option<Deadline>>,
    /// Handed from the service to the executor of HTTP/2 streams, within one call of hyper's.
    watch: Mutex<Option<Watch>>,
    /// The deadline that cut the connection, for the log lines of what was under way.
    pub(super) cut: OnceLock<TimeoutKind>,
    /// Access-log lines that wait for the handshake to end (EARLY-DATA R15).
    lines: Mutex<Vec<Line>>,
}

/// What the connection knows from before its requests had anything to share.
pub(super) struct Past {
    /// The snapshot that its site is from.
    pub(super) generation: u64,
    /// Requests that were handed out before it came to rest.
    pub(super) calls: u64,
    /// Whether bytes that came as early data are not handed out yet.
    pub(super) early_bytes: bool,
}

/// Where a request's connection stands in the snapshot in force.
pub(super) enum Standing<'s> {
    /// Its site is there, perhaps changed.
    Here(&'s Arc<Site>),
    /// Its site is gone, or trusts otherwise: 421 and close.
    Gone,
}

impl Shared {
    pub(super) fn new(
        worker: Arc<Worker>,
        state: Arc<ConnectionState>,
        confirmation: Confirmation,
        vitals: Weak<Vitals>,
        chosen: &Chosen,
        violation: Arc<AtomicU16>,
        past: Past,
    ) -> Arc<Self> {
        let forwarded_for = forwarded::x_forwarded_for(None, state.client.ip());
        let trusts = {
            let snapshot = worker.process.current.peek();
            (snapshot.generation, trusted(&state, &snapshot).cloned())
        };
        Arc::new(Self {
            worker,
            state,
            confirmation,
            vitals,
            site: Arc::clone(&chosen.site),
            trust: chosen.tls.trust,
            by_default: chosen.by_default,
            generation: past.generation,
            moved: AtomicBool::new(false),
            violation,
            forwarded_for,
            trusts,
            calls: AtomicU64::new(past.calls),
            in_flight: AtomicUsize::new(0),
            unread_bodies: AtomicUsize::new(0),
            early_bytes: AtomicBool::new(past.early_bytes),
            closing: AtomicBool::new(false),
            // Answers without a route are bounded too.
            write_idle: AtomicU64::new(in_millis(RouteTimeouts::default().write_idle)),
            total: Mutex::new(None),
            watch: Mutex::new(None),
            cut: OnceLock::new(),
            lines: Mutex::new(Vec::new()),
        })
    }

    /// The connection's site in `snapshot`, and its listener there.
    pub(super) fn standing<'s>(&'s self, snapshot: &'s Snapshot) -> Standing<'s> {
        if snapshot.generation == self.generation {
            return Standing::Here(&self.site);
        }
        match self
            .listener(snapshot)
            .and_then(|listener| listener.site(&self.site.name))
        {
            Some(site)
                if self
                    .trust_of(site)
                    .is_some_and(|trust| trust == self.trust || self.has_own_tls()) =>
            {
                Standing::Here(site)
            }
            _ => Standing::Gone,
        }
    }

    /// Which of the listener's proxies the connection comes from, so that it is believed. None, once
    /// its address has changed.
    pub(super) fn trusted<'s>(&'s self, snapshot: &'s Snapshot) -> Option<&'s TrustedProxies> {
        if self.has_moved() {
            return None;
        }
        match &self.trusts {
            (generation, trusts) if *generation == snapshot.generation => trusts.as_deref(),
            _ => trusted(&self.state, snapshot).map(Arc::as_ref),
        }
    }

    /// Whether the listener has proxies that are believed, by their address.
    pub(super) fn may_be_believed(&self, snapshot: &Snapshot) -> bool {
        let listener = self.listener(snapshot);
        listener.is_some_and(|listener| listener.trusted_proxies.is_some())
    }

    /// Whether a selector gave this connection a TLS side that is not its site's.
    pub(super) fn has_own_tls(&self) -> bool {
        self.trust_of(&self.site)
            .is_some_and(|trust| trust != self.trust)
    }

    /// The trust of a site's own TLS side, over this connection's transport.
    fn trust_of(&self, site: &Site) -> Option<Tag> {
        let tls = site.tls.as_ref()?;
        Some(match self.state.protocol {
            Protocol::Http1 | Protocol::Http2 => tls.trust,
            Protocol::Http3 => tls.over_quic().trust,
        })
    }

    /// Whether the client's address is proved (EARLY-DATA R15).
    ///
    /// Over TCP it is: no byte comes before the client has answered our SYN-ACK from that address,
    /// and listeners do not use TCP Fast Open, which would let a first byte come before. Over QUIC
    /// early data may come in the very first datagram, from a forged address: a Retry proves it, or
    /// the handshake's end.
    ///
    /// An address that a balancer or a trusted proxy tells is proved as far as theirs is: who sends
    /// a recorded flight again does so from an address of its own, and is believed in nothing.
    pub(super) fn address_is_proved(&self) -> bool {
        self.state.address_validated || self.is_confirmed()
    }

    /// Whether the client's Finished was verified.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmation.status() == Status::Confirmed
    }

    /// Packets come from this address now.
    pub(super) fn comes_from(&self, address: IpAddr) {
        let proved = self.state.peer.ip().to_canonical();
        let moved = address.to_canonical() != proved;
        self.moved.store(moved, Ordering::Relaxed);
    }

    /// Whether packets come from another address now than the one that was proved, so that nothing
    /// may be decided by either: what the client was admitted for it may have left behind, and where
    /// it is now is not proved to us (EARLY-DATA R15). quinn knows, but does not tell.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    /// What answers tell of HTTP/3, on connections of another kind.
    pub(super) fn alt_svc(&self) -> Option<HeaderValue> {
        if self.state.protocol == Protocol::Http3 {
            return None;
        }
        let snapshot = self.worker.process.current.peek();
        let quic = self.listener(&snapshot)?.quic.as_ref()?;
        quic.alt_svc.clone()
    }

    pub(super) fn listener<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Listener> {
        listener(&self.state, snapshot)
    }

    /// Whether a request that begins now may have bytes that came as early data. Cautious: they may
    /// have been read together with the client's Finished.
    pub(super) fn may_be_early(&self) -> bool {
        self.early_bytes.load(Ordering::Relaxed) || !self.is_confirmed()
    }

    /// All that came before Finished is handed out.
    pub(super) fn early_bytes_are_over(&self) {
        self.early_bytes.store(false, Ordering::Relaxed);
    }

    /// A request was handed out.
    pub(super) fn begin(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered whole, or given up.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.state.protocol == Protocol::Http1 {
            self.set_total(None);
        }
    }

    /// Requests that were handed out, ever.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.worker.process.metrics
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(super) fn set_write_idle(&self, limit: Option<Duration>) {
        self.write_idle.store(in_millis(limit), Ordering::Relaxed);
    }

    pub(super) fn write_idle(&self) -> Option<Duration> {
        match self.write_idle.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    /// What bounds the stream of the request that has just begun.
    pub(super) fn set_watch(&self, watch: Watch) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
    }

    /// What was set last, once.
    pub(super) fn take_watch(&self) -> Option<Watch> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.take()
    }

    pub(super) fn set_total(&self, total: Option<Deadline>) {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) = total;
    }

    /// The time left for the HTTP/1.1 request under way.
    pub(super) fn total_left(&self) -> Option<Duration> {
        self.total
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .and_then(Deadline::remaining)
    }

    /// Writes an access-log line, or keeps it until the handshake has ended (EARLY-DATA R15).
    pub(super) fn log(&self, line: Line) {
        if self.confirmation.is_pending() {
            self.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
            // The handshake may have ended between the two.
            if self.confirmation.is_pending() {
                return;
            }
            self.write_lines();
            return;
        }
        line.write(self);
    }

    /// Writes the lines that waited for the handshake.
    pub(super) fn write_lines(&self) {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        for line in lines {
            line.write(self);
        }
    }

    /// The status that broken framing inside a body is answered with.
    pub(super) fn violation(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.violation.load(Ordering::Relaxed)).ok()
    }

    pub(super) fn handshake_failed(&self) -> bool {
        self.confirmation.status() == Status::Failed
    }
}

fn listener<'s>(state: &ConnectionState, snapshot: &'s Snapshot) -> Option<&'s Listener> {
    let mut listeners = snapshot.listeners.iter();
    listeners.find(|listener| listener.name == state.listener)
}

/// The listener's trusted proxies, if the connection's client is one. That is who speaks HTTP to us:
/// a balancer before it only passes bytes on.
fn trusted<'s>(state: &ConnectionState, snapshot: &'s Snapshot) -> Option<&'s Arc<TrustedProxies>> {
    let proxies = listener(state, snapshot)?.trusted_proxies.as_ref()?;
    let client = state.client.ip().to_canonical();
    proxies.networks.contains(client).then_some(proxies)
}

/// As `write_idle` is kept; 0 is off.
fn in_millis(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |limit| {
        u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}
