//! Errors by blame: what the client is told (502, 503 or 504), and what metrics call it.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::address::Address;
use super::link::LinkError;
use super::tls::TlsError;
use crate::body::BoxError;
use crate::confirm::HandshakeFailed;
use crate::telemetry::labels::{OriginError, TimeoutKind};
use crate::telemetry::metrics::Metrics;

/// Why an origin gave no answer.
#[derive(Debug)]
pub struct ForwardError {
    /// What happened.
    pub kind: ForwardErrorKind,
    /// The origin server that was tried last; `None` if no address could be had.
    pub address: Option<Address>,
    /// What it took to learn that.
    pub effort: Effort,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// How often a server was asked or connected to.
    pub tries: u32,
    /// How long the request waited for a server; `None` if it did not.
    pub queued: Option<Duration>,
}

/// What happened on the way to an origin, before the head of its answer was there.
#[derive(Debug)]
pub enum ForwardErrorKind {
    /// Nobody listens at any address of the origin: 502.
    Refused,
    /// There is no way to the origin, or its name has no address: 502.
    Unreachable(io::Error),
    /// `timeouts.connect` passed: 504.
    ConnectTimeout,
    /// The origin reset the connection: 502.
    Reset,
    /// The origin closed the connection before its answer was whole: 502.
    Closed,
    /// The answer is not HTTP, or is framed ambiguously: 502.
    Malformed,
    /// `timeouts.response_headers` passed: 504.
    ResponseHeadersTimeout,
    /// `timeouts.total` passed: 504.
    TotalTimeout,
    /// The origin refused the request's stream, or announced its end, and did nothing: 502.
    Unprocessed,
    /// TLS with the origin failed: 502.
    Tls(TlsError),
    /// Checks took all servers out: 503.
    NoServer,
    /// `limits.requests` of the origin was reached: 503.
    CircuitOpen,
    /// All servers have as many requests as they may, and so has the queue: 503.
    QueueFull,
    /// `timeouts.queue` passed: 503.
    QueueTimeout,
    /// Any other error of the connection to the origin: 502.
    Other(BoxError),
    /// The request's own body ended with an error: the client's side knows the answer.
    RequestBody(BoxError),
    /// The client's handshake failed: there is nobody left to answer (EARLY-DATA R11).
    HandshakeFailed,
}

impl ForwardErrorKind {
    /// What metrics and logs call it; `None` where the origin has no part in it.
    pub fn origin_error(&self) -> Option<OriginError> {
        Some(match self {
            Self::Refused => OriginError::Refused,
            Self::Unreachable(_) => OriginError::Unreachable,
            Self::ConnectTimeout => OriginError::ConnectTimeout,
            Self::Reset => OriginError::Reset,
            Self::Closed => OriginError::Closed,
            Self::Malformed => OriginError::Malformed,
            Self::ResponseHeadersTimeout => OriginError::ResponseHeadersTimeout,
            Self::TotalTimeout => OriginError::TotalTimeout,
            Self::Unprocessed => OriginError::Unprocessed,
            Self::Tls(error) => error.label,
            Self::NoServer => OriginError::NoServer,
            Self::CircuitOpen => OriginError::CircuitOpen,
            Self::QueueFull => OriginError::QueueFull,
            Self::QueueTimeout => OriginError::QueueTimeout,
            Self::Other(_) => OriginError::Other,
            Self::RequestBody(_) | Self::HandshakeFailed => return None,
        })
    }

    fn timeout(&self) -> Option<TimeoutKind> {
        match self {
            Self::ConnectTimeout => Some(TimeoutKind::Connect),
            Self::ResponseHeadersTimeout => Some(TimeoutKind::ResponseHeaders),
            Self::TotalTimeout => Some(TimeoutKind::Total),
            Self::QueueTimeout => Some(TimeoutKind::Queue),
            _ => None,
        }
    }

    /// Whether the server failed the request. That the whole request took too long may be its
    /// client's doing.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::TotalTimeout
            | Self::NoServer
            | Self::CircuitOpen
            | Self::QueueFull
            | Self::QueueTimeout
            // It goes in good order.
            | Self::Unprocessed
            | Self::RequestBody(_)
            | Self::HandshakeFailed => false,
            // Out of descriptors, ports or memory: we are.
            Self::Unreachable(error) => !matches!(
                error.raw_os_error(),
                Some(
                    libc::EMFILE
                        | libc::ENFILE
                        | libc::ENOBUFS
                        | libc::ENOMEM
                        | libc::EADDRNOTAVAIL
                )
            ),
            _ => true,
        }
    }

    /// The same for another request that it happened to as well.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Refused => Self::Refused,
            Self::Unreachable(error) => Self::Unreachable(again(error)),
            Self::ConnectTimeout => Self::ConnectTimeout,
            Self::Reset => Self::Reset,
            Self::Closed => Self::Closed,
            Self::Malformed => Self::Malformed,
            Self::ResponseHeadersTimeout => Self::ResponseHeadersTimeout,
            Self::TotalTimeout => Self::TotalTimeout,
            Self::Unprocessed => Self::Unprocessed,
            Self::Tls(error) => Self::Tls(error.again()),
            Self::NoServer => Self::NoServer,
            Self::CircuitOpen => Self::CircuitOpen,
            Self::QueueFull => Self::QueueFull,
            Self::QueueTimeout => Self::QueueTimeout,
            Self::Other(error) => Self::Other(error.to_string().into()),
            Self::RequestBody(error) => Self::RequestBody(error.to_string().into()),
            Self::HandshakeFailed => Self::HandshakeFailed,
        }
    }

    pub(super) fn count(&self, metrics: &Metrics) {
        if let Some(error) = self.origin_error() {
            metrics.origins.errors.inc(error);
        }
        if let Some(timeout) = self.timeout() {
            metrics.timeouts.inc(timeout);
        }
    }

    /// Blames an error of `connect` or of a name look-up.
    pub(super) fn of_connect(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Unreachable(error),
        }
    }
}

