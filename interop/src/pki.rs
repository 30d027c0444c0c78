//! Certificates of a run: authorities, and leaves for the edge's sites and for servers.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PKCS_RSA_SHA256, SignatureAlgorithm,
};

use crate::staple;

/// The kinds of keys.
const KINDS: [(&str, &SignatureAlgorithm); 2] = [
    ("ecdsa", &PKCS_ECDSA_P256_SHA256),
    ("rsa", &PKCS_RSA_SHA256),
];

/// An authority for each kind of key, so that a chain needs one signature algorithm only: a client
/// that offers no other finds nothing in it that it cannot verify.
pub struct Authorities([CertifiedIssuer<'static, KeyPair>; 2]);

/// What is issued.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leaf<'a> {
    /// The names that it covers.
    pub names: &'a [&'a str],
    /// Whether it demands to be shown with a staple (RFC 7633).
    pub must_staple: bool,
    /// Whether its authority has taken it back.
    pub revoked: bool,
    /// Whether its authority's certificate stands behind it. That of an issuer does in most chains,
    /// and some clients look for it there when they verify what is said of the leaf.
    pub with_issuer: bool,
}

impl<'a> Leaf<'a> {
    /// A certificate for these names.
    pub fn of(names: &'a [&'a str]) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }
}

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
            write(&directory.join(format!("ca-{kind}.pem")), authority.pem())?;
            both.push_str(&authority.pem());
        }
        write(&directory.join("ca.pem"), both)
    }

    /// Writes `FILE-ecdsa` and `FILE-rsa`: `.pem`, `.key`, and `.ocsp`, what is said of them.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn issue(&self, directory: &Path, file: &str, leaf: Leaf<'_>) -> Result<(), String> {
        for (authority, kind) in self.0.iter().zip(KINDS) {
            issue(authority, kind, directory, file, leaf)?;
        }
        Ok(())
    }

    /// Writes `FILE-ed25519` alike, of the ECDSA authority.
    ///
    /// # Errors
    /// They cannot be made or written.
    pub fn issue_ed25519(&self, directory: &Path, file: &str, name: &str) -> Result<(), String> {
        let [ecdsa, _] = &self.0;
        let kind = ("ed25519", &PKCS_ED25519);
        issue(ecdsa, kind, directory, file, Leaf::of(&[name]))
    }
}

/// Writes what quic-interop-runner mounts into this directory: `ca.pem`, `cert.pem` with a chain of so
/// many certificates, and `priv.key`. A chain of more than one is as long as it can be, in bytes.
///
/// # Errors
/// They cannot be made or written.
pub fn chain(directory: &Path, names: &[&str], length: usize) -> Result<(), String> {
    let (kind, algorithm) = KINDS[0];
    let root = authority(kind, algorithm)?;
    write(&directory.join("ca.pem"), root.pem())?;
    let mut chain = String::new();
    let mut above = root;
    for number in 1..length {
        let mut params = authority_params(&format!("Cutwater interop intermediate {number}"));
        valid_now(&mut params);
        let key = KeyPair::generate_for(algorithm).map_err(said)?;
        let next = CertifiedIssuer::signed_by(params, key, &above).map_err(said)?;
        chain.insert_str(0, &next.pem());
        above = next;
    }
    // Names that nobody has, each as long as a label may be, so that the leaf is long too.
    let stuffing = (0..if length > 1 { 80 } else { 0 }).map(|number| format!("{number:063}.test"));
    let names: Vec<String> = names
        .iter()
        .map(|&name| name.to_owned())
        .chain(stuffing)
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    issue(
        &above,
        (kind, algorithm),
        directory,
        "leaf",
        Leaf::of(&names),
    )?;
    let [certificate, key] = ["pem", "key"].map(|end| directory.join(format!("leaf-{kind}.{end}")));
    let read = |file: &Path| {
        fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
    };
    write(
        &directory.join("cert.pem"),
        format!("{}{chain}", read(&certificate)?),
    )?;
    write(&directory.join("priv.key"), &read(&key)?)
}

fn issue(
    authority: &CertifiedIssuer<'static, KeyPair>,
    (kind, algorithm): (&str, &'static SignatureAlgorithm),
    directory: &Path,
    file: &str,
    leaf: Leaf<'_>,
) -> Result<(), String> {
    let names: Vec<String> = leaf.names.iter().map(|&name| name.to_owned()).collect();
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
    if leaf.must_staple {
        // The feature is a list of one TLS extension, status_request.
        let feature = CustomExtension::from_oid_content(
            &[1, 3, 6, 1, 5, 5, 7, 1, 24],
            vec![0x30, 3, 2, 1, 5],
        );
        params.custom_extensions.push(feature);
    }
    valid_now(&mut params);
    let key = KeyPair::generate_for(algorithm).map_err(said)?;
    let made = params.signed_by(&key, authority).map_err(said)?;
    let staple = staple::response(authority, made.der(), leaf.revoked)?;
    let to = |end: &str| directory.join(format!("{file}-{kind}.{end}"));
    let issuer = match leaf.with_issuer {
        true => authority.pem(),
        false => String::new(),
    };
    write(&to("pem"), made.pem() + &issuer)?;
    write(&to("key"), key.serialize_pem())?;
    write(&to("ocsp"), staple)
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn authority(
    kind: &str,
    algorithm: &'static SignatureAlgorithm,
) -> Result<CertifiedIssuer<'static, KeyPair>, String> {
    let mut params = authority_params(&format!("Cutwater interop authority, {kind}"));
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
fn write(file: &Path, contents: impl AsRef<[u8]>) -> Result<(), String> {
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
            .issue(directory.path(), "edge", Leaf::of(&["edge.test"]))
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
        for kind in ["ecdsa", "rsa", "ed25519"] {
            let said = fs::read(directory.path().join(format!("edge-{kind}.ocsp")));
            assert!(!said.unwrap().is_empty(), "{kind}");
        }
    }
}
