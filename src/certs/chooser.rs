//! Which of a site's certificates a client gets: one that it can verify.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CipherSuite, SignatureScheme};

use super::ocsp::{Stapled, Unstapled};
use super::shown;
use crate::config::names::SiteName;

/// What kind of key a certificate has, in the order of preference.
///
/// ECDSA on P-256 is first because it signs in a twentieth of RSA's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateKind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// RSA of any size.
    Rsa,
}

impl CertificateKind {
    const ALL: [Self; 5] = [
        Self::EcdsaP256,
        Self::Ed25519,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa,
    ];

    /// The kind of a private key; `None` for a key that signs with none of these.
    #[must_use]
    pub fn of(key: &dyn SigningKey) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| key.choose_scheme(kind.schemes()).is_some())
    }

    /// Signature schemes that such a key can make.
    #[must_use]
    pub fn schemes(self) -> &'static [SignatureScheme] {
        match self {
            Self::EcdsaP256 => &[SignatureScheme::ECDSA_NISTP256_SHA256],
            Self::EcdsaP384 => &[SignatureScheme::ECDSA_NISTP384_SHA384],
            Self::EcdsaP521 => &[SignatureScheme::ECDSA_NISTP521_SHA512],
            Self::Ed25519 => &[SignatureScheme::ED25519],
            Self::Rsa => &[
                SignatureScheme::RSA_PSS_SHA256,
                SignatureScheme::RSA_PSS_SHA384,
                SignatureScheme::RSA_PSS_SHA512,
                SignatureScheme::RSA_PKCS1_SHA256,
                SignatureScheme::RSA_PKCS1_SHA384,
                SignatureScheme::RSA_PKCS1_SHA512,
            ],
        }
    }

    /// A stable name for logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa_p256",
            Self::EcdsaP384 => "ecdsa_p384",
            Self::EcdsaP521 => "ecdsa_p521",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }

    /// Whether a suite that rustls has goes with this kind; those of TLS 1.3 go with every kind.
    fn fits(self, suite: CipherSuite) -> bool {
        // RFC 5289, RFC 7905: ECDHE_ECDSA is c02b, c02c, cca9; ECDHE_RSA is c02f, c030, cca8.
        match u16::from(suite) {
            0x1301..=0x1303 => true,
            0xc02b | 0xc02c | 0xcca9 => self != Self::Rsa,
            0xc02f | 0xc030 | 0xcca8 => self == Self::Rsa,
            _ => false,
        }
    }
}

/// Chooses among certificates by what the client can verify: the most preferred kind, and of two of
/// that kind the first. `None` if it can verify none.
#[must_use]
pub fn choose_certificate(
    available: &[CertificateKind],
    offered: &[SignatureScheme],
) -> Option<usize> {
    choose(available, |kind| {
        kind.schemes().iter().any(|scheme| offered.contains(scheme))
    })
}

fn choose(
    available: &[CertificateKind],
    usable: impl Fn(CertificateKind) -> bool,
) -> Option<usize> {
    available
        .iter()
        .enumerate()
        .filter(|&(_, &kind)| usable(kind))
        .min_by_key(|&(_, &kind)| kind)
        .map(|(index, _)| index)
}

/// A site's certificates: gives rustls the one that suits the client.
#[derive(Debug)]
pub struct CertificateChooser {
    keys: Vec<Arc<Stapled>>,
    kinds: Vec<CertificateKind>,
}

impl CertificateChooser {
    /// Takes a site's certificates in the operator's order; at least one. They are shown as they
    /// are, for good.
    ///
    /// # Errors
    /// [`UnusableKey`] for no certificate at all, and for a key of a kind that TLS 1.3 does not
    /// know.
    pub fn new(keys: Vec<Arc<CertifiedKey>>) -> Result<Self, UnusableKey> {
        let keys = keys.into_iter();
        let keys = keys.map(|key| Arc::new(Stapled::never(key, Unstapled::Off)));
        Self::stapled(keys.collect())
    }

