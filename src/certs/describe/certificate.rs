//! One certificate, taken apart: its parts as they lie in its bytes, and what they say.

use std::net::IpAddr;
use std::time::SystemTime;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use x509_cert::TbsCertificate;
use x509_cert::der::asn1::{BitStringRef, ObjectIdentifier, OctetString};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::DB;
use x509_cert::der::{Decode, Header, Reader, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, BasicConstraints, CertificatePolicies, ExtendedKeyUsage,
    SubjectAltName,
};

use super::key::KeyDescription;
use crate::certs::foreign::printable;

const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
/// RFC 7633.
const TLS_FEATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24");
/// The TLS extension status_request, as a feature.
const STATUS_REQUEST: u16 = 5;
/// The CA/Browser Forum's arc of policies for certificates of servers: extended validation is
/// `.1`, domain, organization and individual validation are below `.2`.
const FORUM_POLICIES: [&str; 4] = [
    "2.23.140.1.1",
    "2.23.140.1.2.1",
    "2.23.140.1.2.2",
    "2.23.140.1.2.3",
];

/// A certificate that was read. Its texts are [printable].
pub(in crate::certs) struct Certificate<'d> {
    /// All its bytes.
    pub der: &'d [u8],
    /// What is signed: the bytes of its TBSCertificate.
    pub tbs: &'d [u8],
    /// The contents of the subject's SEQUENCE.
    pub subject: &'d [u8],
    /// The contents of the issuer's.
    pub issuer: &'d [u8],
    /// The contents of the subjectPublicKeyInfo's.
    pub spki: &'d [u8],
    pub parsed: TbsCertificate,
    pub key: KeyDescription,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// The first OCSP responder that is named.
    pub responder: Option<String>,
    /// Where its issuer's certificate can be had.
    pub issuer_at: Option<String>,
    pub must_staple: bool,
    pub public: bool,
    /// Whether it says that it may sign others.
    pub authority: bool,
    /// Whether it may serve TLS, as far as its extended key usage goes.
    pub serves: bool,
    signature_algorithm: &'d [u8],
    signature_oid: ObjectIdentifier,
    signature: &'d [u8],
}

impl<'d> Certificate<'d> {
    pub fn read(der: &'d CertificateDer<'_>) -> Result<Self, String> {
        Self::parse(der.as_ref()).map_err(|error| error.to_string())
    }

    fn parse(der: &'d [u8]) -> x509_cert::der::Result<Self> {
        let mut outer = SliceReader::new(der)?;
        outer.decode::<Header>()?;
        let tbs = outer.tlv_bytes()?;
        let algorithm = outer.tlv_bytes()?;
        let signature: BitStringRef<'d> = outer.decode()?;
        let parsed = TbsCertificate::from_der(tbs)?;
        let mut fields = SliceReader::new(tbs)?;
        fields.decode::<Header>()?;
        // The version is left out where it is 1.
        if fields.peek_byte() == Some(0xa0) {
            fields.tlv_bytes()?;
        }
        let _serial = fields.tlv_bytes()?;
        let _algorithm = fields.tlv_bytes()?;
        let issuer = contents(fields.tlv_bytes()?)?;
        let _validity = fields.tlv_bytes()?;
        let subject = contents(fields.tlv_bytes()?)?;
        let spki = contents(fields.tlv_bytes()?)?;
        let access = extension::<AuthorityInfoAccessSyntax>(&parsed)?;
        let located = |method: ObjectIdentifier| {
            let AuthorityInfoAccessSyntax(access) = access.as_ref()?;
            access.iter().find_map(|one| match &one.access_location {
                GeneralName::UniformResourceIdentifier(place) if one.access_method == method => {
                    Some(printable(place.as_str()))
                }
                _ => None,
            })
        };
        let usage = extension::<ExtendedKeyUsage>(&parsed)?;
        let policies = extension::<CertificatePolicies>(&parsed)?;
        Ok(Self {
            der,
            tbs,
            subject,
            issuer,
            spki,
            key: KeyDescription::of(&parsed.subject_public_key_info),
            names: names(&parsed)?,
            responder: located(OCSP),
            issuer_at: located(CA_ISSUERS),
            must_staple: must_staple(&parsed),
            public: policies.is_some_and(|CertificatePolicies(policies)| {
                let forum = |oid: &ObjectIdentifier| FORUM_POLICIES.contains(&&*oid.to_string());
                policies.iter().any(|one| forum(&one.policy_identifier))
            }),
            authority: extension::<BasicConstraints>(&parsed)?.is_some_and(|basic| basic.ca),
            serves: usage.is_none_or(|ExtendedKeyUsage(usage)| {
                usage.contains(&SERVER_AUTH) || usage.contains(&ANY_USAGE)
            }),
            signature_algorithm: contents(algorithm)?,
            signature_oid: parsed.signature.oid,
            signature: signature.raw_bytes(),
            parsed,
        })
    }

