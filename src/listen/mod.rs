//! Listening sockets: one per worker and address, and an accept that never ends.

mod defer;
pub mod proxy;
mod sorted;
mod steer;
pub mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::deadline::{Ticker, within};
use crate::telemetry::labels::AcceptError;
use crate::telemetry::metrics::Metrics;

/// How long the kernel waits for a client's first bytes before it wakes us, in seconds. The
/// connection's own deadline counts from when we see it.
const DEFER: i32 = 5;

/// How much the kernel holds of what a client's window has no room for yet: without a bound it takes
/// megabytes of a large answer from us, and a thousand slow clients gigabytes of its memory.
const UNSENT: u32 = 256 * 1024;

/// The pause after accepting failed for want of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Makes sure that nobody else listens on `address`.
///
/// `SO_REUSEPORT` would let a second server of the same user in, and split the connections between
/// the two in silence. To be asked about all addresses before any is bound: our own may overlap,
/// such as `0.0.0.0:443` and `[::]:443`, and then the closer one gets the connection.
///
/// # Errors
/// The system's, with the address named.
pub fn claim(address: SocketAddr) -> io::Result<()> {
    match address.port() {
        0 => Ok(()),
        _ => bind_one(address, 1, false)
            .map(drop)
            .map_err(naming(address)),
    }
}

/// Binds `count` sockets to one address with `SO_REUSEPORT`, one for each worker. With port 0 all
/// get the port that the first one was given.
///
/// # Errors
/// The system's, with the address named.
pub fn bind(
    address: SocketAddr,
    backlog: u32,
    count: usize,
) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let mut bound = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = bind_one(bound, backlog, true).map_err(naming(address))?;
        bound = listener.local_addr().map_err(naming(address))?;
        listeners.push(listener);
    }
    Ok((bound, listeners))
}

fn naming(address: SocketAddr) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

fn bind_one(
    address: SocketAddr,
    backlog: u32,
    reuse_port: bool,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if let SocketAddr::V6(address) = address {
        // `[::]` serves IPv4 as well, unless another listener has 0.0.0.0.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Inherited by what is accepted.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    // Saves one wake per connection; where it is refused nothing is lost.
    let _ = defer::defer_accept(&socket, DEFER);
    Ok(socket.into())
}

/// Accepts for ever. Errors are counted; those that would come again at once are waited out.
pub async fn accept(
    listener: &TcpListener,
    ticker: &Arc<Ticker>,
    metrics: &Metrics,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((socket, client)) => {
                failing = false;
                take(socket, client);
            }
            Err(error) => {
                let kind = AcceptError::of(&error);
                metrics.connections.accept_errors.inc(kind);
                // A connection that was gone before it was accepted says nothing of the next one.
                if kind == AcceptError::Econnaborted {
                    continue;
                }
                // Said once, not ten times a second.
                if !failing {
                    failing = true;
                    tracing::warn!(%error, "accept failed, backing off until it works again");
                }
                metrics.connections.accept_backoffs.inc();
                let _ = within(ticker, Some(BACK_OFF), std::future::pending::<()>()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_gives_all_workers_one_port() {
        let (address, listeners) = bind("127.0.0.1:0".parse().unwrap(), 16, 3).unwrap();
        assert_ne!(address.port(), 0);
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap(), address);
        }
    }

    #[test]
    fn a_second_server_on_one_address_is_refused() {
        let (address, _first) = bind("127.0.0.1:0".parse().unwrap(), 16, 2).unwrap();
        assert!(claim(address).is_err());
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        for error in [
            claim(address).unwrap_err(),
            bind(address, 16, 1).unwrap_err(),
        ] {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    }
}
