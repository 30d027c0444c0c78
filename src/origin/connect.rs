//! Connections to one server of an origin: found or opened, for one request or for several.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::Ends;
use super::address::Address;
use super::attempt::Waiter;
use super::endpoint::{Endpoint, Place, Room};
use super::error::ForwardErrorKind;
use super::http2::{self, Connection, Stream};
use super::link::Link;
use super::race::{self, Answered, Awaited, Course};
use super::socket::Socket;
use super::tls::{Secure, TlsError};
use crate::config::snapshot::OriginProtocol;
use crate::deadline::{Ticker, within};

/// What a connection could not be had for, and the address that was tried last.
pub(super) type ConnectError = (ForwardErrorKind, Option<Address>);

/// A connection that is open.
#[derive(Debug)]
pub(super) enum Opened {
    Http1(Box<Link>),
    Http2(Arc<Connection>),
}

impl Opened {
    /// Whether who waited for it has a place on it: others may have come first, since it is there for
    /// all. One without streams that has no room anyhow never will.
    fn has_room(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(connection) => connection.has_room() || connection.active() == 0,
        }
    }

    /// It, or a place on it.
    fn link(self, ticker: &Arc<Ticker>) -> Box<Link> {
        match self {
            Self::Http1(link) => link,
            Self::Http2(connection) => Link::http2(Stream::new(&connection), ticker),
        }
    }
}

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
    endpoint: &Arc<Endpoint>,
    wish: Wish,
    ticker: &Arc<Ticker>,
) -> Result<Box<Link>, ConnectError> {
    let mut begin = Instant::now();
    let left = |begin: Instant| wish.timeout.saturating_sub(begin.elapsed());
    let mut patience = endpoint.queue.1;
    let mut awaited = None;
    loop {
        let left = left(begin);
        if endpoint.connects_alone() {
            return alone(endpoint, &Some(wish.ends), ticker, left).await;
        }
        match endpoint.room(ticker.now(), wish.idle) {
            Room::Full => {
                let queued = Instant::now();
                endpoint.stream_ends(ticker, patience).await?;
                patience = patience.saturating_sub(queued.elapsed());
                // It is not connecting that took so long.
                begin += queued.elapsed();
            }
            Room::Place(stream) => return Ok(Link::http2(stream, ticker)),
            Room::Unused(stream, _) if left.is_zero() => return Ok(Link::http2(stream, ticker)),
            Room::Unused(stream, address) => {
                drop(stream);
                let mut waiter = attempt(endpoint, Some(address), wish, ticker);
                let soon = left.min(race::DELAY);
                let opened = within(ticker, Some(soon), waiter.result()).await;
                if let Ok(Some(Ok(opened))) = opened
                    && opened.has_room()
                {
                    if let Opened::Http2(connection) = &opened {
                        connection.wake();
                    }
                    return Ok(opened.link(ticker));
                }
                // It is avoided now; or it is slow, and what is there will do.
            }
            Room::New if left.is_zero() => return Err(endpoint.overdue(begin, awaited)),
            Room::New => {
                // One connects, the others wait for what it finds: HTTP/2 has room for all, and
                // what the server speaks may not be known yet.
                let mut waiter = match endpoint.opening.join() {
                    Some(waiter) => waiter,
                    None => attempt(endpoint, None, wish, ticker),
                };
                match within(ticker, Some(left), waiter.result()).await {
                    Ok(Some(Ok(opened))) if !opened.has_room() => {}
                    Ok(Some(result)) => return result.map(|opened| opened.link(ticker)),
                    Ok(None) => awaited = endpoint.awaited.get(),
                    Err(_) => return Err(endpoint.overdue(begin, endpoint.awaited.get())),
                }
            }
        }
    }
}

/// Begins to connect, for all who come to want it: to this address, or to any.
///
/// It has the whole of `wish.timeout`, however little of that is left to the request that begins it:
/// or a server that is slow after a stall would never be connected to, since those who waited longest
/// begin the next attempt; and an address would be avoided that had no time to answer.
fn attempt(
    endpoint: &Arc<Endpoint>,
    address: Option<SocketAddr>,
    wish: Wish,
    ticker: &Arc<Ticker>,
) -> Waiter<Result<Opened, ConnectError>> {
    let attempts = match address {
        Some(address) => endpoint.spread(address),
        None => Arc::clone(&endpoint.opening),
    };
    let (endpoint, ticker) = (Arc::clone(endpoint), Arc::clone(ticker));
    // Nobody has to wait for a connection that is only to spread requests, and yet it is wanted.
    attempts.begin(address.is_some(), async move {
        let (ends, timeout) = (&Some(wish.ends), wish.timeout);
        let Some(address) = address else {
            endpoint.awaited.forget();
            let connects = any(&endpoint, ends, &ticker, timeout, &endpoint.awaited);
            let opened = within(&ticker, Some(timeout), connects).await.ok()?;
            if let Err(failure) = &opened {
                endpoint.fail(failure);
            }
            return Some(opened);
        };
        let connects = one(&endpoint, address, ends, &ticker, Answered::default());
        let opened = within(&ticker, Some(timeout), connects).await;
        match &opened {
            Ok(Ok(Opened::Http2(connection))) => connection.rest(),
            Ok(Ok(Opened::Http1(_))) => {}
            Ok(Err(_)) | Err(_) => endpoint.avoid(address, ticker.now()),
        }
        let opened = opened.ok()?;
        Some(opened.map_err(|kind| (kind, Some(address.into()))))
    })
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
    alone(endpoint, &None, ticker, timeout).await
}

