//! The access log: one line of JSON per request.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::request_id::RequestId;

use super::labels::{EarlyState, Label, OriginError, Protocol, TimeoutKind};
use super::timestamp::{millis, optional_millis, time};

/// One request, written when both its answer and the handshake have ended (EARLY-DATA R15):
/// the caller sees to that. `None` becomes `null`.
#[derive(Clone, Debug, Serialize)]
pub struct AccessRecord<'a> {
    /// When the request's head was whole.
    #[serde(serialize_with = "time")]
    pub time: SystemTime,
    /// What an origin gets as X-Request-Id.
    pub request_id: &'a RequestId,
    /// The client's address and port; the address alone where the port is 0: not known.
    #[serde(serialize_with = "address")]
    pub client: SocketAddr,
    /// The other end of the connection, where that is not the client.
    pub peer: Option<SocketAddr>,
    /// The listener's name or address.
    pub listener: &'a str,
    /// The number of the worker.
    pub worker: usize,
    /// The server name of the ClientHello.
    pub sni: Option<&'a str>,
    /// The HTTP version.
    pub protocol: Protocol,
    /// The TLS version, `1.3` or `1.2`.
    pub version: Option<&'a str>,
    /// The cipher suite.
    pub suite: Option<&'a str>,
    /// The application protocol that was negotiated.
    pub alpn: Option<&'a str>,
    /// Whether the handshake resumed a session.
    pub resumed: bool,
    /// The request's method.
    pub method: &'a str,
    /// The authority that was asked for.
    pub host: Option<&'a str>,
    /// The path as the client sent it, with its query.
    pub path: &'a str,
    /// The answer's status; `None` if there was no answer.
    pub status: Option<u16>,
    /// Bytes of the request's content.
    pub bytes_in: u64,
    /// Bytes of the answer's content.
    pub bytes_out: u64,
    /// What became of the request's early state.
    pub early: EarlyState,
    /// Whether any byte of the request came as early data. Conservative, for logs only.
    pub arrived_early: bool,
    /// Whether the handshake was confirmed.
    pub confirmed: Confirmed,
    /// Whether the answer began before the client's Finished.
    pub answered_before_finished: bool,
    /// The route that was chosen.
    pub route: Option<&'a str>,
    /// The origin's address.
    pub origin: Option<&'a str>,
    /// Request sent → head of the origin's answer.
    #[serde(rename = "origin_time_ms", serialize_with = "optional_millis")]
    pub origin_time: Option<Duration>,
    /// How often a server of the origin was asked or connected to.
    pub origin_tries: u32,
    /// What went wrong with the origin last.
    pub origin_error: Option<OriginError>,
    /// How long the request waited for a server of the origin.
    #[serde(rename = "queue_ms", serialize_with = "optional_millis")]
    pub queue: Option<Duration>,
    /// Head whole → first byte of the answer.
    #[serde(rename = "ttfb_ms", serialize_with = "optional_millis")]
    pub ttfb: Option<Duration>,
    /// Head whole → end of the answer.
    #[serde(rename = "total_ms", serialize_with = "millis")]
    pub total: Duration,
    /// How long the request waited for the handshake to be confirmed.
    #[serde(rename = "wait_ms", serialize_with = "optional_millis")]
    pub wait: Option<Duration>,
    /// How the answer ended.
    pub end: AnswerEnd,
}

fn address<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    match address.port() {
        0 => address.ip().serialize(serializer),
        _ => address.serialize(serializer),
    }
}

/// Whether a request's handshake was confirmed. In JSON: `true` or `"failed"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// The client's Finished was verified.
    True,
    /// The handshake failed after the request was handed out.
    Failed,
}

impl Serialize for Confirmed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::True => serializer.serialize_bool(true),
            Self::Failed => serializer.serialize_str("failed"),
        }
    }
}

/// How an answer ended. In JSON one word; a timeout is `timeout_` and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnd {
    /// All of it was sent.
    Complete,
    /// The client went away or reset the stream.
    AbortedByClient,
    /// The origin failed after the head of its answer.
    AbortedByOrigin,
    /// The handler failed.
    AbortedByHandler,
    /// The handshake failed.
    HandshakeFailed,
    /// A deadline passed.
    Timeout(TimeoutKind),
}

impl Serialize for AnswerEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Complete => serializer.serialize_str("complete"),
            Self::AbortedByClient => serializer.serialize_str("aborted_by_client"),
            Self::AbortedByOrigin => serializer.serialize_str("aborted_by_origin"),
            Self::AbortedByHandler => serializer.serialize_str("aborted_by_handler"),
            Self::HandshakeFailed => serializer.serialize_str("handshake_failed"),
            Self::Timeout(kind) => {
                serializer.collect_str(&format_args!("timeout_{}", kind.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
