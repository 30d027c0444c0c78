//! Whether a response may be stapled: parsed, and held against certificate, issuer and clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode, Encode, Header, Reader, SliceReader};
use x509_cert::ext::Extension;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, OcspResponseStatus,
    ResponderId, SingleResponse,
};

use super::request::{ID_NONCE, ID_SHA1};
use super::subject::{Issuer, Subject, parse};
use super::{MAX_RESPONSE, Staple, StapleStatus};

/// How far the responder's clock may be ahead of ours.
pub const SKEW: Duration = Duration::from_secs(300);

/// id-pkix-ocsp-basic (RFC 6960 §4.2.1).
const ID_BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// The value of id-kp-OCSPSigning, 1.3.6.1.5.5.7.3.9 (RFC 6960 §4.2.2.2).
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

/// Why a response is no staple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is too large, or no OCSP response, or one with something critical that we do not know.
    Malformed(String),
    /// The responder declines, now or always (RFC 6960 §2.3).
    Declined(&'static str),
    /// Nobody who may answer for the issuer signed it.
    Signer(String),
    /// Its signature is wrong.
    Signature,
    /// It is about other certificates.
    OtherCertificate,
    /// It answers another request.
    Nonce,
    /// It begins later.
    NotYet,
    /// It has ended.
    Expired,
    /// It does not say when it ends (RFC 5019 §2.2.4 demands it).
    NoEnd,
    /// The responder does not know the certificate.
    Unknown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "no OCSP response: {what}"),
            Self::Declined(status) => write!(f, "the responder answers {status}"),
            Self::Signer(why) => write!(f, "not signed by who may answer for the issuer: {why}"),
            Self::Signature => f.write_str("a wrong signature"),
            Self::OtherCertificate => f.write_str("an answer about another certificate"),
            Self::Nonce => f.write_str("an answer to another request"),
            Self::NotYet => f.write_str("an answer that begins later"),
            Self::Expired => f.write_str("an answer that has ended"),
            Self::NoEnd => f.write_str("an answer that does not say when it ends"),
            Self::Unknown => f.write_str("the responder does not know the certificate"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Verifies a response for `subject` at `now`. `nonce` is what the request had.
///
/// # Errors
/// [`Refusal`].
pub fn verify(
    response: &[u8],
    subject: &Subject,
    nonce: Option<&[u8]>,
    now: SystemTime,
) -> Result<Staple, Refusal> {
    if response.len() > MAX_RESPONSE {
        return Err(Refusal::Malformed(format!("{} bytes", response.len())));
    }
    let outer = OcspResponse::from_der(response).map_err(malformed)?;
    match outer.response_status {
        OcspResponseStatus::Successful => {}
        OcspResponseStatus::MalformedRequest => return Err(Refusal::Declined("malformedRequest")),
        OcspResponseStatus::InternalError => return Err(Refusal::Declined("internalError")),
        OcspResponseStatus::TryLater => return Err(Refusal::Declined("tryLater")),
        OcspResponseStatus::SigRequired => return Err(Refusal::Declined("sigRequired")),
        OcspResponseStatus::Unauthorized => return Err(Refusal::Declined("unauthorized")),
    }
    let inner = outer
        .response_bytes
        .ok_or_else(|| malformed("it is empty"))?;
    if inner.response_type != ID_BASIC {
        return Err(malformed("of another type than id-pkix-ocsp-basic"));
    }
    let basic = BasicOcspResponse::from_der(inner.response.as_bytes()).map_err(malformed)?;
    let parts = Parts::read(inner.response.as_bytes()).map_err(malformed)?;
    let issuer = subject.issuer().map_err(Refusal::Signer)?;
    let signer_ends = verify_signature(&basic, &parts, subject, &issuer, now)?;
    let data = &basic.tbs_response_data;
    known(data.response_extensions.as_deref())?;
    if let (Some(sent), Some(got)) = (nonce, answered_nonce(data.response_extensions.as_deref()))
        && sent != got
    {
        return Err(Refusal::Nonce);
    }
    let mut single = data.responses.iter();
    let single = single
        .find(|single| is_about(&single.cert_id, subject, &issuer))
        .ok_or(Refusal::OtherCertificate)?;
    known(single.single_extensions.as_deref())?;
    read_single(single, signer_ends, response, now)
}

fn read_single(
    single: &SingleResponse,
    signer_ends: Option<SystemTime>,
    response: &[u8],
    now: SystemTime,
) -> Result<Staple, Refusal> {
    let this_update = time(single.this_update);
    let next_update = time(single.next_update.ok_or(Refusal::NoEnd)?);
    let next_update = signer_ends.map_or(next_update, |ends| next_update.min(ends));
    if this_update > now + SKEW || next_update <= this_update {
        return Err(Refusal::NotYet);
    }
    if next_update <= now {
        return Err(Refusal::Expired);
    }
    let status = match &single.cert_status {
        CertStatus::Good(_) => StapleStatus::Good,
        CertStatus::Revoked(info) => StapleStatus::Revoked(time(info.revocation_time)),
        CertStatus::Unknown(_) => return Err(Refusal::Unknown),
    };
    Ok(Staple {
        der: Arc::from(response),
        this_update,
        next_update,
        status,
    })
}

/// Verifies the signature by the issuer's key or by that of a responder to which the issuer
/// delegated it (RFC 6960 §4.2.2.2). When a delegated responder's certificate ends.
fn verify_signature(
    basic: &BasicOcspResponse,
    parts: &Parts<'_>,
    subject: &Subject,
    issuer: &Issuer,
    now: SystemTime,
) -> Result<Option<SystemTime>, Refusal> {
    let responder = &basic.tbs_response_data.responder_id;
    let named = is_named(responder, issuer);
    if named && is_signed_by(&subject.issuer, basic, parts)? {
        return Ok(None);
    }
    let anchor = anchor_from_trusted_cert(&subject.issuer)
        .map_err(|error| Refusal::Signer(error.to_string()))?;
    let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // The first reason is told: of one responder there is one certificate.
    let mut reason = None;
    for der in &parts.certificates {
        let Ok(certificate) = parse(der) else {
            continue;
        };
        if !Issuer::of(&certificate).is_ok_and(|this| is_named(responder, &this)) {
            continue;
        }
        let der = CertificateDer::from(*der);
        let delegated = EndEntityCert::try_from(&der).and_then(|delegated| {
            delegated
                .verify_for_usage(
                    ALL_VERIFICATION_ALGS,
                    std::slice::from_ref(&anchor),
                    &[],
                    UnixTime::since_unix_epoch(unix),
                    KeyUsage::required(OCSP_SIGNING),
                    None,
                    None,
                )
                .map(|_| ())
        });
        match delegated {
            Err(error) => {
                reason.get_or_insert_with(|| Refusal::Signer(error.to_string()));
            }
            Ok(()) if is_signed_by(&der, basic, parts)? => return Ok(Some(end(&certificate))),
            Ok(()) => {
                reason.get_or_insert(Refusal::Signature);
            }
        }
    }
    Err(match (reason, named) {
        (Some(reason), _) => reason,
        (None, true) => Refusal::Signature,
        (None, false) => Refusal::Signer("the signer's certificate is not there".to_owned()),
    })
}

fn end(certificate: &Certificate) -> SystemTime {
    certificate
        .tbs_certificate
        .validity
        .not_after
        .to_system_time()
}

fn is_named(responder: &ResponderId, candidate: &Issuer) -> bool {
    match responder {
        ResponderId::ByName(name) => *name == candidate.name,
        // Always SHA-1 (RFC 6960 §4.2.1).
        ResponderId::ByKey(hash) => {
            hash.as_bytes() == digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &candidate.key).as_ref()
        }
    }
}

