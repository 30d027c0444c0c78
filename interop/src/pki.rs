//! Certificates of a run: an authority, and leaves for the edge's sites and for servers.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm,
};

/// The kinds of keys.
const KINDS: [(&str, &SignatureAlgorithm); 2] = [
    ("ecdsa", &PKCS_ECDSA_P256_SHA256),
    ("rsa", &PKCS_RSA_SHA256),
];

/// An authority of its own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// The key could not be made.
    pub fn new() -> Result<Self, String> {
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "Cutwater interop authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // RSA: a client that offers RSA's signature algorithms alone must find no other in the
        // chain, and one that offers ECDSA's alone is not asked about an authority it has.
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(said)?;
        CertifiedIssuer::self_signed(params, key)
            .map(Self)
            .map_err(said)
    }

    /// Writes `ca.pem` into this directory.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), String> {
        write(&directory.join("ca.pem"), &self.0.pem())
    }

    /// Writes `FILE-ecdsa` and `FILE-rsa`, `.pem` and `.key`, which cover these names.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn issue(&self, directory: &Path, file: &str, names: &[&str]) -> Result<(), String> {
        for (kind, algorithm) in KINDS {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let common = names.first().cloned().unwrap_or_default();
            let mut params = CertificateParams::new(names).map_err(said)?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, common);
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let key = KeyPair::generate_for(algorithm).map_err(said)?;
            let leaf = params.signed_by(&key, &self.0).map_err(said)?;
            let to = |end: &str| directory.join(format!("{file}-{kind}.{end}"));
            write(&to("pem"), &leaf.pem())?;
            write(&to("key"), &key.serialize_pem())?;
        }
        Ok(())
    }
}

/// The keys are worth nothing after the run, and other users' containers have to read them.
fn write(file: &Path, contents: &str) -> Result<(), String> {
    fs::write(file, contents).map_err(|error| format!("{}: {error}", file.display()))
}

fn said(error: rcgen::Error) -> String {
    format!("cannot make certificates: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_issued_for_every_site() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        authority.write(directory.path()).unwrap();
        authority
            .issue(directory.path(), "edge", &["edge.test"])
            .unwrap();
        for file in [
            "ca.pem",
            "edge-ecdsa.pem",
            "edge-rsa.pem",
            "edge-ecdsa.key",
            "edge-rsa.key",
        ] {
            let text = fs::read_to_string(directory.path().join(file)).unwrap();
            assert!(text.starts_with("-----BEGIN "), "{file}");
        }
    }
}
