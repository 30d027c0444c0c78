//! Our own edge, seen from outside.

use serde_json::json;

use super::stage::{self, EARLY, NAME, inspect};
use crate::support::edge::Edge;
use crate::support::pki::{Key, Kind, Pki};

/// With an ECDSA and an RSA certificate, and these lines more for the site.
async fn edge(pki: &Pki, more: &str) -> Edge {
    let of = |key| {
        let leaf = pki.leaf_of(
            &[NAME],
            Kind {
                key,
                ..Kind::default()
            },
        );
        leaf.write(pki.directory(), &format!("{key:?}")).toml()
    };
    let (ecdsa, rsa) = (of(Key::P256), of(Key::Rsa));
    stage::edge(&format!("[{ecdsa}, {rsa}]"), more).await
}

#[tokio::test]
async fn all_that_an_edge_speaks_is_told() {
    let pki = Pki::new();
    let edge = edge(&pki, EARLY).await;
    let found = inspect(edge.address(), &pki).await;

    assert_eq!(found.versions(), ["TLS 1.3"]);
    let mut suites = found.of_version("TLS 1.3", "suites");
    suites.sort();
    assert_eq!(
        suites,
        [
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
        ]
    );
    let mut groups = found.of_version("TLS 1.3", "groups");
    groups.sort();
    assert_eq!(
        groups,
        ["X25519", "X25519MLKEM768", "secp256r1", "secp384r1"]
    );
    assert_eq!(found.texts("/alpn"), ["h2", "http/1.1"]);
    assert_eq!(found.at("/usual/version"), "TLS 1.3");
    assert_eq!(found.at("/usual/alpn"), "h2");
    assert_eq!(
        found.at("/http3"),
        json!({ "spoken": false, "alt_svc": null })
    );
    assert_eq!(found.at("/client_certificate"), false);
    assert_eq!(found.at("/server_name"), NAME);
    assert_eq!(found.at("/notes"), json!([]));
}

#[tokio::test]
async fn an_early_answer_comes_before_finished() {
    let pki = Pki::new();
    let edge = edge(&pki, EARLY).await;
    let found = inspect(edge.address(), &pki).await;
    let resumption = json!({
        "tickets": 1, "tls13": true, "tls12_session_id": null, "tls12_ticket": null,
    });
    assert_eq!(found.at("/resumption"), resumption);
    let answer = json!({ "accepted": true, "before_finished": true, "status": 200 });
    assert_eq!(
        found.at("/early_data"),
        json!({ "allowed": 16384, "answer": answer })
    );
    let access = edge
        .until_access(|line| line["arrived_early"] == true)
        .await;
    assert_eq!(access["path"], "/");
}

/// A route that waits for Finished: the request is taken early, and answered late.
#[tokio::test]
async fn an_answer_that_waits_for_finished_is_told_apart() {
    let pki = Pki::new();
    let more = "early_data = true\n[[site.route]]\npath = \"/\"\nearly_data = \"wait\"\n\
                respond = { body = \"hello\\n\" }";
    let edge = edge(&pki, more).await;
    let found = inspect(edge.address(), &pki).await;
    let answer = json!({ "accepted": true, "before_finished": false, "status": 200 });
    assert_eq!(found.at("/early_data/answer"), answer);
}

#[tokio::test]
async fn a_site_without_early_data_is_resumed_all_the_same() {
    let pki = Pki::new();
    let more = "min_version = \"1.2\"\n[[site.route]]\npath = \"/\"\nrespond = { body = \"\" }";
    let edge = edge(&pki, more).await;
    let found = inspect(edge.address(), &pki).await;
    assert_eq!(found.versions(), ["TLS 1.3", "TLS 1.2"]);
    let old = found.of_version("TLS 1.2", "suites");
    assert_eq!(old.len(), 6);
    assert!(
        old.iter().all(|suite| suite.starts_with("TLS_ECDHE_")),
        "{old:?}"
    );
    assert!(!found.of_version("TLS 1.2", "groups").is_empty());
    assert_eq!(found.at("/resumption/tls13"), true);
    assert_eq!(
        found.at("/early_data"),
        json!({ "allowed": 0, "answer": null })
    );
}

#[tokio::test]
async fn each_certificate_is_told_with_whom_it_is_shown_to() {
    let pki = Pki::new();
    let edge = edge(&pki, EARLY).await;
    let found = inspect(edge.address(), &pki).await;
    let certificates = found.at("/certificates");
    let told: Vec<_> = certificates.as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{certificates:#}");
    for (certificate, shown_for, key) in
        [(told[0], "ECDSA", "ECDSA P-256"), (told[1], "RSA", "RSA")]
    {
        assert_eq!(certificate["shown_for"], json!([shown_for]));
        assert_eq!(certificate["key"]["kind"], key);
        assert_eq!(certificate["names"], json!([NAME]));
        assert_eq!(certificate["trusted"], true);
        assert_eq!(certificate["distrust"], json!(null));
        assert_eq!(certificate["days_left"], 89);
        assert_eq!(certificate["problems"], json!([]));
    }
}

#[tokio::test]
async fn compressions_of_certificates_are_told_with_what_they_spare() {
    let pki = Pki::new();
    let compressing = edge(&pki, EARLY).await;
    let found = inspect(compressing.address(), &pki).await;
    let told = found.at("/certificate_compression");
    let told = told.as_array().unwrap();
    let mut names: Vec<_> = told.iter().map(|one| &one["algorithm"]).collect();
    names.sort_by_key(|name| name.as_str());
    assert_eq!(names, ["brotli", "zlib"]);
    for one in told {
        let size = |key: &str| one[key].as_u64().unwrap();
        let (compressed, uncompressed) = (size("compressed"), size("uncompressed"));
        assert!(0 < compressed && compressed < uncompressed, "{one}");
    }

    let more = format!("certificate_compression = \"off\"\n{EARLY}");
    let plain = edge(&pki, &more).await;
    let found = inspect(plain.address(), &pki).await;
    assert_eq!(found.at("/certificate_compression"), json!([]));
    assert_eq!(found.at("/notes"), json!([]));
}