    /// As [`new`](Self::new), with certificates whose staples come and go.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn stapled(keys: Vec<Arc<Stapled>>) -> Result<Self, UnusableKey> {
        let kinds = keys
            .iter()
            .map(|key| CertificateKind::of(&*key.key().key).ok_or(UnusableKey))
            .collect::<Result<Vec<_>, _>>()?;
        match kinds.is_empty() {
            true => Err(UnusableKey),
            false => Ok(Self { keys, kinds }),
        }
    }

    /// The certificates in the operator's order, as they are shown now.
    #[must_use]
    pub fn certificates(&self) -> Vec<Arc<CertifiedKey>> {
        self.keys.iter().map(|key| key.key()).collect()
    }

    /// The certificates in the operator's order, with what is known of their staples.
    #[must_use]
    pub fn staples(&self) -> &[Arc<Stapled>] {
        &self.keys
    }

    /// Whether a client that offers `schemes` and `suites` would get a certificate that must not be
    /// shown, because it needs a staple and has none that holds.
    pub fn lacks_staple<S, C>(&self, schemes: impl Fn() -> S, suites: impl Fn() -> C) -> bool
    where
        S: Iterator<Item = SignatureScheme>,
        C: Iterator<Item = CipherSuite>,
    {
        let key = self.keys.get(self.index_for(schemes, suites).unwrap_or(0));
        key.is_some_and(|key| !key.may_be_shown(SystemTime::now))
    }

    /// Of the certificates that need a staple and have none yet, has the one of the same kind in
    /// `former` stand in while it can show a staple of its own, if it covers all of `names`. Gives
    /// those that are stood in for.
    pub fn stand_in(
        &self,
        former: &Self,
        names: &[SiteName],
        now: SystemTime,
    ) -> Vec<Arc<Stapled>> {
        let mut stood_in_for = Vec::new();
        for (key, kind) in self.keys.iter().zip(&self.kinds) {
            let old = former.kinds.iter().position(|old| old == kind);
            let old = old.and_then(|index| former.keys.get(index));
            // One that goes on unchanged is the same.
            let old = old.filter(|old| !Arc::ptr_eq(old, key));
            if old.is_some_and(|old| key.stand_in(old, names, now)) {
                stood_in_for.push(Arc::clone(key));
            }
        }
        stood_in_for
    }

    /// Whether any of the certificates may come to lack one.
    #[must_use]
    pub fn may_lack_staple(&self) -> bool {
        self.keys.iter().any(|key| key.is_required())
    }

    /// Their kinds, in the same order.
    #[must_use]
    pub fn kinds(&self) -> &[CertificateKind] {
        &self.kinds
    }

    /// Whether one of them suits a client of TLS 1.3 that offers `schemes`.
    pub fn signs_for<S>(&self, schemes: impl Fn() -> S) -> bool
    where
        S: Iterator<Item = SignatureScheme>,
    {
        // RFC 9846 §4.3.3: those of PKCS #1 v1.5 sign certificates, no handshakes.
        let signs = |scheme: &SignatureScheme| {
            !matches!(
                scheme,
                SignatureScheme::RSA_PKCS1_SHA256
                    | SignatureScheme::RSA_PKCS1_SHA384
                    | SignatureScheme::RSA_PKCS1_SHA512
            )
        };
        let usable = |kind: CertificateKind| {
            let mut offered = schemes().filter(signs);
            offered.any(|scheme| kind.schemes().contains(&scheme))
        };
        choose(&self.kinds, usable).is_some()
    }

    /// The kind of the certificate that a full handshake uses with a client that offers `schemes` and
    /// `suites`, for the log. `None` if it fails for want of a signature scheme.
    pub fn certificate_for<S, C>(
        &self,
        schemes: impl Fn() -> S,
        suites: impl Fn() -> C,
    ) -> Option<CertificateKind>
    where
        S: Iterator<Item = SignatureScheme>,
        C: Iterator<Item = CipherSuite>,
    {
        self.kinds.get(self.index_for(schemes, suites)?).copied()
    }

    /// What [`resolve`](ResolvesServerCert::resolve) will choose for such a client.
    fn index_for<S, C>(&self, schemes: impl Fn() -> S, suites: impl Fn() -> C) -> Option<usize>
    where
        S: Iterator<Item = SignatureScheme>,
        C: Iterator<Item = CipherSuite>,
    {
        choose(&self.kinds, |kind| {
            let verifiable = schemes().any(|scheme| kind.schemes().contains(&scheme));
            // rustls leaves out schemes that no common suite goes with.
            verifiable && suites().any(|suite| kind.fits(suite))
        })
    }
}

impl ResolvesServerCert for CertificateChooser {
    fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // With nothing suitable the first is given, and rustls, finding no scheme to sign with,
        // answers handshake_failure as RFC 9846 §4.2.1 wants; None would be access_denied.
        let index = choose_certificate(&self.kinds, hello.signature_schemes()).unwrap_or(0);
        let key = self.keys.get(index)?;
        let current = key.current(SystemTime::now);
        shown::chose(&current);
        Some(current.key)
    }
}

/// A certificate whose key cannot sign handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusableKey;

impl std::fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no private key that signs TLS 1.3 handshakes (ECDSA, Ed25519 or RSA)")
    }
}

impl std::error::Error for UnusableKey {}
