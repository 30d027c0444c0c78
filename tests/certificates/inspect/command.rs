//! The command line of `cutwater inspect`.

use super::stage::{EARLY, NAME, PLAIN, edge};
use crate::support::daemon::free_address;
use crate::support::edge::run;
use crate::support::pki::Pki;

async fn refused(words: &[&str], code: i32, told: &[&str]) {
    let (status, stdout, stderr) = run(words).await;
    assert_eq!(status.code(), Some(code), "{stdout}{stderr}");
    for part in told {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[tokio::test]
async fn the_text_has_what_the_json_has() {
    let pki = Pki::new();
    let edge = edge(&pki.files(&[NAME]).toml(), EARLY).await;
    let ca = pki.ca_file().display().to_string();
    let connect = edge.address().to_string();
    // The name is the target's, the address another one's.
    let words = ["inspect", "a.test:8443", "--connect", &connect, "--ca", &ca];
    let (status, stdout, stderr) = run(&words).await;
    assert!(status.success(), "{stderr}");
    for part in [
        &format!("a.test:8443 at {connect}, asked for a.test"),
        "TLS 1.3   TLS_AES_128_GCM_SHA256, ",
        "TLS 1.2   no",
        "X25519MLKEM768",
        "TLS 1.3 yes (1 ticket)",
        "tickets allow 16384 bytes; accepted, answered before Finished with 200",
        "ALPN      h2, http/1.1",
        "shown for ECDSA",
        "trusted   yes",
        "89 days left",
    ] {
        assert!(stdout.contains(part), "{part}:\n{stdout}");
    }
    let access = edge
        .until_access(|line| line["arrived_early"] == true)
        .await;
    assert_eq!(access["host"], "a.test:8443");
}

#[tokio::test]
async fn a_name_that_is_not_the_certificates_is_told() {
    let pki = Pki::new();
    let keys = format!("default = true\n{PLAIN}");
    let edge = edge(&pki.files(&[NAME]).toml(), &keys).await;
    let ca = pki.ca_file().display().to_string();
    let words = [
        "inspect",
        &edge.address().to_string(),
        "--sni",
        "b.test",
        "--ca",
        &ca,
    ];
    let (status, stdout, stderr) = run(&words).await;
    assert!(status.success(), "{stderr}");
    assert!(stdout.contains("trusted   no: "), "{stdout}");
    assert!(stdout.contains("b.test"), "{stdout}");
}

#[tokio::test]
async fn what_cannot_be_inspected_is_said() {
    let nobody = free_address().to_string();
    refused(&["inspect", &nobody], 1, &["no connection"]).await;
    refused(&["inspect", "https://a.test/"], 1, &["hint: HOST:PORT"]).await;
    let ca = ["inspect", &nobody, "--ca", "/no/such/file"];
    refused(&ca, 1, &["/no/such/file", "hint: a PEM file"]).await;
    let sni = ["inspect", &nobody, "--sni", "a b"];
    refused(&sni, 1, &["can be no server name"]).await;
    refused(&["inspect"], 2, &["HOST:PORT"]).await;
    refused(&["inspect", &nobody, "--path", "x"], 2, &["begins with /"]).await;
}
