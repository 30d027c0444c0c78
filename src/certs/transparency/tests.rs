use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use data_encoding::{BASE64, HEXLOWER};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair,
    PublicKeyData, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use x509_cert::der::asn1::OctetString;
use x509_cert::der::{Encode, Header, Reader, SliceReader};

use super::*;
use crate::certs::describe::{DAY, Description, Known, describe};

const EMBEDDED: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

pub(crate) fn now() -> SystemTime {
    rcgen::date_time_ymd(2026, 7, 1).into()
}

/// A log with a key of its own.
pub(crate) struct TestLog {
    key: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl TestLog {
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pair.serialize_der())
            .unwrap();
        Self {
            key,
            spki: pair.subject_public_key_info(),
        }
    }

    fn id(&self) -> Vec<u8> {
        digest(&SHA256, &self.spki).as_ref().to_vec()
    }

    pub(crate) fn entry(&self, name: &str, state: &str) -> serde_json::Value {
        let mut entry = serde_json::json!({
            "description": name,
            "log_id": BASE64.encode(&self.id()),
            "key": BASE64.encode(&self.spki),
            "url": "https://log.example/",
            "mmd": 86400,
        });
        entry["state"] = serde_json::json!({ state: { "timestamp": "2026-06-20T00:00:00Z" } });
        entry
    }

    /// A serialized timestamp over a precertificate.
    fn sct(&self, tbs: &[u8], issuer_spki: &[u8], time: SystemTime) -> Vec<u8> {
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let time = u64::try_from(time.as_millis()).unwrap().to_be_bytes();
        let mut signed = vec![0, 0];
        signed.extend(time);
        signed.extend([0, 1]);
        signed.extend(digest(&SHA256, issuer_spki).as_ref());
        signed.extend(&u32::try_from(tbs.len()).unwrap().to_be_bytes()[1..]);
        signed.extend(tbs);
        signed.extend([0, 0]);
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        let signature = signature.as_ref();
        let mut sct = vec![0];
        sct.extend(self.id());
        sct.extend(time);
        sct.extend([0, 0, 4, 3]);
        sct.extend(u16::try_from(signature.len()).unwrap().to_be_bytes());
        sct.extend(signature);
        sct
    }
}

pub(crate) fn list(logs: serde_json::Value) -> LogList {
    LogList::parse(logs.to_string().as_bytes()).unwrap()
}

/// The timestamps as the extension has them: an OCTET STRING of a list of vectors.
fn extension(scts: &[Vec<u8>]) -> CustomExtension {
    let mut all = Vec::new();
    for sct in scts {
        all.extend(u16::try_from(sct.len()).unwrap().to_be_bytes());
        all.extend(sct);
    }
    let mut content = u16::try_from(all.len()).unwrap().to_be_bytes().to_vec();
    content.extend(all);
    let der = OctetString::new(content).unwrap().to_der().unwrap();
    CustomExtension::from_oid_content(&EMBEDDED, der)
}

/// An authority, and the certificate that it issues with timestamps of `logs`.
pub(crate) struct Issued {
    issuer: CertifiedIssuer<'static, KeyPair>,
    key: KeyPair,
    parameters: CertificateParams,
}

impl Issued {
    pub(crate) fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, "the authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap());
        let mut parameters = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
        parameters.serial_number = Some(SerialNumber::from(vec![1, 2, 3]));
        parameters.not_before = rcgen::date_time_ymd(2026, 6, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 9, 1);
        // Domain validated, as publicly trusted authorities say.
        let policy = vec![0x30, 10, 0x30, 8, 0x06, 6, 0x67, 0x81, 0x0c, 1, 2, 1];
        let policy = CustomExtension::from_oid_content(&[2, 5, 29, 32], policy);
        parameters.custom_extensions.push(policy);
        Self {
            issuer: issuer.unwrap(),
            key: KeyPair::generate().unwrap(),
            parameters,
        }
    }

    /// The bytes that a log is asked to sign.
    fn precertificate(&self) -> Vec<u8> {
        let certificate = self.parameters.signed_by(&self.key, &self.issuer).unwrap();
        let mut outer = SliceReader::new(certificate.der()).unwrap();
        outer.decode::<Header>().unwrap();
        outer.tlv_bytes().unwrap().to_vec()
    }

    pub(crate) fn sct(&self, log: &TestLog, time: SystemTime) -> Vec<u8> {
        let spki = self.issuer.key().subject_public_key_info();
        log.sct(&self.precertificate(), &spki, time)
    }

    pub(crate) fn chain(&self, scts: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
        let mut parameters = self.parameters.clone();
        parameters.custom_extensions.push(extension(scts));
        let leaf = parameters.signed_by(&self.key, &self.issuer).unwrap();
        vec![leaf.der().clone(), self.issuer.der().clone()]
    }
}

