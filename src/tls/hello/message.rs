//! The parsed ClientHello and the questions it answers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rustls::{
    CertificateCompressionAlgorithm, CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme,
};

use super::parse::Cursor;

/// A whole, well-formed ClientHello.
///
/// It keeps the message's bytes in one shared buffer and finds answers there, so that cloning is
/// cheap and parsing makes two allocations. Lists are in the client's order and hold what it sent,
/// GREASE (RFC 8701) included; absent extensions are empty lists.
#[derive(Clone)]
pub struct ClientHello {
    pub(super) message: Bytes,
    pub(super) server_name: Option<Arc<str>>,
    pub(super) has_server_name: bool,
    pub(super) legacy_version: u16,
    pub(super) session_id: Span,
    pub(super) cipher_suites: Span,
    pub(super) extensions: Span,
    pub(super) alpn: Option<Span>,
    pub(super) supported_versions: Option<Span>,
    pub(super) groups: Option<Span>,
    pub(super) key_shares: Option<Span>,
    pub(super) signature_schemes: Option<Span>,
    pub(super) compressions: Option<Span>,
    pub(super) psk_modes: Option<Span>,
    pub(super) identities: Option<Span>,
    pub(super) identity_count: u16,
    pub(super) binder_count: u16,
    pub(super) offers_tls13: bool,
    pub(super) early_data: bool,
    records: u32,
    wire_length: usize,
}

/// Where a field lies in the message, in bytes from its first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) length: u32,
}

/// One identity of the `pre_shared_key` extension (RFC 9846 §4.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PskIdentity<'a> {
    /// The ticket, or the key under which the session is stored.
    pub identity: &'a [u8],
    /// The ticket's age in milliseconds plus its `ticket_age_add`, modulo 2^32.
    pub obfuscated_age: u32,
}

impl ClientHello {
    /// Parses a ClientHello message with its four-byte handshake header, as CRYPTO frames carry it.
    ///
    /// # Errors
    /// [`HelloError`](super::HelloError) when it is not one whole, well-formed ClientHello.
    pub fn parse(message: impl Into<Bytes>) -> Result<Self, super::HelloError> {
        super::parse::client_hello(message.into())
    }

    pub(super) fn empty(message: Bytes) -> Self {
        Self {
            message,
            server_name: None,
            has_server_name: false,
            legacy_version: 0,
            session_id: Span::default(),
            cipher_suites: Span::default(),
            extensions: Span::default(),
            alpn: None,
            supported_versions: None,
            groups: None,
            key_shares: None,
            signature_schemes: None,
            compressions: None,
            psk_modes: None,
            identities: None,
            identity_count: 0,
            binder_count: 0,
            offers_tls13: false,
            early_data: false,
            records: 0,
            wire_length: 0,
        }
    }

    pub(super) fn arrived(&mut self, records: u32, wire_length: usize) {
        self.records = records;
        self.wire_length = wire_length;
    }

    /// The host name asked for (SNI): a valid DNS name in lower case without trailing dot.
    ///
    /// `None` without the extension, or when it held an IP address: rustls treats it as absent too.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// [`server_name`](Self::server_name), to be kept: cloning copies no bytes.
    #[must_use]
    pub fn shared_server_name(&self) -> Option<Arc<str>> {
        self.server_name.clone()
    }

    /// Whether a `server_name` extension came, usable or not.
    #[must_use]
    pub fn has_server_name_extension(&self) -> bool {
        self.has_server_name
    }

