//! The way to one server of an origin: its addresses, and connections to them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::Ends;
use super::address::Address;
use super::error::ForwardErrorKind;
use super::http2::{self, Connections, Found, Stream};
use super::link::Link;
use super::pool::seed;
use super::resolver::{Name, Resolver};
use super::socket::Socket;
use super::tls::{Client, Secure, TlsError};
use crate::config::snapshot::{OriginHost, OriginProtocol, OriginServer, OriginSpec};
use crate::deadline::{Ticker, within};
use crate::proxy_protocol::{self, Version};

/// How long an address that could not be connected to is tried last.
const AVOIDED: Duration = Duration::from_secs(10);

/// One server of an origin, as one worker's pool connects to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    place: Place,
    protocol: OriginProtocol,
    proxy_protocol: Option<Version>,
    /// `None` without TLS, or if its files cannot be used.
    tls: Option<Client>,
    /// Where the next connection goes: addresses take turns.
    turn: AtomicUsize,
    /// Addresses that could not be connected to, and until when they are tried last.
    avoided: Mutex<Vec<(IpAddr, Duration)>>,
    /// What requests share, if the server speaks HTTP/2.
    shared: Connections,
    /// By which answer of DNS those were looked through.
    generation: AtomicU64,
    /// How many requests may wait for a stream, and how long.
    queue: (usize, Duration),
    /// Held while a connection is opened that others may share.
    opening: tokio::sync::Mutex<()>,
    /// The server was seen to choose HTTP/1.1.
    http1: AtomicBool,
}

/// Where a request of HTTP/2 can go.
#[derive(Debug)]
enum Room {
    /// On a connection that is there.
    Place(Stream),
    /// There too, but this address of the server has no connection yet.
    Unused(Stream, SocketAddr),
    /// On a connection that is to be opened.
    New,
    /// Nowhere: all connections that may be have all the streams that they may have.
    Full,
}

#[derive(Debug)]
enum Place {
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
            opening: tokio::sync::Mutex::new(()),
            http1: AtomicBool::new(server.protocol == OriginProtocol::Http1),
        }
    }

    /// Whether each connection names the client whose requests go over it.
    pub(super) fn names_clients(&self) -> bool {
        self.proxy_protocol.is_some()
    }

    /// What a connection begins with: before TLS too.
    fn header(&self, ends: &Option<Ends>) -> Option<Vec<u8>> {
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
    fn room(&self, now: Duration, idle: Duration) -> Room {
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
        match self.shared.unused(&mut addresses) {
            Some(address) => Room::Unused(stream, address),
            None => Room::Place(stream),
        }
    }

    /// Waits for the end of a stream, where the server has as many as it may: in the pool's queue,
    /// but one for each worker and server.
    async fn stream_ends(&self, ticker: &Arc<Ticker>, time: Duration) -> Result<(), ConnectError> {
        let Some(waiting) = self.shared.wait(self.queue.0) else {
            return Err((ForwardErrorKind::QueueFull, None));
        };
        match within(ticker, Some(time), waiting.turn()).await {
            Ok(()) => Ok(()),
            Err(_) => Err((ForwardErrorKind::QueueTimeout, None)),
        }
    }

    /// Whether every request has a connection of its own.
    fn is_http1(&self) -> bool {
        self.http1.load(Ordering::Relaxed)
    }

    /// The addresses in the order in which they are to be tried: those first that have the fewest
    /// shared connections.
    fn order(&self, mut addresses: Vec<SocketAddr>, now: Duration) -> Vec<SocketAddr> {
        if addresses.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let first = turn % addresses.len();
            addresses.rotate_left(first);
            addresses.sort_by_cached_key(|address| {
                let avoided = self.is_avoided(address.ip(), now);
                (avoided, self.shared.count(*address))
            });
        }
        addresses
    }

    fn is_avoided(&self, ip: IpAddr, now: Duration) -> bool {
        let avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        let mut avoided = avoided.iter();
        avoided.any(|(avoided, until)| *avoided == ip && *until > now)
    }

    fn avoid(&self, address: SocketAddr, now: Duration) {
        let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        avoided.retain(|(ip, until)| *until > now && *ip != address.ip());
        avoided.push((address.ip(), now + AVOIDED));
    }
}