    pub fn subject_text(&self) -> String {
        printable(&self.parsed.subject.to_string())
    }

    pub fn issuer_text(&self) -> String {
        printable(&self.parsed.issuer.to_string())
    }

    /// What to call it among others: its subject, or its first name where that is empty.
    pub fn label(&self) -> String {
        match (self.parsed.subject.is_empty(), self.names.first()) {
            (true, Some(name)) => name.clone(),
            _ => self.subject_text(),
        }
    }

    pub fn serial(&self) -> &[u8] {
        self.parsed.serial_number.as_bytes()
    }

    pub fn sha256(&self) -> Digest {
        digest(&SHA256, self.der)
    }

    pub fn not_before(&self) -> SystemTime {
        self.parsed.validity.not_before.to_system_time()
    }

    pub fn not_after(&self) -> SystemTime {
        self.parsed.validity.not_after.to_system_time()
    }

    /// Whether it says that it issued itself.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// The registered name of its signature's algorithm, or its number.
    pub fn signature_name(&self) -> String {
        match DB.by_oid(&self.signature_oid) {
            Some(name) => name.to_owned(),
            None => self.signature_oid.to_string(),
        }
    }

    /// Whether its signature's hash has been broken (MD2, MD5, SHA-1).
    pub fn is_weakly_signed(&self) -> bool {
        const BROKEN: [&str; 6] = [
            "1.2.840.113549.1.1.2",
            "1.2.840.113549.1.1.4",
            "1.2.840.113549.1.1.5",
            "1.3.14.3.2.29",
            "1.2.840.10045.4.1",
            "1.2.840.10040.4.3",
        ];
        BROKEN.contains(&&*self.signature_oid.to_string())
    }

    /// Whether the key of `issuer` made its signature; `None` if that cannot be checked here.
    pub fn is_signed_by(&self, issuer: &Certificate<'_>) -> Option<bool> {
        // There is no algorithm for shorter keys, which are told as weak anyway.
        match issuer.key.is_short_rsa() {
            true => None,
            false => self.is_signed_by_key(issuer.spki),
        }
    }

    /// Whether a key made its signature, given the contents of its subjectPublicKeyInfo.
    pub fn is_signed_by_key(&self, spki: &[u8]) -> Option<bool> {
        let mut spki = SliceReader::new(spki).ok()?;
        let key_algorithm = contents(spki.tlv_bytes().ok()?).ok()?;
        let key: BitStringRef<'_> = spki.decode().ok()?;
        let fitting = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm.signature_alg_id().as_ref() == self.signature_algorithm
        };
        let algorithm = webpki::ALL_VERIFICATION_ALGS.iter().find(fitting)?;
        let outcome = algorithm.verify_signature(key.raw_bytes(), self.tbs, self.signature);
        Some(outcome.is_ok())
    }
}

/// What a TLV has after its tag and length.
fn contents(tlv: &[u8]) -> x509_cert::der::Result<&[u8]> {
    let mut reader = SliceReader::new(tlv)?;
    let header: Header = reader.decode()?;
    reader.read_slice(header.length)
}

fn extension<T>(parsed: &TbsCertificate) -> x509_cert::der::Result<Option<T>>
where
    T: for<'a> Decode<'a> + AssociatedOid,
{
    let found = raw_extension(parsed, T::OID);
    found.map(|value| T::from_der(value.as_bytes())).transpose()
}

/// The value of the first extension of this number.
pub(in crate::certs) fn raw_extension(
    parsed: &TbsCertificate,
    number: ObjectIdentifier,
) -> Option<&OctetString> {
    let mut extensions = parsed.extensions.iter().flatten();
    let found = extensions.find(|extension| extension.extn_id == number)?;
    Some(&found.extn_value)
}

fn names(parsed: &TbsCertificate) -> x509_cert::der::Result<Vec<String>> {
    let Some(SubjectAltName(names)) = extension(parsed)? else {
        return Ok(Vec::new());
    };
    let name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(printable(name.as_str())),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    Ok(names.iter().filter_map(name).collect())
}

fn must_staple(parsed: &TbsCertificate) -> bool {
    raw_extension(parsed, TLS_FEATURE)
        .and_then(|value| Vec::<u16>::from_der(value.as_bytes()).ok())
        .is_some_and(|features| features.contains(&STATUS_REQUEST))
}
