//! A certificate chain and its private key: out of PEM, paired.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::leaf::Leaf;

/// A chain with its key, and what its leaf says.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What rustls needs.
    pub key: Arc<CertifiedKey>,
    /// Names and dates.
    pub leaf: Arc<Leaf>,
}

/// Why a chain and a key are no [`Pair`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The chain's file has no certificate.
    NoCertificate,
    /// The key's file has no private key.
    NoKey,
    /// The private key is encrypted.
    Encrypted,
    /// PEM that cannot be read.
    Pem(String),
    /// A certificate that cannot be read.
    Certificate(String),
    /// A private key that cannot be read or does not sign TLS handshakes.
    Key(String),
    /// The key belongs to another certificate.
    Mismatch,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no certificate in it (no PEM of CERTIFICATE)"),
            Self::NoKey => f.write_str("no private key in it (no PEM of PRIVATE KEY)"),
            Self::Encrypted => f.write_str("the private key is encrypted"),
            Self::Pem(error) => write!(f, "bad PEM: {error}"),
            Self::Certificate(error) => f.write_str(error),
            Self::Key(error) => write!(f, "the private key cannot be used: {error}"),
            Self::Mismatch => f.write_str("the private key belongs to another certificate"),
        }
    }
}

impl std::error::Error for KeyError {}

impl KeyError {
    /// Whether the chain's file is to blame rather than the key's.
    pub fn blames_chain(&self) -> bool {
        matches!(self, Self::NoCertificate | Self::Certificate(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoCertificate => "write the certificate here, then its intermediates",
            Self::Certificate(_) => "write X.509 certificates in PEM, the site's own first",
            Self::NoKey | Self::Pem(_) => "write one private key in PEM",
            Self::Encrypted => "decrypt it: openssl pkey -in FILE -out NEW",
            Self::Key(_) => "make an ECDSA (P-256, P-384, P-521), RSA or Ed25519 key",
            Self::Mismatch => "take the key that the certificate was asked for with",
        }
    }
}

impl Pair {
    /// Pairs a chain with a key, both PEM; they may be the same text.
    ///
    /// # Errors
    /// [`KeyError`] says which of the two is to blame.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, KeyError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| KeyError::Certificate(format!("bad PEM: {}", describe(&error))))?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(PemError::NoItemsFound) if is_encrypted(key) => return Err(KeyError::Encrypted),
            Err(PemError::NoItemsFound) => return Err(KeyError::NoKey),
            Err(error) => return Err(KeyError::Pem(describe(&error))),
        };
        Self::from_der(chain, key)
    }

    /// Pairs a chain, leaf first, with a key.
    ///
    /// # Errors
    /// [`KeyError`] says which of the two is to blame.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, KeyError> {
        let leaf = chain.first().ok_or(KeyError::NoCertificate)?;
        let leaf = Leaf::read(leaf).map_err(KeyError::Certificate)?;
        let key = aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| KeyError::Key(error.to_string()))?;
        let chain = chain
            .into_iter()
            .enumerate()
            .map(|(index, der)| if index == 0 { der } else { shared(der) })
            .collect();
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                return Err(KeyError::Mismatch);
            }
            // A key that does not tell its public half cannot be compared.
            Err(rustls::Error::InconsistentKeys(_)) => {}
            Err(error) => {
                return Err(KeyError::Certificate(format!(
                    "the certificate cannot be used: {error}"
                )));
            }
        }
        Ok(Self {
            key: Arc::new(key),
            leaf: Arc::new(leaf),
        })
    }

    /// What a program made.
    ///
    /// # Errors
    /// [`KeyError`] if its leaf cannot be read or does not go with its key.
    pub fn from_certified(key: Arc<CertifiedKey>) -> Result<Self, KeyError> {
        let leaf = key.cert.first().ok_or(KeyError::NoCertificate)?;
        let leaf = Arc::new(Leaf::read(leaf).map_err(KeyError::Certificate)?);
        match key.keys_match() {
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                Err(KeyError::Mismatch)
            }
            _ => Ok(Self { key, leaf }),
        }
    }
}

/// Keeps equal intermediates once.
///
/// rustls shares certificate bytes only if they live for ever, so what is kept is never given
/// back. There are few intermediates in the world; past [`MOST_SHARED`] nothing is kept any more.
fn shared(der: CertificateDer<'static>) -> CertificateDer<'static> {
    const MOST_SHARED: usize = 1024;
    static KEPT: LazyLock<Mutex<HashSet<&'static [u8]>>> = LazyLock::new(Mutex::default);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    match kept.get(der.as_ref()) {
        Some(bytes) => CertificateDer::from(*bytes),
        None if kept.len() >= MOST_SHARED => der,
        None => {
            let bytes: &'static [u8] = Box::leak(Box::from(der.as_ref()));
            kept.insert(bytes);
            CertificateDer::from(bytes)
        }
    }
}

fn describe(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { end_marker } => {
            format!("no end marker {}", String::from_utf8_lossy(end_marker))
        }
        PemError::IllegalSectionStart { line } => {
            format!("bad line {:?}", String::from_utf8_lossy(line))
        }
        PemError::Base64Decode(what) => format!("bad base64: {what}"),
        error => error.to_string(),
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let marker = b"ENCRYPTED";
    pem.windows(marker.len()).any(|window| window == marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_pair_up_from_two_texts_or_one() {
        let (chain, key) = made();
        let pair = Pair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(pair.leaf.names[0].to_string(), "example.com");
        let both = format!("{key}{chain}");
        assert!(Pair::from_pem(both.as_bytes(), both.as_bytes()).is_ok());
    }

    #[test]
    fn equal_intermediates_are_kept_once() {
        let (one, key) = made();
        let (two, other_key) = made();
        let (intermediate, _) = made();
        let one = Pair::from_pem(format!("{one}{intermediate}").as_bytes(), key.as_bytes());
        let two = Pair::from_pem(
            format!("{two}{intermediate}").as_bytes(),
            other_key.as_bytes(),
        );
        let address = |pair: &Pair| pair.key.cert[1].as_ref().as_ptr();
        assert_eq!(address(&one.unwrap()), address(&two.unwrap()));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let (chain, key) = made();
        let (_, other) = made();
        let error =
            |chain: &str, key: &str| Pair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error(&chain, &other), KeyError::Mismatch);
        assert_eq!(error(&key, &key), KeyError::NoCertificate);
        assert_eq!(error(&chain, &chain), KeyError::NoKey);
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(error(&chain, encrypted), KeyError::Encrypted);
        let cut = &key[..key.len() - 30];
        assert!(matches!(error(&chain, cut), KeyError::Pem(_)));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(error(garbage, &key).blames_chain());
    }
}
