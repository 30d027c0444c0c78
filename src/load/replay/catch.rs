//! Catching what a rustls client keeps to itself: the PSK that it resumes with, and the private key
//! of its share.
//!
//! A flight that is sent again is answered with another ServerHello each time. To read what follows
//! it takes the same PSK and the same private key each time, and rustls gives neither away. So its
//! provider is given an `Hkdf` that looks at the secrets that pass, and groups whose private keys
//! can be used more than once. All of that happens while a `ClientConnection` is made: it is
//! caught by thread, for as long as [`during`] lasts, and nothing is kept at any other time.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::kem::{self, DecapsulationKey};
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock};
use rustls::crypto::{
    self, ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup, hmac,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{
    CipherSuite, CipherSuiteCommon, Error, NamedGroup, PeerMisbehaved, SupportedCipherSuite,
    Tls13CipherSuite,
};

/// The length of ML-KEM-768's answer, in bytes. FIPS 203 §8
const CIPHERTEXT: usize = 1088;

thread_local! {
    static NET: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// What was caught while a connection was made.
#[derive(Default)]
pub(super) struct Caught {
    /// The PSK of the ticket, if there was one.
    pub(super) psk: Option<Vec<u8>>,
    /// The private keys of the shares in the ClientHello.
    pub(super) shares: Vec<Arc<Share>>,
}

/// Runs this, and returns what a connection made in it would have kept to itself.
pub(super) fn during<T>(make: impl FnOnce() -> T) -> (T, Caught) {
    NET.set(Some(Caught::default()));
    let made = make();
    (made, NET.take().unwrap_or_default())
}

fn note(what: impl FnOnce(&mut Caught)) {
    NET.with_borrow_mut(|net| {
        if let Some(caught) = net {
            what(caught);
        }
    });
}

/// TLS 1.3 of aws-lc-rs, with secrets and private keys that can be caught.
///
/// Suites and groups in this order; if empty: all of them, AES-128-GCM and X25519 first.
///
/// # Errors
/// The first one that is not known here.
pub(super) fn provider(
    suites: &[CipherSuite],
    groups: &[NamedGroup],
) -> Result<CryptoProvider, String> {
    const SUITES: [CipherSuite; 3] = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    let usual_groups = GROUPS.each_ref().map(|group| group.name);
    let suites = if suites.is_empty() { &SUITES } else { suites };
    let groups = if groups.is_empty() {
        &usual_groups
    } else {
        groups
    };
    let mut provider = crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.clear();
    for wanted in suites {
        let unknown = || format!("no replay test with {wanted:?}");
        let suite = suite(*wanted).ok_or_else(unknown)?;
        provider
            .cipher_suites
            .push(SupportedCipherSuite::Tls13(suite));
    }
    provider.kx_groups.clear();
    for wanted in groups {
        let unknown = || format!("no replay test with {wanted:?}");
        let found = GROUPS.iter().find(|group| group.name == *wanted);
        provider.kx_groups.push(found.ok_or_else(unknown)?);
    }
    Ok(provider)
}

/// The suite with this name, its `Hkdf` watched.
pub(super) fn suite(wanted: CipherSuite) -> Option<&'static Tls13CipherSuite> {
    SUITES.iter().find(|suite| suite.common.suite == wanted)
}

static WATCHED: LazyLock<Vec<Watched>> = LazyLock::new(|| {
    let all = crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter();
    all.filter_map(SupportedCipherSuite::tls13)
        .map(Watched)
        .collect()
});

static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
    let watch = |watched: &'static Watched| {
        let Watched(suite) = watched;
        let CipherSuiteCommon {
            suite: name,
            hash_provider,
            confidentiality_limit,
        } = suite.common;
        Tls13CipherSuite {
            common: CipherSuiteCommon {
                suite: name,
                hash_provider,
                confidentiality_limit,
            },
            hkdf_provider: watched,
            aead_alg: suite.aead_alg,
            quic: suite.quic,
        }
    };
    WATCHED.iter().map(watch).collect()
});

