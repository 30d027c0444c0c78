//! Signed certificate timestamps: out of a certificate, and whether their logs signed them.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::SignatureVerificationAlgorithm;
use serde::Serialize;
use webpki::aws_lc_rs::{ECDSA_P256_SHA256, RSA_PKCS1_2048_8192_SHA256};
use x509_cert::TbsCertificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SignedCertificateTimestampList;
use x509_cert::ext::pkix::sct::{HashAlgorithm, SignatureAlgorithm, SignedCertificateTimestamp};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::log_list::{Log, LogList, LogState};

/// RFC 6962 §3.3.
const EMBEDDED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// A timestamp, and what came of looking at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sct {
    /// The identity of its log: the SHA-256 of the log's key, in hexadecimal.
    pub log_id: String,
    /// What the list calls the log.
    pub log: Option<String>,
    /// Who runs it.
    pub operator: Option<String>,
    /// What browsers think of the log.
    pub state: Option<LogState>,
    /// Whether the log is one of RFC 6962 itself, as the list has it.
    pub rfc6962: Option<bool>,
    /// When the log promised to take the certificate.
    #[serde(serialize_with = "crate::certs::describe::time")]
    pub timestamp: SystemTime,
    /// What came of it.
    pub verdict: SctVerdict,
}

/// What came of looking at a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SctVerdict {
    /// The log signed it.
    Good,
    /// There is no list of logs to look in.
    Unchecked,
    /// The log is not on the list.
    UnknownLog,
    /// The log did not sign this.
    BadSignature,
    /// The issuer's certificate, which is signed along with it, is not in the chain.
    NoIssuer,
    /// It is from the future.
    Future,
    /// It cannot be read.
    Unreadable,
}

impl SctVerdict {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unchecked => "not checked, no log list is given",
            Self::UnknownLog => "its log is not on the list",
            Self::BadSignature => "its log did not sign it",
            Self::NoIssuer => "not checked, the issuer's certificate is missing",
            Self::Future => "it is from the future",
            Self::Unreadable => "it cannot be read",
        }
    }
}

impl fmt::Display for Sct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.log, &self.operator) {
            (Some(log), Some(operator)) => write!(f, "{log} ({operator})")?,
            _ => write!(f, "log {}", self.log_id.get(..16).unwrap_or(&self.log_id))?,
        }
        write!(f, ": {}", self.verdict.as_str())?;
        match self.state {
            Some(LogState::Retired(_)) => f.write_str(", its log is retired"),
            Some(LogState::NotApproved) => f.write_str(", its log is not approved"),
            _ => Ok(()),
        }
    }
}

/// The timestamps in a certificate, whose own bytes are `tbs`. `issuer` is its issuer's key.
pub(in crate::certs) fn embedded(
    parsed: &TbsCertificate,
    tbs: &[u8],
    issuer: Option<&SubjectPublicKeyInfoOwned>,
    logs: Option<&LogList>,
    now: SystemTime,
) -> Vec<Sct> {
    let mut extensions = parsed.extensions.iter().flatten();
    let Some(extension) = extensions.find(|extension| extension.extn_id == EMBEDDED) else {
        return Vec::new();
    };
    let list = SignedCertificateTimestampList::from_der(extension.extn_value.as_bytes()).ok();
    let Some(list) = list.and_then(|list| list.parse_timestamps().ok()) else {
        return vec![unreadable()];
    };
    let entry = issuer.and_then(|issuer| Entry::new(parsed, tbs, issuer));
    list.iter()
        .map(|serialized| match serialized.parse_timestamp() {
            Ok(sct) => look(&sct, entry.as_ref(), logs, now),
            Err(_) => unreadable(),
        })
        .collect()
}

fn unreadable() -> Sct {
    Sct {
        log_id: String::new(),
        log: None,
        operator: None,
        state: None,
        rfc6962: None,
        timestamp: SystemTime::UNIX_EPOCH,
        verdict: SctVerdict::Unreadable,
    }
}

