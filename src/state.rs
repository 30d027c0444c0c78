//! What a request knows about the connection that it came on.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

/// The HTTP version that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 (or 1.0).
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Protocol {
    /// As it stands in logs: `h1`, `h2`, `h3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }
}

/// The facts of one connection. They do not change after the ServerHello was sent; whether the
/// handshake is confirmed does, and is asked of the request itself.
#[derive(Clone, Debug)]
pub struct ConnectionState {
    /// The client's address: the peer's, unless a PROXY protocol header names another. Over QUIC the
    /// one that the connection began with, wherever the client is by now.
    pub client: SocketAddr,
    /// The other end of the connection: the client, or the balancer in front of us.
    pub peer: SocketAddr,
    /// The address that the client connected to; the balancer's, if its header says so.
    pub local: SocketAddr,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The worker's index.
    pub worker: usize,
    /// The server name of the ClientHello, lower-cased; `None` if it sent none.
    pub server_name: Option<Arc<str>>,
    /// HTTP/1.1, HTTP/2 or HTTP/3.
    pub protocol: Protocol,
    /// The ALPN protocol that was agreed on, if any.
    pub alpn: Option<Vec<u8>>,
    /// The TLS version.
    pub version: ProtocolVersion,
    /// The cipher suite.
    pub suite: CipherSuite,
    /// The key exchange group; `None` where there was none (TLS 1.2 resumption).
    pub group: Option<NamedGroup>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// Whether early data was accepted on this connection.
    pub early_data: bool,
    /// Whether the client's address was proved before the handshake: always over TCP, over QUIC by a
    /// Retry. Else its end proves it (EARLY-DATA R15).
    pub address_validated: bool,
    /// The client's certificate chain, leaf first, if it authenticated.
    pub peer_certificates: Option<Arc<[CertificateDer<'static>]>>,
}
