//! What a handshake and its connection have shown, over either transport.

use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion};

use crate::config::site_tls::HTTP09;
use crate::tls::quic;
use crate::tls::stream::{Facts, TlsStream};

/// The facts of a connection's TLS, as far as they are known.
pub(super) struct Seen<'a> {
    pub(super) facts: Facts,
    pub(super) kind: Option<HandshakeKind>,
    pub(super) suite: Option<CipherSuite>,
    pub(super) group: Option<NamedGroup>,
    pub(super) version: Option<ProtocolVersion>,
    pub(super) alpn: Option<&'a [u8]>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(tls: &'a TlsStream) -> Self {
        let engine = tls.engine();
        let group = engine.and_then(|engine| engine.negotiated_key_exchange_group());
        let suite = engine.and_then(|engine| engine.negotiated_cipher_suite());
        Self {
            facts: *tls.facts(),
            kind: engine.and_then(|engine| engine.handshake_kind()),
            suite: suite.map(|suite| suite.suite()),
            group: group.map(|group| group.name()),
            version: engine.and_then(|engine| engine.protocol_version()),
            alpn: engine.and_then(|engine| engine.alpn_protocol()),
        }
    }

    /// `bytes` are what was received and sent, `alert_received` what the client's CONNECTION_CLOSE
    /// said.
    pub(super) fn of_quic(
        handshake: quic::Facts,
        (bytes_in, bytes_out): (u64, u64),
        alert_received: Option<rustls::AlertDescription>,
    ) -> Self {
        let known = handshake.suite.is_some();
        Self {
            facts: Facts {
                bytes_in,
                bytes_out,
                // That any came is known, not how much.
                early_bytes: u64::from(handshake.early_bytes),
                early_accepted: handshake.early_accepted,
                hellos: handshake.hellos,
                certificate_sent: handshake.certificate_sent,
                staple: handshake.staple,
                compressed: handshake.compressed,
                alert_sent: handshake.alert,
                alert_received,
            },
            kind: handshake.kind,
            suite: handshake.suite,
            group: handshake.group,
            version: known.then_some(ProtocolVersion::TLSv1_3),
            alpn: known.then_some(match handshake.http09 {
                true => HTTP09,
                false => b"h3",
            }),
        }
    }
}