fn look(
    sct: &SignedCertificateTimestamp,
    entry: Option<&Entry>,
    logs: Option<&LogList>,
    now: SystemTime,
) -> Sct {
    let id = &sct.log_id.key_id;
    let log = logs.and_then(|logs| logs.get(id));
    // What no clock can show is from the future too.
    let timestamp = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(sct.timestamp));
    let verdict = match (logs, log, entry) {
        (None, ..) => SctVerdict::Unchecked,
        (_, None, _) => SctVerdict::UnknownLog,
        (_, _, None) => SctVerdict::NoIssuer,
        (_, Some(log), Some(entry)) if !entry.is_signed_by(log, sct) => SctVerdict::BadSignature,
        _ if timestamp.is_none_or(|timestamp| timestamp > now) => SctVerdict::Future,
        _ => SctVerdict::Good,
    };
    Sct {
        log_id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        log: log.map(|log| log.name.clone()),
        operator: log.map(|log| log.operator.clone()),
        state: log.map(|log| log.state),
        rfc6962: log.map(|log| log.rfc6962),
        timestamp: timestamp.unwrap_or(SystemTime::UNIX_EPOCH),
        verdict,
    }
}

/// What a log took: a precertificate, as RFC 6962 §3.2 has it.
struct Entry {
    issuer_key_hash: [u8; 32],
    /// The certificate that will be signed, without its timestamps.
    tbs: Vec<u8>,
}

impl Entry {
    fn new(
        parsed: &TbsCertificate,
        tbs: &[u8],
        issuer: &SubjectPublicKeyInfoOwned,
    ) -> Option<Self> {
        // What does not come out as it went in is no DER: its log saw other bytes.
        if parsed.to_der().ok()? != tbs {
            return None;
        }
        let mut bare = parsed.clone();
        bare.extensions
            .as_mut()?
            .retain(|extension| extension.extn_id != EMBEDDED);
        let mut issuer_key_hash = [0; 32];
        issuer_key_hash.copy_from_slice(digest(&SHA256, &issuer.to_der().ok()?).as_ref());
        Some(Self {
            issuer_key_hash,
            tbs: bare.to_der().ok()?,
        })
    }

    fn is_signed_by(&self, log: &Log, sct: &SignedCertificateTimestamp) -> bool {
        // RFC 6962 §2.1.4: ECDSA on P-256 or RSA, with SHA-256.
        let algorithm: &dyn SignatureVerificationAlgorithm = match sct.signature.algorithm.signature
        {
            SignatureAlgorithm::Ecdsa => ECDSA_P256_SHA256,
            SignatureAlgorithm::Rsa => RSA_PKCS1_2048_8192_SHA256,
            _ => return false,
        };
        let wanted = algorithm.public_key_alg_id();
        let fits = log.key.algorithm.to_der().is_ok_and(|der| {
            // Both have their length in one byte.
            der.get(2..) == Some(wanted.as_ref())
        });
        let key = log.key.subject_public_key.raw_bytes();
        let signature = sct.signature.signature.as_slice();
        fits && sct.signature.algorithm.hash == HashAlgorithm::Sha256
            && algorithm
                .verify_signature(key, &self.signed(sct), signature)
                .is_ok()
    }

    /// What the signature is over (RFC 6962 §3.2).
    fn signed(&self, sct: &SignedCertificateTimestamp) -> Vec<u8> {
        const V1: u8 = 0;
        const CERTIFICATE_TIMESTAMP: u8 = 0;
        const PRECERT_ENTRY: [u8; 2] = [0, 1];
        let extensions = sct.extensions.as_slice();
        let mut signed = vec![V1, CERTIFICATE_TIMESTAMP];
        signed.extend(sct.timestamp.to_be_bytes());
        signed.extend(PRECERT_ENTRY);
        signed.extend(self.issuer_key_hash);
        // Lengths of 24 and of 16 bits: both came out of structures that have no more.
        signed.extend(&(self.tbs.len() as u32).to_be_bytes()[1..]);
        signed.extend(&self.tbs);
        signed.extend((extensions.len() as u16).to_be_bytes());
        signed.extend(extensions);
        signed
    }
}