    /// Protocol names of ALPN (RFC 7301).
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        let mut names = self.cursor(self.alpn);
        std::iter::from_fn(move || names.vec8().map(|name| name.rest()))
    }

    /// `legacy_version`: 0x0303 from a TLS 1.3 client.
    #[must_use]
    pub fn legacy_version(&self) -> ProtocolVersion {
        ProtocolVersion::from(self.legacy_version)
    }

    /// The `supported_versions` extension.
    pub fn supported_versions(&self) -> impl Iterator<Item = ProtocolVersion> {
        self.numbers(self.supported_versions).map(Into::into)
    }

    /// Whether the `supported_versions` extension came.
    #[must_use]
    pub fn has_supported_versions_extension(&self) -> bool {
        self.supported_versions.is_some()
    }

    /// Cipher suites offered.
    pub fn cipher_suites(&self) -> impl Iterator<Item = CipherSuite> {
        self.numbers(Some(self.cipher_suites)).map(Into::into)
    }

    /// Groups of `supported_groups`.
    pub fn groups(&self) -> impl Iterator<Item = NamedGroup> {
        self.numbers(self.groups).map(Into::into)
    }

    /// Groups for which a key share came.
    pub fn key_share_groups(&self) -> impl Iterator<Item = NamedGroup> {
        let mut shares = self.cursor(self.key_shares);
        std::iter::from_fn(move || {
            let group = shares.u16()?;
            shares.vec16()?;
            Some(group.into())
        })
    }

    /// Signature schemes the client can verify (`signature_algorithms`).
    pub fn signature_schemes(&self) -> impl Iterator<Item = SignatureScheme> {
        self.numbers(self.signature_schemes).map(Into::into)
    }

    /// Algorithms of `compress_certificate` (RFC 8879).
    pub fn certificate_compressions(
        &self,
    ) -> impl Iterator<Item = CertificateCompressionAlgorithm> {
        self.numbers(self.compressions).map(Into::into)
    }

    /// `psk_key_exchange_modes`: 0 is PSK alone, 1 is PSK with (EC)DHE.
    #[must_use]
    pub fn psk_modes(&self) -> &[u8] {
        self.psk_modes.map_or(&[], |span| self.slice(span))
    }

    /// Identities of `pre_shared_key`.
    pub fn identities(&self) -> impl Iterator<Item = PskIdentity<'_>> {
        let mut identities = self.cursor(self.identities);
        std::iter::from_fn(move || {
            Some(PskIdentity {
                identity: identities.vec16()?.rest(),
                obfuscated_age: identities.u32()?,
            })
        })
    }

    /// How many identities [`identities`](Self::identities) yields (EARLY-DATA R9 bounds it).
    #[must_use]
    pub fn identity_count(&self) -> usize {
        usize::from(self.identity_count)
    }

    /// How many binders came; equal to [`identity_count`](Self::identity_count).
    #[must_use]
    pub fn binder_count(&self) -> usize {
        usize::from(self.binder_count)
    }

    /// Extension types in the order they came.
    pub fn extension_types(&self) -> impl Iterator<Item = u16> {
        let mut extensions = self.cursor(Some(self.extensions));
        std::iter::from_fn(move || {
            let kind = extensions.u16()?;
            extensions.vec16()?;
            Some(kind)
        })
    }

    /// Whether a `status_request` came (RFC 6066 §8): the client takes a stapled OCSP response.
    #[must_use]
    pub fn asks_for_status(&self) -> bool {
        const STATUS_REQUEST: u16 = 5;
        self.extension_types().any(|kind| kind == STATUS_REQUEST)
    }

    /// The client's random value, 32 bytes.
    #[must_use]
    pub fn random(&self) -> &[u8] {
        self.slice(Span {
            start: 6,
            length: 32,
        })
    }

    /// `legacy_session_id`, 0 to 32 bytes.
    #[must_use]
    pub fn session_id(&self) -> &[u8] {
        self.slice(self.session_id)
    }

    /// Whether TLS 1.3 is among `supported_versions`.
    #[must_use]
    pub fn offers_tls13(&self) -> bool {
        self.offers_tls13
    }

    /// Whether TLS 1.2 is among `supported_versions`; without that extension, whether
    /// `legacy_version` allows it.
    #[must_use]
    pub fn offers_tls12(&self) -> bool {
        match self.has_supported_versions_extension() {
            true => self
                .supported_versions()
                .any(|version| version == ProtocolVersion::TLSv1_2),
            false => self.legacy_version >= u16::from(ProtocolVersion::TLSv1_2),
        }
    }

    /// Whether the client means to send early data (0-RTT).
    #[must_use]
    pub fn offers_early_data(&self) -> bool {
        self.early_data
    }

    /// Whether a pre-shared key (a TLS 1.3 ticket) is offered.
    #[must_use]
    pub fn offers_psk(&self) -> bool {
        self.identity_count > 0
    }

    /// Whether ChaCha20-Poly1305 stands first among the TLS 1.3 suites: the mark of a client
    /// without AES instructions.
    #[must_use]
    pub fn prefers_chacha20(&self) -> bool {
        let first = self
            .numbers(Some(self.cipher_suites))
            .find(|suite| matches!(suite, 0x1301..=0x1305));
        first == Some(0x1303)
    }

    /// Whether `group` is among the supported groups.
    #[must_use]
    pub fn supports_group(&self, group: NamedGroup) -> bool {
        self.groups().any(|offered| offered == group)
    }

    /// Whether a key share for `group` came, so that it needs no HelloRetryRequest.
    #[must_use]
    pub fn has_share(&self, group: NamedGroup) -> bool {
        self.key_share_groups().any(|offered| offered == group)
    }

    /// Whether `scheme` is among the signature schemes.
    #[must_use]
    pub fn supports_scheme(&self, scheme: SignatureScheme) -> bool {
        self.signature_schemes().any(|offered| offered == scheme)
    }

    /// The message with its four-byte handshake header, without record headers.
    #[must_use]
    pub fn message(&self) -> &Bytes {
        &self.message
    }

    /// In how many TLS records it came; 0 if it did not come through a
    /// [`HelloReader`](super::HelloReader).
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// How many bytes of the connection it took, record headers included.
    #[must_use]
    pub fn wire_length(&self) -> usize {
        self.wire_length
    }

    fn slice(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.message
            .get(start..start + span.length as usize)
            .unwrap_or_default()
    }

    fn cursor(&self, span: Option<Span>) -> Cursor<'_> {
        Cursor::new(span.map_or(&[], |span| self.slice(span)))
    }

    fn numbers(&self, span: Option<Span>) -> impl Iterator<Item = u16> {
        let (pairs, _) = span
            .map_or(&[][..], |span| self.slice(span))
            .as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_be_bytes(*pair))
    }
}

impl fmt::Debug for ClientHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHello")
            .field("server_name", &self.server_name())
            .field(
                "alpn",
                &self
                    .alpn()
                    .map(<[u8]>::escape_ascii)
                    .map(|name| name.to_string())
                    .collect::<Vec<_>>(),
            )
            .field("tls13", &self.offers_tls13)
            .field("identities", &self.identity_count)
            .field("early_data", &self.early_data)
            .field("length", &self.message.len())
            .finish_non_exhaustive()
    }
}

/// Whether a value of a list is GREASE: sent to be ignored (RFC 8701 §2).
#[must_use]
pub fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}
