//! The way to one server of an origin: its addresses, and connections to them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::Ends;
use super::address::Address;
use super::error::ForwardErrorKind;
use super::http2::{self, Connections, Stream};
use super::link::Link;
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
    /// Held while a connection is opened that others may share.
    opening: tokio::sync::Mutex<()>,
    /// The server was seen to choose HTTP/1.1.
    http1: AtomicBool,
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
            turn: AtomicUsize::new(0),
            avoided: Mutex::default(),
            shared: Connections::default(),
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

    /// Whether every request has a connection of its own.
    fn is_http1(&self) -> bool {
        self.http1.load(Ordering::Relaxed)
    }

    /// The addresses in the order in which they are to be tried.
    fn order(&self, mut addresses: Vec<SocketAddr>, now: Duration) -> Vec<SocketAddr> {
        if addresses.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let first = turn % addresses.len();
            addresses.rotate_left(first);
            let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
            avoided.retain(|(_, until)| *until > now);
            let is_avoided = |ip: IpAddr| avoided.iter().any(|(avoided, _)| *avoided == ip);
            addresses.sort_by_key(|address| is_avoided(address.ip()));
        }
        addresses
    }

    fn avoid(&self, address: SocketAddr, now: Duration) {
        let mut avoided = self.avoided.lock().unwrap_or_else(PoisonError::into_inner);
        avoided.retain(|(ip, until)| *until > now && *ip != address.ip());
        avoided.push((address.ip(), now + AVOIDED));
    }
}

/// What a connection could not be had for, and the address that was tried last.
pub(super) type ConnectError = (ForwardErrorKind, Option<Address>);

/// There is no address to connect to.
pub(super) fn unreachable_name() -> ForwardErrorKind {
    ForwardErrorKind::Unreachable(io::ErrorKind::AddrNotAvailable.into())
}

/// A link to the server within `timeout`: a place on a connection that is shared, or a new
/// connection, trying all addresses of the server.
///
/// `ends` are those of the client's connection, for a server that is to be told of them.
///
/// # Errors
/// [`ConnectError`].
pub(super) async fn open(
    endpoint: &Endpoint,
    ends: Ends,
    ticker: &Arc<Ticker>,
    timeout: Duration,
) -> Result<Box<Link>, ConnectError> {
    let ends = &Some(ends);
    if endpoint.is_http1() {
        return connect(endpoint, ends, ticker, timeout).await;
    }
    if let Some(stream) = endpoint.shared.place() {
        return Ok(Link::http2(stream, ticker));
    }
    // One connects, the others wait for what it finds: HTTP/2 has room for all, and what the
    // server speaks may not be known yet.
    let begin = Instant::now();
    let opening = within(ticker, Some(timeout), endpoint.opening.lock()).await;
    let Ok(opening) = opening else {
        return Err((ForwardErrorKind::ConnectTimeout, None));
    };
    if let Some(stream) = endpoint.shared.place() {
        return Ok(Link::http2(stream, ticker));
    }
    if endpoint.is_http1() {
        drop(opening);
    }
    connect(
        endpoint,
        ends,
        ticker,
        timeout.saturating_sub(begin.elapsed()),
    )
    .await
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
