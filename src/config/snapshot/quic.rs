//! How a listener speaks QUIC.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;

/// QUIC on one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quic {
    /// Where it listens, once that is known.
    pub address: SocketAddr,
    /// How long clients are told to remember HTTP/3; `None` tells them nothing.
    pub alt_svc_age: Option<Duration>,
    /// The Alt-Svc field of answers over TCP that tells them (RFC 7838), for the listener's port.
    pub alt_svc: Option<HeaderValue>,
    /// When a client must prove its address before its handshake begins.
    pub retry: QuicRetry,
    /// Whether a client may change its address.
    pub migration: bool,
}

impl Quic {
    /// It listens there: names the port in Alt-Svc.
    pub fn at(&mut self, address: SocketAddr) {
        self.address = address;
        self.alt_svc = self.alt_svc_age.and_then(|age| {
            let value = format!("h3=\":{}\"; ma={}", address.port(), age.as_secs());
            HeaderValue::try_from(value).ok()
        });
    }
}

/// When a client must prove its address by a Retry (RFC 9000 §8.1.2), which costs it a round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuicRetry {
    /// While many handshakes are unfinished.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl QuicRetry {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}
