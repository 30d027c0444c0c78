use std::process::Command;

use crate::support::edge::{Listening, Start, sum_of};
use crate::support::http1::Response;
use crate::support::pki::{Key, Kind, Pki, Validity};
use crate::support::tool::{openssl, tool};

#[test]
fn every_kind_of_leaf_is_made_and_openssl_agrees_with_its_chain() {
    let pki = Pki::new();
    for key in [Key::P256, Key::P384, Key::Ed25519, Key::Rsa] {
        let intermediate = key == Key::P384;
        let kind = Kind {
            key,
            intermediate,
            ..Kind::default()
        };
        let leaf = pki.leaf_of(&["a.example", "*.a.example"], kind);
        assert_eq!(leaf.chain.len(), if intermediate { 2 } else { 1 });
        let files = leaf.write(pki.directory(), "leaf");
        assert!(verifies(&pki, &files.chain), "{key:?}");
    }
}

#[test]
fn leaves_out_of_their_time_are_refused_by_openssl() {
    let pki = Pki::new();
    if openssl().is_none() {
        return;
    }
    for (validity, good) in [
        (Validity::EndsSoon, true),
        (Validity::Expired, false),
        (Validity::NotYet, false),
    ] {
        let kind = Kind {
            validity,
            ..Kind::default()
        };
        let files = pki.files_of(&["b.example"], kind);
        assert_eq!(verifies(&pki, &files.chain), good, "{validity:?}");
    }
}

#[test]
fn mismatched_files_hold_another_key() {
    let pki = Pki::new();
    let good = pki.files(&["*.c.example"]);
    let bad = pki.mismatched_files(&["*.c.example"]);
    assert!(good.chain.ends_with("_.c.example.pem"));
    assert!(bad.chain.exists() && bad.key.exists());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let load = |files: &crate::support::pki::Files| {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let chain = CertificateDer::pem_file_iter(&files.chain).unwrap();
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        rustls::sign::CertifiedKey::from_der(chain, key, &provider)
    };
    assert!(load(&good).is_ok());
    assert!(load(&bad).is_err());
}

#[test]
fn answers_are_taken_one_by_one() {
    let mut bytes =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec();
    assert_eq!(
        Response::take(&mut bytes, false, false).unwrap().status,
        100
    );
    bytes.pop();
    assert_eq!(Response::take(&mut bytes, false, false), None);
    bytes.push(b'!');
    assert_eq!(
        Response::take(&mut bytes, false, false).unwrap().text(),
        "h!"
    );
    let mut open = b"HTTP/1.1 200 OK\r\n\r\nto the end".to_vec();
    assert_eq!(Response::take(&mut open, false, false), None);
    assert_eq!(
        Response::take(&mut open, false, true).unwrap().text(),
        "to the end"
    );
}

#[test]
fn samples_are_summed_by_label() {
    let text = "# TYPE x counter\nx{a=\"1\",b=\"2\"} 3\nx{a=\"1\",b=\"3\"} 4\nxy 9\nz 1.5\n";
    assert_eq!(sum_of(text, "x", &["a=\"1\""]), 7.0);
    assert_eq!(sum_of(text, "x", &["a=\"1\"", "b=\"3\""]), 4.0);
    assert_eq!(sum_of(text, "z", &[]), 1.5);
    assert_eq!(sum_of(text, "absent", &[]), 0.0);
}

#[test]
fn addresses_are_read_out_of_log_lines() {
    let text = "2026-01-01T00:00:00Z  INFO cutwater: starting version=1\n\
        2026-01-01T00:00:00Z  INFO serve{workers=2}: listening address=127.0.0.1:43211 listener=public\n\
        INFO listening listener=\"six\" address=[::1]:8443 tls=true\n\
        INFO listening address=127.0.0.1:80\n\
        INFO listening admin=127.0.0.1:9901\n";
    let said = Listening::read(text);
    let names: Vec<_> = said.listeners.keys().map(String::as_str).collect();
    assert_eq!(names, ["127.0.0.1:80", "public", "six"]);
    assert_eq!(said.listeners["six"], "[::1]:8443".parse().unwrap());
    assert_eq!(said.admin.as_deref(), Some("127.0.0.1:9901"));
    assert_eq!(
        Listening::read("INFO address=1.2.3.4:5"),
        Listening::default()
    );
}

#[tokio::test]
async fn a_program_that_ends_before_it_is_ready_is_reported() {
    let ended = Start::with("this is no config\n").try_run().await;
    assert!(ended.is_err());
}

#[test]
fn tools_are_found_in_the_path() {
    assert!(tool("sh").is_some());
}

fn verifies(pki: &Pki, chain: &std::path::Path) -> bool {
    let Some(openssl) = openssl() else {
        return true;
    };
    let output = Command::new(openssl)
        .arg("verify")
        .arg("-CAfile")
        .arg(pki.ca_file())
        .arg("-untrusted")
        .arg(chain)
        .arg(chain)
        .output()
        .unwrap();
    output.status.success()
}
