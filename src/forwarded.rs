//! Who a request comes from: what proxies in front of us say, and what those behind us are told.
//!
//! No policy and no I/O: whoever calls this knows which peers are trusted.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::net::{IpAddr, SocketAddr};

pub use self::read::{request_id, told};
pub use self::write::{forwarded, x_forwarded_for};

/// What an origin is told about a request's way: `forwarded` of an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fields {
    /// X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host. The default.
    #[default]
    X,
    /// Forwarded (RFC 7239).
    Rfc7239,
    /// All four.
    Both,
    /// None.
    Off,
}

impl Fields {
    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Rfc7239 => "rfc7239",
            Self::Both => "both",
            Self::Off => "off",
        }
    }
}

/// The field in which trusted proxies name the client. One and not both: a proxy that writes one of
/// them passes on what the client wrote into the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustedHeader {
    /// X-Forwarded-For, with X-Forwarded-Proto. The default.
    #[default]
    XForwardedFor,
    /// Forwarded (RFC 7239).
    Forwarded,
}

impl TrustedHeader {
    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// What trusted proxies have said of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The client, then the proxies that it came through, in the order of its way. The peer of our
    /// connection is not among them; empty if that is all that is known.
    pub nodes: Vec<IpAddr>,
    /// The client's port, where it is known.
    pub port: Option<u16>,
    /// Whether the client came over plain HTTP.
    pub http: bool,
}

impl Told {
    /// The client, on a connection of `peer`; its port is 0 if it is not known.
    pub fn client(&self, peer: SocketAddr) -> SocketAddr {
        match self.nodes.first() {
            Some(client) => SocketAddr::new(*client, self.port.unwrap_or(0)),
            None => peer,
        }
    }
}
