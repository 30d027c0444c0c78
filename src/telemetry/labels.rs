//! The label values of metrics and the fixed words of log lines.
//!
//! Every label is an enum, so the number of series is known when the program is compiled.
//! Nothing that a client chooses (SNI, paths, header values) is ever a label.

use serde::{Serialize, Serializer};

/// A label with a fixed set of values.
pub trait Label: Copy + Eq + Send + Sync + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The word that stands in metrics and log lines.
    fn as_str(self) -> &'static str;

    /// The position in [`Label::ALL`].
    fn index(self) -> usize;

    /// The value with this word, if there is one.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|label| label.as_str() == word)
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident => $word:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )+};
}

mod ocsp;
mod origin;
mod proxy;
mod quic;

pub use self::ocsp::{OcspFetch, StapleState};
pub use self::origin::{
    Ejection, HealthCheck, OriginConnection, OriginError, Resolution, RetryReason, ServerState,
};
pub use self::proxy::ProxyHeaderError;
pub use self::quic::{QuicError, TokenRefusal};

labels! {
    /// How a connection ended.
    ConnectionEnd {
        /// Both sides said close_notify (or, without TLS, FIN).
        Clean => "clean",
        /// The client closed without close_notify (RFC 9846 section 6.1).
        Truncated => "truncated",
        /// A deadline passed.
        Timeout => "timeout",
        /// The client reset the connection.
        Reset => "reset",
        /// A fatal alert, sent or received.
        Alert => "alert",
        /// It was closed to stay below a cap.
        Evicted => "evicted",
        /// Anything else: an I/O error, a panic of a handler.
        Error => "error",
    }

    /// What `accept` failed with.
    AcceptError {
        /// The process has no file descriptor left.
        Emfile => "emfile",
        /// The system has no file descriptor left.
        Enfile => "enfile",
        /// No buffer space.
        Enobufs => "enobufs",
        /// No memory.
        Enomem => "enomem",
        /// The client went away before it was accepted.
        Econnaborted => "econnaborted",
        /// Any other error.
        Other => "other",
    }

    /// The cap at which a new connection was closed.
    Cap {
        /// `[limits] connections`.
        Connections => "connections",
        /// `[limits] handshakes`.
        Handshakes => "handshakes",
        /// `[limits] connections`, by those over QUIC that have ended and are still kept.
        Closing => "closing",
    }

    /// The way of bytes, seen from the edge.
    Direction {
        /// From the client.
        In => "in",
        /// To the client.
        Out => "out",
    }

    /// What kind of handshake was completed.
    HandshakeKind {
        /// With a certificate.
        Full => "full",
        /// With a session, without early data.
        Resumed => "resumed",
        /// With a session and accepted early data.
        Early => "early",
    }

    /// How a certificate was compressed (RFC 8879).
    CertificateCompression {
        /// RFC 7932.
        Brotli => "brotli",
        /// RFC 1950.
        Zlib => "zlib",
    }

    /// The TLS version that was negotiated.
    TlsVersion {
        /// TLS 1.2 (RFC 5246).
        Tls12 => "1.2",
        /// TLS 1.3 (RFC 9846).
        Tls13 => "1.3",
    }

    /// Who ended a handshake.
    FailedBy {
        /// The edge: by an alert, a deadline or a cap.
        Edge => "edge",
        /// The client: by an alert or by going away.
        Client => "client",
    }

    /// A TLS alert (RFC 9846 section 6).
    Alert {
        /// No alert was sent: a deadline passed or the peer went away.
        None => "none",
        /// close_notify
        CloseNotify => "close_notify",
        /// unexpected_message
        UnexpectedMessage => "unexpected_message",
        /// bad_record_mac
        BadRecordMac => "bad_record_mac",
        /// record_overflow
        RecordOverflow => "record_overflow",
        /// handshake_failure
        HandshakeFailure => "handshake_failure",
        /// bad_certificate
        BadCertificate => "bad_certificate",
        /// unsupported_certificate
        UnsupportedCertificate => "unsupported_certificate",
        /// certificate_revoked
        CertificateRevoked => "certificate_revoked",
        /// certificate_expired
        CertificateExpired => "certificate_expired",
        /// certificate_unknown
        CertificateUnknown => "certificate_unknown",
        /// illegal_parameter
        IllegalParameter => "illegal_parameter",
        /// unknown_ca
        UnknownCa => "unknown_ca",
        /// access_denied
        AccessDenied => "access_denied",
        /// decode_error
        DecodeError => "decode_error",
        /// decrypt_error
        DecryptError => "decrypt_error",
        /// protocol_version
        ProtocolVersion => "protocol_version",
        /// insufficient_security
        InsufficientSecurity => "insufficient_security",
        /// internal_error
        InternalError => "internal_error",
        /// inappropriate_fallback
        InappropriateFallback => "inappropriate_fallback",
        /// user_canceled
        UserCanceled => "user_canceled",
        /// no_renegotiation
        NoRenegotiation => "no_renegotiation",
        /// missing_extension
        MissingExtension => "missing_extension",
        /// unsupported_extension
        UnsupportedExtension => "unsupported_extension",
        /// unrecognized_name
        UnrecognizedName => "unrecognized_name",
        /// bad_certificate_status_response
        BadCertificateStatusResponse => "bad_certificate_status_response",
        /// unknown_psk_identity
        UnknownPskIdentity => "unknown_psk_identity",
        /// certificate_required
        CertificateRequired => "certificate_required",
        /// no_application_protocol
        NoApplicationProtocol => "no_application_protocol",
        /// Any other code.
        Other => "other",
    }

    /// Why a ClientHello was turned away.
    HelloError {
        /// The client closed before its ClientHello was whole.
        Closed => "closed",
        /// The ClientHello was not whole in time.
        Timeout => "timeout",
        /// The first bytes are no TLS record.
        NotTls => "not_tls",
        /// A record of another type came first.
        UnexpectedRecord => "unexpected_record",
        /// A record's version is not 3.x.
        RecordVersion => "record_version",
        /// A handshake record without content.
        EmptyRecord => "empty_record",
        /// A record longer than 2^14 bytes.
        RecordOverflow => "record_overflow",
        /// In too many records.
        TooManyRecords => "too_many_records",
        /// The first handshake message is not a ClientHello.
        UnexpectedMessage => "unexpected_message",
        /// Longer than the reader takes.
        TooLarge => "too_large",
        /// Handshake bytes after the ClientHello in its last record.
        Misaligned => "misaligned",
        /// Its `legacy_version` is SSL 3.0 or older.
        LegacyVersion => "legacy_version",
        /// It could not be decoded.
        Malformed => "malformed",
        /// An extension came twice.
        DuplicateExtension => "duplicate_extension",
        /// `pre_shared_key` is not the last extension.
        PskNotLast => "psk_not_last",
        /// Identities and binders differ in number.
        PskBinderCount => "psk_binder_count",
        /// Compression methods other than null.
        Compression => "compression",
        /// `server_name` holds no valid host name, or several.
        ServerName => "server_name",
        /// An extension that is required is absent.
        MissingExtension => "missing_extension",
        /// No server name came and there is no default site.
        NoServerName => "no_server_name",
        /// No site has this name and there is no default site.
        UnknownName => "unknown_name",
        /// The site cannot serve: its certificate or key is broken.
        SiteRefused => "site_refused",
        /// The certificate must not be shown without a staple, and there is none.
        NoStaple => "no_staple",
        /// The site has no version of TLS that the client offers.
        UnsupportedVersion => "unsupported_version",
        /// The site has no certificate whose key signs with a scheme that the client offers.
        NoCertificate => "no_certificate",
        /// The user's own selector said no.
        Rejected => "rejected",
        /// Any other reason.
        Other => "other",
    }

    /// Why early data was refused at the TLS layer (EARLY-DATA P4).
    EarlyRefusal {
        /// The store does not know the ticket.
        UnknownTicket => "unknown_ticket",
        /// The identity was taken a short while ago: probably a replay.
        ReplaySuspected => "replay_suspected",
        /// A HelloRetryRequest was needed.
        Hrr => "hrr",
        /// The site takes no early data.
        SiteOff => "site_off",
        /// The ticket was issued under another policy.
        Policy => "policy",
        /// The hello offers more identities than are looked at (EARLY-DATA R9).
        TooManyIdentities => "too_many_identities",
        /// Too many handshakes, too little memory (EARLY-DATA R8).
        Pressure => "pressure",
        /// Resumed, but early data did not fit: other ALPN, stale age.
        ResumedRefused => "resumed_refused",
    }

    /// What became of a request's early state.
    EarlyState {
        /// It was not early.
        None => "none",
        /// It waited until the handshake was confirmed.
        Waited => "waited",
        /// It was served before the handshake was confirmed.
        Served => "served",
        /// It was answered 425.
        Refused => "refused",
    }

    /// Who made a 425 answer.
    TooEarlyBy {
        /// The gate of the edge.
        Edge => "edge",
        /// The origin.
        Origin => "origin",
    }

    /// The HTTP version of a request.
    Protocol {
        /// HTTP/1.0 and HTTP/1.1 (RFC 9112).
        H1 => "h1",
        /// HTTP/2 (RFC 9113).
        H2 => "h2",
        /// HTTP/3 (RFC 9114).
        H3 => "h3",
    }

    /// The class of an answer's status (RFC 9110 section 15).
    StatusClass {
        /// 100–199.
        Informational => "1xx",
        /// 200–299.
        Successful => "2xx",
        /// 300–399.
        Redirection => "3xx",
        /// 400–499.
        ClientError => "4xx",
        /// 500–599.
        ServerError => "5xx",
        /// There was no answer.
        None => "none",
    }

    /// What answered a request.
    Target {
        /// A `respond` route.
        Respond => "respond",
        /// A `redirect` route.
        Redirect => "redirect",
        /// An origin.
        Origin => "origin",
        /// A handler of the library's user.
        Handler => "handler",
        /// The edge itself, before a route was chosen (400, 404, 421 …).
        Edge => "edge",
    }

    /// A limit of a route.
    Limit {
        /// `limits.uri`: 414.
        Uri => "uri",
        /// `limits.headers` or `limits.header_bytes`: 431.
        Headers => "headers",
        /// `limits.body`: 413.
        Body => "body",
        /// Too much of heads over HTTP/3 that are not whole: a request is rejected.
        Heads => "heads",
        /// Too many requests over HTTP/3 that their client gave up: the connection ends.
        GivenUp => "given_up",
        /// Too many frames and streams over HTTP/3 that are no part of a request: the connection ends.
        Control => "control",
        /// Too many frames over QUIC: the connection ends.
        Frames => "frames",
        /// Too many connection ids over QUIC that their client gave back: the connection ends.
        ConnectionIds => "connection_ids",
        /// Too many questions over QUIC whether a path works: the connection ends.
        PathChallenges => "path_challenges",
        /// Too many proofs of addresses that a connection over QUIC has moved to: it ends.
        Moves => "moves",
        /// More Initial packets of one connection than are read.
        Initials => "initials",
        /// More packets of one handshake over QUIC, after its Initial ones, than are read.
        HandshakePackets => "handshake_packets",
    }

    /// Why a route did not admit a client.
    DeniedBy {
        /// `allow` or `deny`: 403.
        Network => "network",
        /// `rate_limit`: 429.
        Rate => "rate",
    }

    /// The deadline that passed.
    TimeoutKind {
        /// accept → PROXY header whole.
        ProxyHeader => "proxy_header",
        /// accept → ClientHello whole.
        ClientHello => "client_hello",
        /// accept → Finished.
        Handshake => "handshake",
        /// first byte → head whole.
        RequestHeaders => "request_headers",
        /// answer sent → next first byte.
        KeepAlive => "keep_alive",
        /// connecting to an origin.
        Connect => "connect",
        /// client silent in a body.
        RequestBodyIdle => "request_body_idle",
        /// request sent → head of the origin.
        ResponseHeaders => "response_headers",
        /// origin silent in a body.
        ResponseIdle => "response_idle",
        /// client takes nothing.
        WriteIdle => "write_idle",
        /// waiting for a server of an origin.
        Queue => "queue",
        /// gate lets go → answer sent.
        Total => "total",
        /// cut at the end of a drain.
        Drain => "drain",
    }

    /// The end of a configuration reload.
    ReloadResult {
        /// The new configuration is in use.
        Ok => "ok",
        /// The running configuration serves on.
        Failed => "failed",
    }

    /// The log that a line belongs to.
    Log {
        /// `[log] access`.
        Access => "access",
        /// `[log] connections`.
        Connections => "connections",
        /// The program's own messages.
        Program => "program",
    }
}

impl StatusClass {
    /// The class of a status code; 0 and codes out of range are [`StatusClass::None`].
    pub fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Successful,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::None,
        }
    }
}

impl HelloError {
    /// The value with this word, else [`HelloError::Other`].
    pub fn of(word: &str) -> Self {
        Self::from_word(word).unwrap_or(Self::Other)
    }
}

impl AcceptError {
    /// The label of an error of `accept`.
    pub fn of(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE) => Self::Emfile,
            Some(libc::ENFILE) => Self::Enfile,
            Some(libc::ENOBUFS) => Self::Enobufs,
            Some(libc::ENOMEM) => Self::Enomem,
            Some(libc::ECONNABORTED) => Self::Econnaborted,
            _ => Self::Other,
        }
    }
}
