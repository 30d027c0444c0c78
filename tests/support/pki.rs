//! A test authority: a root, an intermediate where asked for, and leaves good and bad.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SignatureAlgorithm,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::setup::ClientSetup;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A root certificate, and a directory of PEM files that goes when this is dropped.
pub struct Pki {
    directory: TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
}

/// The key of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    P256,
    P384,
    Ed25519,
    /// 2048 bits; takes a moment to make.
    Rsa,
}

/// When a leaf is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Good,
    /// Since yesterday.
    Expired,
    /// Ends in an hour.
    EndsSoon,
    /// From tomorrow.
    NotYet,
}

/// What a leaf is like.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub key: Key,
    pub validity: Validity,
    /// The chain has an intermediate certificate.
    pub intermediate: bool,
    /// For clients instead of servers.
    pub client: bool,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            key: Key::P256,
            validity: Validity::Good,
            intermediate: false,
            client: false,
        }
    }
}

/// A leaf in memory.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Leaf first, then the intermediate if there is one.
    pub chain_pem: String,
    pub key_pem: String,
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS #8 (PKCS #1 for RSA is not made).
    pub key_der: Vec<u8>,
}

/// Where a leaf was written.
#[derive(Debug, Clone)]
pub struct Files {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// The value of a site's `certificate` key, as TOML.
    pub fn toml(&self) -> String {
        let (chain, key) = (self.chain.display(), self.key.display());
        format!("{{ chain = \"{chain}\", key = \"{key}\" }}")
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// Makes a root and writes it to `ca.pem`.
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let params = authority("cutwater test root");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.path().join("ca.pem"), root.pem()).unwrap();
        Self { directory, root }
    }

    /// The directory of the files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The root certificate's file.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Trusts the root and nothing else.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// The root, for whoever makes a store of its own.
    pub fn roots_der(&self) -> Vec<CertificateDer<'static>> {
        vec![self.root.der().clone()]
    }

    /// A client that trusts the root, with tickets of its own.
    pub fn client(&self) -> ClientSetup {
        ClientSetup::new(self.roots())
    }

    /// A leaf for these DNS names or addresses: P-256, good, signed by the root.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_of(names, Kind::default())
    }

    /// A leaf for these names, of this kind.
    pub fn leaf_of(&self, names: &[&str], kind: Kind) -> Leaf {
        let key = key_pair(kind.key);
        let mut params =
            CertificateParams::new(names.iter().map(|s| s.to_string()).collect::<Vec<_>>())
                .unwrap();
        let common_name = names.first().copied().unwrap_or("nobody");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if kind.client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        let now = SystemTime::now();
        let (from, to) = match kind.validity {
            Validity::Good => (now - DAY, now + 90 * DAY),
            Validity::Expired => (now - 90 * DAY, now - DAY),
            Validity::EndsSoon => (now - 89 * DAY, now + DAY / 24),
            Validity::NotYet => (now + DAY, now + 90 * DAY),
        };
        params.not_before = from.into();
        params.not_after = to.into();
        let mut chain = Vec::new();
        let mut chain_pem = String::new();
        let mut add = |pem: String, der: &CertificateDer<'static>| {
            chain_pem.push_str(&pem);
            chain.push(der.clone());
        };
        if kind.intermediate {
            let between = CertifiedIssuer::signed_by(
                authority("cutwater test intermediate"),
                KeyPair::generate().unwrap(),
                &self.root,
            )
            .unwrap();
            let leaf = params.signed_by(&key, &between).unwrap();
            add(leaf.pem(), leaf.der());
            add(between.pem(), between.der());
        } else {
            let leaf = params.signed_by(&key, &self.root).unwrap();
            add(leaf.pem(), leaf.der());
        }
        Leaf {
            chain_pem,
            key_pem: key.serialize_pem(),
            chain,
            key_der: key.serialize_der(),
        }
    }

    /// A good leaf, written to `NAME.pem` and `NAME.key`, where NAME is the first of the names
    /// with `*` as `_`.
    pub fn files(&self, names: &[&str]) -> Files {
        self.files_of(names, Kind::default())
    }

    /// As [`Pki::files`], of this kind.
    pub fn files_of(&self, names: &[&str], kind: Kind) -> Files {
        self.leaf_of(names, kind)
            .write(self.directory(), &stem(names))
    }

    /// As [`Pki::files`], but the key is not the certificate's.
    pub fn mismatched_files(&self, names: &[&str]) -> Files {
        let leaf = Leaf {
            key_pem: key_pair(Key::P256).serialize_pem(),
            ..self.leaf(names)
        };
        leaf.write(self.directory(), &format!("mismatched-{}", stem(names)))
    }
}

impl Leaf {
    /// Writes `STEM.pem` and `STEM.key`; replaces what was there, as a renewal does.
    pub fn write(&self, directory: &Path, stem: &str) -> Files {
        let files = Files {
            chain: directory.join(format!("{stem}.pem")),
            key: directory.join(format!("{stem}.key")),
        };
        fs::write(&files.chain, &self.chain_pem).unwrap();
        fs::write(&files.key, &self.key_pem).unwrap();
        files
    }
}

fn stem(names: &[&str]) -> String {
    names.first().unwrap_or(&"nobody").replace('*', "_")
}

fn key_pair(kind: Key) -> KeyPair {
    let algorithm: &'static SignatureAlgorithm = match kind {
        Key::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Key::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        Key::Ed25519 => &rcgen::PKCS_ED25519,
        Key::Rsa => &rcgen::PKCS_RSA_SHA256,
    };
    KeyPair::generate_for(algorithm).unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}
