//! A connection of HTTP/2, and the task that drives it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong, Reason};
use tokio::sync::Notify;

use super::super::address::Address;
use super::super::link::LinkError;
use super::super::socket::Socket;
use super::super::tls::{Fault, TlsError};
use super::message;
use crate::deadline::{Alarm, Nudge, Ticker};

/// Streams on a connection, whatever more the origin allows.
const STREAMS: usize = 100;
/// Bytes that an origin may send on a stream before the client has taken any: what a client that
/// stops reading costs.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same of a connection. Room for all its streams: otherwise clients that stop reading would
/// stop those who share the connection with them.
const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;
/// Bytes of a stream that wait for the socket.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes of an answer's header or trailer section, by HPACK's way of counting.
const HEADERS: u32 = 64 * 1024;
/// What h2 has for the origin's limit of streams before its SETTINGS are there: a number that nobody
/// sends.
const UNKNOWN: usize = 0x7fff_fff1;
/// How often an origin that has requests is asked whether it is still there.
const PING: Duration = Duration::from_secs(10);
/// How long its answer to that is waited for.
const PONG: Duration = Duration::from_secs(5);

/// A connection without a request, which had some.
const RESTS: u64 = u64::MAX - 1;
/// A connection that is certainly not gone for having idled.
const AWAKE: u64 = u64::MAX;

/// A connection that requests share.
#[derive(Debug)]
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    pub(crate) address: Address,
    /// Where a fault of TLS is noted; `None` without TLS.
    fault: Option<Fault>,
    /// Streams beyond which the origin was seen to refuse: one more with each that ends.
    limit: AtomicUsize,
    /// When the last stream ended, or it began, in milliseconds on the ticker's clock.
    rests_since: AtomicU64,
    /// When it was last woken from its rest, in the same way; [`RESTS`] until then, and [`AWAKE`]
    /// once the origin said anything since. A new one has not rested.
    woken: AtomicU64,
    /// Told of each stream that ends.
    freed: OnceLock<Arc<Notify>>,
    /// A request was given a place on it.
    claimed: AtomicBool,
    ticker: Arc<Ticker>,
    state: Arc<State>,
    nudge: Nudge,
}

/// What a connection and its task tell each other. The task holds nothing of [`Connection`] itself,
/// so that the connection ends when the last place on it is given up.
#[derive(Debug, Default)]
struct State {
    /// Streams under way.
    active: AtomicUsize,
    /// It has ended.
    over: AtomicBool,
    /// A request waited in vain: the origin has to prove that it is there.
    doubted: AtomicBool,
    /// It gets no more requests.
    retired: AtomicBool,
}

/// Begins HTTP/2 on a socket.
///
/// # Errors
/// The preface could not be sent.
pub(crate) async fn open(
    socket: Socket,
    address: Address,
    ticker: &Arc<Ticker>,
) -> Result<Arc<Connection>, LinkError> {
    let fault = match &socket {
        Socket::Tls(stream) => Some(Arc::clone(stream.fault())),
        Socket::Tcp(_) | Socket::Unix(_) => None,
    };
    let failed = |error| explain(fault.as_ref(), message::error(error));
    let (send, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(UNKNOWN)
        .handshake(socket)
        .await
        .map_err(failed)?;
    // RFC 9113 §3.4: the origin's SETTINGS come first. Without them it is not known how many
    // requests it takes, nor whether it speaks HTTP/2 at all.
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.and(Err(Reason::PROTOCOL_ERROR.into()))),
        Poll::Pending if send.current_max_send_streams() == UNKNOWN => Poll::Pending,
        Poll::Pending => Poll::Ready(Ok(())),
    })
    .await
    .map_err(failed)?;
    let state = Arc::new(State::default());
    let alarm = ticker.alarm();
    let nudge = alarm.waker();
    tokio::spawn(drive(connection, alarm, Arc::clone(&state)));
    Ok(Arc::new(Connection {
        send,
        address,
        fault,
        limit: AtomicUsize::new(STREAMS),
        rests_since: AtomicU64::new(milliseconds(ticker.now())),
        woken: AtomicU64::new(AWAKE),
        freed: OnceLock::new(),
        claimed: AtomicBool::new(false),
        ticker: Arc::clone(ticker),
        state,
        nudge,
    }))
}

impl Connection {
    /// Whether the origin takes new streams on it: neither closed nor announced to close.
    pub(super) fn accepts(&self) -> bool {
        !self.state.over.load(Ordering::Relaxed) && accepts(&mut self.send.clone())
    }

    /// A request is given a place on it; whether one was before.
    pub(super) fn claim(&self) -> bool {
        self.claimed.swap(true, Ordering::Relaxed)
    }

