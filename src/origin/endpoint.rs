//! One server of an origin, as one worker's pool connects to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Ends;
use super::address::Address;
use super::attempt::Attempts;
use super::connect::{ConnectError, Opened};
use super::error::ForwardErrorKind;
use super::http2::{Connections, Found, Stream};
use super::link::Link;
use super::pool::seed;
use super::race::{Awaited, interleave};
use super::resolver::{Name, Resolver};
use super::tls::Client;
use crate::config::snapshot::{OriginHost, OriginProtocol, OriginServer, OriginSpec};
use crate::deadline::{Ticker, within};
use crate::proxy_protocol::{self, Version};

/// Attempts to connect that requests share.
pub(super) type Connecting = Arc<Attempts<Result<Opened, ConnectError>>>;

/// How long an address that could not be connected to is tried last.
const AVOIDED: Duration = Duration::from_secs(10);

/// One server of an origin.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) place: Place,
    pub(super) protocol: OriginProtocol,
    proxy_protocol: Option<Version>,
    /// `None` without TLS, or if its files cannot be used.
    pub(super) tls: Option<Client>,
    /// Where the next connection goes: addresses take turns.
    turn: AtomicUsize,
    /// Addresses that could not be connected to, and until when they are tried last.
    avoided: Mutex<Vec<(IpAddr, Duration)>>,
    /// What requests share, if the server speaks HTTP/2.
    pub(super) shared: Connections,
    /// By which answer of DNS those were looked through.
    generation: AtomicU64,
    /// How many requests may wait for a stream, and how long.
    pub(super) queue: (usize, Duration),
    /// The connection that is being opened for requests which have none.
    pub(super) opening: Connecting,
    /// The address that this waits for, or did last.
    pub(super) awaited: Awaited,
    /// When it failed last, and how: what others have waited for in vain.
    failed: Mutex<Option<(Instant, ConnectError)>>,
    /// The connections that are being opened to addresses which have none: one each, so that a silent
    /// address does not keep the others from theirs.
    spreading: Mutex<Vec<(SocketAddr, Connecting)>>,
    /// Whether every request has a connection of its own: then nobody waits for another one's.
    alone: AtomicBool,
}

/// Where a request of HTTP/2 can go.
#[derive(Debug)]
pub(super) enum Room {
    /// On a connection that is there.
    Place(Stream),
    /// There too, but this address of the server has no connection yet.
    Unused(Stream, SocketAddr),
    /// On a connection that is to be opened.
    New,
    /// Nowhere: all connections that may be have all the streams that they may have.
    Full,
}

/// Where a server is.
#[derive(Debug)]
pub(super) enum Place {
    Address(SocketAddr),
    Name(Name, u16),
    Unix(Arc<std::path::Path>),
}

impl Endpoint {
    /// Connects to nothing yet. `server` is one of `spec`.
    pub(super) fn new(server: &OriginServer, spec: &OriginSpec, resolver: &Arc<Resolver>) -> Self {
        let tls = match server.protocol {
            OriginProtocol::Tls => spec.tls.as_deref(),
            OriginProtocol::Http1 | OriginProtocol::Http2 => None,
        };
        Self {
            place: match &server.host {
                OriginHost::Address(ip) => Place::Address(SocketAddr::new(*ip, server.port)),
                OriginHost::Name(name) => Place::Name(resolver.name(name), server.port),
                OriginHost::Unix(path) => Place::Unix(Arc::clone(path)),
            },
            protocol: server.protocol,
            proxy_protocol: spec.proxy_protocol,
            tls: tls.and_then(|tls| Client::new(tls, server)),
            // Below the half, so that it does not wrap.
            turn: AtomicUsize::new(usize::try_from(seed() >> 33).unwrap_or_default()),
            avoided: Mutex::default(),
            shared: Connections::default(),
            generation: AtomicU64::new(0),
            queue: (spec.pool.limits.queue, spec.pool.timeouts.queue),
            opening: Arc::default(),
            awaited: Awaited::default(),
            failed: Mutex::default(),
            spreading: Mutex::default(),
            // A connection that names its client is nobody else's.
            alone: AtomicBool::new(
                server.protocol == OriginProtocol::Http1 || spec.proxy_protocol.is_some(),
            ),
        }
    }

    /// Whether each connection names the client whose requests go over it.
    pub(super) fn names_clients(&self) -> bool {
        self.proxy_protocol.is_some()
    }

    /// What a connection begins with: before TLS too.
    pub(super) fn header(&self, ends: &Option<Ends>) -> Option<Vec<u8>> {
        let version = self.proxy_protocol?;
        Some(match ends {
            Some(ends) => proxy_protocol::header(version, ends.client, ends.local),
            // Nobody's request: a check.
            None => proxy_protocol::local(version),
        })
    }

    /// Lets go of shared connections that had no request for so long.
    pub(super) fn sweep(&self, now: Duration, idle: Duration) {
        self.shared.sweep(now, idle);
    }

