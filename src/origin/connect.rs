//! The way to one server of an origin: its addresses, and connections to them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::error::ForwardErrorKind;
use super::link::Link;
use crate::config::snapshot::{OriginHost, OriginServer};
use crate::deadline::{Ticker, within};

/// One server of an origin, as one worker's pool connects to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    server: OriginServer,
}

impl Endpoint {
    /// Connects to nothing yet.
    pub(super) fn new(server: &OriginServer) -> Self {
        Self {
            server: server.clone(),
        }
    }
}

/// There is no address to connect to.
pub(super) fn unreachable_name() -> ForwardErrorKind {
    ForwardErrorKind::Unreachable(io::ErrorKind::AddrNotAvailable.into())
}

/// Opens a connection within `timeout`, trying all addresses of the server.
///
/// # Errors
/// What became of the address that was tried last, and which that was.
pub(super) async fn open(
    endpoint: &Endpoint,
    ticker: &Arc<Ticker>,
    timeout: Duration,
) -> Result<Box<Link>, (ForwardErrorKind, Option<Address>)> {
    let begin = tokio::time::Instant::now();
    let name = match &endpoint.server.host {
        OriginHost::Address(address) => {
            let address = SocketAddr::new(*address, endpoint.server.port);
            return open_one(address, ticker, timeout)
                .await
                .map_err(|error| (error, Some(address.into())));
        }
        OriginHost::Name(name) => name,
    };
    let lookup = tokio::net::lookup_host((name.as_str(), endpoint.server.port));
    let addresses: Vec<SocketAddr> = match within(ticker, Some(timeout), lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err((ForwardErrorKind::Unreachable(error), None)),
        Err(_) => return Err((ForwardErrorKind::ConnectTimeout, None)),
    };
    let mut last = (unreachable_name(), None);
    for (index, address) in addresses.iter().enumerate() {
        // A silent address must not use up the time of those after it.
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = timeout.saturating_sub(begin.elapsed()) / left;
        match open_one(*address, ticker, share).await {
            Ok(link) => return Ok(link),
            Err(error) => last = (error, Some((*address).into())),
        }
    }
    Err(last)
}

async fn open_one(
    address: SocketAddr,
    ticker: &Arc<Ticker>,
    timeout: Duration,
) -> Result<Box<Link>, ForwardErrorKind> {
    match within(ticker, Some(timeout), Link::open(address, ticker)).await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(error)) => Err(ForwardErrorKind::of_connect(error)),
        Err(_) => Err(ForwardErrorKind::ConnectTimeout),
    }
}
