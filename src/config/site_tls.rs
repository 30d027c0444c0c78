//! What a site's TLS side consists of: certificates, protocols, versions, early-data policy.
//!
//! A snapshot compiles one per site; a library user's selector may return one of its own.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::compress::CompressionCache;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{NamedGroup, ServerConfig};

use crate::certs::chooser::CertificateChooser;
use crate::certs::compression::Algorithm;
use crate::tags::Tag;

/// The largest early data of one connection over TCP, in bytes of plaintext (EARLY-DATA R7).
pub const MAX_EARLY_DATA: u32 = 16_384;

/// The groups that are spoken, in order of preference: X25519MLKEM768 only when its share is in
/// the ClientHello, so that it never costs a HelloRetryRequest.
pub const GROUPS: [NamedGroup; 4] = [
    NamedGroup::X25519MLKEM768,
    NamedGroup::X25519,
    NamedGroup::secp256r1,
    NamedGroup::secp384r1,
];

/// HTTP/0.9 over QUIC: what tests between implementations speak, and nothing else does.
pub(crate) const HTTP09: &[u8] = b"hq-interop";

/// What clients may send before they hear from us, over QUIC: they keep it with a ticket, so it is
/// the same for all sites and listeners.
#[derive(Clone, Copy, Debug)]
pub struct QuicLimits {
    /// Requests at once.
    pub requests: u32,
    /// Unidirectional streams at once: control, two of QPACK, and some that mean nothing.
    pub streams: u32,
    /// What one stream may have under way to us, in bytes.
    pub stream_window: u32,
    /// What all of a connection's streams may.
    pub connection_window: u32,
    /// The dynamic table of QPACK, in bytes, as SETTINGS allow it.
    pub qpack_table: u32,
    /// Streams that may wait for it.
    pub qpack_blocked: u32,
}

/// The limits in force. To lower one of them changes every tag of early data over QUIC, which is
/// what EARLY-DATA R24 asks for: tickets that were issued before are not taken for it.
pub const QUIC: QuicLimits = QuicLimits {
    requests: 128,
    streams: 8,
    stream_window: 256 * 1024,
    connection_window: 1024 * 1024,
    qpack_table: 0,
    qpack_blocked: 0,
};

impl QuicLimits {
    /// The tag of early data where clients remember these transport parameters and SETTINGS: `trust`
    /// is the side's own over QUIC, `early` the tag over TCP.
    fn tag(&self, trust: Tag, early: Tag) -> Tag {
        let remembered = format!("{self:?}");
        let label = b"cutwater quic early 1";
        Tag::of(&[label, &trust.0, &early.0, remembered.as_bytes()])
    }
}

