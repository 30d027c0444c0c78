//! The servers of one origin as one worker uses them: who is asked next, and the connections to them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;

use super::balance::{self, Load};
use super::budget::Budget;
use super::endpoint::Endpoint;
use super::lease::Lease;
use super::link::Link;
use super::queue::{Place, Slot};
use super::resolver::Resolver;
use super::upstream::Upstream;
use crate::config::snapshot::{HostHeader, OriginServer, PoolSpec};
use crate::deadline::Ticker;

/// The pool of one origin on one worker.
#[derive(Debug)]
pub(super) struct Pool {
    /// What all workers share.
    pub(super) upstream: Arc<Upstream>,
    /// The Host of each server; empty if they get the client's.
    hosts: Vec<HeaderValue>,
    /// What is connected to, server by server.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) ticker: Arc<Ticker>,
    /// How much later than the process's the worker's clock began.
    behind: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// What the choice goes by, server by server.
    loads: Vec<Load>,
    servers: Vec<Server>,
    shares: Shares,
    budget: Budget,
    /// The last random number.
    random: u64,
    last_used: Duration,
}

#[derive(Debug, Default)]
struct Server {
    /// Oldest first; the youngest is used first. Boxed, since a link moves with its request.
    #[expect(clippy::vec_box, reason = "a link moves between the pool and futures")]
    idle: Vec<Box<Link>>,
    /// Asked last until then.
    avoided_until: Duration,
}

/// The shares of the servers, as they were last looked up.
#[derive(Debug, Default)]
struct Shares {
    version: u64,
    at: Duration,
    /// Whether they are others with every tick.
    grow: bool,
    /// Whether any server may be avoided.
    avoiding: bool,
    found: Vec<u32>,
}

/// How often a request was sent already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Try {
    First,
    /// A connection that had idled failed it, or a stream was refused: that says nothing about its
    /// server.
    Fresh,
    /// A server failed it. Counts against the budget.
    Retry,
    /// A server's answer is not wanted, but it is passed on if no other one has room. Counts
    /// against the budget if one has.
    Instead,
}

/// Who is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Servers that failed the request.
    pub(super) tried: &'a [usize],
    /// What consistent hashing goes by.
    pub(super) key: Option<u64>,
    pub(super) again: Try,
}

/// Why there is no server for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoServer {
    /// All are out, or failed it.
    Left,
    /// There is one, but too much is sent again already.
    OverBudget,
    /// All that could be asked have as many requests as they may.
    Busy,
}

impl Pool {
    /// `elapsed` is the process's time: now.
    pub(super) fn new(
        upstream: Arc<Upstream>,
        resolver: &Arc<Resolver>,
        ticker: Arc<Ticker>,
        elapsed: Duration,
    ) -> Arc<Self> {
        let spec = upstream.spec();
        let hosts = match spec.host {
            HostHeader::Client => Vec::new(),
            HostHeader::Origin => {
                let host = |server: &OriginServer| HeaderValue::try_from(server.authority());
                // Names and addresses are printable: none is left out.
                spec.servers.iter().flat_map(host).collect()
            }
        };
        let names = upstream.names().iter();
        let loads = names.map(|name| Load::new(1, name)).collect();
        let now = ticker.now();
        let state = State {
            loads,
            servers: spec.servers.iter().map(|_| Server::default()).collect(),
            shares: Shares::default(),
            budget: Budget::new(&spec.pool.retries),
            random: seed(),
            last_used: now,
        };
        let endpoints = spec
            .servers
            .iter()
            .map(|server| Arc::new(Endpoint::new(server, spec, resolver)))
            .collect();
        Arc::new(Self {
            hosts,
            endpoints,
            state: Mutex::new(state),
            behind: elapsed.saturating_sub(now),
            upstream,
            ticker,
        })
    }

