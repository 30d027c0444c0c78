//! Staples, as a server of OpenSSL shows them.

use std::time::Duration;

use cutwater::certs::ocsp::request;
use cutwater::certs::ocsp::subject::Subject;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::stage::{Found, text};
use crate::certificates::ocsp::authority::{Answer, Authority, Leaf, Status};
use crate::support::daemon::{Daemon, free_address};
use crate::support::edge::run;

const NAME: &str = "a.test";
const HOUR: Duration = Duration::from_secs(3600);

/// What is found of a server that staples this answer about its certificate.
async fn stapled(answer: &Answer<'_>, version: &str) -> Option<Found> {
    let authority = Authority::new();
    let files = authority.leaf(NAME, Leaf::default());
    let certificates = CertificateDer::pem_file_iter(&files.chain).unwrap();
    let certificates: Vec<_> = certificates.map(Result::unwrap).collect();
    let subject = Subject::read(&certificates, &[]).unwrap();
    let request = request::build(&subject, None).unwrap();
    let staple = authority.path("staple.der");
    std::fs::write(&staple, authority.answer(&request, answer)).unwrap();
    let chain = std::fs::read_to_string(&files.chain).unwrap();
    let behind = authority.path("behind.pem");
    let second = chain.rfind("-----BEGIN").unwrap();
    std::fs::write(&behind, &chain[second..]).unwrap();
    let shown = [&files.chain, &files.key, &staple, &behind].map(|it| it.display().to_string());
    let [chain, key, staple, behind] = &shown;
    let arguments = [
        version,
        "-cert",
        chain,
        "-key",
        key,
        "-status_file",
        staple,
        "-cert_chain",
        behind,
    ];
    let address = free_address();
    let _server = Daemon::s_server(&arguments, address).await?;
    let words = ["inspect", &address.to_string(), "--sni", NAME, "--json"];
    let (status, stdout, stderr) = run(&words).await;
    assert!(status.success(), "{stderr}");
    Some(Found(serde_json::from_str(&stdout).unwrap()))
}

#[tokio::test]
async fn a_good_staple_is_told_with_its_age_by_either_version() {
    let answer = Answer {
        since: HOUR * 30,
        ..Answer::GOOD
    };
    for version in ["-tls1_3", "-tls1_2"] {
        let Some(found) = stapled(&answer, version).await else {
            return;
        };
        let staple = found.at("/certificates/0/staple");
        assert_eq!(staple["state"], "good", "{staple}");
        assert_eq!(staple["why"], Value::Null);
        let seconds = |field: &str| staple[field].as_u64().unwrap();
        let (age, left) = (seconds("age"), seconds("left"));
        // The test itself takes less than a minute.
        assert!((108_000..108_060).contains(&age), "{age}");
        assert!(
            (604_800 - 108_060..=604_800 - 108_000).contains(&left),
            "{left}"
        );
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_told() {
    let answer = Answer {
        status: Status::Revoked,
        ..Answer::GOOD
    };
    let Some(found) = stapled(&answer, "-tls1_3").await else {
        return;
    };
    assert_eq!(found.at("/certificates/0/staple/state"), "revoked");
}

#[tokio::test]
async fn a_staple_that_clients_refuse_is_told_with_why() {
    let answer = Answer {
        since: HOUR * 24 * 9,
        ..Answer::GOOD
    };
    let Some(found) = stapled(&answer, "-tls1_3").await else {
        return;
    };
    assert_eq!(found.at("/certificates/0/staple/state"), "bad");
    let why = text(&found.at("/certificates/0/staple/why"));
    assert!(why.contains("has ended"), "{why}");
}