/// An error that says the same.
pub(super) fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl From<TlsError> for ForwardErrorKind {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<LinkError> for ForwardErrorKind {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed => Self::Closed,
            LinkError::Reset => Self::Reset,
            LinkError::Malformed => Self::Malformed,
            LinkError::Unprocessed => Self::Unprocessed,
            LinkError::Tls(error) => Self::Tls(error),
            LinkError::Io(error) => Self::Other(error.into()),
            LinkError::RequestBody(error) => Self::RequestBody(error),
        }
    }
}

impl ForwardError {
    /// The answer to the client: 503 where there was no room for the request, 504 where another
    /// deadline passed, else 502.
    ///
    /// For [`ForwardErrorKind::RequestBody`] the caller, who made the body, knows better (408,
    /// 413); after [`ForwardErrorKind::HandshakeFailed`] no answer can be sent.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            ForwardErrorKind::ConnectTimeout
            | ForwardErrorKind::ResponseHeadersTimeout
            | ForwardErrorKind::TotalTimeout => StatusCode::GATEWAY_TIMEOUT,
            ForwardErrorKind::NoServer
            | ForwardErrorKind::CircuitOpen
            | ForwardErrorKind::QueueFull
            | ForwardErrorKind::QueueTimeout => StatusCode::SERVICE_UNAVAILABLE,
            ForwardErrorKind::RequestBody(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// A bounded name of what happened, for logs.
    pub fn label(&self) -> &'static str {
        use crate::telemetry::labels::Label;
        match self.kind.origin_error() {
            Some(error) => error.as_str(),
            None if matches!(self.kind, ForwardErrorKind::HandshakeFailed) => "handshake_failed",
            None => "request_body",
        }
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "origin {address}: {}", self.label())?,
            None => write!(f, "origin: {}", self.label())?,
        }
        match &self.kind {
            ForwardErrorKind::Unreachable(error) => write!(f, ": {error}"),
            ForwardErrorKind::Tls(error) => write!(f, ": {error}"),
            ForwardErrorKind::Other(error) | ForwardErrorKind::RequestBody(error) => {
                write!(f, ": {error}")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ForwardError {}

/// Why the body of an origin's answer ended before its end. The client must not take it for
/// whole: the connection is closed without the final chunk, the stream is reset.
#[derive(Debug)]
pub enum AnswerCut {
    /// `timeouts.response_idle` passed.
    ResponseIdle,
    /// `timeouts.total` passed.
    Total,
    /// The origin closed or reset the connection, or broke its framing.
    Origin(OriginError),
    /// The client's handshake failed (EARLY-DATA R11).
    HandshakeFailed,
    /// The request's own body broke off.
    RequestBody,
}

impl From<LinkError> for AnswerCut {
    fn from(error: LinkError) -> Self {
        Self::Origin(match error {
            LinkError::Closed => OriginError::Closed,
            LinkError::Reset => OriginError::Reset,
            LinkError::Malformed => OriginError::Malformed,
            LinkError::Unprocessed => OriginError::Unprocessed,
            LinkError::Tls(error) => error.label,
            LinkError::Io(_) => OriginError::Other,
            LinkError::RequestBody(_) => return Self::RequestBody,
        })
    }
}

impl AnswerCut {
    /// What metrics and logs call it; `None` where the origin has no part in it.
    pub fn origin_error(&self) -> Option<OriginError> {
        match self {
            Self::ResponseIdle => Some(OriginError::ResponseIdleTimeout),
            Self::Total => Some(OriginError::TotalTimeout),
            Self::Origin(error) => Some(*error),
            Self::HandshakeFailed | Self::RequestBody => None,
        }
    }

    /// Whether the server failed the request. That it fell silent may be what the request is for:
    /// it waits for an event.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Origin(_))
    }

    pub(super) fn count(&self, metrics: &Metrics) {
        if let Some(error) = self.origin_error() {
            metrics.origins.errors.inc(error);
        }
        match self {
            Self::ResponseIdle => metrics.timeouts.inc(TimeoutKind::ResponseIdle),
            Self::Total => metrics.timeouts.inc(TimeoutKind::Total),
            _ => {}
        }
    }
}

impl fmt::Display for AnswerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::telemetry::labels::Label;
        match self {
            Self::ResponseIdle => f.write_str("the origin fell silent in its answer"),
            Self::Total => f.write_str("the request's total time passed"),
            Self::Origin(error) => write!(f, "the origin's answer was cut: {}", error.as_str()),
            Self::HandshakeFailed => HandshakeFailed.fmt(f),
            Self::RequestBody => f.write_str("the request's body broke off"),
        }
    }
}

impl std::error::Error for AnswerCut {}
