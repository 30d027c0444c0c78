//! An authority with a root, an issuer and leaves that name a responder, and what it answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SigningKey,
};
use rustls::RootCertStore;
use tempfile::TempDir;
use x509_cert::der::asn1::{BitString, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    AsResponseBytes, BasicOcspResponse, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus,
    ResponderId, ResponseData, RevokedInfo, SingleResponse, Version,
};

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A root, an issuer below it, and a directory for their files.
pub struct Authority {
    directory: TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a leaf is like.
#[derive(Clone, Copy, Default)]
pub struct Leaf<'a> {
    pub serial: u8,
    pub rsa: bool,
    pub responder: Option<&'a str>,
    pub must_staple: bool,
}

/// Where a leaf was written.
#[derive(Clone, Debug)]
pub struct Files {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Files {
    /// The value of `certificate`, with more keys: `, staple = "x"`.
    pub fn toml(&self, more: &str) -> String {
        let (chain, key) = (self.chain.display(), self.key.display());
        format!("{{ chain = \"{chain}\", key = \"{key}\"{more} }}")
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

/// An answer before it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: Status,
    /// From so long ago …
    pub since: Duration,
    /// … for so long.
    pub lasts: Duration,
    pub nonce: Nonce<'a>,
}

/// The nonce of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Nonce<'a> {
    /// That of the request, if it has one.
    Asked,
    Other(&'a [u8]),
    /// None, whatever the request has.
    Left,
}

impl Answer<'_> {
    pub const GOOD: Self = Self {
        status: Status::Good,
        since: Duration::ZERO,
        lasts: Duration::from_secs(7 * 24 * 3600),
        nonce: Nonce::Asked,
    };
}

impl Authority {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(ca("issuer"), key, &root).unwrap();
        let write = |name: &str, text: String| fs::write(directory.path().join(name), text);
        write("root.pem", root.pem()).unwrap();
        write("issuer.pem", issuer.pem()).unwrap();
        write("issuer.key", issuer.key().serialize_pem()).unwrap();
        write("ca.pem", format!("{}{}", issuer.pem(), root.pem())).unwrap();
        Self {
            directory,
            root,
            issuer,
        }
    }

    /// A file of this authority's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A leaf for `name`, with its issuer behind it.
    pub fn leaf(&self, name: &str, leaf: Leaf<'_>) -> Files {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(vec![leaf.serial].into());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if let Some(responder) = leaf.responder {
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
            let mut access = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 48, 1];
            access.extend(tlv(0x86, responder.as_bytes()));
            let access = tlv(0x30, &tlv(0x30, &access));
            let access = CustomExtension::from_oid_content(&oid, access);
            params.custom_extensions.push(access);
        }
        if leaf.must_staple {
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
            let feature = CustomExtension::from_oid_content(&oid, vec![0x30, 3, 2, 1, 5]);
            params.custom_extensions.push(feature);
        }
        let key = KeyPair::generate_for(match leaf.rsa {
            true => &rcgen::PKCS_RSA_SHA256,
            false => &rcgen::PKCS_ECDSA_P256_SHA256,
        });
        let key = key.unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let stem = format!("{name}-{}", leaf.serial);
        let files = Files {
            chain: self.path(&format!("{stem}.pem")),
            key: self.path(&format!("{stem}.key")),
        };
        let chain = format!("{}{}", certificate.pem(), self.issuer.pem());
        fs::write(&files.chain, chain).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// Files of a certificate that may answer for the issuer.
    pub fn delegate(&self) -> Files {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "delegate");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            chain: self.path("delegate.pem"),
            key: self.path("delegate.key"),
        };
        fs::write(&files.chain, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// Answers a request, signed by the issuer.
    pub fn answer(&self, request: &[u8], answer: &Answer<'_>) -> Vec<u8> {
        let request = OcspRequest::from_der(request).unwrap();
        let id = request.tbs_request.request_list[0].req_cert.clone();
        let asked = request.nonce().map(|nonce| nonce.0.as_bytes().to_vec());
        let nonce = match answer.nonce {
            Nonce::Asked => asked,
            Nonce::Other(other) => Some(other.to_vec()),
            Nonce::Left => None,
        };
        let this_update = SystemTime::now() - answer.since;
        let issuer = x509_cert::Certificate::from_der(self.issuer.der()).unwrap();
        let single = SingleResponse {
            cert_id: id,
            cert_status: match answer.status {
                Status::Good => CertStatus::good(),
                Status::Unknown => CertStatus::unknown(),
                Status::Revoked => CertStatus::Revoked(RevokedInfo {
                    revocation_time: (this_update - DAY).try_into().unwrap(),
                    revocation_reason: None,
                }),
            },
            this_update: this_update.try_into().unwrap(),
            next_update: Some((this_update + answer.lasts).try_into().unwrap()),
            single_extensions: None,
        };
        let nonce = nonce.map(|nonce| Extension {
            extn_id: ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2"),
            critical: false,
            extn_value: OctetString::new(OctetString::new(nonce).unwrap().to_der().unwrap())
                .unwrap(),
        });
        let data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByName(issuer.tbs_certificate.subject),
            produced_at: this_update.try_into().unwrap(),
            responses: vec![single],
            response_extensions: nonce.map(|nonce| vec![nonce]),
        };
        let signature = self.issuer.key().sign(&data.to_der().unwrap()).unwrap();
        let basic = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: AlgorithmIdentifierOwned {
                oid: ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
                parameters: None,
            },
            signature: BitString::from_bytes(&signature).unwrap(),
            certs: None,
        };
        let response = OcspResponse {
            response_status: OcspResponseStatus::Successful,
            response_bytes: Some(basic.to_response_bytes().unwrap()),
        };
        response.to_der().unwrap()
    }
}

/// What a staple says, and its serial number.
pub fn read(staple: &[u8]) -> (Status, u8) {
    let response = OcspResponse::from_der(staple).unwrap().response_bytes;
    let response = response.unwrap();
    let basic = BasicOcspResponse::from_der(response.response.as_bytes()).unwrap();
    let single = &basic.tbs_response_data.responses[0];
    let status = match single.cert_status {
        CertStatus::Good(_) => Status::Good,
        CertStatus::Revoked(_) => Status::Revoked,
        CertStatus::Unknown(_) => Status::Unknown,
    };
    let serial = single.cert_id.serial_number.as_bytes();
    (status, *serial.last().unwrap())
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = format!("cutwater test {name}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    assert!(length < 0x80);
    [&[tag, length], value].concat()
}
