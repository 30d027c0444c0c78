//! What `cutwater check` and the metrics tell of certificates.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::edge::{Edge, run, sum_of};
use crate::support::pki::{Files, Key, Kind, Pki, Validity};

const DAY: u64 = 86_400;

/// A configuration with one site for each certificate.
fn config(sites: &[(&str, &Files)]) -> String {
    let mut text =
        "[admin]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n".to_owned();
    for (name, files) in sites {
        let certificate = files.toml();
        text += &format!("[[site]]\nnames = [\"{name}\"]\ncertificate = {certificate}\n");
        text += "[[site.route]]\npath = \"/\"\nrespond = { status = 204 }\n";
    }
    text
}

struct Checked {
    code: Option<i32>,
    output: String,
    complaints: String,
}

async fn check(config: &str, arguments: &[&str]) -> Checked {
    let directory = TempDir::new().unwrap();
    let file: PathBuf = directory.path().join("cutwater.toml");
    fs::write(&file, config).unwrap();
    let mut all = vec!["check", "--config", file.to_str().unwrap()];
    all.extend(arguments);
    let (status, output, complaints) = run(&all).await;
    Checked {
        code: status.code(),
        output,
        complaints,
    }
}

fn with_intermediate(key: Key) -> Kind {
    Kind {
        key,
        intermediate: true,
        ..Kind::default()
    }
}

#[tokio::test]
async fn a_check_tells_of_every_certificate() {
    let pki = Pki::new();
    let one = pki.files_of(&["one.test"], with_intermediate(Key::P256));
    let two = pki.files_of(&["two.test", "*.two.test"], with_intermediate(Key::Rsa));
    let config = config(&[("one.test", &one), ("two.test", &two), ("a.two.test", &two)]);
    let checked = check(&config, &[]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.complaints);
    assert_eq!(checked.complaints, "");
    let said = &checked.output;
    for part in [
        "one.test\n  issuer    CN=cutwater test intermediate\n",
        "  key       ECDSA P-256, signed with ecdsa-with-SHA256\n",
        "two.test, *.two.test\n",
        "  key       RSA of 2048 bits, signed with ecdsa-with-SHA256\n",
        "89 days left",
        "  responder none\n",
        "  staple    none: there is no responder to ask\n",
        "  sites     two.test, a.two.test\n",
        // A private authority is no mistake.
        "which is not trusted here",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(said.ends_with(": ok, 1 listener, 3 sites\n"), "{said}");
    let json = check(&config, &["--json"]).await;
    assert_eq!(json.complaints, "");
    let json: Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["errors"], Value::Array(Vec::new()));
    let told = json["certificates"].as_array().unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["names"][0], "one.test");
    assert_eq!(told[0]["days_left"], 89);
    assert_eq!(told[1]["sites"][1], "a.two.test");
    assert_eq!(told[1]["key"]["bits"], 2048);
    assert_eq!(
        told[1]["chain"][0]["subject"],
        "CN=cutwater test intermediate"
    );
}

#[tokio::test]
async fn a_check_warns_of_a_bad_chain_at_its_place() {
    let pki = Pki::new();
    let files = pki.files_of(&["one.test"], with_intermediate(Key::P256));
    let chain = fs::read_to_string(&files.chain).unwrap();
    let root = fs::read_to_string(pki.ca_file()).unwrap();
    let stranger = Pki::new().leaf(&["stranger.test"]).chain_pem;
    fs::write(&files.chain, format!("{chain}{root}{stranger}")).unwrap();
    let config = config(&[("one.test", &files)]);
    let checked = check(&config, &[]).await;
    assert_eq!(checked.code, Some(0));
    let said = &checked.complaints;
    let root = "warning: one.test: certificate 3 of the chain, CN=cutwater test root, is a root, \
                which need not be sent\n --> ";
    assert!(said.contains(root), "{said}");
    assert!(said.contains("cutwater.toml:7:"), "{said}");
    let stranger = "certificate 4 of the chain, CN=stranger.test, belongs to no other of it";
    assert!(said.contains(stranger), "{said}");
    assert!(said.contains("hint: leave it out"), "{said}");
    assert!(
        checked.output.ends_with(", 2 warnings\n"),
        "{}",
        checked.output
    );
    let json = check(&config, &["--json"]).await;
    assert_eq!(json.code, Some(0));
    let json: Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(json["warnings"][0]["line"], 7);
    let problems = &json["certificates"][0]["problems"];
    assert_eq!(problems[0]["problem"], "root_included");
}

