//! A verifier that refuses nobody, and remembers what it saw.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use super::chains::Shown;

/// What was learnt of the server while the handshake went on.
#[derive(Clone, Debug, Default)]
pub(super) struct Learnt {
    /// The chain and its staple.
    pub(super) shown: Option<Shown>,
    /// Whether the chain leads to an authority that is trusted, and has the name; why not.
    pub(super) trust: Option<Result<(), String>>,
    /// Why the handshake's signature is not the certificate's.
    pub(super) forged: Option<String>,
    /// Whether the server asked for a certificate of ours.
    pub(super) asks_certificate: bool,
}

/// Goes on with any server, and keeps what it shows.
#[derive(Debug)]
pub(super) struct Witness {
    schemes: Vec<SignatureScheme>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    learnt: Mutex<Learnt>,
}

impl Witness {
    /// One that asks for these signatures, and tells what this verifier says.
    pub(super) fn new(
        schemes: Vec<SignatureScheme>,
        verifier: Option<Arc<WebPkiServerVerifier>>,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        Self {
            schemes,
            verifier,
            provider: Arc::clone(provider),
            learnt: Mutex::default(),
        }
    }

    /// What the last server showed.
    pub(super) fn learnt(&self) -> Learnt {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a signature for good if it is, or if nobody here can tell.
    fn note_signature(
        &self,
        scheme: SignatureScheme,
        verified: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if let Err(error) = verified
            && algorithms.supported_schemes().contains(&scheme)
        {
            self.lock().forged = Some(error.to_string());
        }
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let trust = self.verifier.as_ref().map(|verifier| {
            let verified = verifier.verify_server_cert(leaf, rest, name, staple, now);
            verified.map(|_| ()).map_err(|error| why(&error))
        });
        let chain = std::iter::once(leaf).chain(rest);
        let mut learnt = self.lock();
        learnt.trust = trust;
        learnt.shown = Some(Shown {
            chain: chain.map(|it| it.clone().into_owned()).collect(),
            staple: (!staple.is_empty()).then(|| staple.to_vec()),
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls12_signature(message, leaf, signed, algorithms);
        self.note_signature(signed.scheme, verified)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls13_signature(message, leaf, signed, algorithms);
        self.note_signature(signed.scheme, verified)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.lock().asks_certificate = true;
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Why a certificate is not trusted, without the words that every such error begins with.
fn why(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
            why.to_string()
        }
        rustls::Error::InvalidCertificate(why) => why.to_string(),
        other => other.to_string(),
    }
}
