//! What the metrics and a check tell of staples, certificate by certificate.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::authority::{Answer, Authority, Leaf};
use super::responder::{Does, Responder, issuer};
use super::stage::{Looker, NAME, config, site};
use crate::support::edge::{Edge, run, sum_of};

const GOOD: Does = Does::Answer(Answer::GOOD);
const DAY: f64 = 86_400.0;

fn leaf(serial: u8, responder: Option<&str>) -> Leaf<'_> {
    Leaf {
        serial,
        responder,
        ..Leaf::default()
    }
}

#[tokio::test]
async fn metrics_follow_the_staple_of_each_certificate() {
    let authority = Arc::new(Authority::new());
    let responder = Responder::start(&authority, GOOD).await;
    let url = responder.url();
    let ecdsa = authority.leaf(NAME, leaf(1, Some(&url))).toml("");
    let rsa = Leaf {
        rsa: true,
        ..leaf(2, None)
    };
    let rsa = authority.leaf(NAME, rsa).toml("");
    let both = format!("[{ecdsa}, {rsa}]");
    let edge = Edge::start(&config("", &[site(NAME, &both, "")])).await;
    Looker::new(&authority).until_stapled(&edge, NAME).await;
    let told = "cutwater_certificate_staple_next_update_seconds{";
    let metrics = edge
        .until_metrics(told, |metrics| metrics.contains(told))
        .await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs_f64();
    let labels = [&*format!("site=\"{NAME}\""), "key=\"ecdsa_p256\""];
    let value = |what: &str, labels: &[&str]| {
        let name = format!("cutwater_certificate_staple_{what}_update_seconds");
        sum_of(&metrics, &name, labels)
    };
    let (this, next) = (value("this", &labels), value("next", &labels));
    assert!((now - DAY..=now).contains(&this), "{this} at {now}");
    assert!(
        (now + 6.0 * DAY..now + 8.0 * DAY).contains(&next),
        "{next} at {now}"
    );
    let revoked = "cutwater_certificate_staple_revoked";
    assert!(metrics.contains(&format!(
        "{revoked}{{key=\"ecdsa_p256\",site=\"{NAME}\"}} 0"
    )));
    // The other one has none, and no series.
    let of_staples = |line: &&str| line.starts_with("cutwater_certificate_staple_");
    assert_eq!(metrics.lines().filter(of_staples).count(), 3, "{metrics}");
    // Nor has one that is not stapled any more.
    edge.write_config(&config("", &[site(NAME, &both, "ocsp = \"off\"")]));
    edge.signal("HUP").await;
    edge.until_metrics("no series", |metrics| !metrics.contains(told))
        .await;
}

/// What a check prints, as text and as JSON.
async fn check(authority: &Authority, config: &str) -> (String, Value) {
    let file = authority.path("cutwater.toml");
    std::fs::write(&file, config).unwrap();
    let words = ["check", "--config", file.to_str().unwrap()];
    let (_, text, _) = run(&words).await;
    let (_, json, _) = run(&[&words[..], &["--json"]].concat()).await;
    (text, serde_json::from_str(&json).unwrap())
}

#[tokio::test]
async fn a_check_says_why_a_certificate_is_not_stapled_and_who_is_asked() {
    let authority = Authority::new();
    let own = "http://own.test/";
    let named = authority.leaf(NAME, leaf(1, Some(own)));
    let silent = authority.leaf("silent.test", leaf(2, None));
    // Its issuer is left out.
    let chain = std::fs::read_to_string(&silent.chain).unwrap();
    let second = chain.rfind("-----BEGIN").unwrap();
    let alone = authority.path("alone.pem");
    std::fs::write(&alone, &chain[..second]).unwrap();
    let key = silent.key.display();
    let alone = format!(
        "{{ chain = \"{}\", key = \"{key}\", responder = \"http://other.test/\" }}",
        alone.display()
    );
    let other = silent.toml(", responder = \"http://other.test/\"");
    let sites = [
        site(NAME, &named.toml(""), ""),
        site("silent.test", &silent.toml(""), ""),
    ];
    let (text, json) = check(&authority, &config("", &sites)).await;
    let states = |json: &Value| -> Vec<String> {
        let all = json["certificates"].as_array().unwrap().iter();
        all.map(|one| one["staple"]["state"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(states(&json), ["missing", "no_responder"]);
    assert_eq!(json["certificates"][0]["staple_source"], own);
    assert_eq!(json["certificates"][1]["staple_source"], Value::Null);
    assert!(
        text.contains("none: there is no responder to ask"),
        "{text}"
    );
    assert!(!text.contains("as configured"), "{text}");

    let (text, json) = check(&authority, &config("", &[site("silent.test", &alone, "")])).await;
    assert_eq!(states(&json), ["issuer_missing"]);
    let missing = "staple    none: its issuer's certificate is missing";
    assert!(text.contains(missing), "{text}");

    let (text, json) = check(&authority, &config("", &[site("silent.test", &other, "")])).await;
    assert_eq!(
        json["certificates"][0]["staple_source"],
        "http://other.test/"
    );
    let asked = "  asked     http://other.test/, as configured\n";
    assert!(text.contains(asked), "{text}");

    let kept = authority.path("kept");
    let top = format!("[ocsp]\ndirectory = \"{}\"", kept.display());
    let (text, json) = check(
        &authority,
        &config(&top, &[site("silent.test", &other, "")]),
    )
    .await;
    assert_eq!(states(&json), ["missing"]);
    assert!(text.contains("  staple    none: not kept yet\n"), "{text}");
}

#[tokio::test]
async fn one_chain_with_two_settings_is_told_twice() {
    let authority = Authority::new();
    let files = authority.leaf("*.two.test", leaf(1, Some("http://own.test/")));
    let certificate = files.toml("");
    let sites = [
        site("a.two.test", &certificate, ""),
        site("b.two.test", &certificate, "ocsp = \"off\""),
        site("c.two.test", &certificate, ""),
    ];
    let (text, json) = check(&authority, &config("", &sites)).await;
    let told = json["certificates"].as_array().unwrap();
    assert_eq!(told.len(), 2, "{json}");
    assert_eq!(told[0]["staple"]["state"], "missing");
    assert_eq!(told[0]["sites"][1], "c.two.test");
    assert_eq!(told[1]["staple"]["state"], "off");
    assert_eq!(told[1]["sites"][0], "b.two.test");
    assert!(
        text.contains("  staple    off\n  sites     b.two.test\n"),
        "{text}"
    );
}

/// One broken site hides the certificates of the others in neither form.
#[tokio::test]
async fn certificates_are_told_beside_errors() {
    let authority = Authority::new();
    let good = authority.leaf(NAME, leaf(1, None)).toml("");
    let other = issuer(&authority);
    let (chain, key) = (other.chain.display(), other.key.display());
    let broken = format!("{{ chain = \"{chain}\", key = \"{key}.none\" }}");
    let sites = [site(NAME, &good, ""), site("broken.test", &broken, "")];
    let (text, json) = check(&authority, &config("", &sites)).await;
    assert_eq!(json["ok"], false);
    assert_eq!(json["certificates"].as_array().unwrap().len(), 1);
    assert!(text.contains(&format!("  sites     {NAME}\n")), "{text}");
    assert!(!text.contains(": ok, "), "{text}");
}
