//! What a run's authorities say of their certificates: OCSP responses (RFC 6960), and the responder
//! that gives them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use hyper::body::Bytes;
use rcgen::{CertifiedIssuer, KeyPair, SigningKey};
use x509_cert::Certificate;
use x509_cert::der::asn1::{BitString, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode, Error};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    AsResponseBytes, BasicOcspResponse, CertId, CertStatus, OcspResponse, OcspResponseStatus,
    ResponderId, ResponseData, RevokedInfo, SingleResponse, Version,
};

/// Where the responder is, on the origin.
const PLACE: &str = "/ocsp/";

/// Since when a response is right: before all clocks that are a little behind.
const SINCE: Duration = Duration::from_secs(60 * 60);
/// For how long it is: longer than any run.
const LASTS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The address that is asked about the certificate in this file, which has no ending.
pub fn address(origin: &str, file: &str) -> String {
    format!("http://{origin}{PLACE}{file}")
}

/// What the responder answers: the response that was made for the file that the path names. RFC 5019
/// §5: such a response is made beforehand, and has no nonce.
///
/// `None` is not the responder's; in it, `None` means that nothing is known.
pub fn answer(pki: &Path, path: &str) -> Option<Option<Bytes>> {
    let file = path.strip_prefix(PLACE)?.split('/').next()?;
    // The names of a run, and nothing that leads elsewhere.
    let named = file
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let read = || std::fs::read(pki.join(file).with_extension("ocsp")).ok();
    Some(named.then(read).flatten().map(Bytes::from))
}

/// A response in DER about a leaf, signed by its issuer.
///
/// # Errors
/// It could not be made.
pub fn response(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    leaf: &[u8],
    revoked: bool,
) -> Result<Vec<u8>, String> {
    let said = |error: Error| format!("no OCSP response can be made: {error}");
    let data = data(issuer.der(), leaf, revoked).map_err(said)?;
    let signed = data.to_der().map_err(said)?;
    let signature = issuer.key().sign(&signed);
    let signature = signature.map_err(|error| format!("cannot sign: {error}"))?;
    encode(data, algorithm(issuer.key()), &signature).map_err(said)
}

fn data(issuer: &[u8], leaf: &[u8], revoked: bool) -> Result<ResponseData, Error> {
    let issuer = Certificate::from_der(issuer)?.tbs_certificate;
    let leaf = Certificate::from_der(leaf)?.tbs_certificate;
    let sha1 = |bytes: &[u8]| {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        OctetString::new(hash.as_ref().to_vec())
    };
    let since = SystemTime::now() - SINCE;
    let single = SingleResponse {
        cert_id: CertId {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid: ObjectIdentifier::new_unwrap("1.3.14.3.2.26"),
                parameters: Some(Null.into()),
            },
            issuer_name_hash: sha1(&issuer.subject.to_der()?)?,
            issuer_key_hash: sha1(
                issuer
                    .subject_public_key_info
                    .subject_public_key
                    .raw_bytes(),
            )?,
            serial_number: leaf.serial_number,
        },
        cert_status: match revoked {
            false => CertStatus::good(),
            true => CertStatus::Revoked(RevokedInfo {
                revocation_time: since.try_into()?,
                revocation_reason: None,
            }),
        },
        this_update: since.try_into()?,
        next_update: Some((since + LASTS).try_into()?),
        single_extensions: None,
    };
    Ok(ResponseData {
        version: Version::V1,
        responder_id: ResponderId::ByName(issuer.subject),
        produced_at: since.try_into()?,
        responses: vec![single],
        response_extensions: None,
    })
}

/// What an authority's key signs with.
fn algorithm(key: &KeyPair) -> AlgorithmIdentifierOwned {
    let rsa = key.algorithm() == &rcgen::PKCS_RSA_SHA256;
    AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new_unwrap(match rsa {
            true => "1.2.840.113549.1.1.11",
            false => "1.2.840.10045.4.3.2",
        }),
        // RFC 8017 App. A.2.4 wants NULL, RFC 5758 §3.2 nothing.
        parameters: rsa.then(|| Null.into()),
    }
}

fn encode(
    data: ResponseData,
    algorithm: AlgorithmIdentifierOwned,
    signature: &[u8],
) -> Result<Vec<u8>, Error> {
    let basic = BasicOcspResponse {
        tbs_response_data: data,
        signature_algorithm: algorithm,
        signature: BitString::from_bytes(signature)?,
        certs: None,
    };
    OcspResponse {
        response_status: OcspResponseStatus::Successful,
        response_bytes: Some(basic.to_response_bytes()?),
    }
    .to_der()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_responder_answers_for_files_of_the_run_alone() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a-ecdsa.ocsp"), "yes").unwrap();
        std::fs::write(directory.path().join("a-ecdsa.key"), "no").unwrap();
        let answer = |path| answer(directory.path(), path);
        assert_eq!(answer("/"), None);
        let yes = Some(Some(Bytes::from_static(b"yes")));
        assert_eq!(answer("/ocsp/a-ecdsa"), yes);
        assert_eq!(answer("/ocsp/a-ecdsa/MFQw"), yes, "asked by GET");
        for path in ["/ocsp/b-ecdsa", "/ocsp/a-ecdsa.key", "/ocsp/..", "/ocsp/"] {
            assert_eq!(answer(path), Some(None), "{path}");
        }
    }
}