    /// Whether it is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.fault.is_some()
    }

    /// The error with what TLS knows about it.
    pub(super) fn explain(&self, error: LinkError) -> LinkError {
        explain(self.fault.as_ref(), error)
    }

    /// Whether another stream would begin at once.
    pub(crate) fn has_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let limit = limit.min(self.send.current_max_send_streams());
        !self.is_doubted() && !self.is_retired() && self.active() < limit
    }

    fn is_doubted(&self) -> bool {
        self.state.doubted.load(Ordering::Relaxed)
    }

    fn is_retired(&self) -> bool {
        self.state.retired.load(Ordering::Relaxed)
    }

    /// No more requests on it: it ends once those are over that it has.
    pub(super) fn retire(&self) {
        self.state.retired.store(true, Ordering::Relaxed);
    }

    /// Whether it goes there.
    pub(super) fn goes_to(&self, address: SocketAddr) -> bool {
        self.address == Address::Tcp(address)
    }

    /// Streams under way.
    pub(crate) fn active(&self) -> usize {
        self.state.active.load(Ordering::Relaxed)
    }

    /// A handle to begin streams with.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.send.clone()
    }

    /// A stream begins.
    pub(super) fn begin(&self) {
        let first = self.state.active.fetch_add(1, Ordering::Relaxed) == 0;
        if first && self.woken.load(Ordering::Relaxed) == RESTS {
            self.woken.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Nobody waited for it: it may idle before its first request.
    pub(crate) fn rest(&self) {
        self.woken.store(RESTS, Ordering::Relaxed);
    }

    /// Somebody did, and takes it at once.
    pub(crate) fn wake(&self) {
        self.woken.store(AWAKE, Ordering::Relaxed);
    }

    /// The origin said something on a stream.
    pub(super) fn heard(&self) {
        self.woken.store(AWAKE, Ordering::Relaxed);
    }

    /// Whether it rested until `at_once` ago or less, and the origin said nothing since.
    pub(super) fn rested(&self, at_once: Duration) -> bool {
        match self.woken.load(Ordering::Relaxed) {
            AWAKE => false,
            RESTS => true,
            woken => u128::from(self.now().saturating_sub(woken)) < at_once.as_millis(),
        }
    }

    /// Milliseconds on the ticker's clock.
    fn now(&self) -> u64 {
        milliseconds(self.ticker.now())
    }

    /// A stream has ended.
    pub(super) fn end(&self) {
        if self.state.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.rests_since.store(self.now(), Ordering::Relaxed);
            self.woken.store(RESTS, Ordering::Relaxed);
        }
        let limit = self.limit.load(Ordering::Relaxed);
        if limit < STREAMS {
            // It was refused once: that need not hold for ever.
            self.limit.store(limit + 1, Ordering::Relaxed);
        }
        if let Some(freed) = self.freed.get() {
            freed.notify_one();
        }
    }

    /// Who is to be told of each stream that ends.
    pub(super) fn tell(&self, freed: &Arc<Notify>) {
        let _ = self.freed.set(Arc::clone(freed));
    }

    /// How long it had no request.
    pub(super) fn idle(&self, now: Duration) -> Duration {
        match self.active() {
            0 => now.saturating_sub(Duration::from_millis(
                self.rests_since.load(Ordering::Relaxed),
            )),
            _ => Duration::ZERO,
        }
    }

    /// The origin refused a stream: it wants no more of them than there are beside it.
    pub(super) fn refused(&self) {
        let others = self.active().saturating_sub(1).max(1);
        self.limit.fetch_min(others, Ordering::Relaxed);
    }

    /// No more requests on it until the origin has answered a PING.
    pub(super) fn doubt(&self) {
        self.state.doubted.store(true, Ordering::Relaxed);
        self.nudge.nudge();
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(RESTS - 1)
}

fn explain(fault: Option<&Fault>, error: LinkError) -> LinkError {
    let lost = matches!(error, LinkError::Io(_) | LinkError::Closed);
    match fault.and_then(TlsError::noted) {
        Some(noted) if lost => LinkError::Tls(noted),
        _ => error,
    }
}

/// Whether a stream can be begun: an error is GOAWAY, or the connection's end.
pub(super) fn accepts(send: &mut SendRequest<Bytes>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(send.poll_ready(&mut cx), Poll::Ready(Ok(())))
}

/// Drives a connection to its end. Dropping it ends its streams with an error.
async fn drive(
    mut connection: h2::client::Connection<Socket, Bytes>,
    alarm: Alarm,
    state: Arc<State>,
) {
    let mut watch = connection
        .ping_pong()
        .map(|pings| DeadPeer::new(pings, alarm));
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(result.map_err(|error| error.to_string()));
            }
            match watch.as_mut().map(|watch| watch.poll(&state, cx)) {
                // A PING is to be written.
                Some(Poll::Ready(Ok(()))) => {}
                Some(Poll::Ready(Err(silent))) => return Poll::Ready(Err(silent)),
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        }
    })
    .await;
    state.over.store(true, Ordering::Relaxed);
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP/2 connection to an origin ended");
    }
}

/// Sees that an origin is gone that neither closes nor answers, so that its requests do not have to
/// wait until their own deadlines, nor new ones join them.
struct DeadPeer {
    pings: PingPong,
    alarm: Alarm,
    waits: bool,
}

impl DeadPeer {
    fn new(pings: PingPong, alarm: Alarm) -> Self {
        alarm.set(Some(PING));
        Self {
            pings,
            alarm,
            waits: false,
        }
    }

    /// Ready if a PING was made that has to be written, or if the origin is gone.
    fn poll(&mut self, state: &State, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        match self.pings.poll_pong(cx) {
            Poll::Ready(Ok(_)) => {
                self.waits = false;
                state.doubted.store(false, Ordering::Relaxed);
                self.alarm.set(Some(PING));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
            Poll::Pending => {}
        }
        let doubted = state.doubted.load(Ordering::Relaxed);
        let due = self.alarm.poll_due(cx).is_ready();
        match (self.waits, due) {
            (true, true) => return Poll::Ready(Err("the origin answers no PING".to_owned())),
            (true, false) => return Poll::Pending,
            (false, false) if !doubted => return Poll::Pending,
            (false, _) => {}
        }
        if !doubted && state.active.load(Ordering::Relaxed) == 0 {
            // Nobody waits: an idle connection is left alone.
            self.alarm.set(Some(PING));
            let _ = self.alarm.poll_due(cx);
            return Poll::Pending;
        }
        if let Err(error) = self.pings.send_ping(Ping::opaque()) {
            return Poll::Ready(Err(error.to_string()));
        }
        self.waits = true;
        self.alarm.set(Some(PONG));
        Poll::Ready(Ok(()))
    }
}