    /// What the configuration says about it.
    pub(super) fn spec(&self) -> &PoolSpec {
        &self.upstream.spec().pool
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process's time, to a tick.
    pub(super) fn process_time(&self) -> Duration {
        self.ticker.now() + self.behind
    }

    /// The Host of a server's own, if that is what it gets.
    pub(super) fn host(&self, server: usize) -> Option<&HeaderValue> {
        self.hosts.get(server)
    }

    /// Takes the server that the origin's balance chooses.
    pub(super) fn choose(self: &Arc<Self>, wish: Wish<'_>) -> Result<Lease, NoServer> {
        let queue = self.upstream.queue();
        let mut state = self.state();
        let state = &mut *state;
        state.refresh(self);
        let untried = |server: usize| !wish.tried.contains(&server);
        let key = wish.key;
        let mut slot = None;
        let found = match queue {
            None => state.choose(self, key, untried),
            // Whoever waits comes first.
            Some(queue) if !queue.is_empty() => None,
            Some(queue) => {
                let mut full = Vec::new();
                loop {
                    let open = |server: usize| {
                        untried(server) && queue.has_room(server) && !full.contains(&server)
                    };
                    let Some(server) = state.choose(self, key, open) else {
                        break None;
                    };
                    slot = queue.take(server);
                    if slot.is_some() {
                        break Some(server);
                    }
                    // Another worker was quicker.
                    full.push(server);
                }
            }
        };
        let any = |(server, load): (usize, &Load)| load.weight > 0 && untried(server);
        if found.is_none() && !state.loads.iter().enumerate().any(any) {
            return Err(NoServer::Left);
        }
        match wish.again {
            Try::First => state.budget.earn(),
            Try::Fresh => {}
            Try::Instead if found.is_none() => {}
            Try::Retry | Try::Instead => {
                if !state.budget.spend(self.ticker.now()) {
                    return Err(NoServer::OverBudget);
                }
            }
        }
        let server = found.ok_or(NoServer::Busy)?;
        state.begin(server);
        Ok(Lease::new(self, server, slot))
    }

    /// Waits for a server in vain chosen; `None` if too many wait already.
    pub(super) fn wait(&self, tried: &[usize]) -> Option<Place> {
        self.upstream.queue()?.join(tried)
    }

    /// Takes the server whose turn it was to serve the one that waited longest.
    pub(super) fn take(self: &Arc<Self>, slot: Slot) -> Lease {
        let server = slot.server();
        self.state().begin(server);
        Lease::new(self, server, Some(slot))
    }

    /// Closes what idled too long, or was closed by its origin. Returns whether the pool was used within `unused`.
    pub(super) fn sweep(&self, now: Duration, unused: Duration) -> bool {
        let mut old = Vec::new();
        let most = self.spec().timeouts.idle;
        let mut state = self.state();
        let mut busy = state.loads.iter().any(|load| load.active > 0);
        for server in &mut state.servers {
            let mut idle = server.idle.iter();
            let fresh_from = idle.position(|link| now.saturating_sub(link.idle_since) < most);
            old.extend(server.idle.drain(..fresh_from.unwrap_or(server.idle.len())));
            // What the origin has closed lies there for nothing, and holds a socket of both.
            for mut link in std::mem::take(&mut server.idle) {
                match link.is_ready() {
                    true => server.idle.push(link),
                    false => old.push(link),
                }
            }
            busy |= !server.idle.is_empty();
        }
        for endpoint in &self.endpoints {
            endpoint.sweep(now, most);
        }
        let used = busy || now.saturating_sub(state.last_used) < unused;
        // Sockets close outside the lock.
        drop(state);
        used
    }
}

impl State {
    /// Looks the shares up again, if they may have changed.
    fn refresh(&mut self, pool: &Pool) {
        let now = pool.ticker.now();
        self.last_used = now;
        let version = pool.upstream.version();
        let shares = &mut self.shares;
        if shares.avoiding && shares.at != now {
            shares.avoiding = false;
            for (load, server) in self.loads.iter_mut().zip(&self.servers) {
                load.avoided = server.avoided_until > now;
                shares.avoiding |= load.avoided;
            }
        }
        if shares.version != version || (shares.grow && shares.at != now) {
            let time = pool.process_time();
            shares.grow = pool.upstream.shares(time, &mut shares.found);
            shares.version = version;
            for (load, share) in self.loads.iter_mut().zip(&shares.found) {
                load.weight = *share;
            }
        }
        shares.at = now;
    }

    fn choose(
        &mut self,
        pool: &Pool,
        key: Option<u64>,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        // The sequence of splitmix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let random = balance::mix(self.random);
        balance::choose(&mut self.loads, &pool.spec().balance, key, random, may)
    }

    fn begin(&mut self, server: usize) {
        if let Some(load) = self.loads.get_mut(server) {
            load.active += 1;
        }
    }

    /// A request is over.
    pub(super) fn end(&mut self, server: usize) {
        if let Some(load) = self.loads.get_mut(server) {
            load.active = load.active.saturating_sub(1);
        }
    }

    /// A server could not be connected to: it is asked last until then.
    pub(super) fn avoid(&mut self, server: usize, until: Duration) {
        if let Some(server) = self.servers.get_mut(server) {
            server.avoided_until = until;
        }
        if let Some(load) = self.loads.get_mut(server) {
            load.avoided = true;
        }
        self.shares.avoiding = true;
    }

    /// Takes the youngest idle connection, if that idled for less than `most`.
    pub(super) fn idle(
        &mut self,
        server: usize,
        now: Duration,
        most: Duration,
    ) -> Option<Box<Link>> {
        let idle = &mut self.servers.get_mut(server)?.idle;
        let young = |link: &mut Box<Link>| now.saturating_sub(link.idle_since) < most;
        idle.pop_if(young)
    }

    /// Keeps an idle connection, if fewer than `most` are; else gives it back.
    pub(super) fn keep(
        &mut self,
        server: usize,
        link: Box<Link>,
        most: usize,
    ) -> Option<Box<Link>> {
        match self.servers.get_mut(server) {
            Some(server) if server.idle.len() < most => {
                server.idle.push(link);
                None
            }
            _ => Some(link),
        }
    }
}

/// A number that nobody can foresee.
pub(super) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
