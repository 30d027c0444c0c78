//! What is wrong with chains, as a server of OpenSSL shows them.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use super::stage::{Found, NAME, inspect, openssl_arguments, text};
use crate::support::daemon::{Daemon, free_address};
use crate::support::pki::{Files, Kind, Pki, Validity};
use crate::support::tool::openssl;

/// What is found of an s_server that shows the first certificate of a chain, and these behind it.
async fn shown(pki: &Pki, leaf: &Files, behind: &[String]) -> Option<Found> {
    let address = free_address();
    let mut arguments = openssl_arguments(leaf).to_vec();
    if !behind.is_empty() {
        let file = pki.directory().join("behind.pem");
        std::fs::write(&file, behind.concat()).unwrap();
        arguments.extend(["-cert_chain".to_owned(), file.display().to_string()]);
    }
    arguments.extend(["-cipher", "ALL:@SECLEVEL=0"].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let _server = Daemon::s_server(&arguments, address).await?;
    Some(inspect(address, pki).await)
}

/// A leaf with its intermediate and root, each as PEM.
struct Chain {
    pki: Pki,
    leaf: Files,
    intermediate: String,
    root: String,
}

impl Chain {
    fn new(validity: Validity) -> Self {
        let pki = Pki::new();
        let kind = Kind {
            intermediate: true,
            validity,
            ..Kind::default()
        };
        let leaf = pki.leaf_of(&[NAME], kind);
        let root = std::fs::read_to_string(pki.ca_file()).unwrap();
        let pem = &leaf.chain_pem;
        let second = pem.rfind("-----BEGIN").unwrap();
        let intermediate = pem[second..].to_owned();
        Self {
            leaf: leaf.write(pki.directory(), "leaf"),
            intermediate,
            root,
            pki,
        }
    }

    async fn shown(&self, behind: &[&str]) -> Option<Found> {
        let behind: Vec<String> = behind.iter().map(|&pem| pem.to_owned()).collect();
        shown(&self.pki, &self.leaf, &behind).await
    }
}

#[tokio::test]
async fn a_chain_in_order_has_no_problem() {
    let chain = Chain::new(Validity::Good);
    let Some(found) = chain.shown(&[&chain.intermediate]).await else {
        return;
    };
    assert_eq!(found.problems(), [""; 0]);
    assert_eq!(found.at("/certificates/0/trusted"), true);
    let issuer = text(&found.at("/certificates/0/issuer"));
    assert!(issuer.contains("cutwater test intermediate"), "{issuer}");
    assert_eq!(found.at("/certificates/1"), json!(null));
}

#[tokio::test]
async fn a_missing_intermediate_is_told() {
    let chain = Chain::new(Validity::Good);
    let Some(found) = chain.shown(&[]).await else {
        return;
    };
    assert_eq!(found.at("/certificates/0/trusted"), false);
    let problems = found.problems();
    // Whether an intermediate is missing or a root unknown cannot be told from a leaf that does not
    // say where its issuer is.
    let told = ["missing_intermediate", "unknown_issuer"];
    assert!(
        matches!(&*problems, [one] if told.contains(&&**one)),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_root_that_is_sent_along_is_told() {
    let chain = Chain::new(Validity::Good);
    let Some(found) = chain.shown(&[&chain.intermediate, &chain.root]).await else {
        return;
    };
    assert_eq!(found.problems(), ["root_included"]);
    assert_eq!(found.at("/certificates/0/trusted"), true);
}

#[tokio::test]
async fn a_wrong_order_is_told() {
    let chain = Chain::new(Validity::Good);
    let Some(found) = chain.shown(&[&chain.root, &chain.intermediate]).await else {
        return;
    };
    let problems = found.problems();
    assert!(problems.contains(&"wrong_order".to_owned()), "{problems:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_told() {
    let chain = Chain::new(Validity::Expired);
    let Some(found) = chain.shown(&[&chain.intermediate]).await else {
        return;
    };
    assert_eq!(found.problems(), ["expired"]);
    assert_eq!(found.at("/certificates/0/trusted"), false);
    let why = text(&found.at("/certificates/0/distrust"));
    assert!(why.contains("expired"), "{why}");
    assert_eq!(found.at("/certificates/0/days_left"), -2);
}

#[tokio::test]
async fn a_weak_key_is_told() {
    let Some(program) = openssl() else {
        return;
    };
    let pki = Pki::new();
    let path = |name: &str| -> PathBuf { pki.directory().join(name) };
    let leaf = Files {
        chain: path("weak.pem"),
        key: path("weak.key"),
    };
    let made = Command::new(program)
        .args([
            "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "9",
        ])
        .args([
            "-subj",
            "/CN=a.test",
            "-addext",
            "subjectAltName=DNS:a.test",
        ])
        .args([&"-keyout".into(), &leaf.key, &"-out".into(), &leaf.chain])
        .stderr(Stdio::null())
        .status();
    assert!(made.await.unwrap().success());
    let Some(found) = shown(&pki, &leaf, &[]).await else {
        return;
    };
    let problems = found.problems();
    assert!(problems.contains(&"weak_key".to_owned()), "{problems:?}");
    assert_eq!(found.at("/certificates/0/key/bits"), 1024);
}