fn is_signed_by(
    certificate: &CertificateDer<'_>,
    basic: &BasicOcspResponse,
    parts: &Parts<'_>,
) -> Result<bool, Refusal> {
    let key =
        EndEntityCert::try_from(certificate).map_err(|error| Refusal::Signer(error.to_string()))?;
    let algorithm = basic.signature_algorithm.to_der().map_err(malformed)?;
    let algorithm = AnyRef::from_der(&algorithm).map_err(malformed)?;
    let signature = basic
        .signature
        .as_bytes()
        .ok_or_else(|| malformed("a signature of odd bits"))?;
    // Several differ in the kind of key alone.
    Ok(ALL_VERIFICATION_ALGS
        .iter()
        .filter(|known| known.signature_alg_id().as_ref() == algorithm.value())
        .any(|known| {
            key.verify_signature(*known, parts.signed, signature)
                .is_ok()
        }))
}

/// Whether a CertID names the certificate, by whichever hash the responder took (RFC 6960 §4.1.1).
fn is_about(id: &CertId, subject: &Subject, issuer: &Issuer) -> bool {
    const SHA2: [(ObjectIdentifier, &digest::Algorithm); 3] = [
        (
            ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"),
            &SHA256,
        ),
        (
            ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"),
            &SHA384,
        ),
        (
            ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"),
            &SHA512,
        ),
    ];
    let oid = id.hash_algorithm.oid;
    let hash = match oid == ID_SHA1 {
        true => Some(&SHA1_FOR_LEGACY_USE_ONLY),
        false => SHA2
            .iter()
            .find(|(known, _)| *known == oid)
            .map(|(_, hash)| *hash),
    };
    hash.is_some_and(|hash| {
        id.serial_number == subject.serial
            && id.issuer_name_hash.as_bytes() == digest::digest(hash, &issuer.name_der).as_ref()
            && id.issuer_key_hash.as_bytes() == digest::digest(hash, &issuer.key).as_ref()
    })
}

