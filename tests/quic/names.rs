//! Which site answers: chosen by each ClientHello.

use quinn::ConnectionError;

use crate::quic::client::{Client, endpoint};
use crate::quic::limits::{connect, hello};
use crate::quic::refused::section;
use crate::quic::scene::{NAME, Scene, WILD, Wants};
use crate::support::within;

/// The TLS alert that a connection ended with (RFC 9001 §4.8).
pub fn alert(error: &ConnectionError) -> Option<u64> {
    match error {
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code).checked_sub(0x100),
        _ => None,
    }
}

const UNRECOGNIZED_NAME: u64 = 112;
const MISSING_EXTENSION: u64 = 109;
const NO_APPLICATION_PROTOCOL: u64 = 120;

#[tokio::test]
async fn each_name_gets_its_site_and_its_certificate() {
    let scene = Scene::start().await;
    for (name, body) in [(NAME, "hello"), (WILD, "wild"), ("b.wild.example", "wild")] {
        let mut client = Client::connect(scene.address(), name, &scene.setup).await;
        let answer = client.get(&format!("https://{name}/")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, body));
        client.close().await;
    }
    let line = |line: &serde_json::Value| line["sni"] == WILD && line["protocol"] == "h3";
    scene.edge.until_access(line).await;
    let line = |line: &serde_json::Value| line["sni"] == WILD && line["alpn"] == "h3";
    let line = scene.edge.until_connection(line).await;
    assert_eq!(line["requests"], 1);
    assert_eq!(line["end"], "clean");
    assert_eq!(line["version"], "1.3");
    scene.settle().await;
}

#[tokio::test]
async fn unknown_and_absent_names_get_the_alert_that_they_get_over_tcp() {
    let scene = Scene::start().await;
    for (name, setup, expected, label) in [
        (
            "other.example",
            scene.setup.clone(),
            UNRECOGNIZED_NAME,
            "unknown_name",
        ),
        (
            "wild.example",
            scene.setup.clone(),
            UNRECOGNIZED_NAME,
            "unknown_name",
        ),
        (
            "a.b.wild.example",
            scene.setup.clone(),
            UNRECOGNIZED_NAME,
            "unknown_name",
        ),
        (
            NAME,
            scene.setup.clone().no_sni(),
            MISSING_EXTENSION,
            "no_server_name",
        ),
    ] {
        let before = format!("error=\"{label}\"");
        let counted = scene.metric("client_hello_errors_total", &[&before]).await;
        let ended = Client::try_connect(scene.address(), name, &setup).await;
        assert_eq!(alert(&ended.err().unwrap()), Some(expected), "{name}");
        let after = scene.metric("client_hello_errors_total", &[&before]).await;
        assert_eq!(after, counted + 1.0, "{name}");
        let sni = (name != NAME).then_some(name);
        let of_this = |line: &serde_json::Value| line["sni"].as_str() == sni;
        let line = scene.edge.until_connection(of_this).await;
        assert_eq!(line["end"], "alert", "{name}");
        assert!(line["ja4"].is_string(), "{line}");
    }
    scene.settle().await;
}

#[tokio::test]
async fn a_default_site_answers_to_whoever_asks() {
    let wants = Wants {
        site: "default = true",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let setup = scene.setup.clone().no_sni();
    let mut client = Client::connect(scene.address(), NAME, &setup).await;
    assert_eq!(client.get("https://example.com/").await.text(), "hello");
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().alpn(&["hq-interop"]);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(setup.config()).unwrap();
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint
        .connect_with(config, scene.address(), NAME)
        .unwrap();
    let error = crate::support::within("the end", connecting)
        .await
        .unwrap_err();
    assert_eq!(alert(&error), Some(NO_APPLICATION_PROTOCOL));
    scene.settle().await;
}

#[tokio::test]
async fn requests_for_other_sites_are_misdirected() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    let answer = client.get("https://a.wild.example/").await;
    assert_eq!(answer.status, 421);
    // It is the request that is wrong, not the connection.
    assert_eq!(client.get("https://example.com/").await.status, 200);
}

/// `:status 200` and `:status 400` of the static table (RFC 9204, appendix A).
const OK: &[u8] = &[0xd9];
const BAD_REQUEST: &[u8] = &[0xff, 0x04];

#[tokio::test]
async fn a_request_names_one_host_and_nobody() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let host = |name: &str| [&[0x24], &b"host"[..], &[name.len() as u8], name.as_bytes()].concat();
    let authority = |name: &str| [&[0x50, name.len() as u8], name.as_bytes()].concat();
    for (lines, expected) in [
        // RFC 9114 §4.3.1: one of both will do, and both that say the same.
        (vec![authority(NAME)], OK),
        (vec![host(NAME)], OK),
        (vec![authority(NAME), host(NAME)], OK),
        // Not both that differ, in whichever part.
        (vec![authority(NAME), host("a.wild.example")], BAD_REQUEST),
        (vec![authority(NAME), host("example.com:8443")], BAD_REQUEST),
        (vec![authority(NAME), host("")], BAD_REQUEST),
        (vec![host(NAME), host(NAME)], BAD_REQUEST),
        // Nor user information.
        (vec![authority("me@example.com")], BAD_REQUEST),
        (vec![authority("me:secret@example.com")], BAD_REQUEST),
        (vec![host("me@example.com")], BAD_REQUEST),
        (vec![authority(NAME), host("me@example.com")], BAD_REQUEST),
    ] {
        let head = [b"\xd1\xd7\xc1".to_vec(), lines.concat()].concat();
        let (mut send, mut recv) = quic.open_bi().await.unwrap();
        send.write_all(&section(&head)).await.unwrap();
        send.finish().unwrap();
        let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
        let text = String::from_utf8_lossy(&head);
        assert!(answer[4..].starts_with(expected), "{text}: {answer:x?}");
    }
    hello(&quic).await;
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}
