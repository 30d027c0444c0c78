//! A certificate that can be asked about: what it says of OCSP itself, and who issued it.

use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::digest;
use http::Uri;
use http::uri::Scheme;
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

use crate::certs::describe;
use crate::certs::foreign::printable;
use crate::tags::Tag;

/// id-ad-ocsp (RFC 6960 §3.1).
const ID_AD_OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");

/// id-pe-tlsfeature (RFC 7633 §4).
const ID_PE_TLS_FEATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24");

/// status_request as a TLS feature: its extension's number (RFC 6066 §8).
const STATUS_REQUEST: u16 = 5;

/// What a leaf says of OCSP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The first responder that can be asked: over plain HTTP, as RFC 6960 App. A.1 has it.
    pub responder: Option<Uri>,
    /// Whether clients that know RFC 7633 refuse it without a staple.
    pub must_staple: bool,
    /// Why no responder can be found, for people, though it may name one.
    pub unreadable: Option<String>,
}

impl Demand {
    /// Reads a leaf.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn read(leaf: &CertificateDer<'_>) -> Result<Self, String> {
        let leaf = parse(leaf)?.tbs_certificate;
        // What it demands it demands all the same.
        let (access, unreadable) = match leaf.get::<AuthorityInfoAccessSyntax>() {
            Ok(access) => (access.map_or_else(Vec::new, |(_, access)| access.0), None),
            Err(error) => {
                let error = format!("its authorityInfoAccess cannot be read: {error}");
                (Vec::new(), Some(error))
            }
        };
        let responder = access
            .iter()
            .filter(|access| access.access_method == ID_AD_OCSP)
            .find_map(|access| match &access.access_location {
                GeneralName::UniformResourceIdentifier(uri) => responder(uri.as_str()),
                _ => None,
            });
        let feature = leaf.extensions.iter().flatten();
        let must_staple = feature
            .filter(|extension| extension.extn_id == ID_PE_TLS_FEATURE)
            .filter_map(|extension| Vec::<u16>::from_der(extension.extn_value.as_bytes()).ok())
            .any(|features| features.contains(&STATUS_REQUEST));
        Ok(Self {
            responder,
            must_staple,
            unreadable,
        })
    }
}

/// A responder's address: `http` with a host. `None` for anything else.
pub fn responder(text: &str) -> Option<Uri> {
    let uri: Uri = text.trim().parse().ok()?;
    let usable = uri.scheme() == Some(&Scheme::HTTP) && uri.host().is_some_and(|h| !h.is_empty());
    usable.then_some(uri)
}

/// Where staples of a certificate come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A responder, over HTTP.
    Responder(Uri),
    /// A file that somebody else keeps fresh; looked at again and again.
    File(PathBuf),
}

/// A certificate that can be asked about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its first DNS name, for logs.
    pub name: String,
    /// The SHA-256 of its DER: its fingerprint, and what its staple is kept under.
    pub fingerprint: [u8; 32],
    /// Its serial number.
    pub serial: SerialNumber,
    /// Who issued it.
    pub issuer: CertificateDer<'static>,
    /// Where staples come from; `None` if all that there is came with the certificate.
    pub source: Option<Source>,
    /// A response that came with the certificate.
    pub given: Option<Vec<u8>>,
}

