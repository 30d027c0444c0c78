//! The connection log: one line of JSON per connection.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::labels::{Alert, ConnectionEnd, EarlyRefusal, Label};
use super::timestamp::{millis, optional_millis, time};

/// Which connections are logged: `[log] connections`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionLog {
    /// Those that did not end cleanly. The default.
    #[default]
    Errors,
    /// Every one.
    All,
    /// None.
    Off,
}

impl ConnectionLog {
    /// Whether this record is to be written.
    pub fn wants(self, record: &ConnectionRecord<'_>) -> bool {
        match self {
            Self::Errors => record.is_error(),
            Self::All => true,
            Self::Off => false,
        }
    }
}

/// One connection, written when it has ended. `None` becomes `null`.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionRecord<'a> {
    /// When the connection was accepted.
    #[serde(serialize_with = "time")]
    pub time: SystemTime,
    /// The number of the worker.
    pub worker: usize,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The other end of the connection, where that is not the client.
    pub peer: Option<SocketAddr>,
    /// Whether the other end has proved its address; over QUIC it may else be forged.
    pub address_proved: bool,
    /// The listener's name or address.
    pub listener: &'a str,
    /// The server name of the ClientHello.
    pub sni: Option<&'a str>,
    /// ClientHellos seen; 2 means a HelloRetryRequest was sent.
    pub client_hellos: u8,
    /// The group of the key exchange.
    pub group: Option<&'a str>,
    /// The cipher suite.
    pub suite: Option<&'a str>,
    /// The TLS version, `1.3` or `1.2`.
    pub version: Option<&'a str>,
    /// The application protocol that was negotiated.
    pub alpn: Option<&'a str>,
    /// The kind of key of the certificate that was shown; `None` on resumption.
    pub certificate: Option<&'a str>,
    /// What the staple says that was shown with it, `good` or `revoked`; `None` without one.
    pub staple: Option<&'a str>,
    /// How it was compressed; `None` if it was not.
    pub certificate_compression: Option<&'a str>,
    /// Whether the handshake resumed a session.
    pub resumed: bool,
    /// What became of early data.
    pub early: EarlyOutcome,
    /// Tickets sent.
    pub tickets_sent: u8,
    /// The JA4 fingerprint of the (first) ClientHello.
    pub ja4: Option<&'a str>,
    /// The alert that the edge sent; close_notify is none.
    pub alert_sent: Option<Alert>,
    /// The alert that the client sent; close_notify is none.
    pub alert_received: Option<Alert>,
    /// Bytes received on the wire.
    pub bytes_in: u64,
    /// Bytes sent on the wire.
    pub bytes_out: u64,
    /// Requests handed out.
    pub requests: u64,
    /// accept → Finished; `None` if it never came.
    #[serde(rename = "handshake_ms", serialize_with = "optional_millis")]
    pub handshake: Option<Duration>,
    /// accept → end.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// How it ended.
    pub end: ConnectionEnd,
    /// What went wrong, in words, if anything did.
    pub error: Option<&'a str>,
}

/// What became of a connection's early data.
///
/// In JSON: `none`, `accepted`, `empty`, `offered` (the handshake ended before it was decided), or
/// `refused_` and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyOutcome {
    /// None was offered.
    None,
    /// Offered, and the handshake ended before it was decided.
    Offered,
    /// Accepted, and the client had none to send.
    Empty,
    /// At least one byte was delivered.
    Accepted,
    /// Refused at the TLS layer.
    Refused(EarlyRefusal),
}

impl Serialize for EarlyOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Offered => serializer.serialize_str("offered"),
            Self::Empty => serializer.serialize_str("empty"),
            Self::Accepted => serializer.serialize_str("accepted"),
            Self::Refused(reason) => {
                serializer.collect_str(&format_args!("refused_{}", reason.as_str()))
            }
        }
    }
}

impl ConnectionRecord<'_> {
    /// Whether the connection did not end cleanly.
    pub fn is_error(&self) -> bool {
        self.end != ConnectionEnd::Clean
    }
}

#[cfg(test)]
mod tests;
