//! What a test client offers.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::compress::CertDecompressor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore,
    SignatureScheme, SupportedProtocolVersion, version,
};

use super::pki::Leaf;
use super::tickets::Tickets;

/// The settings of a test client; every method returns a changed copy. Copies share their
/// tickets, so a ticket got with one setup can be used with another.
///
/// Default: TLS 1.3, no ALPN, early data wherever a ticket allows it, SNI, groups and suites of
/// rustls, full-size records.
#[derive(Clone, Debug)]
pub struct ClientSetup {
    /// Shared: rustls does not resume where the verifier is another object.
    verifier: Arc<dyn ServerCertVerifier>,
    /// Shared for the same reason.
    identity: Arc<dyn ResolvesClientCert>,
    tickets: Arc<Tickets>,
    provider: CryptoProvider,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    early_data: bool,
    sni: bool,
    fragment: Option<usize>,
    decompressors: Vec<&'static dyn CertDecompressor>,
}

impl ClientSetup {
    /// A client that trusts these roots.
    pub fn new(roots: Arc<RootCertStore>) -> Self {
        let provider = aws_lc_rs::default_provider();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::new(provider.clone()))
                .build()
                .unwrap();
        Self {
            verifier,
            identity: Arc::new(Identity(None)),
            tickets: Arc::default(),
            provider,
            versions: vec![&version::TLS13],
            alpn: Vec::new(),
            early_data: true,
            sni: true,
            fragment: None,
            decompressors: Vec::new(),
        }
    }

    /// The tickets that this setup and its copies share.
    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// With tickets of its own: another client that trusts the same roots.
    pub fn fresh(mut self) -> Self {
        self.tickets = Arc::default();
        self
    }

    /// Offers these protocols: `&["h2", "http/1.1"]`.
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// Whether early data is offered.
    pub fn early_data(mut self, on: bool) -> Self {
        self.early_data = on;
        self
    }

    /// Speaks TLS 1.2 only.
    pub fn tls12(mut self) -> Self {
        self.versions = vec![&version::TLS12];
        self
    }

    /// Speaks TLS 1.2 and 1.3.
    pub fn tls12_and_13(mut self) -> Self {
        self.versions = vec![&version::TLS13, &version::TLS12];
        self
    }

    /// Offers these groups, with a share for the first: one that the server lacks brings about a
    /// HelloRetryRequest.
    pub fn groups(mut self, groups: &[NamedGroup]) -> Self {
        self.provider.kx_groups = groups
            .iter()
            .map(|wanted| {
                let all = aws_lc_rs::ALL_KX_GROUPS.iter();
                let mut known = all.filter(|group| group.name() == *wanted);
                *known.next().unwrap_or_else(|| panic!("no {wanted:?}"))
            })
            .collect();
        self
    }

    /// Offers these suites in this order.
    pub fn suites(mut self, suites: &[CipherSuite]) -> Self {
        self.provider.cipher_suites = suites
            .iter()
            .map(|wanted| {
                let all = aws_lc_rs::ALL_CIPHER_SUITES.iter();
                let mut known = all.filter(|suite| suite.suite() == *wanted);
                *known.next().unwrap_or_else(|| panic!("no {wanted:?}"))
            })
            .collect();
        self
    }

    /// Puts at most so many bytes of plaintext, 27 to 16,384, into a record: splits handshake
    /// messages too. Early data alone is split by calling `Client::early` once for each record.
    pub fn fragment(mut self, plaintext: usize) -> Self {
        // rustls counts the 5 bytes of the record header in.
        self.fragment = Some(plaintext + 5);
        self
    }

    /// Asks for certificates that one of these understands. Default is none.
    pub fn decompressors(mut self, decompressors: &[&'static dyn CertDecompressor]) -> Self {
        self.decompressors = decompressors.to_vec();
        self
    }

    /// Says that it verifies signatures of servers by these schemes alone. Forgets tickets: rustls
    /// binds them to the verifier.
    pub fn schemes(mut self, schemes: &[SignatureScheme]) -> Self {
        self.verifier = Arc::new(Limited {
            verifier: self.verifier,
            schemes: schemes.to_vec(),
        });
        self.fresh()
    }

    /// Sends no server name.
    pub fn no_sni(mut self) -> Self {
        self.sni = false;
        self
    }

    /// Shows this certificate when asked for one. Forgets tickets: rustls binds them to it.
    pub fn identity(mut self, leaf: &Leaf) -> Self {
        let der = PrivateKeyDer::try_from(leaf.key_der.clone()).unwrap();
        let key = self.provider.key_provider.load_private_key(der).unwrap();
        let certified = CertifiedKey::new(leaf.chain.clone(), key);
        self.identity = Arc::new(Identity(Some(Arc::new(certified))));
        self.fresh()
    }

    /// The rustls configuration of this setup.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier))
            .with_client_cert_resolver(Arc::clone(&self.identity));
        config.alpn_protocols.clone_from(&self.alpn);
        config.cert_decompressors.clone_from(&self.decompressors);
        config.enable_early_data = self.early_data;
        config.enable_sni = self.sni;
        config.max_fragment_size = self.fragment;
        config.resumption = Resumption::store(Arc::clone(&self.tickets) as Arc<_>);
        Arc::new(config)
    }
}

#[derive(Debug)]
struct Identity(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Verifies as another does, and offers fewer schemes.
#[derive(Debug)]
struct Limited {
    verifier: Arc<dyn ServerCertVerifier>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Limited {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier
            .verify_server_cert(leaf, others, name, staple, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
