//! What goes wrong, by name.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, OtherError};

use crate::telemetry::labels::{Alert, Label};

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nobody listens there.
    Refused,
    /// The server reset the connection.
    Reset,
    /// Another error of a socket, by its name.
    Io(io::ErrorKind),
    /// Something took too long.
    Timeout(TimedOut),
    /// The server sent a fatal alert.
    Alert(Alert),
    /// The server's certificate was not accepted, for this reason.
    Certificate(&'static str),
    /// The server broke TLS, or speaks something else.
    Tls,
    /// The connection ended before the handshake did.
    ClosedInHandshake,
    /// The connection, or the request's stream, ended before the answer began.
    NoAnswer,
    /// The connection, or the request's stream, ended before the answer did.
    HalfAnswer,
    /// The server agreed on another protocol than the one asked for, or on none.
    Alpn,
    /// The answer is not HTTP.
    Http,
    /// HTTP/2: the server reset the stream or said GOAWAY, with this error code.
    Http2(u32),
    /// HTTP/3: the server reset the stream or closed the connection, or broke the protocol on a stream of
    /// its own, with this error code.
    Http3(u64),
    /// QUIC: the server broke the protocol, or says that we did, with this error code.
    Quic(u64),
    /// The answer's status is 400 or above.
    Status(u16),
    /// The server gave no ticket that could be used.
    NoTicket,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimedOut {
    /// TCP connect.
    Connect,
    /// The handshake.
    Handshake,
    /// The answer.
    Request,
}

impl ErrorKind {
    /// The kind of a socket's error.
    pub fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            kind => Self::Io(kind),
        }
    }

    /// The kind of an error of the client's TLS.
    pub fn from_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::alert(*alert),
            rustls::Error::InvalidCertificate(error) => Self::Certificate(certificate(error)),
            rustls::Error::NoCertificatesPresented => Self::Certificate("none"),
            _ => Self::Tls,
        }
    }

    /// The kind of a fatal alert.
    pub(in crate::load) fn alert(alert: AlertDescription) -> Self {
        Self::Alert(Alert::from(alert))
    }
}

fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadEncoding => "bad encoding",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not valid yet"
        }
        CertificateError::Revoked => "revoked",
        CertificateError::UnknownIssuer => "unknown issuer",
        CertificateError::BadSignature => "bad signature",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "not valid for the name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not for servers"
        }
        CertificateError::Other(error) if is_an_authority(error) => "an authority's own",
        _ => "other",
    }
}

/// What `openssl req -x509` makes is one: clients may trust it, but not as a server's.
fn is_an_authority(error: &OtherError) -> bool {
    let error = error.0.downcast_ref::<webpki::Error>();
    matches!(error, Some(webpki::Error::CaUsedAsEndEntity))
}

/// RFC 9114 §8.1, RFC 9204 §6.
fn http3(code: u64) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "no error",
        "general protocol error",
        "internal error",
        "stream creation error",
        "closed critical stream",
        "frame unexpected",
        "frame error",
        "excessive load",
        "id error",
        "settings error",
        "missing settings",
        "request rejected",
        "request cancelled",
        "request incomplete",
        "message error",
        "connect error",
        "version fallback",
    ];
    const QPACK: [&str; 3] = [
        "qpack decompression failed",
        "qpack encoder stream error",
        "qpack decoder stream error",
    ];
    let of = |names: &'static [&'static str], first| {
        let place = usize::try_from(code.checked_sub(first)?).ok()?;
        names.get(place).copied()
    };
    of(&NAMES, 0x100).or_else(|| of(&QPACK, 0x200))
}

/// RFC 9000 §20.1.
fn quic(code: u64) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "no error",
        "internal error",
        "connection refused",
        "flow control error",
        "stream limit error",
        "stream state error",
        "final size error",
        "frame encoding error",
        "transport parameter error",
        "connection id limit error",
        "protocol violation",
        "invalid token",
        "application error",
        "crypto buffer exceeded",
        "key update error",
        "aead limit reached",
        "no viable path",
    ];
    NAMES.get(usize::try_from(code).ok()?).copied()
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Io(kind) => write!(f, "socket: {kind}"),
            Self::Timeout(TimedOut::Connect) => f.write_str("timeout: connect"),
            Self::Timeout(TimedOut::Handshake) => f.write_str("timeout: handshake"),
            Self::Timeout(TimedOut::Request) => f.write_str("timeout: request"),
            Self::Alert(alert) => write!(f, "alert: {}", alert.as_str()),
            Self::Certificate(reason) => write!(f, "certificate: {reason}"),
            Self::Tls => f.write_str("tls"),
            Self::ClosedInHandshake => f.write_str("closed in handshake"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::HalfAnswer => f.write_str("half an answer"),
            Self::Alpn => f.write_str("alpn"),
            Self::Http => f.write_str("not http"),
            Self::Http2(code) => write!(f, "h2: {}", h2::Reason::from(*code).description()),
            Self::Http3(code) => match http3(*code) {
                Some(name) => write!(f, "h3: {name}"),
                None => write!(f, "h3: {code:#x}"),
            },
            Self::Quic(code) => match quic(*code) {
                Some(name) => write!(f, "quic: {name}"),
                None => write!(f, "quic: {code:#x}"),
            },
            Self::Status(status) => write!(f, "status {status}"),
            Self::NoTicket => f.write_str("no ticket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_names() {
        let kind = |error: rustls::Error| ErrorKind::from_tls(&error).to_string();
        let alert = AlertDescription::HandshakeFailure;
        assert_eq!(
            kind(rustls::Error::AlertReceived(alert)),
            "alert: handshake_failure"
        );
        let error = CertificateError::UnknownIssuer;
        assert_eq!(kind(error.into()), "certificate: unknown issuer");
        assert_eq!(kind(rustls::Error::HandshakeNotComplete), "tls");
        let io = |kind: io::ErrorKind| ErrorKind::from_io(&kind.into()).to_string();
        assert_eq!(io(io::ErrorKind::ConnectionRefused), "refused");
        assert_eq!(io(io::ErrorKind::ConnectionReset), "reset");
        assert_eq!(ErrorKind::Http3(0x10b).to_string(), "h3: request rejected");
        assert_eq!(
            ErrorKind::Http3(0x202).to_string(),
            "h3: qpack decoder stream error"
        );
        assert_eq!(ErrorKind::Http3(0x33).to_string(), "h3: 0x33");
        assert_eq!(ErrorKind::Quic(0xa).to_string(), "quic: protocol violation");
        assert_eq!(ErrorKind::Status(503).to_string(), "status 503");
    }
}