#[tokio::test]
async fn an_expired_certificate_is_warned_of_once() {
    let pki = Pki::new();
    let expired = Kind {
        validity: Validity::Expired,
        ..Kind::default()
    };
    let files = pki.files_of(&["one.test"], expired);
    let checked = check(&config(&[("one.test", &files)]), &[]).await;
    assert_eq!(checked.complaints.matches("warning: ").count(), 1);
    assert!(checked.output.contains(", over\n"), "{}", checked.output);
}

#[tokio::test]
async fn errors_are_in_the_json_too() {
    let pki = Pki::new();
    let files = pki.mismatched_files(&["one.test"]);
    let broken = check(&config(&[("one.test", &files)]), &["--json"]).await;
    assert_eq!(broken.code, Some(1));
    let json: Value = serde_json::from_str(&broken.output).unwrap();
    assert_eq!(json["ok"], false);
    let error = json["errors"][0]["message"].as_str().unwrap();
    assert!(
        error.ends_with("the private key belongs to another certificate"),
        "{error}"
    );
    let typed = check("certificate_compresion = 1", &["--json"]).await;
    assert_eq!(typed.code, Some(1));
    let json: Value = serde_json::from_str(&typed.output).unwrap();
    let errors = json["errors"].as_array().unwrap();
    let unknown = errors.iter().find(|error| error["line"] == 1).unwrap();
    let said = unknown["message"].as_str().unwrap();
    assert!(said.contains("certificate_compresion"), "{said}");
}

#[tokio::test]
async fn a_list_of_logs_that_cannot_be_read_is_an_error_of_the_check_alone() {
    let pki = Pki::new();
    let files = pki.files(&["one.test"]);
    let listed = format!(
        "[certificate_transparency]\nlog_list = \"none.json\"\n{}",
        config(&[("one.test", &files)])
    );
    let checked = check(&listed, &[]).await;
    assert_eq!(checked.code, Some(1));
    assert!(
        checked.complaints.contains("none.json: No such file"),
        "{}",
        checked.complaints
    );
    assert!(
        checked.complaints.contains("cutwater.toml:2:12"),
        "{}",
        checked.complaints
    );
    let edge = Edge::start(&listed).await;
    assert_eq!(edge.metric("cutwater_sites", &[]).await, 1.0);
}

#[tokio::test]
async fn metrics_tell_of_the_certificates_in_use() {
    let pki = Pki::new();
    let first = pki.files_of(&["one.test"], with_intermediate(Key::P256));
    let ends_soon = Kind {
        key: Key::Ed25519,
        validity: Validity::EndsSoon,
        ..Kind::default()
    };
    let second = pki.files_of(&["two.test"], ends_soon);
    let edge = Edge::start(&config(&[("one.test", &first), ("two.test", &second)])).await;
    let metrics = edge.metrics().await;
    let one = ["site=\"one.test\"", "key=\"ecdsa_p256\""];
    let two = ["site=\"two.test\"", "key=\"ed25519\""];
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let value = |name: &str, labels: &[&str]| {
        sum_of(&metrics, &format!("cutwater_certificate_{name}"), labels)
    };
    let left = value("not_after_seconds", &one) - now;
    assert!((89 * DAY..=90 * DAY).contains(&(left as u64)), "{left}");
    let since = now - value("not_before_seconds", &one);
    assert!((DAY..2 * DAY).contains(&(since as u64)), "{since}");
    assert_eq!(value("problems", &one), 0.0);
    assert_eq!(value("scts", &one), 0.0);
    let issuer = [one[0], one[1], "issuer=\"CN=cutwater test intermediate\""];
    assert_eq!(value("info", &issuer), 1.0);
    let total = |name: &str| sum_of(&metrics, &format!("cutwater_certificates{name}"), &[]);
    assert_eq!(total(""), 2.0);
    assert_eq!(
        total("_first_end_seconds"),
        value("not_after_seconds", &two)
    );
    // A reload with another one, and with one site less.
    let root = fs::read_to_string(pki.ca_file()).unwrap();
    let chain = fs::read_to_string(&first.chain).unwrap();
    fs::write(&first.chain, format!("{chain}{root}")).unwrap();
    edge.write_config(&config(&[("one.test", &first)]));
    edge.signal("HUP").await;
    edge.until_text("reloaded").await;
    let metrics = edge.metrics().await;
    let value = |name: &str| sum_of(&metrics, name, &[]);
    assert_eq!(value("cutwater_certificates"), 1.0);
    assert_eq!(value("cutwater_certificate_problems"), 1.0);
    assert_eq!(
        sum_of(&metrics, "cutwater_certificate_info", &[two[0]]),
        0.0
    );
    assert!(
        Duration::from_secs_f64(value("cutwater_certificates_first_end_seconds") - now).as_secs()
            > DAY
    );
}
