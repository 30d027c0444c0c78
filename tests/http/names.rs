//! What the ClientHello chooses: site, certificate, protocol, group, suite.

use rustls::{AlertDescription, CipherSuite, NamedGroup};

use crate::http::stand::{GENERAL, Stand, get, respond, site};
use crate::support::client::{Client, Ending};
use crate::support::edge::Edge;
use crate::support::pki::{Key, Kind, Pki};
use crate::support::setup::ClientSetup;
use crate::support::tool::openssl;
use crate::support::within;

/// The answer to a GET, of the site that the SNI chose.
async fn body(edge: &Edge, listener: &str, name: &str, setup: &ClientSetup) -> String {
    let mut client = Client::open(edge.listener(listener), name, setup).await;
    let request = get("/").replace("example.com", name);
    client.send(request.as_bytes()).await;
    client.response().await.text().to_owned()
}

async fn refusal(edge: &Edge, listener: &str, name: &str, setup: &ClientSetup) -> Ending {
    let mut client = Client::connect(edge.listener(listener), name, setup).await;
    let ending = client.handshake().await.expect_err("an alert");
    assert!(client.tcp_closed().await);
    ending
}

const MORE: &str = r#"
[[listen]]
address = "127.0.0.1:0"
name = "defaulted"
"#;

async fn sites() -> (Pki, Edge) {
    let pki = Pki::new();
    let table = |names: &[&str], more: &str, body: &str| {
        format!("{}{more}\n{}", site(&pki, names), respond("/", body))
    };
    let config = format!(
        "{GENERAL}{MORE}{}{}{}{}",
        table(&["exact.example.com"], "", "exact"),
        table(&["*.example.com", "example.com"], "", "wildcard"),
        table(
            &["default.example"],
            "listen = [\"defaulted\"]\ndefault = true",
            "default"
        ),
        table(&["broken.example"], "", "broken").replace("broken.example.key", "ca.pem"),
    );
    (pki, Edge::start(&config).await)
}

#[tokio::test]
async fn the_server_name_chooses_the_site() {
    let (pki, edge) = sites().await;
    let setup = pki.client();
    for (name, expected) in [
        ("exact.example.com", "exact"),
        ("EXACT.Example.COM", "exact"),
        ("other.example.com", "wildcard"),
        ("example.com", "wildcard"),
    ] {
        for listener in ["public", "defaulted"] {
            assert_eq!(
                body(&edge, listener, name, &setup).await,
                expected,
                "{name}"
            );
        }
    }
    let alert = |alert| Ending::Alert(alert);
    for unknown in [
        "example.org",
        "two.labels.example.com",
        "com",
        "broken.example.com.au",
    ] {
        let refused = refusal(&edge, "public", unknown, &setup).await;
        assert_eq!(
            refused,
            alert(AlertDescription::UnrecognisedName),
            "{unknown}"
        );
    }
    let refused = refusal(&edge, "public", "example.com", &setup.clone().no_sni()).await;
    assert_eq!(refused, alert(AlertDescription::MissingExtension));
    // The site without a key is refused alone.
    for listener in ["public", "defaulted"] {
        let refused = refusal(&edge, listener, "broken.example", &setup).await;
        assert_eq!(refused, alert(AlertDescription::InternalError));
    }
    let line = edge
        .until_connection(|line| line["alert_sent"] == "internal_error")
        .await;
    assert_eq!(line["sni"], "broken.example");
    let line = edge
        .until_connection(|line| line["alert_sent"] == "unrecognized_name")
        .await;
    assert_eq!(line["end"], "alert");
    edge.until_connection(|line| line["alert_sent"] == "missing_extension")
        .await;
}

#[tokio::test]
async fn a_default_site_answers_unknown_and_absent_names() {
    let (pki, edge) = sites().await;
    let setup = pki.client();
    assert_eq!(
        body(&edge, "defaulted", "default.example", &setup).await,
        "default"
    );
    let absent = setup.clone().no_sni();
    assert_eq!(
        body(&edge, "defaulted", "default.example", &absent).await,
        "default"
    );
    // Its certificate is not for this name, and the client says so.
    let refused = refusal(&edge, "defaulted", "example.org", &setup).await;
    assert!(matches!(refused, Ending::Broken(_)), "{refused:?}");
    edge.until_connection(|line| line["sni"] == "example.org" && line["alert_received"] != "null")
        .await;
}

