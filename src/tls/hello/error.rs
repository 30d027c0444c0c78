//! What can be wrong with a ClientHello, and the alert that says so.

use std::fmt;

use rustls::AlertDescription;

/// Why a ClientHello was refused. Always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HelloError {
    /// The first bytes are no TLS record: plain HTTP, SSLv2, a port scanner.
    NotTls,
    /// A record of another type came before the ClientHello was whole (RFC 9846 §5.1).
    UnexpectedRecord,
    /// A later record's version is not 3.x.
    RecordVersion,
    /// A handshake record without content (RFC 9846 §5.1).
    EmptyRecord,
    /// A plaintext record longer than 2^14 bytes (RFC 9846 §5.1).
    RecordOverflow,
    /// More than [`MAX_HELLO_RECORDS`](super::MAX_HELLO_RECORDS) records.
    TooManyRecords,
    /// The first handshake message is not a ClientHello.
    UnexpectedMessage,
    /// The message is longer than [`MAX_HELLO_SIZE`](super::MAX_HELLO_SIZE).
    TooLarge,
    /// More handshake bytes in the ClientHello's last record (RFC 9846 §5.1).
    Misaligned,
    /// `legacy_version` is SSL 3.0 or older (RFC 9846 §E.5).
    LegacyVersion,
    /// A field is cut short, out of range, or followed by left-over bytes; says which.
    Malformed(&'static str),
    /// An extension came twice (RFC 9846 §4.3).
    DuplicateExtension(u16),
    /// `pre_shared_key` is not the last extension (RFC 9846 §4.3.11).
    PskNotLast,
    /// Identities and binders differ in number (RFC 9846 §4.3.11).
    PskBinderCount,
    /// The compression methods are not null alone; under TLS 1.2: lack null (RFC 9846 §4.2.2).
    Compression,
    /// `server_name` holds no valid host name, or several (RFC 6066 §3).
    ServerName,
    /// An extension that TLS 1.3 cannot do without (RFC 9846 §9.2); says which.
    MissingExtension(&'static str),
}

impl HelloError {
    /// The alert to send before the connection is closed.
    #[must_use]
    pub fn alert(&self) -> AlertDescription {
        match self {
            Self::NotTls
            | Self::UnexpectedRecord
            | Self::EmptyRecord
            | Self::UnexpectedMessage
            | Self::Misaligned => AlertDescription::UnexpectedMessage,
            Self::RecordVersion | Self::LegacyVersion => AlertDescription::ProtocolVersion,
            Self::RecordOverflow => AlertDescription::RecordOverflow,
            Self::TooManyRecords | Self::TooLarge | Self::Malformed(_) => {
                AlertDescription::DecodeError
            }
            Self::DuplicateExtension(_)
            | Self::PskNotLast
            | Self::PskBinderCount
            | Self::Compression
            | Self::ServerName => AlertDescription::IllegalParameter,
            Self::MissingExtension(_) => AlertDescription::MissingExtension,
        }
    }

    /// A stable, bounded name for metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::UnexpectedRecord => "unexpected_record",
            Self::RecordVersion => "record_version",
            Self::EmptyRecord => "empty_record",
            Self::RecordOverflow => "record_overflow",
            Self::TooManyRecords => "too_many_records",
            Self::UnexpectedMessage => "unexpected_message",
            Self::TooLarge => "too_large",
            Self::Misaligned => "misaligned",
            Self::LegacyVersion => "legacy_version",
            Self::Malformed(_) => "malformed",
            Self::DuplicateExtension(_) => "duplicate_extension",
            Self::PskNotLast => "psk_not_last",
            Self::PskBinderCount => "psk_binder_count",
            Self::Compression => "compression",
            Self::ServerName => "server_name",
            Self::MissingExtension(_) => "missing_extension",
        }
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("not TLS"),
            Self::UnexpectedRecord => {
                f.write_str("a record of another type before the ClientHello")
            }
            Self::RecordVersion => f.write_str("a record's version is not 3.x"),
            Self::EmptyRecord => f.write_str("an empty handshake record"),
            Self::RecordOverflow => f.write_str("a record longer than 16384 bytes"),
            Self::TooManyRecords => f.write_str("a ClientHello in too many records"),
            Self::UnexpectedMessage => f.write_str("the first message is not a ClientHello"),
            Self::TooLarge => f.write_str("a ClientHello longer than 65535 bytes"),
            Self::Misaligned => f.write_str("handshake bytes after the ClientHello in its record"),
            Self::LegacyVersion => f.write_str("a ClientHello of SSL 3.0 or older"),
            Self::Malformed(what) => write!(f, "malformed ClientHello: {what}"),
            Self::DuplicateExtension(kind) => write!(f, "extension {kind} came twice"),
            Self::PskNotLast => f.write_str("pre_shared_key is not the last extension"),
            Self::PskBinderCount => f.write_str("PSK identities and binders differ in number"),
            Self::Compression => f.write_str("compression methods other than null"),
            Self::ServerName => f.write_str("server_name without exactly one valid host name"),
            Self::MissingExtension(which) => write!(f, "missing extension {which}"),
        }
    }
}

impl std::error::Error for HelloError {}

/// A fatal alert as a plaintext record, to be sent while no keys are in use.
#[must_use]
pub fn alert_record(alert: AlertDescription) -> [u8; 7] {
    // RFC 9846 §5.1 (record), §6 (alert): type alert, version 1.2, two bytes: fatal, description.
    [21, 3, 3, 0, 2, 2, u8::from(alert)]
}
