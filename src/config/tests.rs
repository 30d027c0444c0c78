use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{Form, check};
use super::file::{self, keys};
use super::load;
use super::print::print;
use super::reload::{Current, fixed_at_start};
use super::snapshot::QuicRetry;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn every_key_is_in_the_reference() {
    let reference = fs::read_to_string(repository("docs/CONFIG.md")).unwrap();
    for table in keys::ALL {
        for key in table.known {
            assert!(
                reference.contains(&format!("`{key}`")),
                "{key} of {}",
                table.table
            );
        }
    }
}

#[test]
fn every_supported_key_is_in_the_full_example() {
    let full = fs::read_to_string(repository("examples/config/full.toml")).unwrap();
    let not_built = ["client_auth", "scts"];
    for table in keys::ALL {
        for key in table.known.iter().filter(|key| !not_built.contains(key)) {
            let typed = [format!("{key} = "), format!("[{key}"), format!(".{key}]")];
            assert!(
                typed.iter().any(|typed| full.contains(typed)),
                "{key} of {}",
                table.table
            );
        }
    }
}

/// A list of one log.
fn log_list() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let key = rcgen::PublicKeyData::subject_public_key_info(&key);
    let id = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
    let log = serde_json::json!({
        "description": "a log",
        "log_id": data_encoding::BASE64.encode(id.as_ref()),
        "key": data_encoding::BASE64.encode(&key),
        "state": { "usable": { "timestamp": "2026-01-01T00:00:00Z" } },
    });
    serde_json::json!({ "operators": [{ "name": "An operator", "logs": [log] }] }).to_string()
}

/// The variable of the environment that the full example has a secret from.
const WANTED: &str = "${BACKEND_API_KEY}";

/// Cargo sets this one for tests: it stands for a secret.
const THERE: &str = "${CARGO_PKG_DESCRIPTION}";