/// The `Hkdf` of a suite, with an eye on it.
struct Watched(&'static Tls13CipherSuite);

impl Hkdf for Watched {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.0.hkdf_provider.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        // The key schedule's first step is the only one without a salt. RFC 9846 §7.1
        if salt.is_none() {
            note(|caught| caught.psk = Some(secret.to_vec()));
        }
        self.0.hkdf_provider.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        let hkdf = self.0.hkdf_provider;
        hkdf.extract_from_kx_shared_secret(salt, kx, peer_pub_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        self.0.hkdf_provider.expander_for_okm(okm)
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        self.0.hkdf_provider.hmac_sign(key, message)
    }
}

static GROUPS: [Group; 4] = [
    Group {
        name: NamedGroup::X25519,
        curve: &agreement::X25519,
        kem: false,
    },
    Group {
        name: NamedGroup::secp256r1,
        curve: &agreement::ECDH_P256,
        kem: false,
    },
    Group {
        name: NamedGroup::secp384r1,
        curve: &agreement::ECDH_P384,
        kem: false,
    },
    Group {
        name: NamedGroup::X25519MLKEM768,
        curve: &agreement::X25519,
        kem: true,
    },
];

/// A group whose private keys can be caught.
#[derive(Debug)]
struct Group {
    name: NamedGroup,
    curve: &'static agreement::Algorithm,
    /// With ML-KEM-768 in front.
    kem: bool,
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let failed = |_| Error::FailedToGetRandomBytes;
        let key = PrivateKey::generate(self.curve).map_err(failed)?;
        let mut public = Vec::new();
        let mut kem = None;
        if self.kem {
            let key = DecapsulationKey::generate(&kem::ML_KEM_768).map_err(failed)?;
            let encapsulation = key.encapsulation_key().map_err(failed)?;
            public.extend_from_slice(encapsulation.key_bytes().map_err(failed)?.as_ref());
            kem = Some(key);
        }
        public.extend_from_slice(key.compute_public_key().map_err(failed)?.as_ref());
        let share = Arc::new(Share {
            group: self.name,
            kem,
            key,
            public,
        });
        note(|caught| caught.shares.push(Arc::clone(&share)));
        Ok(Box::new(Started(share)))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        self.name
    }
}

/// The private side of a key share, good for any number of answers.
pub(super) struct Share {
    pub(super) group: NamedGroup,
    kem: Option<DecapsulationKey>,
    key: PrivateKey,
    public: Vec<u8>,
}

impl Share {
    /// The shared secret with this answer; `None` if it is no valid share of the group.
    pub(super) fn agree(&self, peer: &[u8]) -> Option<Vec<u8>> {
        let mut secret = Vec::new();
        let mut point = peer;
        if let Some(kem) = &self.kem {
            let (ciphertext, rest) = peer.split_at_checked(CIPHERTEXT)?;
            let shared = kem.decapsulate(ciphertext.into()).ok()?;
            secret.extend_from_slice(shared.as_ref());
            point = rest;
        }
        // aws-lc reads other encodings than the uncompressed one too. RFC 9846 §4.2.8.2
        if *self.key.algorithm() != agreement::X25519 && point.first() != Some(&4) {
            return None;
        }
        let point = UnparsedPublicKey::new(self.key.algorithm(), point);
        agreement::agree(&self.key, point, (), |shared| {
            secret.extend_from_slice(shared);
            Ok(())
        })
        .ok()?;
        Some(secret)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Share").field(&self.group).finish()
    }
}

/// What rustls holds of a share.
struct Started(Arc<Share>);

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let secret = self.0.agree(peer).ok_or(PeerMisbehaved::InvalidKeyShare)?;
        Ok(SharedSecret::from(secret))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.0.public
    }

    fn group(&self) -> NamedGroup {
        self.0.group
    }
}
