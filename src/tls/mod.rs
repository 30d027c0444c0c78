//! TLS: ClientHello, site selection, the stream, sessions.

pub mod hello;
pub mod ja4;
pub mod quic;
pub mod select;
pub mod selector;
pub mod session;
pub mod stream;

use rustls::AlertDescription;

/// What a handshake is refused with that would show a certificate without the staple it needs.
///
/// Clients send this alert when a server's response is bad (RFC 9846 §6.2); a server has none of
/// its own for what is meant here. With internal_error nobody could tell such a site from one whose
/// key is broken; this one names the cause in the client's own log, and is fatal either way.
pub const NO_STAPLE: AlertDescription = AlertDescription::BadCertificateStatusResponse;
