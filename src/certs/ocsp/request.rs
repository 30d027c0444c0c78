//! What a responder is asked.

use std::fmt::Write;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::rand;
use http::Uri;
use x509_cert::der::asn1::{Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Encode, Error};
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{CertId, OcspRequest, Request, TbsRequest};

use super::subject::{Issuer, Subject};

/// id-sha1.
pub(super) const ID_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// id-pkix-ocsp-nonce (RFC 9654 §2.1).
pub(super) const ID_NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");

/// The longest address that is asked by GET (RFC 6960 App. A.1, RFC 5019 §5).
const LONGEST_GET: usize = 255;

/// A nonce as RFC 9654 §2.1 wants it: 32 bytes by chance.
pub fn nonce() -> Option<[u8; 32]> {
    let mut nonce = [0; 32];
    rand::fill(&mut nonce).ok()?;
    Some(nonce)
}

/// An OCSPRequest for one certificate, in DER, without a signature. `nonce` goes into it.
///
/// The certificate is named by SHA-1 hashes: RFC 5019 §2.1.1 knows no others, and nothing rests on
/// their strength.
///
/// # Errors
/// If the issuer cannot be read.
pub fn build(subject: &Subject, nonce: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let issuer = subject.issuer()?;
    encode(subject, &issuer, nonce).map_err(|error| format!("no request can be made: {error}"))
}

fn encode(subject: &Subject, issuer: &Issuer, nonce: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let hash = |bytes: &[u8]| {
        OctetString::new(
            digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes)
                .as_ref()
                .to_vec(),
        )
    };
    let req_cert = CertId {
        hash_algorithm: AlgorithmIdentifierOwned {
            oid: ID_SHA1,
            parameters: Some(Null.into()),
        },
        issuer_name_hash: hash(&issuer.name_der)?,
        issuer_key_hash: hash(&issuer.key)?,
        serial_number: subject.serial.clone(),
    };
    let extension = |nonce: &[u8]| {
        Ok::<_, Error>(vec![Extension {
            extn_id: ID_NONCE,
            critical: false,
            // Twice wrapped: the extension's value is itself an OCTET STRING.
            extn_value: OctetString::new(OctetString::new(nonce)?.to_der()?)?,
        }])
    };
    OcspRequest {
        tbs_request: TbsRequest {
            request_list: vec![Request {
                req_cert,
                single_request_extensions: None,
            }],
            request_extensions: nonce.map(extension).transpose()?,
            ..TbsRequest::default()
        },
        optional_signature: None,
    }
    .to_der()
}

/// The address that asks `request` of `responder` by GET: what caches between the two can answer.
/// `None` if it would be longer than caches and responders take.
pub fn get(responder: &Uri, request: &[u8]) -> Option<Uri> {
    let base = responder.to_string();
    let mut address = base.trim_end_matches('/').to_owned();
    address.push('/');
    for c in base64(request).chars() {
        match c {
            '+' | '/' | '=' => write!(address, "%{:02X}", u32::from(c)).ok()?,
            c => address.push(c),
        }
    }
    let fits = address.len() <= LONGEST_GET && responder.query().is_none();
    address.parse().ok().filter(|_| fits)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(match place <= group.len() {
                true => char::from(digit),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn a_get_is_escaped_and_at_most_255_bytes_long() {
        let responder: Uri = "http://ocsp.example/a/".parse().unwrap();
        let address = get(&responder, &[0xfb, 0xff, 0xbf, 1]).unwrap();
        assert_eq!(
            address.to_string(),
            "http://ocsp.example/a/%2B%2F%2B%2FAQ%3D%3D"
        );
        assert!(get(&responder, &[0; 174]).is_some());
        assert!(get(&responder, &[0; 175]).is_none());
        let query: Uri = "http://ocsp.example/?a".parse().unwrap();
        assert!(get(&query, &[0]).is_none());
    }
}