fn described(chain: &[CertificateDer<'_>], logs: Option<&LogList>) -> Description {
    let known = Known {
        logs,
        ..Known::default()
    };
    describe(chain, now(), &known).unwrap()
}

fn verdicts(described: &Description) -> Vec<SctVerdict> {
    described.scts.iter().map(|sct| sct.verdict).collect()
}

#[test]
fn timestamps_that_their_logs_signed_are_good() {
    let (issued, one, two) = (Issued::new(), TestLog::new(), TestLog::new());
    let scts = [&one, &two].map(|log| issued.sct(log, now() - DAY));
    let logs = list(serde_json::json!({ "operators": [
        { "name": "Right", "email": [], "logs": [one.entry("right 2026", "usable")] },
        { "name": "Left", "email": [], "logs": [], "tiled_logs": [two.entry("left 2026", "usable")] },
    ]}));
    let described = described(&issued.chain(&scts), Some(&logs));
    assert_eq!(verdicts(&described), [SctVerdict::Good, SctVerdict::Good]);
    assert_eq!(described.scts[0].log_id, HEXLOWER.encode(&one.id()));
    assert_eq!(described.scts[0].to_string(), "right 2026 (Right): good");
    assert_eq!(described.scts[1].rfc6962, Some(false));
    assert_eq!(described.shortfall, None);
}

#[test]
fn what_a_log_did_not_sign_is_bad() {
    let (issued, other, log) = (Issued::new(), Issued::new(), TestLog::new());
    let logs = list(serde_json::json!({ "operators": [
        { "name": "Right", "logs": [log.entry("right", "usable")] },
    ]}));
    let good = issued.sct(&log, now() - DAY);
    let mut later = good.clone();
    // The last byte of the time.
    later[40] ^= 1;
    let foreign = other.sct(&log, now() - DAY);
    let future = issued.sct(&log, now() + DAY);
    let unknown = issued.sct(&TestLog::new(), now() - DAY);
    let described = described(
        &issued.chain(&[good, later, foreign, future, unknown, vec![9, 9]]),
        Some(&logs),
    );
    assert_eq!(
        verdicts(&described),
        [
            SctVerdict::Good,
            SctVerdict::BadSignature,
            SctVerdict::BadSignature,
            SctVerdict::Future,
            SctVerdict::UnknownLog,
            SctVerdict::Unreadable,
        ]
    );
    let too_few = Shortfall::TooFew {
        counted: 1,
        wanted: 2,
    };
    assert_eq!(described.shortfall, Some(too_few));
}

#[test]
fn without_a_list_or_an_issuer_they_are_counted_alone() {
    let (issued, one, two) = (Issued::new(), TestLog::new(), TestLog::new());
    let scts = [&one, &two].map(|log| issued.sct(log, now() - DAY));
    let chain = issued.chain(&scts);
    let unlisted = described(&chain, None);
    assert_eq!(verdicts(&unlisted), [SctVerdict::Unchecked; 2]);
    assert_eq!(unlisted.shortfall, None);
    let logs = list(serde_json::json!({ "operators": [
        { "name": "Right", "logs": [one.entry("right", "usable"), two.entry("left", "usable")] },
    ]}));
    let alone = described(&chain[..1], Some(&logs));
    assert_eq!(verdicts(&alone), [SctVerdict::NoIssuer; 2]);
    assert_eq!(alone.shortfall, Some(Shortfall::OneOperator));
    let none = described(&issued.chain(&[]), None);
    let too_few = Shortfall::TooFew {
        counted: 0,
        wanted: 2,
    };
    assert_eq!(none.shortfall, Some(too_few));
}

#[test]
fn private_certificates_need_none() {
    let mut issued = Issued::new();
    issued.parameters.custom_extensions.clear();
    let leaf = issued.parameters.signed_by(&issued.key, &issued.issuer);
    let described = described(&[leaf.unwrap().der().clone()], None);
    assert!(!described.public);
    assert_eq!((described.scts.len(), described.shortfall), (0, None));
}

fn sct(log: u8, operator: &str, state: LogState, rfc6962: bool) -> Sct {
    Sct {
        log_id: format!("{log:064x}"),
        log: Some(format!("log {log}")),
        operator: Some(operator.to_owned()),
        state: Some(state),
        rfc6962: Some(rfc6962),
        timestamp: now(),
        verdict: SctVerdict::Good,
    }
}

#[test]
fn browsers_want_enough_of_different_logs_and_operators() {
    let short = |scts: &[Sct]| shortfall(scts, now(), now() + 90 * DAY);
    let current = |log, operator| sct(log, operator, LogState::Current, true);
    let retired = |log, operator, at| sct(log, operator, LogState::Retired(at), true);
    let (before, after) = (now() - DAY, now() + DAY);
    assert_eq!(short(&[current(1, "a"), current(2, "b")]), None);
    // One log twice is one.
    let twice = Some(Shortfall::TooFew {
        counted: 1,
        wanted: 2,
    });
    assert_eq!(short(&[current(1, "a"), current(1, "a")]), twice);
    let one_operator = [current(1, "a"), current(2, "a")];
    assert_eq!(short(&one_operator), Some(Shortfall::OneOperator));
    // Of a retired log what is older counts, but one has to be current.
    assert_eq!(short(&[current(1, "a"), retired(2, "b", after)]), None);
    assert_eq!(short(&[current(1, "a"), retired(2, "b", before)]), twice);
    let retired = [retired(1, "a", after), retired(2, "b", after)];
    assert_eq!(short(&retired), Some(Shortfall::NoCurrentLog));
    let unapproved = sct(2, "b", LogState::NotApproved, true);
    assert_eq!(short(&[current(1, "a"), unapproved]), twice);
    let tiled = |log, operator| sct(log, operator, LogState::Current, false);
    assert_eq!(
        short(&[tiled(1, "a"), tiled(2, "b")]),
        Some(Shortfall::TiledOnly)
    );
    assert_eq!(short(&[tiled(1, "a"), current(2, "b")]), None);
}

#[test]
fn a_longer_life_wants_three() {
    let current = |log, operator| sct(log, operator, LogState::Current, true);
    let two = [current(1, "a"), current(2, "b")];
    let three = [current(1, "a"), current(2, "a"), current(3, "b")];
    // Both ends belong to the life of a certificate.
    let days = |days| now() + days * DAY - Duration::from_secs(1);
    assert_eq!(shortfall(&two, now(), days(180)), None);
    let too_few = Shortfall::TooFew {
        counted: 2,
        wanted: 3,
    };
    let longer = days(180) + Duration::from_secs(1);
    assert_eq!(shortfall(&two, now(), longer), Some(too_few));
    assert_eq!(shortfall(&three, now(), longer), None);
}

#[test]
fn a_list_that_is_none_is_an_error_that_says_why() {
    let error = |json: serde_json::Value| LogList::parse(json.to_string().as_bytes()).unwrap_err();
    assert!(error(serde_json::json!({})).contains("operators"));
    assert!(error(serde_json::json!({ "operators": [] })).contains("no log"));
    let log = TestLog::new();
    let with = |what: &str, value: &str| {
        let mut entry = log.entry("the log", "usable");
        entry[what] = value.into();
        error(serde_json::json!({ "operators": [{ "name": "Right", "logs": [entry] }] }))
    };
    assert!(with("key", "?").contains("log `the log` of Right: its key is no base64"));
    assert!(with("log_id", "AAAA").contains("not of 32 bytes"));
    let other = BASE64.encode(&TestLog::new().id());
    assert!(with("log_id", &other).contains("is not the SHA-256"));
    let mut retired = log.entry("the log", "retired");
    retired["state"]["retired"]["timestamp"] = "yesterday".into();
    let retired = serde_json::json!({ "operators": [{ "name": "Right", "logs": [retired] }] });
    assert!(error(retired).contains("`yesterday` is no time"));
}