/// A link over a new connection within `timeout`. One without `ends` is not shared.
async fn alone(
    endpoint: &Endpoint,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
    timeout: Duration,
) -> Result<Box<Link>, ConnectError> {
    let awaited = Awaited::default();
    let connects = any(endpoint, ends, ticker, timeout, &awaited);
    match within(ticker, Some(timeout), connects).await {
        Ok(opened) => opened.map(|opened| opened.link(ticker)),
        Err(_) => Err((ForwardErrorKind::ConnectTimeout, awaited.get())),
    }
}

/// Connects to whichever of the server's addresses takes it, for a caller who waits no longer than
/// `timeout`.
async fn any(
    endpoint: &Endpoint,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
    timeout: Duration,
    awaited: &Awaited,
) -> Result<Opened, ConnectError> {
    let begin = Instant::now();
    let connect = |address, answered| one(endpoint, address, ends, ticker, answered);
    let only = async |address: SocketAddr| {
        awaited.set(address);
        let opened = connect(address, Answered::default()).await;
        opened.map_err(|kind| (kind, Some(address.into())))
    };
    let addresses: Vec<SocketAddr> = match &endpoint.place {
        Place::Address(address) => return only(*address).await,
        Place::Unix(path) => {
            let address = Address::Unix(Arc::clone(path));
            awaited.set(address.clone());
            let opened = unix(endpoint, path, ends, ticker).await;
            return opened.map_err(|kind| (kind, Some(address)));
        }
        Place::Name(name, port) => match name.addresses().await {
            Ok(ips) => ips.iter().map(|ip| SocketAddr::new(*ip, *port)).collect(),
            Err(error) => return Err((ForwardErrorKind::Unreachable(error), None)),
        },
    };
    if let [address] = addresses[..] {
        return only(address).await;
    }
    let addresses = endpoint.order(addresses, ticker.now());
    let avoid = |address| endpoint.avoid(address, ticker.now());
    let course = Course {
        ticker,
        timeout: timeout.saturating_sub(begin.elapsed()),
        awaited,
        avoid: &avoid,
    };
    let opened = race::first(addresses, course, connect).await;
    opened.map_err(|failure| match failure {
        Some((kind, address)) => (kind, Some(address.into())),
        None => (unreachable_name(), None),
    })
}

/// Connects to one address: TCP, and TLS where that is spoken. `answered` tells of the first.
async fn one(
    endpoint: &Endpoint,
    address: SocketAddr,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
    answered: Answered,
) -> Result<Opened, ForwardErrorKind> {
    let mut tcp = TcpStream::connect(address)
        .await
        .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
        .map_err(ForwardErrorKind::of_connect)?;
    answered.store(true, Ordering::Relaxed);
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
}

async fn unix(
    endpoint: &Endpoint,
    path: &Arc<std::path::Path>,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
) -> Result<Opened, ForwardErrorKind> {
    let mut socket = UnixStream::connect(path)
        .await
        .map_err(ForwardErrorKind::of_connect)?;
    if let Some(header) = endpoint.header(ends) {
        let written = socket.write_all(&header).await;
        written.map_err(ForwardErrorKind::of_connect)?;
    }
    let address = Address::Unix(Arc::clone(path));
    finish(endpoint, Socket::Unix(socket), address, ends, ticker).await
}

/// Begins HTTP on a connected socket.
async fn finish(
    endpoint: &Endpoint,
    socket: Socket,
    address: Address,
    ends: &Option<Ends>,
    ticker: &Arc<Ticker>,
) -> Result<Opened, ForwardErrorKind> {
    let http2 = match (&socket, endpoint.protocol) {
        (Socket::Tls(stream), _) => stream.is_http2(),
        (_, protocol) => protocol == OriginProtocol::Http2,
    };
    endpoint.chose(!http2);
    if !http2 {
        return Ok(Opened::Http1(Link::http1(socket, address, ticker)));
    }
    let opened = Box::pin(http2::open(socket, address, ticker)).await;
    let connection = opened.map_err(ForwardErrorKind::from)?;
    if ends.is_some() {
        endpoint.shared.add(&connection);
    }
    Ok(Opened::Http2(connection))
}