/// Why a certificate cannot be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its issuer's certificate is not there: without it a response cannot be verified.
    NoIssuer,
    /// It cannot be read.
    Unreadable(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIssuer => f.write_str("the certificate of its issuer is not in the chain"),
            Self::Unreadable(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for Unfit {}

impl Subject {
    /// The first certificate of `chain`, whose issuer is among the others or `more`: of those that
    /// are called so the one whose key has signed it. It has no source yet.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn read(
        chain: &[CertificateDer<'static>],
        more: &[CertificateDer<'static>],
    ) -> Result<Self, Unfit> {
        let (leaf, others) = chain
            .split_first()
            .ok_or_else(|| Unfit::Unreadable("no certificate".to_owned()))?;
        let parsed = parse(leaf).map_err(Unfit::Unreadable)?.tbs_certificate;
        // `more` was named for this: it comes first.
        let named = more
            .iter()
            .chain(others)
            .chain(std::iter::once(leaf))
            .filter(|other| parse(other).is_ok_and(|o| o.tbs_certificate.subject == parsed.issuer));
        // A name is claimed by whoever likes it. Only where nobody here can verify the signature
        // it has to do.
        let mut issuer = None;
        for other in named {
            match is_signed_by(leaf, other) {
                Some(true) => {
                    issuer = Some(other);
                    break;
                }
                Some(false) => {}
                None => issuer = issuer.or(Some(other)),
            }
        }
        let issuer = issuer.ok_or(Unfit::NoIssuer)?.clone();
        Ok(Self {
            name: first_name(&parsed).unwrap_or_else(|| printable(&parsed.subject.to_string())),
            fingerprint: fingerprint(leaf),
            serial: parsed.serial_number,
            issuer,
            source: None,
            given: None,
        })
    }

    /// Of which certificate it is, by whom: who is asked about it, and what stands there, may
    /// change.
    pub(super) fn certificate(&self) -> ([u8; 32], Tag) {
        (self.fingerprint, Tag::of(&[&self.issuer]))
    }

    /// A hash over all that is asked about it, and of whom.
    pub fn tag(&self) -> Tag {
        let source = match &self.source {
            Some(Source::Responder(uri)) => format!("responder {uri}"),
            Some(Source::File(path)) => format!("file {}", path.display()),
            None => String::new(),
        };
        Tag::of(&[
            b"cutwater ocsp 1",
            &self.fingerprint,
            &self.issuer,
            source.as_bytes(),
            self.given.as_deref().unwrap_or_default(),
        ])
    }

    /// What its issuer is called and signs with, as RFC 6960 §4.1.1 hashes them.
    ///
    /// # Errors
    /// What is wrong with the issuer, for people.
    pub fn issuer(&self) -> Result<Issuer, String> {
        Issuer::of(&parse(&self.issuer)?)
    }

    /// The fingerprint in hexadecimal digits, as `openssl x509 -fingerprint -sha256` shows it but
    /// for colons and letter case.
    pub fn fingerprint_hex(&self) -> String {
        hex(&self.fingerprint)
    }

    /// Its serial number in hexadecimal digits.
    pub fn serial_hex(&self) -> String {
        hex(self.serial.as_bytes())
    }
}

/// The name and the key of a certificate, as they are hashed.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its subject.
    pub name: Name,
    /// Its subject in DER.
    pub name_der: Vec<u8>,
    /// The bits of its public key, without tag, length and number of unused bits.
    pub key: Vec<u8>,
}

impl Issuer {
    pub(super) fn of(certificate: &Certificate) -> Result<Self, String> {
        let tbs = &certificate.tbs_certificate;
        let name_der = tbs.subject.to_der().map_err(|error| error.to_string())?;
        let key = tbs.subject_public_key_info.subject_public_key.raw_bytes();
        Ok(Self {
            name: tbs.subject.clone(),
            name_der,
            key: key.to_vec(),
        })
    }
}

/// The SHA-256 of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    fingerprint
}

/// Whether the issuer's key has made the leaf's signature; `None` if that cannot be told.
fn is_signed_by(leaf: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> Option<bool> {
    let leaf = describe::Certificate::read(leaf).ok()?;
    leaf.is_signed_by(&describe::Certificate::read(issuer).ok()?)
}

pub(super) fn parse(der: &[u8]) -> Result<Certificate, String> {
    Certificate::from_der(der).map_err(|error| format!("the certificate cannot be read: {error}"))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn first_name(certificate: &x509_cert::TbsCertificate) -> Option<String> {
    let (_, SubjectAltName(names)) = certificate.get::<SubjectAltName>().ok()??;
    names.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(printable(name.as_str())),
        _ => None,
    })
}
