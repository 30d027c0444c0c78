//! Forwarding to origin servers over HTTP/1.1 and HTTP/2, in plain text or TLS, over TCP or a Unix
//! socket.
//!
//! One [`Origins`] per worker holds that worker's connections. **No task runs beside a request**:
//! the future of [`Origins::forward`], and then the body of the answer, drive the exchange, so
//! dropping either ends it and closes its connection (HTTP/2: resets its stream), and a client
//! that stops reading stops the origin. What requests share has a task: a connection of HTTP/2, and the
//! attempt to open one.
//!
//! Where EARLY-DATA R11 wants the connection of an aborted request not pooled, a stream of HTTP/2 is
//! reset instead: what the request left behind goes with its stream, and its neighbours, who may be
//! other clients' confirmed requests, go on.
//!
//! What is sent and what comes back follows RFC 9110 §7.6 and RFC 9112 §6 (`fields`); early and
//! marked requests follow EARLY-DATA R11 and R16–R20. A request is sent again
//! - to another server or address, if it could not be connected to,
//! - to another server, if that closed before any byte of an answer, or answered with a status that
//!   is not wanted, and the request is idempotent and without a body,
//! - on a fresh connection, a few times, if the origin says that it did nothing about it (HTTP/2: GOAWAY,
//!   REFUSED_STREAM), or if a connection that had *rested* closed at once, before any byte of an
//!   answer, and nothing was sent or the request is idempotent and without a body,
//! - without `Early-Data`, once, if the origin answered 425 to it (R19).
//!
//! The first two happen a few times at most, and within a budget. The third says nothing about the
//! server, so it costs none: but a connection that closes later, or beside answers to others, is a
//! server that fails.
//!
//! What workers share of an origin is in [`Upstreams`]: how its servers stand, and how much each may
//! be asked at once.

mod address;
mod affinity;
mod attempt;
mod balance;
mod budget;
mod connect;
mod endpoint;
mod error;
mod exchange;
mod fields;
mod head;
mod health;
mod http1;
mod http2;
mod lease;
mod link;
mod pool;
mod probe;
mod queue;
mod race;
mod receiving;
mod request_body;
mod resolver;
mod response_body;
mod sending;
mod socket;
mod tls;
mod upstream;
mod upstreams;
mod watch;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Response};

use self::pool::Pool;
use crate::body::Body;
use crate::config::snapshot::{FieldEdits, OriginSpec, RouteTimeouts};
use crate::confirm::Confirmation;
use crate::deadline::{Deadline, Ticker};
use crate::forwarded::Told;
use crate::interim::Interims;
use crate::telemetry::metrics::Metrics;

pub use self::address::Address;
pub use self::error::{AnswerCut, Effort, ForwardError, ForwardErrorKind};
pub use self::resolver::Resolver;
pub use self::tls::TlsError;
pub use self::upstreams::Upstreams;

/// How long a pool that nobody uses is kept: a reload that brings an origin back finds it.
const UNUSED: Duration = Duration::from_secs(120);
/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What an origin is told about a request's handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyForward {
    /// The request is confirmed and came without `Early-Data`.
    No,
    /// The request goes out before the client's Finished: it carries `Early-Data: 1`, and a 425 is
    /// answered by sending it again after completion (EARLY-DATA R19).
    Early,
    /// The request came with `Early-Data` and keeps it; a 425 is the client's to answer. Also to
    /// be used if it is early as well.
    Marked,
}

/// A request to forward.
#[derive(Debug)]
pub struct Forward {
    /// Where to.
    pub spec: Arc<OriginSpec>,
    /// The head as it was received, its path normalised.
    pub parts: Parts,
    /// The body, bounded by the caller's `request_body_idle` and limits.
    pub body: Body,
    /// The authority that the client asked for: becomes `Host` and `X-Forwarded-Host`.
    pub host: HeaderValue,
    /// Becomes `X-Request-Id`.
    pub request_id: HeaderValue,
    /// The client's IP address, and those of the proxies that it came through: becomes
    /// `X-Forwarded-For`. Made once per connection, where no proxy is trusted.
    pub client: HeaderValue,
    /// The address of the connection that the request came on.
    pub peer: IpAddr,
    /// What a PROXY protocol header tells.
    pub ends: Ends,
    /// What a trusted proxy says of the client.
    pub told: Option<Arc<Told>>,
    /// `connect`, `response_headers` and `response_idle` of the route.
    pub timeouts: RouteTimeouts,
    /// The request's total deadline. Watched while the head is awaited and whenever the answer's
    /// body is waited for; while the client takes nothing the caller must watch it.
    pub deadline: Option<Deadline>,
    /// The client's handshake.
    pub confirmation: Confirmation,
    /// Whether the request may be a replay.
    pub early: EarlyForward,
    /// What else becomes of the request's fields, after all that the edge says itself.
    pub fields: Option<Arc<FieldEdits>>,
    /// Where interim answers go; without it they are passed over.
    pub interims: Option<Arc<dyn Interims>>,
}

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client; port 0 is not known.
    pub client: SocketAddr,
    /// What the client connected to.
    pub local: SocketAddr,
}

