//! An authority that answers, truly or not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SigningKey,
};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, BitString, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    AsResponseBytes, BasicOcspResponse, CertId, CertStatus, OcspResponse, ResponderId,
    ResponseData, RevokedInfo, SingleResponse, Version,
};

use super::request::{ID_NONCE, ID_SHA1};
use super::subject::{Issuer, Subject, parse};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// The middle of the validity of everything here.
pub(super) fn noon() -> SystemTime {
    UNIX_EPOCH + DAY * 20_000
}

pub(super) struct Authority {
    pub(super) issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a leaf says of OCSP.
#[derive(Clone, Copy, Default)]
pub(super) struct Says<'a> {
    pub(super) responders: &'a [&'a str],
    pub(super) must_staple: bool,
    /// Whether its authorityInfoAccess is none.
    pub(super) broken: bool,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = dated(CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    pub(super) fn leaf(&self, serial: u8, says: Says<'_>) -> CertificateDer<'static> {
        let mut params = dated(CertificateParams::new(vec![format!("n{serial}.example")]).unwrap());
        params.serial_number = Some(vec![serial].into());
        if !says.responders.is_empty() {
            let access = says.responders.iter().flat_map(|uri| {
                let uri = tlv(0x86, uri.as_bytes());
                // id-ad-ocsp
                tlv(0x30, &[&hex("06082b06010505073001")[..], &uri].concat())
            });
            let access: Vec<u8> = access.collect();
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
            let access = tlv(if says.broken { 0x31 } else { 0x30 }, &access);
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&oid, access));
        }
        if says.must_staple {
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
            let features = hex("3003020105");
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&oid, features));
        }
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        leaf.der().clone()
    }

    pub(super) fn subject(&self, serial: u8) -> Subject {
        let chain = [
            self.leaf(serial, Says::default()),
            self.issuer.der().clone(),
        ];
        Subject::read(&chain, &[]).unwrap()
    }

    /// A responder's certificate of this authority, with or without the right to answer.
    pub(super) fn delegate(&self, entitled: bool, ends: SystemTime) -> (KeyPair, Certificate) {
        let mut params = dated(CertificateParams::default());
        params
            .distinguished_name
            .push(DnType::CommonName, "responder");
        params.not_after = ends.into();
        params.extended_key_usages = vec![match entitled {
            true => ExtendedKeyUsagePurpose::OcspSigning,
            false => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (key, parse(certificate.der()).unwrap())
    }

    /// An answer about the certificate of this serial number: good, from a day ago to a week on.
    pub(super) fn answer(&self, serial: u8) -> Answer {
        let certificate = parse(self.issuer.der()).unwrap();
        let issuer = Issuer::of(&certificate).unwrap();
        let hash = |bytes: &[u8]| {
            let hash = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
            OctetString::new(hash.as_ref().to_vec()).unwrap()
        };
        Answer {
            id: CertId {
                hash_algorithm: algorithm(ID_SHA1, true),
                issuer_name_hash: hash(&issuer.name_der),
                issuer_key_hash: hash(&issuer.key),
                serial_number: x509_cert::serial_number::SerialNumber::new(&[serial]).unwrap(),
            },
            responder: ResponderId::ByName(issuer.name),
            this_update: noon() - DAY,
            next_update: Some(noon() + DAY * 7),
            status: CertStatus::good(),
            extensions: Vec::new(),
            certificates: None,
        }
    }

    pub(super) fn sign(&self, answer: Answer) -> Vec<u8> {
        answer.signed_by(self.issuer.key())
    }
}

pub(super) struct Answer {
    pub(super) id: CertId,
    pub(super) responder: ResponderId,
    pub(super) this_update: SystemTime,
    pub(super) next_update: Option<SystemTime>,
    pub(super) status: CertStatus,
    pub(super) extensions: Vec<Extension>,
    pub(super) certificates: Option<Vec<Certificate>>,
}

impl Answer {
    pub(super) fn revoked(mut self) -> Self {
        self.status = CertStatus::Revoked(RevokedInfo {
            revocation_time: (noon() - DAY * 2).try_into().unwrap(),
            revocation_reason: None,
        });
        self
    }

    pub(super) fn between(mut self, this_update: SystemTime, next_update: SystemTime) -> Self {
        self.this_update = this_update;
        self.next_update = Some(next_update);
        self
    }

    pub(super) fn nonce(mut self, nonce: &[u8]) -> Self {
        let inner = OctetString::new(nonce).unwrap().to_der().unwrap();
        self.extensions.push(Extension {
            extn_id: ID_NONCE,
            critical: false,
            extn_value: OctetString::new(inner).unwrap(),
        });
        self
    }

    /// In the name of a delegated responder, whose certificate comes with it.
    pub(super) fn by(mut self, delegate: &Certificate) -> Self {
        self.responder = ResponderId::ByName(delegate.tbs_certificate.subject.clone());
        self.certificates = Some(vec![delegate.clone()]);
        self
    }

    /// In the name of the key, not of the name.
    pub(super) fn by_key(mut self, certificate: &[u8]) -> Self {
        let issuer = Issuer::of(&parse(certificate).unwrap()).unwrap();
        let hash = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &issuer.key);
        self.responder = ResponderId::ByKey(OctetString::new(hash.as_ref().to_vec()).unwrap());
        self
    }

    pub(super) fn signed_by(self, key: &KeyPair) -> Vec<u8> {
        let data = ResponseData {
            version: Version::V1,
            responder_id: self.responder,
            produced_at: self.this_update.try_into().unwrap(),
            responses: vec![SingleResponse {
                cert_id: self.id,
                cert_status: self.status,
                this_update: self.this_update.try_into().unwrap(),
                next_update: self.next_update.map(|next| next.try_into().unwrap()),
                single_extensions: None,
            }],
            response_extensions: Some(self.extensions).filter(|list| !list.is_empty()),
        };
        let signature = key.sign(&data.to_der().unwrap()).unwrap();
        // ecdsa-with-SHA256
        let ecdsa = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
        let basic = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: algorithm(ecdsa, false),
            signature: BitString::from_bytes(&signature).unwrap(),
            certs: self.certificates,
        };
        let response = OcspResponse {
            response_bytes: Some(basic.to_response_bytes().unwrap()),
            ..OcspResponse::try_later()
        };
        OcspResponse {
            response_status: x509_ocsp::OcspResponseStatus::Successful,
            ..response
        }
        .to_der()
        .unwrap()
    }
}

fn algorithm(oid: ObjectIdentifier, null: bool) -> AlgorithmIdentifierOwned {
    let parameters = null.then(|| AnyRef::from(Null).into());
    AlgorithmIdentifierOwned { oid, parameters }
}

fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = (noon() - DAY * 60).into();
    params.not_after = (noon() + DAY * 60).into();
    params
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    assert!(length < 0x80);
    [&[tag, length], value].concat()
}

fn hex(digits: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// A response with one bit of the signature turned.
pub(super) fn tampered(response: &[u8]) -> Vec<u8> {
    let outer = OcspResponse::from_der(response).unwrap();
    let bytes = outer.response_bytes.unwrap();
    let mut basic = BasicOcspResponse::from_der(bytes.response.as_bytes()).unwrap();
    let single = &mut basic.tbs_response_data.responses[0];
    single.this_update = (noon() - DAY * 3).try_into().unwrap();
    OcspResponse::successful(basic).unwrap().to_der().unwrap()
}
