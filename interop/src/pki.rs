//! Certificates of a run: authorities, and leaves for the edge's sites and for servers.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};

/// The kinds of keys.
const KINDS: [(&str, &SignatureAlgorithm); 2] = [
    ("ecdsa", &PKCS_ECDSA_P256_SHA256),
    ("rsa", &PKCS_RSA_SHA256),
];

/// An authority for each kind of key, so that a chain needs one signature algorithm only: a client
/// that offers no other finds nothing in it that it cannot verify.
pub struct Authorities([CertifiedIssuer<'static, KeyPair>; 2]);

impl Authorities {
    /// Makes them.
    ///
    /// # Errors
    /// A key could not be made.
    pub fn new() -> Result<Self, String> {
        let [(ecdsa, _), (rsa, _)] = KINDS;
        Ok(Self([
            authority(ecdsa, KINDS[0].1)?,
            authority(rsa, KINDS[1].1)?,
        ]))
    }

    /// Writes `ca.pem`, which has both, and `ca-KIND.pem` into this directory.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), String> {
        let mut both = String::new();
        for (authority, (kind, _)) in self.0.iter().zip(KINDS) {
            write(&directory.join(format!("ca-{kind}.pem")), &authority.pem())?;
            both.push_str(&authority.pem());
        }
        write(&directory.join("ca.pem"), &both)
    }

    /// Writes `FILE-ecdsa` and `FILE-rsa`, `.pem` and `.key`, which cover these names.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn issue(&self, directory: &Path, file: &str, names: &[&str]) -> Result<(), String> {
        for (authority, kind) in self.0.iter().zip(KINDS) {
            leaf(authority, kind, directory, file, names)?;
        }
        Ok(())
    }

    /// Writes `FILE-ed25519`, `.pem` and `.key`, of the ECDSA authority.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn issue_ed25519(&self, directory: &Path, file: &str, name: &str) -> Result<(), String> {
        let [ecdsa, _] = &self.0;
        leaf(ecdsa, ("ed25519", &PKCS_ED25519), directory, file, &[name])
    }
}

fn leaf(
    authority: &CertifiedIssuer<'static, KeyPair>,
    (kind, algorithm): (&str, &'static SignatureAlgorithm),
    directory: &Path,
    file: &str,
    names: &[&str],
) -> Result<(), String> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let common = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names).map_err(said)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if kind == "rsa" {
        // NSS insists on it, although TLS 1.3 encrypts nothing with this key.
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid_now(&mut params);
    let key = KeyPair::generate_for(algorithm).map_err(said)?;
    let leaf = params.signed_by(&key, authority).map_err(said)?;
    let to = |end: &str| directory.join(format!("{file}-{kind}.{end}"));
    write(&to("pem"), &leaf.pem())?;
    write(&to("key"), &key.serialize_pem())
}

fn authority(
    kind: &str,
    algorithm: &'static SignatureAlgorithm,
) -> Result<CertifiedIssuer<'static, KeyPair>, String> {
    let mut params = CertificateParams::default();
    let name = format!("Cutwater interop authority, {kind}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_now(&mut params);
    let key = KeyPair::generate_for(algorithm).map_err(said)?;
    CertifiedIssuer::self_signed(params, key).map_err(said)
}

/// From yesterday on for a month: rcgen's own years, 1975 to 4096, are too many for some stacks.
fn valid_now(params: &mut CertificateParams) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + 30 * DAY).into();
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
        let authorities = Authorities::new().unwrap();
        authorities.write(directory.path()).unwrap();
        authorities
            .issue(directory.path(), "edge", &["edge.test"])
            .unwrap();
        authorities
            .issue_ed25519(directory.path(), "edge", "edge.test")
            .unwrap();
        for file in [
            "edge-ed25519.pem",
            "edge-ed25519.key",
            "ca.pem",
            "ca-ecdsa.pem",
            "ca-rsa.pem",
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
