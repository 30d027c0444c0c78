//! The servers of an origin, and how they are spoken to.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::tags::Tag;

/// One server of an origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginServer {
    /// How it is spoken to.
    pub protocol: OriginProtocol,
    /// Where it is.
    pub host: OriginHost,
    /// Port; 0 for a Unix socket, which has none.
    pub port: u16,
    /// Its share of the requests beside the other servers' weights.
    pub weight: u32,
}

/// What an origin's server speaks: the scheme of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginProtocol {
    /// HTTP/1.1 in plain text: `http://` and `unix:`.
    Http1,
    /// HTTP/2 in plain text, with prior knowledge (RFC 9113 §3.3): `h2c://` and `unix+h2c:`.
    Http2,
    /// TLS; ALPN decides between HTTP/2 and HTTP/1.1: `https://`.
    Tls,
}

/// A name, an address, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginHost {
    /// A DNS name: resolved when it is used first, and again as its time to live says.
    Name(String),
    /// An address.
    Address(IpAddr),
    /// The path of a Unix socket.
    Unix(Arc<Path>),
}

impl OriginServer {
    /// A server that speaks HTTP/1.1 in plain text.
    pub fn plain(host: OriginHost, port: u16) -> Self {
        Self {
            protocol: OriginProtocol::Http1,
            host,
            port,
            weight: 1,
        }
    }

    /// Host and port as a Host field has them: without a port that the scheme implies
    /// (RFC 9110 §7.2, §4.2.3). A Unix socket has neither: `localhost`.
    pub fn authority(&self) -> String {
        let implied = match self.protocol {
            OriginProtocol::Http1 | OriginProtocol::Http2 => 80,
            OriginProtocol::Tls => 443,
        };
        let host = match &self.host {
            OriginHost::Name(name) => name.clone(),
            OriginHost::Address(IpAddr::V4(address)) => address.to_string(),
            OriginHost::Address(IpAddr::V6(address)) => format!("[{address}]"),
            OriginHost::Unix(_) => return "localhost".to_owned(),
        };
        match self.port == implied {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

impl std::fmt::Display for OriginServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match (self.protocol, &self.host) {
            (OriginProtocol::Http2, OriginHost::Unix(_)) => "unix+h2c:",
            (_, OriginHost::Unix(_)) => "unix:",
            (OriginProtocol::Http1, _) => "http://",
            (OriginProtocol::Http2, _) => "h2c://",
            (OriginProtocol::Tls, _) => "https://",
        };
        f.write_str(scheme)?;
        match &self.host {
            OriginHost::Name(name) => write!(f, "{name}:{}", self.port),
            OriginHost::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            OriginHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            OriginHost::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The TLS side of an origin. Two are equal if everything is that the file and its certificates
/// said, so that a pool lives on over a reload that changes nothing.
#[derive(Clone)]
pub struct OriginTls {
    /// A hash over all of that.
    pub tag: Tag,
    /// A hash over what the file says, without what its certificates are.
    pub typed: Tag,
    /// The SNI, and the name that is verified unless another is configured; `None` is the
    /// server's own host.
    pub server_name: Option<ServerName<'static>>,
    /// What rustls needs; `None` if a file could not be used at start: then no connection is made.
    pub client: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for OriginTls {
    /// The tag says it all, and a site's digest is made of this.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OriginTls").field(&self.tag).finish()
    }
}

impl PartialEq for OriginTls {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag
    }
}

impl Eq for OriginTls {}

impl Hash for OriginTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tag.hash(state);
    }
}