fn providers() -> &'static [Arc<CryptoProvider>; 4] {
    static PROVIDERS: OnceLock<[Arc<CryptoProvider>; 4]> = OnceLock::new();
    PROVIDERS.get_or_init(|| {
        use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
        let groups: [&'static dyn SupportedKxGroup; 4] =
            [X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        groups.map(|group| {
            let mut provider = aws_lc_rs::default_provider();
            provider.kx_groups = vec![group];
            provider.cipher_suites = suites();
            Arc::new(provider)
        })
    })
}

/// AES-128-GCM-SHA256 first: SHA-384 in software costs 22–38 µs per handshake.
fn suites() -> Vec<rustls::SupportedCipherSuite> {
    use aws_lc_rs::cipher_suite::*;
    vec![
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
}

/// The TLS side of a site.
pub struct SiteTls {
    /// The site's certificates; the client gets one that it can verify.
    pub certificates: Arc<CertificateChooser>,
    /// ALPN protocols, in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// Whether TLS 1.2 is accepted too. Default is false.
    pub tls12: bool,
    /// Whether early data is accepted. Default is false (EARLY-DATA R1).
    pub early_data: bool,
    /// How certificates may be compressed (RFC 8879), in order of preference. Default is every
    /// way there is.
    pub certificate_compression: Vec<Algorithm>,
    /// Whether HTTP/0.9 is spoken over QUIC too, as `hq-interop`. Default is false.
    #[doc(hidden)]
    pub http09: bool,
    /// Session tickets issued per full handshake, 1–4. Default is 1.
    pub tickets: usize,
    /// What a ticket must share with the site to resume at all (EARLY-DATA R6).
    pub trust: Tag,
    /// What a ticket must share with the site to be taken for early data (EARLY-DATA R6).
    pub early: Tag,
    /// The largest early data of a connection, in bytes, where it is accepted.
    max_early_data: u32,
    configs: [OnceLock<Arc<ServerConfig>>; GROUPS.len()],
    /// The same over QUIC, made at first use.
    quic: OnceLock<Arc<SiteTls>>,
}

impl SiteTls {
    /// A TLS side with the given certificates, HTTP/2 and HTTP/1.1, TLS 1.3 only, no early data.
    ///
    /// `name` stands for the site in its tags: sites with different names never resume each
    /// other's sessions.
    pub fn new(name: &str, certificates: Arc<CertificateChooser>) -> Self {
        let trust = Tag::of(&[b"cutwater trust 1", b"tcp", name.as_bytes()]);
        Self {
            certificates,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            tls12: false,
            early_data: false,
            certificate_compression: Algorithm::ALL.to_vec(),
            http09: false,
            tickets: 1,
            trust,
            early: Tag::of(&[b"cutwater early 1", &trust.0]),
            max_early_data: MAX_EARLY_DATA,
            configs: Default::default(),
            quic: OnceLock::new(),
        }
    }

    /// This side over QUIC: HTTP/3 and TLS 1.3 alone, the same certificates and early-data policy.
    ///
    /// Its tags are others, so that no ticket goes from one transport to the other, and contain what
    /// clients remember with a ticket (EARLY-DATA R6, R24).
    pub fn over_quic(&self) -> &Arc<SiteTls> {
        self.quic.get_or_init(|| {
            let trust = Tag::of(&[b"cutwater quic trust 1", &self.trust.0]);
            let mut alpn = vec![b"h3".to_vec()];
            alpn.extend(self.http09.then(|| HTTP09.to_vec()));
            Arc::new(Self {
                certificates: Arc::clone(&self.certificates),
                alpn,
                tls12: false,
                early_data: self.early_data,
                certificate_compression: self.certificate_compression.clone(),
                http09: self.http09,
                tickets: self.tickets,
                trust,
                early: QUIC.tag(trust, self.early),
                // RFC 9001 §4.6.1: flow control bounds it, TLS does not.
                max_early_data: u32::MAX,
                configs: Default::default(),
                quic: OnceLock::new(),
            })
        })
    }

    /// The rustls configuration for connections that use `GROUPS[group]`, made at first use and
    /// kept. It has no session store: every connection gets its own in a clone.
    ///
    /// rustls takes the client's first group that it knows, with a HelloRetryRequest if there is
    /// no share for it; a configuration per group takes the choice out of its hands.
    ///
    /// `ticketer` is asked for on sites without early data only: stateless tickets are not single
    /// use (EARLY-DATA R5).
    pub fn server_config(
        &self,
        group: usize,
        ticketer: impl FnOnce() -> Arc<dyn ProducesTickets>,
    ) -> Arc<ServerConfig> {
        let group = group.min(GROUPS.len() - 1);
        let config = self.configs[group].get_or_init(|| {
            let versions: &[&rustls::SupportedProtocolVersion] = if self.tls12 {
                &[&rustls::version::TLS13, &rustls::version::TLS12]
            } else {
                &[&rustls::version::TLS13]
            };
            let builder = ServerConfig::builder_with_provider(Arc::clone(&providers()[group]))
                .with_protocol_versions(versions)
                // The suites and groups above serve both versions.
                .expect("the provider serves TLS 1.2 and 1.3");
            let mut config = builder
                .with_no_client_auth()
                .with_cert_resolver(self.certificates.clone());
            config.alpn_protocols.clone_from(&self.alpn);
            let algorithms = self.certificate_compression.iter();
            config.cert_compressors = algorithms.map(|one| one.compressor()).collect();
            // The compressors remember, for all sites and groups.
            config.cert_compression_cache = Arc::new(CompressionCache::Disabled);
            config.cert_decompressors = Vec::new();
            config.ignore_client_order = true;
            config.send_half_rtt_data = true;
            config.send_tls13_tickets = self.tickets;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            if self.early_data {
                config.max_early_data_size = self.max_early_data;
            } else {
                config.ticketer = ticketer();
                config.max_early_data_size = 0;
            }
            Arc::new(config)
        });
        Arc::clone(config)
    }
}

impl fmt::Debug for SiteTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteTls")
            .field("alpn", &self.alpn)
            .field("tls12", &self.tls12)
            .field("early_data", &self.early_data)
            .field("certificate_compression", &self.certificate_compression)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::CertifiedKey;

    use super::*;

    #[test]
    fn early_data_over_quic_is_bound_to_all_that_clients_remember() {
        type Lower = fn(&mut QuicLimits);
        let ways: [Lower; 6] = [
            |limits| limits.requests -= 1,
            |limits| limits.streams -= 1,
            |limits| limits.stream_window -= 1,
            |limits| limits.connection_window -= 1,
            |limits| limits.qpack_table = 4096,
            |limits| limits.qpack_blocked = 16,
        ];
        let (trust, early) = (Tag::of(&[b"trust"]), Tag::of(&[b"early"]));
        let now = QUIC.tag(trust, early);
        for (place, change) in ways.iter().enumerate() {
            let mut other = QUIC;
            change(&mut other);
            assert_ne!(other.tag(trust, early), now, "{place}");
        }
        assert_ne!(QUIC.tag(early, early), now);
        assert_ne!(QUIC.tag(trust, trust), now);
    }

    #[test]
    fn a_side_over_quic_has_the_tag_of_the_limits_in_force() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let certified = CertifiedKey::new(vec![made.cert.der().clone()], key);
        let chooser = CertificateChooser::new(vec![Arc::new(certified)]).unwrap();
        let side = SiteTls::new("a.example", Arc::new(chooser));
        let quic = side.over_quic();
        assert_eq!(quic.early, QUIC.tag(quic.trust, side.early));
        assert_ne!(quic.trust, side.trust);
    }
}
