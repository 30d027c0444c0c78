//! The servers of one origin: who is asked next, and the idle connections to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;

use super::address::Address;
use super::connect::{self, Endpoint};
use super::error::ForwardErrorKind;
use super::link::Link;
use crate::config::snapshot::{HostHeader, OriginServer, OriginSpec};
use crate::deadline::Ticker;

/// Idle connections kept to one server, per worker.
const MAX_IDLE: usize = 128;
/// How long a connection may idle. Servers close theirs after 5 to 75 s; a request that may be
/// sent again survives the race, and only such a request is given an old connection.
const MAX_IDLE_AGE: Duration = Duration::from_secs(60);
/// How long a connection may have idled for a request that may not be sent again. Below the
/// shortest keep-alive timeout in wide use (5 s).
const MAX_IDLE_AGE_FOR_UNREPEATABLE: Duration = Duration::from_secs(3);
/// How long a server that could not be connected to is asked last.
const AVOIDED: Duration = Duration::from_secs(1);

/// The pool of one origin on one worker.
#[derive(Debug)]
pub(super) struct Pool {
    spec: Arc<OriginSpec>,
    /// The Host of each server; empty if they get the client's.
    hosts: Vec<HeaderValue>,
    /// What is connected to, server by server.
    endpoints: Vec<Endpoint>,
    ticker: Arc<Ticker>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    servers: Vec<Server>,
    /// Where the search for the least busy server starts: ties go round.
    next: usize,
    last_used: Duration,
}

#[derive(Debug, Default)]
struct Server {
    /// Requests that this worker has with it.
    active: usize,
    /// Oldest first; the youngest is used first. Boxed, since a link moves with its request.
    #[expect(clippy::vec_box, reason = "a link moves between the pool and futures")]
    idle: Vec<Box<Link>>,
    /// Asked last until then.
    avoided_until: Duration,
}

impl Pool {
    pub(super) fn new(spec: Arc<OriginSpec>, ticker: Arc<Ticker>) -> Arc<Self> {
        let servers = spec.servers.iter().map(|_| Server::default()).collect();
        let hosts = match spec.host {
            HostHeader::Client => Vec::new(),
            HostHeader::Origin => {
                let host = |server: &OriginServer| HeaderValue::try_from(server.authority());
                // Names and addresses are printable: none is left out.
                spec.servers.iter().flat_map(host).collect()
            }
        };
        let endpoints = spec.servers.iter().map(Endpoint::new).collect();
        Arc::new(Self {
            spec,
            hosts,
            endpoints,
            state: Mutex::new(State {
                servers,
                next: 0,
                last_used: ticker.now(),
            }),
            ticker,
        })
    }

    /// What the pool was made of.
    pub(super) fn spec(&self) -> &Arc<OriginSpec> {
        &self.spec
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the server with the fewest requests that is not in `tried`; `None` if all are.
    pub(super) fn choose(self: &Arc<Self>, tried: &[usize]) -> Option<Lease> {
        let now = self.ticker.now();
        let mut state = self.state();
        state.last_used = now;
        let count = state.servers.len();
        let first = state.next;
        let index = (0..count)
            .map(|offset| (first + offset) % count)
            .filter(|index| !tried.contains(index))
            .filter_map(|index| state.servers.get(index).map(|server| (index, server)))
            .min_by_key(|(_, server)| (server.avoided_until > now, server.active))
            .map(|(index, _)| index)?;
        state.next = (index + 1) % count;
        state.servers.get_mut(index)?.active += 1;
        Some(Lease {
            pool: Arc::clone(self),
            server: index,
            link: None,
        })
    }

    /// Closes what idled too long. Returns whether the pool was used within `unused`.
    pub(super) fn sweep(&self, now: Duration, unused: Duration) -> bool {
        let mut old = Vec::new();
        let mut state = self.state();
        let mut busy = false;
        for server in &mut state.servers {
            let fresh_from = server
                .idle
                .iter()
                .position(|link| now.saturating_sub(link.idle_since) < MAX_IDLE_AGE);
            old.extend(server.idle.drain(..fresh_from.unwrap_or(server.idle.len())));
            busy |= server.active > 0 || !server.idle.is_empty();
        }
        let used = busy || now.saturating_sub(state.last_used) < unused;
        // Sockets close outside the lock.
        drop(state);
        used
    }
}

/// A request's claim on a server. Dropped, it closes the connection that it holds.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    server: usize,
    link: Option<Box<Link>>,
}

impl Lease {
    /// Which server of the origin it is.
    pub(super) fn server(&self) -> usize {
        self.server
    }

    /// Takes an idle connection that still stands; `repeatable` says that the request could be
    /// sent again if it turns out not to.
    pub(super) fn reuse(&mut self, repeatable: bool) -> bool {
        let max_age = if repeatable {
            MAX_IDLE_AGE
        } else {
            MAX_IDLE_AGE_FOR_UNREPEATABLE
        };
        let now = self.pool.ticker.now();
        loop {
            let mut link = {
                let mut state = self.pool.state();
                let Some(server) = state.servers.get_mut(self.server) else {
                    return false;
                };
                match server.idle.last() {
                    Some(link) if now.saturating_sub(link.idle_since) < max_age => {}
                    // The youngest is too old, so all are.
                    _ => return false,
                }
                let Some(link) = server.idle.pop() else {
                    return false;
                };
                link
            };
            // Polled once: this notices that the origin closed it meanwhile.
            if link.is_ready() {
                self.link = Some(link);
                return true;
            }
        }
    }

    /// Opens a connection within `timeout`, trying all addresses of the server.
    ///
    /// # Errors
    /// The address tried last and what became of it.
    pub(super) async fn connect(
        &mut self,
        timeout: Duration,
    ) -> Result<(), (ForwardErrorKind, Option<Address>)> {
        let ticker = Arc::clone(&self.pool.ticker);
        let result = match self.pool.endpoints.get(self.server) {
            Some(endpoint) => connect::open(endpoint, &ticker, timeout).await,
            None => return Err((connect::unreachable_name(), None)),
        };
        match result {
            Ok(link) => {
                self.link = Some(link);
                Ok(())
            }
            Err(error) => {
                let until = ticker.now() + AVOIDED;
                if let Some(server) = self.pool.state().servers.get_mut(self.server) {
                    server.avoided_until = until;
                }
                Err(error)
            }
        }
    }

    /// The connection; `None` before [`reuse`](Self::reuse) or [`connect`](Self::connect) had
    /// one.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        self.link.as_deref_mut()
    }

    /// The server's own Host, if that is what it gets.
    pub(super) fn host(&self) -> Option<&HeaderValue> {
        self.pool.hosts.get(self.server)
    }

    /// What is left of the answer's body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.link.as_ref()?.left()
    }

    /// The exchange is over: keeps the connection if it can serve another one.
    pub(super) fn release(mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        link.alarm.clear();
        if !link.is_ready() {
            return;
        }
        link.idle_since = self.pool.ticker.now();
        if let Some(server) = self.pool.state().servers.get_mut(self.server)
            && server.idle.len() < MAX_IDLE
        {
            server.idle.push(link);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(server) = self.pool.state().servers.get_mut(self.server) {
            server.active = server.active.saturating_sub(1);
        }
    }
}