fn is_among(known: &[IpAddr], address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if known.contains(&address.ip()))
}

/// What a connection could not be had for, and the address that was tried last.
pub(super) type ConnectError = (ForwardErrorKind, Option<Address>);

/// What a request wants of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Those of the client's connection, for a server that is to be told of them.
    pub(super) ends: Ends,
    /// A shared connection must have had a request within this time.
    pub(super) idle: Duration,
    /// How long connecting may take.
    pub(super) timeout: Duration,
}

/// There is no address to connect to.
pub(super) fn unreachable_name() -> ForwardErrorKind {
    ForwardErrorKind::Unreachable(io::ErrorKind::AddrNotAvailable.into())
}

/// A link to the server within `wish.timeout`: a place on a connection that is shared, or a new
/// connection, trying all addresses of the server.
///
/// # Errors
/// [`ConnectError`].
pub(super) async fn open(
    endpoint: &Endpoint,
    wish: Wish,
    ticker: &Arc<Ticker>,
) -> Result<Box<Link>, ConnectError> {
    let (ends, timeout) = (&Some(wish.ends), wish.timeout);
    if endpoint.is_http1() {
        return connect(endpoint, ends, ticker, timeout).await;
    }
    let mut begin = Instant::now();
    let left = |begin: Instant| timeout.saturating_sub(begin.elapsed());
    let mut patience = endpoint.queue.1;
    let mut opening = None;
    loop {
        match endpoint.room(ticker.now(), wish.idle) {
            Room::Full => {
                drop(opening.take());
                let queued = Instant::now();
                endpoint.stream_ends(ticker, patience).await?;
                patience = patience.saturating_sub(queued.elapsed());
                // It is not connecting that took so long.
                begin += queued.elapsed();
            }
            Room::Place(stream) => return Ok(Link::http2(stream, ticker)),
            Room::Unused(stream, address) => {
                // One connects to it, the others take what is there.
                drop(opening.take());
                let Ok(guard) = endpoint.opening.try_lock() else {
                    return Ok(Link::http2(stream, ticker));
                };
                opening = Some(guard);
                drop(stream);
                // If it is silent, there must be time left for those that are not.
                let opened = one(endpoint, address, ends, ticker, left(begin) / 2).await;
                match opened {
                    Ok(link) => return Ok(link),
                    Err(_) => endpoint.avoid(address, ticker.now()),
                }
            }
            Room::New if opening.is_some() => break,
            Room::New => {
                // One connects, the others wait for what it finds: HTTP/2 has room for all, and
                // what the server speaks may not be known yet.
                let lock = within(ticker, Some(left(begin)), endpoint.opening.lock()).await;
                match lock {
                    Ok(guard) => opening = Some(guard),
                    Err(_) => return Err((ForwardErrorKind::ConnectTimeout, None)),
                }
                if endpoint.is_http1() {
                    opening = None;
                    break;
                }
            }
        }
    }
    let link = connect(endpoint, ends, ticker, left(begin)).await;
    drop(opening);
    link
}

/// A link to the server over a connection that nobody else uses, within `timeout`: for a check, which
/// is to see whether the server still takes connections.
///
/// # Errors
/// [`ConnectError`].
pub(super) async fn check(
    endpoint: &Endpoint,
    ticker: &Arc<Ticker>,
    timeout: Duration,
) -> Result<Box<Link>, ConnectError> {
    connect(endpoint, &None, ticker, timeout).await
}

