//! What `cutwater check` says of certificate timestamps, against a list of logs that is given.

use std::fs;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    PublicKeyData, SerialNumber,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use x509_cert::der::asn1::OctetString;
use x509_cert::der::{Encode, Header, Reader, SliceReader};

use crate::support::within;

const NAME: &str = "one.test";
const DAY: Duration = Duration::from_secs(86_400);

/// A log with a key of its own.
struct Log {
    name: &'static str,
    pair: KeyPair,
}

impl Log {
    fn new(name: &'static str) -> Self {
        let pair = KeyPair::generate().unwrap();
        Self { name, pair }
    }

    fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    fn id(&self) -> Vec<u8> {
        digest(&SHA256, &self.spki()).as_ref().to_vec()
    }

    /// An operator of this log alone.
    fn operator(&self) -> Value {
        json!({ "name": format!("{}'s operator", self.name), "logs": [{
            "description": self.name,
            "log_id": BASE64.encode(&self.id()),
            "key": BASE64.encode(&self.spki()),
            "state": { "usable": { "timestamp": "2026-01-01T00:00:00Z" } },
        }]})
    }

    /// A timestamp over a precertificate (RFC 6962 §3.2), of an hour ago.
    fn timestamp(&self, precertificate: &[u8], issuer: &[u8]) -> Vec<u8> {
        let time = SystemTime::now() - Duration::from_secs(3600);
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let time = u64::try_from(time.as_millis()).unwrap().to_be_bytes();
        let length = u32::try_from(precertificate.len()).unwrap().to_be_bytes();
        let issuer = digest(&SHA256, issuer);
        let signed = [
            &[0, 0][..],
            &time,
            &[0, 1],
            issuer.as_ref(),
            &length[1..],
            precertificate,
            &[0, 0],
        ];
        let key = self.pair.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key).unwrap();
        let signature = key.sign(&SystemRandom::new(), &signed.concat()).unwrap();
        let made = [
            &[0][..],
            &self.id(),
            &time,
            &[0, 0, 4, 3],
            &vector(signature.as_ref()),
        ];
        made.concat()
    }
}

/// With its length before it.
fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

/// Runs the program with an authority that the system trusts: its status and what it writes.
async fn run(arguments: &[&str], trusted: &Path) -> (ExitStatus, String, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_cutwater"))
        .args(arguments)
        .env("SSL_CERT_FILE", trusted)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("the program's end", command).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

/// A certificate as publicly trusted authorities make them, with timestamps of these logs, checked
/// against a list of `listed`.
async fn check(timestamps: &[&Log], listed: &[&Log]) -> (String, Value) {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "ca");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    leaf.serial_number = Some(SerialNumber::from(vec![1, 2, 3]));
    leaf.not_before = (SystemTime::now() - DAY).into();
    leaf.not_after = (SystemTime::now() + DAY * 60).into();
    // Domain validated (2.23.140.1.2.1): private authorities do not say so.
    let policy = vec![0x30, 10, 0x30, 8, 0x06, 6, 0x67, 0x81, 0x0c, 1, 2, 1];
    let policy = CustomExtension::from_oid_content(&[2, 5, 29, 32], policy);
    leaf.custom_extensions.push(policy);
    let key = KeyPair::generate().unwrap();
    let precertificate = leaf.signed_by(&key, &issuer).unwrap();
    let mut outer = SliceReader::new(precertificate.der()).unwrap();
    outer.decode::<Header>().unwrap();
    let precertificate = outer.tlv_bytes().unwrap();
    let signer = issuer.key().subject_public_key_info();
    let list = timestamps.iter();
    let list = list.flat_map(|log| vector(&log.timestamp(precertificate, &signer)));
    let list = OctetString::new(vector(&list.collect::<Vec<u8>>())).unwrap();
    let list = list.to_der().unwrap();
    let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
    leaf.custom_extensions
        .push(CustomExtension::from_oid_content(&oid, list));
    let leaf = leaf.signed_by(&key, &issuer).unwrap();

    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
    write("chain.pem", format!("{}{}", leaf.pem(), issuer.pem()));
    write("key.pem", key.serialize_pem());
    let operators: Vec<Value> = listed.iter().map(|log| log.operator()).collect();
    write("logs.json", json!({ "operators": operators }).to_string());
    let config = format!(
        "[certificate_transparency]\nlog_list = \"logs.json\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n[[site]]\nnames = [\"{NAME}\"]\n\
         certificate = {{ chain = \"chain.pem\", key = \"key.pem\" }}\n\
         [[site.route]]\npath = \"/\"\nrespond = {{ status = 204 }}\n"
    );
    write("cutwater.toml", config);
    let file = directory.path().join("cutwater.toml");
    let words = ["check", "--config", file.to_str().unwrap()];
    // Browsers ask it of publicly trusted certificates alone: here, of those of this authority.
    write("ca.pem", issuer.pem());
    let ca = directory.path().join("ca.pem");
    let (status, _, complaints) = run(&words, &ca).await;
    // Browsers would refuse, and other clients need not: a warning.
    assert_eq!(status.code(), Some(0), "{complaints}");
    let (_, told, _) = run(&[&words[..], &["--json"]].concat(), &ca).await;
    (complaints, serde_json::from_str(&told).unwrap())
}

#[tokio::test]
async fn a_certificate_with_timestamps_of_two_logs_is_not_warned_of() {
    let (one, two) = (Log::new("one"), Log::new("two"));
    let (complaints, told) = check(&[&one, &two], &[&one, &two]).await;
    assert!(!complaints.contains("timestamp"), "{complaints}");
    let scts = &told["certificates"][0]["scts"];
    assert_eq!(scts[0]["verdict"], "good");
    assert_eq!(scts[1]["verdict"], "good");
}

#[tokio::test]
async fn one_with_a_timestamp_of_one_log_is_warned_of_at_its_place() {
    let (one, two) = (Log::new("one"), Log::new("two"));
    let (complaints, told) = check(&[&one], &[&one, &two]).await;
    let warning = "warning: one.test: it has 1 certificate timestamps that count, browsers want 2";
    assert!(complaints.contains(warning), "{complaints}");
    assert!(complaints.contains("cutwater.toml:7:"), "{complaints}");
    let warnings = told["warnings"].to_string();
    assert!(warnings.contains("browsers want 2"), "{warnings}");
}

#[tokio::test]
async fn timestamps_of_logs_that_are_not_listed_do_not_count() {
    let (one, two) = (Log::new("one"), Log::new("two"));
    let (complaints, told) = check(&[&one, &two], &[&one]).await;
    let warning = "it has 1 certificate timestamps that count, browsers want 2";
    assert!(complaints.contains(warning), "{complaints}");
    let scts = &told["certificates"][0]["scts"];
    assert_eq!(scts[1]["verdict"], "unknown_log");
}
