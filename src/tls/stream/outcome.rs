//! What became of a stream: errors, what was read, what was seen.

use std::io;

use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, CipherSuite};

use crate::certs::compression::Compressed;
use crate::tls::hello::HelloError;

/// Why a stream came to an end before its time.
#[derive(Debug)]
pub enum StreamError {
    /// The socket failed.
    Io(io::Error),
    /// What came before the engine was not a ClientHello.
    Hello(HelloError),
    /// The peer broke the protocol, or we share nothing with it.
    Tls(rustls::Error),
    /// The certificate lacks the staple that it needs, and the handshake did not resume.
    Certificate,
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Hello(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Certificate => f.write_str("turned away: no_staple"),
        }
    }
}

impl std::error::Error for StreamError {}

/// What one read did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes were processed: plaintext was delivered or the handshake went on.
    Progress,
    /// The peer said close_notify.
    Closed,
    /// The peer's side ended without close_notify.
    Truncated,
}

/// What the stream saw, for logs and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Bytes from the socket.
    pub bytes_in: u64,
    /// Bytes to the socket.
    pub bytes_out: u64,
    /// Bytes of early data that were delivered.
    pub early_bytes: u64,
    /// Whether the ServerHello flight accepted early data.
    pub early_accepted: bool,
    /// Whether a certificate was sent.
    pub certificate_sent: bool,
    /// What the staple says of the certificate that a full handshake shows.
    pub staple: Option<&'static str>,
    /// How the certificate was compressed that the ServerHello flight has.
    pub compressed: Option<Compressed>,
    /// ClientHellos: two after a HelloRetryRequest.
    pub hellos: u8,
    /// The alert that we sent.
    pub alert_sent: Option<AlertDescription>,
    /// The alert that the peer sent, other than close_notify.
    pub alert_received: Option<AlertDescription>,
}

/// Whether the flight that ended with a record of `last_record` bytes accepted early data.
///
/// rustls does not tell. On a resumed connection that record holds EncryptedExtensions and
/// Finished and nothing else; the acceptance is an empty extension of four bytes in it.
pub(super) fn accepts_early_data(engine: &UnbufferedServerConnection, last_record: usize) -> bool {
    const HEADER: usize = 5;
    const TAG_AND_TYPE: usize = 17;
    let hash = match engine.negotiated_cipher_suite().map(|suite| suite.suite()) {
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => 48,
        _ => 32,
    };
    let alpn = engine
        .alpn_protocol()
        .map_or(0, |protocol| 4 + 2 + 1 + protocol.len());
    let without = HEADER + (4 + 2 + alpn) + (4 + hash) + TAG_AND_TYPE;
    last_record == without + 4
}

/// The alert that rustls sends for an error, where it went out encrypted and cannot be read back.
pub(super) fn alert_for(error: &rustls::Error) -> AlertDescription {
    use rustls::{Error, PeerMisbehaved};
    match error {
        Error::InvalidMessage(_) => AlertDescription::DecodeError,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::PeerMisbehaved(PeerMisbehaved::IncorrectBinder) => AlertDescription::DecryptError,
        Error::PeerMisbehaved(
            PeerMisbehaved::TooMuchEarlyDataReceived | PeerMisbehaved::IllegalTlsInnerPlaintext,
        ) => AlertDescription::UnexpectedMessage,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        _ => AlertDescription::InternalError,
    }
}

/// Input that rustls answers with unexpected_message, for an error that wants this alert and for
/// which rustls has none: a record without a content type (RFC 9846 §5.4). It is a
/// change_cipher_spec where none, or no such one, may be (RFC 9846 §5).
///
/// `rest` is what rustls has not discarded. Only if the bad record, which was decrypted in place,
/// is first in it, does rustls hold on to no part of a handshake message: that, it has to see.
pub(super) fn wants_unexpected_message(
    error: &rustls::Error,
    rest: &[u8],
    handshaking: bool,
) -> Option<[u8; 6]> {
    const HEADER: usize = 5;
    const TAG: usize = 16;
    let rustls::Error::PeerMisbehaved(rustls::PeerMisbehaved::IllegalTlsInnerPlaintext) = error
    else {
        return None;
    };
    let [_, _, _, high, low] = *rest.first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(TAG)?;
    let plaintext = rest.get(HEADER..HEADER + length)?;
    // The one that TLS 1.3 suffers during a handshake holds a 1.
    let value = if handshaking { 2 } else { 1 };
    plaintext
        .iter()
        .all(|&byte| byte == 0)
        .then_some([20, 3, 3, 0, 1, value])
}