/// Opens a connection within `timeout`. One without `ends` is not shared.
async fn connect(
    endpoint: &Endpoint,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
    timeout: Duration,
) -> Result<Box<Link>, ConnectError> {
    let begin = Instant::now();
    let addresses = match &endpoint.place {
        Place::Address(address) => return one(endpoint, *address, ends, ticker, timeout).await,
        Place::Unix(path) => {
            let address = Address::Unix(Arc::clone(path));
            let connects = async {
                let mut socket = UnixStream::connect(path)
                    .await
                    .map_err(ForwardErrorKind::of_connect)?;
                if let Some(header) = endpoint.header(ends) {
                    let written = socket.write_all(&header).await;
                    written.map_err(ForwardErrorKind::of_connect)?;
                }
                finish(
                    endpoint,
                    Socket::Unix(socket),
                    address.clone(),
                    ends,
                    ticker,
                )
                .await
            };
            return match within(ticker, Some(timeout), connects).await {
                Ok(link) => link.map_err(|kind| (kind, Some(address))),
                Err(_) => Err((ForwardErrorKind::ConnectTimeout, Some(address))),
            };
        }
        Place::Name(name, port) => match within(ticker, Some(timeout), name.addresses()).await {
            Ok(Ok(ips)) => ips.iter().map(|ip| SocketAddr::new(*ip, *port)).collect(),
            Ok(Err(error)) => return Err((ForwardErrorKind::Unreachable(error), None)),
            Err(_) => return Err((ForwardErrorKind::ConnectTimeout, None)),
        },
    };
    let addresses = endpoint.order(addresses, ticker.now());
    let mut last = (unreachable_name(), None);
    for (index, address) in addresses.iter().enumerate() {
        // A silent address must not use up the time of those after it.
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = timeout.saturating_sub(begin.elapsed()) / left;
        match one(endpoint, *address, ends, ticker, share).await {
            Ok(link) => return Ok(link),
            Err(error) => last = error,
        }
        endpoint.avoid(*address, ticker.now());
    }
    Err(last)
}

/// Connects to one address: TCP, and TLS where that is spoken.
async fn one(
    endpoint: &Endpoint,
    address: SocketAddr,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
    timeout: Duration,
) -> Result<Box<Link>, ConnectError> {
    let connects = async {
        let mut tcp = TcpStream::connect(address)
            .await
            .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
            .map_err(ForwardErrorKind::of_connect)?;
        if let Some(header) = endpoint.header(ends) {
            let written = tcp.write_all(&header).await;
            written.map_err(ForwardErrorKind::of_connect)?;
        }
        let socket = match endpoint.protocol {
            OriginProtocol::Http1 | OriginProtocol::Http2 => Socket::Tcp(tcp),
            OriginProtocol::Tls => {
                let client = endpoint.tls.as_ref().ok_or_else(TlsError::unusable)?;
                // Boxed: a handshake is large, and most connections have none.
                let stream = Box::pin(client.connect(tcp)).await;
                Socket::Tls(Secure::new(stream.map_err(TlsError::of_handshake)?))
            }
        };
        finish(endpoint, socket, address.into(), ends, ticker).await
    };
    match within(ticker, Some(timeout), connects).await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(kind)) => Err((kind, Some(address.into()))),
        Err(_) => Err((ForwardErrorKind::ConnectTimeout, Some(address.into()))),
    }
}

/// Begins HTTP on a connected socket.
async fn finish(
    endpoint: &Endpoint,
    socket: Socket,
    address: Address,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
) -> Result<Box<Link>, ForwardErrorKind> {
    let http2 = match (&socket, endpoint.protocol) {
        (Socket::Tls(stream), _) => stream.is_http2(),
        (_, protocol) => protocol == OriginProtocol::Http2,
    };
    endpoint.http1.store(!http2, Ordering::Relaxed);
    if !http2 {
        return Ok(Link::http1(socket, address, ticker));
    }
    let opened = Box::pin(http2::open(socket, address, ticker)).await;
    let connection = opened.map_err(ForwardErrorKind::from)?;
    if ends.is_some() {
        endpoint.shared.add(&connection);
    }
    Ok(Link::http2(Stream::new(&connection, false), ticker))
}