/// A copy of the examples, with the files that they name, and a variable that is there.
fn examples() -> tempfile::TempDir {
    let directory = tempfile::TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["minimal.toml", "full.toml"] {
        let text = fs::read_to_string(repository("examples/config").join(name)).unwrap();
        fs::write(path(name), text.replace(WANTED, THERE)).unwrap();
    }
    fs::create_dir(path("sites.d")).unwrap();
    fs::create_dir(path("certs")).unwrap();
    fs::write(path("index.html"), "<!doctype html>").unwrap();
    fs::write(path("log_list.json"), log_list()).unwrap();
    fs::write(path("backend.token"), "Bearer 0123\n").unwrap();
    let pairs: [(&str, &[&str], _); 5] = [
        ("internal-ca", &["ca"], &rcgen::PKCS_ECDSA_P256_SHA256),
        (
            "example.com",
            &["example.com"],
            &rcgen::PKCS_ECDSA_P256_SHA256,
        ),
        (
            "example.com.ecdsa",
            &["example.com", "*.example.com"],
            &rcgen::PKCS_ECDSA_P256_SHA256,
        ),
        (
            "example.com.rsa",
            &["example.com", "*.example.com"],
            &rcgen::PKCS_RSA_SHA256,
        ),
        ("certs/example.org", &["example.org"], &rcgen::PKCS_ED25519),
    ];
    for (name, names, algorithm) in pairs {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let parameters = rcgen::CertificateParams::new(names).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    directory
}

#[test]
fn the_examples_are_in_order() {
    let examples = examples();
    for name in ["minimal.toml", "full.toml"] {
        let report = check(&examples.path().join(name), Form::Text);
        assert_eq!(report.complaints, "");
        assert_eq!(report.code, 0);
    }
}

#[test]
fn the_full_example_takes_a_secret_from_the_environment_and_says_which() {
    let examples = examples();
    let path = examples.path().join("full.toml");
    let secret = std::env::var("CARGO_PKG_DESCRIPTION").unwrap();
    let printed = check(&path, Form::Merged).output;
    assert!(printed.contains(THERE), "{printed}");
    assert!(!printed.contains(&secret), "{printed}");
    // As it is: whoever runs this has no such variable.
    let text = fs::read_to_string(&path).unwrap().replace(THERE, WANTED);
    fs::write(&path, &text).unwrap();
    let report = check(&path, Form::Text);
    assert_eq!(report.code, 1);
    let line = text.lines().position(|line| line.contains(WANTED)).unwrap() + 1;
    for part in [
        "the environment has no variable `BACKEND_API_KEY`\n",
        &format!("full.toml:{line}:"),
        "set it where this is run, or write $${ for a literal ${",
        "full.toml: 1 error\n",
    ] {
        assert!(report.complaints.contains(part), "{}", report.complaints);
    }
}

#[test]
fn what_is_printed_means_the_same() {
    let examples = examples();
    for name in ["minimal.toml", "full.toml"] {
        let printed = check(&examples.path().join(name), Form::Merged).output;
        let again = examples.path().join("printed.toml");
        fs::write(&again, &printed).unwrap();
        let read = file::read(&again);
        assert!(read.errors.is_empty(), "{printed}\n{:?}", read.errors);
        assert_eq!(print(&read.spec), printed);
    }
}

#[test]
fn a_check_fails_for_broken_certificates_too() {
    let examples = examples();
    fs::write(examples.path().join("example.com.key"), "").unwrap();
    let report = check(&examples.path().join("minimal.toml"), Form::Text);
    assert_eq!(report.code, 1);
    assert!(
        report.complaints.contains("no private key in it"),
        "{}",
        report.complaints
    );
    assert!(
        report.complaints.ends_with("minimal.toml: 1 error\n"),
        "{}",
        report.complaints
    );
    assert_eq!(report.output, "");
    let missing = check(&examples.path().join("none.toml"), Form::Text);
    assert_eq!(missing.code, 1);
    assert!(
        missing.complaints.starts_with("error: cannot read "),
        "{}",
        missing.complaints
    );
}

#[test]
fn generations_count_what_was_stored() {
    let examples = examples();
    let path = examples.path().join("minimal.toml");
    let load = |previous| load(&path, previous).compiled.result.unwrap();
    let current = Current::new(load(None));
    let first = current.load();
    let replaced = current.store(load(Some(&first)));
    assert!(Arc::ptr_eq(&first, &replaced));
    assert_eq!((first.generation, current.peek().generation), (1, 2));
    assert!(Arc::ptr_eq(&first.sites[0], &current.peek().sites[0]));
    assert!(fixed_at_start(&first, &current.load()).is_empty());
}

#[test]
fn a_reload_opens_and_closes_no_udp_port() {
    let examples = examples();
    let path = examples.path().join("minimal.toml");
    let minimal = fs::read_to_string(&path).unwrap();
    let with = |keys: &str| {
        let listen = format!("[[listen]]\n{keys}\n");
        fs::write(&path, minimal.replacen("[[listen]]\n", &listen, 1)).unwrap();
        load(&path, None).compiled.result.unwrap()
    };
    let quic = |current: &Current| current.peek().listeners[0].quic.clone();
    let current = Current::new(with("quic = true\nquic_retry = \"always\""));
    current.store(with(""));
    // The port is open until a restart: it must not get weaker, and clients may be told of it.
    let kept = quic(&current).unwrap();
    assert_eq!(kept.retry, QuicRetry::Always);
    assert!(kept.alt_svc.is_some() && kept.migration);
    let changed = "quic = true\nquic_migration = false\nalt_svc = \"off\"";
    current.store(with(changed));
    let kept = quic(&current).unwrap();
    assert_eq!((kept.retry, kept.alt_svc), (QuicRetry::Auto, None));
    // What is read at start stays, and each reload says so.
    assert!(kept.migration);
    let differs = fixed_at_start(&current.load(), &with(changed));
    assert_eq!(differs, ["[[listen]]"]);
    // A port that is not open is advertised to nobody.
    let current = Current::new(with(""));
    current.store(with("quic = true"));
    assert_eq!(quic(&current), None);
}

#[test]
fn no_secret_is_printed_and_what_is_printed_means_the_same() {
    let examples = examples();
    let path = |name: &str| examples.path().join(name);
    fs::write(path("key.txt"), "of-the-file\n").unwrap();
    let secret = std::env::var("CARGO_PKG_DESCRIPTION").unwrap();
    let minimal = fs::read_to_string(path("minimal.toml")).unwrap();
    let routes = r#"
[[site.route]]
path = "/secret"
origin = ["http://127.0.0.1:1"]
request_headers = { set = { a = "x ${CARGO_PKG_DESCRIPTION}", b = "file:key.txt", c = "$${literal}" } }
"#;
    fs::write(path("secret.toml"), minimal + routes).unwrap();
    let report = check(&path("secret.toml"), Form::Merged);
    assert_eq!(report.complaints, "");
    let printed = report.output;
    assert!(!printed.contains(&secret), "{printed}");
    assert!(!printed.contains("of-the-file"), "{printed}");
    assert!(
        printed.contains("\"x ${CARGO_PKG_DESCRIPTION}\""),
        "{printed}"
    );
    assert!(
        printed.contains("key.txt\", \"c\" = \"$${literal}\""),
        "{printed}"
    );
    fs::write(path("printed.toml"), &printed).unwrap();
    let read = file::read(&path("printed.toml"));
    assert!(read.errors.is_empty(), "{printed}\n{:?}", read.errors);
    assert_eq!(print(&read.spec), printed);
    assert!(!format!("{:?}", read.spec).contains("of-the-file"));
}