/// An origin's answer.
#[derive(Debug)]
pub struct Forwarded {
    /// The answer, ready for the client. Its body ends with an [`AnswerCut`] if it is not whole.
    pub response: Response<Body>,
    /// The server that gave it.
    pub address: Option<Address>,
    /// Request handed to the connection → head of the answer, of the last try.
    pub origin_time: Duration,
    /// What it took to get it.
    pub effort: Effort,
}

/// The origins of one worker. It outlives reloads: equal specs share a pool.
#[derive(Debug)]
pub struct Origins {
    ticker: Arc<Ticker>,
    metrics: Arc<Metrics>,
    upstreams: Arc<Upstreams>,
    pools: Mutex<Pools>,
}

#[derive(Debug, Default)]
struct Pools {
    /// By the address of the spec, which costs a request no hashing of names. The spec is kept
    /// here too, so an address is not used again while it is a key.
    by_address: HashMap<usize, (Arc<OriginSpec>, Arc<Pool>)>,
    by_spec: HashMap<Arc<OriginSpec>, Arc<Pool>>,
    swept: Duration,
}

impl Origins {
    /// No connections yet. `upstreams` is what the process's workers share.
    pub fn new(ticker: Arc<Ticker>, metrics: Arc<Metrics>, upstreams: Arc<Upstreams>) -> Self {
        Self {
            ticker,
            metrics,
            upstreams,
            pools: Mutex::default(),
        }
    }

    /// Forwards a request and awaits the head of the answer.
    ///
    /// Dropping the future aborts the exchange; its connection is closed.
    ///
    /// # Errors
    /// [`ForwardError`] if there is no answer to pass on; its
    /// [`status`](ForwardError::status) is what the client gets.
    // Not `async`: the future would be moved once more, and it is large.
    pub fn forward(
        &self,
        forward: Forward,
    ) -> impl Future<Output = Result<Forwarded, ForwardError>> + Send {
        let pool = self.pool(&forward.spec);
        exchange::run(pool, &self.metrics, forward)
    }

    /// Closes connections that idled too long and forgets pools that nobody uses. To be called
    /// with every tick; does something once a second.
    pub fn sweep(&self) {
        let now = self.ticker.now();
        let mut pools = self.pools();
        if now.saturating_sub(pools.swept) < SWEEP {
            return;
        }
        pools.swept = now;
        let pools = &mut *pools;
        pools.by_spec.retain(|_, pool| pool.sweep(now, UNUSED));
        let by_spec = &pools.by_spec;
        pools.by_address.retain(|_, (spec, _)| {
            let Some((known, _)) = by_spec.get_key_value(spec) else {
                return false;
            };
            // Of equal ones, those that only we hold belong to no snapshot and no request any more.
            Arc::ptr_eq(known, spec) || Arc::strong_count(spec) > 1
        });
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self, spec: &Arc<OriginSpec>) -> Arc<Pool> {
        let address = Arc::as_ptr(spec).addr();
        let mut pools = self.pools();
        if let Some((_, pool)) = pools.by_address.get(&address) {
            return Arc::clone(pool);
        }
        let pool = pools.by_spec.entry(Arc::clone(spec));
        let pool = pool.or_insert_with(|| {
            let upstream = self.upstreams.get(spec);
            let elapsed = self.upstreams.elapsed();
            Pool::new(
                upstream,
                self.upstreams.resolver(),
                Arc::clone(&self.ticker),
                elapsed,
            )
        });
        let pool = Arc::clone(pool);
        let known = (Arc::clone(spec), Arc::clone(&pool));
        pools.by_address.insert(address, known);
        pool
    }
}

#[cfg(test)]
mod tests;