    /// Whether a link that is at rest may serve another request, as far as the server's addresses
    /// have a say in it.
    pub(super) fn keeps(&self, link: &mut Link) -> bool {
        let Place::Name(name, _) = &self.place else {
            return true;
        };
        if link.is_http2() && name.has_several() {
            // Its place is given up, so that the next request goes where the load is least.
            return false;
        }
        let generation = name.generation();
        if link.generation != generation {
            let known = name.known();
            if !known.is_some_and(|known| is_among(&known, &link.address)) {
                return false;
            }
            link.generation = generation;
        }
        true
    }

    /// Where a request of HTTP/2 can go.
    pub(super) fn room(&self, now: Duration, idle: Duration) -> Room {
        let placed = |found| match found {
            Found::Place(stream) => Room::Place(stream),
            Found::New => Room::New,
            Found::Full => Room::Full,
        };
        let Place::Name(name, port) = &self.place else {
            return placed(self.shared.place(false, now, idle));
        };
        let generation = name.generation();
        let Some(known) = name.known() else {
            return Room::New;
        };
        if self.generation.swap(generation, Ordering::Relaxed) != generation {
            self.shared.keep(|open| is_among(&known, &open.address));
        }
        if known.len() == 1 {
            return placed(self.shared.place(false, now, idle));
        }
        let stream = match self.shared.place(true, now, idle) {
            Found::Place(stream) => stream,
            found => return placed(found),
        };
        // Not the same first one for all workers, which begin at different turns.
        let first = self.turn.load(Ordering::Relaxed) % known.len();
        let ips = known.iter().cycle().skip(first).take(known.len());
        let ips = ips.filter(|ip| !self.is_avoided(**ip, now));
        let mut addresses = ips.map(|ip| SocketAddr::new(*ip, *port));
        // One connects to an address, the others take what is there.
        match self.shared.unused(&mut addresses, &self.spreads()) {
            Some(address) => Room::Unused(stream, address),
            None => Room::Place(stream),
        }
    }

    /// Notes how an attempt failed that requests shared.
    pub(super) fn fail(&self, (kind, address): &ConnectError) {
        let failed = Some((Instant::now(), (kind.again(), address.clone())));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// What a request is told that has waited since `begin` for a connection, the last one to
    /// `awaited`: the server's failure if there was one, though another request was told of it too.
    pub(super) fn overdue(&self, begin: Instant, awaited: Option<Address>) -> ConnectError {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failed {
            Some((at, (kind, address))) if *at >= begin => (kind.again(), address.clone()),
            _ => (ForwardErrorKind::ConnectTimeout, awaited),
        }
    }

    /// What connects to an address that has no connection.
    pub(super) fn spread(&self, address: SocketAddr) -> Connecting {
        let attempts = Connecting::default();
        let mut spreading = self
            .spreading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        spreading.push((address, Arc::clone(&attempts)));
        attempts
    }

    /// The addresses that are being connected to for having no connection.
    fn spreads(&self) -> Vec<SocketAddr> {
        let mut spreading = self
            .spreading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        spreading.retain(|(_, attempts)| attempts.is_under_way());
        spreading.iter().map(|(address, _)| *address).collect()
    }

    /// Waits for the end of a stream, where the server has as many as it may: in the pool's queue,
    /// but one for each worker and server.
    pub(super) async fn stream_ends(
        &self,
        ticker: &Arc<Ticker>,
        time: Duration,
    ) -> Result<(), ConnectError> {
        let Some(waiting) = self.shared.wait(self.queue.0) else {
            return Err((ForwardErrorKind::QueueFull, None));
        };
        match within(ticker, Some(time), waiting.turn()).await {
            Ok(()) => Ok(()),
            Err(_) => Err((ForwardErrorKind::QueueTimeout, None)),
        }
    }

    /// Whether every request has a connection of its own, for all that is known.
    pub(super) fn connects_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    /// The server was seen to choose HTTP/1.1, or HTTP/2.
    pub(super) fn chose(&self, http1: bool) {
        self.alone
            .store(http1 || self.names_clients(), Ordering::Relaxed);
    }

    /// The addresses in the order in which they are to be tried: those first that have the fewest
    /// shared connections, and both families in turn.
    pub(super) fn order(&self, mut addresses: Vec<SocketAddr>, now: Duration) -> Vec<SocketAddr> {
        if addresses.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let first = turn % addresses.len();
            addresses.rotate_left(first);
            addresses.sort_by_cached_key(|address| {
                let avoided = self.is_avoided(address.ip(), now);
                (avoided, self.shared.count(*address))
            });
            let avoided = addresses.partition_point(|one| !self.is_avoided(one.ip(), now));
            let (first, last) = addresses.split_at_mut(avoided);
            interleave(first);
            interleave(last);
        }
        addresses
    }

    fn is_avoided(&self, ip: IpAddr, now: Duration) -> bool {
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        let mut avoided = avoided.iter();
        avoided.any(|(avoided, until)| *avoided == ip && *until > now)
    }

    /// This address could not be connected to, or not soon: for a while it is tried last.
    pub(super) fn avoid(&self, address: SocketAddr, now: Duration) {
        let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        avoided.retain(|(ip, until)| *until > now && *ip != address.ip());
        avoided.push((address.ip(), now + AVOIDED));
    }
}

fn is_among(known: &[IpAddr], address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if known.contains(&address.ip()))
}
