//! What kind of public key a certificate has, and whether clients still take it.

use std::fmt;

use serde::Serialize;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::oid::db::DB;
use x509_cert::der::{Decode, Header, Reader, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// The least bits of an RSA key that clients take.
const LEAST_RSA_BITS: usize = 2048;

/// A public key, described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyDescription {
    /// `RSA`, `ECDSA P-256`, `Ed25519`, or the number of its algorithm.
    pub kind: String,
    /// Its size where the kind does not tell it: the bits of an RSA modulus.
    pub bits: Option<usize>,
    /// Why clients refuse it.
    pub weakness: Option<Weakness>,
}

/// Why clients refuse a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weakness {
    /// RSA of less than 2048 bits.
    Short,
    /// Of a kind or on a curve that browsers do not know.
    Unusual,
}

impl KeyDescription {
    pub(super) fn of(key: &SubjectPublicKeyInfoOwned) -> Self {
        let algorithm = key.algorithm.oid.to_string();
        let named = |kind: &str, weakness| Self {
            kind: kind.to_owned(),
            bits: None,
            weakness,
        };
        match &*algorithm {
            "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => {
                let bits = modulus_bits(key.subject_public_key.raw_bytes());
                Self {
                    kind: "RSA".to_owned(),
                    bits,
                    weakness: bits
                        .is_none_or(|bits| bits < LEAST_RSA_BITS)
                        .then_some(Weakness::Short),
                }
            }
            "1.2.840.10045.2.1" => {
                let curve = key.algorithm.parameters.as_ref();
                let curve = curve.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
                match curve.map(|curve| curve.to_string()).as_deref() {
                    Some("1.2.840.10045.3.1.7") => named("ECDSA P-256", None),
                    Some("1.3.132.0.34") => named("ECDSA P-384", None),
                    Some("1.3.132.0.35") => named("ECDSA P-521", None),
                    _ => {
                        let curve = curve.map_or_else(|| "a curve of its own".to_owned(), known);
                        named(&format!("ECDSA on {curve}"), Some(Weakness::Unusual))
                    }
                }
            }
            "1.3.101.112" => named("Ed25519", None),
            "1.3.101.113" => named("Ed448", None),
            "2.16.840.1.101.3.4.3.17" => named("ML-DSA-44", None),
            "2.16.840.1.101.3.4.3.18" => named("ML-DSA-65", None),
            "2.16.840.1.101.3.4.3.19" => named("ML-DSA-87", None),
            _ => named(&known(key.algorithm.oid), Some(Weakness::Unusual)),
        }
    }

    pub(super) fn is_short_rsa(&self) -> bool {
        self.weakness == Some(Weakness::Short)
    }
}

impl fmt::Display for KeyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        match self.bits {
            Some(bits) => write!(f, " of {bits} bits"),
            None => Ok(()),
        }
    }
}

/// The registered name of a number, or the number.
fn known(number: ObjectIdentifier) -> String {
    match DB.by_oid(&number) {
        Some(name) => name.to_owned(),
        None => number.to_string(),
    }
}

/// RFC 8017 A.1.1: a SEQUENCE that begins with the modulus.
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(key).ok()?;
    reader.decode::<Header>().ok()?;
    let modulus = UintRef::from_der(reader.tlv_bytes().ok()?).ok()?;
    let (first, rest) = modulus.as_bytes().split_first()?;
    Some(rest.len() * 8 + (8 - first.leading_zeros() as usize))
}