#[tokio::test]
async fn the_client_gets_the_certificate_that_it_can_verify() {
    let Some(openssl) = openssl() else { return };
    let pki = Pki::new();
    let names = ["example.com"];
    let ecdsa = pki.files(&names);
    let kind = Kind {
        key: Key::Rsa,
        ..Kind::default()
    };
    let rsa = pki.leaf_of(&names, kind).write(pki.directory(), "rsa");
    let config = format!(
        "{GENERAL}[[site]]\nnames = [\"example.com\"]\ncertificate = [{}, {}]\n{}",
        ecdsa.toml(),
        rsa.toml(),
        respond("/", "ok"),
    );
    let edge = Edge::start(&config).await;
    assert_eq!(
        body(&edge, "public", "example.com", &pki.client()).await,
        "ok"
    );
    edge.until_connection(|line| line["certificate"] == "ecdsa_p256")
        .await;
    for (schemes, kind) in [
        ("RSA-PSS+SHA256", "rsa"),
        ("RSA-PSS+SHA256:ECDSA+SHA256", "ecdsa_p256"),
        ("ECDSA+SHA256", "ecdsa_p256"),
    ] {
        let count = edge.connections().len();
        let output = tokio::process::Command::new(&openssl)
            .args(["s_client", "-connect", &edge.address().to_string()])
            .args([
                "-servername",
                "example.com",
                "-verify_return_error",
                "-sigalgs",
                schemes,
            ])
            .arg("-CAfile")
            .arg(pki.ca_file())
            .stdin(std::process::Stdio::null())
            .output();
        let output = within("openssl", output).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("Verify return code: 0 (ok)"),
            "{schemes}: {said}"
        );
        let lines = edge.until_connections(count + 1, |_| true).await;
        let last = lines.last().unwrap();
        assert_eq!(last["certificate"], kind, "{schemes}");
    }
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let stand = Stand::start(&respond("/", "ok")).await;
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2"], Some("h2")),
        (&["x", "http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let setup = stand.pki.client().alpn(offered);
        let client = Client::open(stand.edge.address(), "example.com", &setup).await;
        assert_eq!(client.alpn().as_deref(), chosen, "{offered:?}");
    }
    let setup = stand.pki.client().alpn(&["http/1.0", "spdy/3"]);
    let refused = refusal(&stand.edge, "public", "example.com", &setup).await;
    assert_eq!(
        refused,
        Ending::Alert(AlertDescription::NoApplicationProtocol)
    );
    let alert = "no_application_protocol";
    stand
        .edge
        .until_connection(|line| line["alert_sent"] == alert)
        .await;
    // No ALPN is HTTP/1.1.
    let client = stand.pki.client();
    assert_eq!(
        body(&stand.edge, "public", "example.com", &client).await,
        "ok"
    );
}

/// The connection-log line of one handshake with this setup.
async fn line(stand: &Stand, setup: &ClientSetup) -> serde_json::Value {
    let mut client = Client::open(stand.edge.address(), "example.com", setup).await;
    let port = client.local_address().to_string();
    client.close_notify().await;
    stand
        .edge
        .until_connection(|line| line["client"] == port.as_str())
        .await
}

#[tokio::test]
async fn the_group_is_one_that_the_client_has_a_share_for() {
    use NamedGroup::{MLKEM768, X25519, X25519MLKEM768, secp256r1, secp384r1};
    let stand = Stand::start(&respond("/", "ok")).await;
    let client = || stand.pki.client().fresh();
    for (groups, chosen, hellos) in [
        (
            &[X25519MLKEM768, X25519, secp256r1][..],
            "X25519MLKEM768",
            1,
        ),
        (&[X25519, X25519MLKEM768], "X25519", 1),
        (&[X25519, secp256r1], "X25519", 1),
        (&[secp256r1, X25519], "secp256r1", 1),
        (&[secp256r1, X25519, X25519MLKEM768], "secp256r1", 1),
        // Only one without a share is common: a HelloRetryRequest, to the cheap one.
        (&[MLKEM768, X25519MLKEM768, X25519], "X25519", 2),
        (&[MLKEM768, secp256r1], "secp256r1", 2),
        (&[secp384r1, X25519], "secp384r1", 1),
    ] {
        let line = line(&stand, &client().groups(groups)).await;
        assert_eq!(line["group"], chosen, "{groups:?}");
        assert_eq!(line["client_hellos"], hellos, "{groups:?}");
    }
    let none = client().groups(&[MLKEM768]);
    let refused = refusal(&stand.edge, "public", "example.com", &none).await;
    assert_eq!(refused, Ending::Alert(AlertDescription::HandshakeFailure));
    assert_eq!(
        stand
            .edge
            .metric("cutwater_hello_retry_requests_total", &[])
            .await,
        2.0
    );
}

#[tokio::test]
async fn aes_128_comes_first_unless_the_client_puts_chacha20_first() {
    use CipherSuite::{
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA20,
    };
    let stand = Stand::start(&respond("/", "ok")).await;
    for (suites, chosen) in [
        (&[AES_256, AES_128, CHACHA20][..], AES_128),
        (&[AES_256, CHACHA20, AES_128], AES_128),
        (&[CHACHA20, AES_256, AES_128], CHACHA20),
        (&[AES_256, CHACHA20], AES_256),
        (&[AES_256], AES_256),
        (&[CHACHA20], CHACHA20),
    ] {
        let line = line(&stand, &stand.pki.client().fresh().suites(suites)).await;
        assert_eq!(line["suite"].as_str(), chosen.as_str(), "{suites:?}");
    }
}

#[tokio::test]
async fn tls_1_2_is_opt_in() {
    let pki = Pki::new();
    let old = site(&pki, &["old.example"]) + "min_version = \"1.2\"\n" + &respond("/", "old");
    let config = format!(
        "{GENERAL}{}{}{old}",
        site(&pki, &["example.com"]),
        respond("/", "new")
    );
    let edge = Edge::start(&config).await;
    let tls12 = pki.client().tls12();
    let refused = refusal(&edge, "public", "example.com", &tls12).await;
    assert_eq!(refused, Ending::Alert(AlertDescription::ProtocolVersion));
    for _ in 0..2 {
        // In full, then resumed.
        assert_eq!(body(&edge, "public", "old.example", &tls12).await, "old");
    }
    let both = pki.client().fresh().tls12_and_13();
    assert_eq!(body(&edge, "public", "old.example", &both).await, "old");
    assert_eq!(body(&edge, "public", "example.com", &both).await, "new");
    edge.until_connections(2, |line| line["version"] == "1.2")
        .await;
    edge.until_connections(2, |line| line["version"] == "1.3")
        .await;
}