/// RFC 6960 §4.4: an extension that is critical has to be understood, and we need none.
fn known(extensions: Option<&[Extension]>) -> Result<(), Refusal> {
    let mut extensions = extensions.unwrap_or_default().iter();
    match extensions.find(|extension| extension.critical && extension.extn_id != ID_NONCE) {
        Some(extension) => Err(Refusal::Malformed(format!(
            "the critical extension {}",
            extension.extn_id
        ))),
        None => Ok(()),
    }
}

fn answered_nonce(extensions: Option<&[Extension]>) -> Option<&[u8]> {
    let mut extensions = extensions.unwrap_or_default().iter();
    let nonce = extensions.find(|extension| extension.extn_id == ID_NONCE)?;
    let value = nonce.extn_value.as_bytes();
    // Some responders forget the inner OCTET STRING.
    Some(OctetStringRef::from_der(value).map_or(value, |inner| inner.as_bytes()))
}

fn time(time: OcspGeneralizedTime) -> SystemTime {
    time.0.to_system_time()
}

fn malformed(what: impl fmt::Display) -> Refusal {
    Refusal::Malformed(what.to_string())
}

/// A BasicOCSPResponse in pieces as they came: what is signed must not be encoded anew.
struct Parts<'r> {
    signed: &'r [u8],
    certificates: Vec<&'r [u8]>,
}

impl<'r> Parts<'r> {
    fn read(basic: &'r [u8]) -> x509_cert::der::Result<Self> {
        let mut reader = SliceReader::new(basic)?;
        reader.sequence(|reader| {
            let signed = reader.tlv_bytes()?;
            // signatureAlgorithm, signature
            reader.tlv_bytes()?;
            reader.tlv_bytes()?;
            let mut certificates = Vec::new();
            if !reader.is_finished() {
                let header = Header::decode(reader)?;
                reader.read_nested(header.length, |reader| {
                    reader.sequence(|reader| {
                        while !reader.is_finished() {
                            certificates.push(reader.tlv_bytes()?);
                        }
                        Ok(())
                    })
                })?;
            }
            Ok(Self {
                signed,
                certificates,
            })
        })
    }
}
