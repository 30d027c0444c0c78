use super::house::{HELLO, House, get, is_cut, timeouts};
use crate::support::client::{Client, Ending};
use crate::support::origin::{Origin, Reply};

use super::house::NAME;

const EARLY: &str = r#"
early_data = true
timeouts = { handshake = "400ms" }
[[site.route]]
path = "/wait"
early_data = "wait"
respond = { body = "late\n" }
[[site.route]]
path = "/"
early_data = "safe"
respond = { body = "hello\n" }
"#;

const SHORT_HELLO: &str = "timeouts = { client_hello = \"300ms\" }\n[log]\nconnections = \"all\"";

#[tokio::test]
async fn half_a_client_hello_is_cut_without_an_answer() {
    let house = House::new();
    let edge = house.start(SHORT_HELLO, HELLO).await;
    let mut client = Client::connect(edge.address(), NAME, &house.client()).await;
    let hello = client.take_pending();
    client.send_raw(&hello[..hello.len() / 2]).await;
    assert!(is_cut(&client.ending().await));
    assert_eq!(timeouts(&edge, "client_hello").await, 1.0);
    let line = edge.until_connection(|_| true).await;
    assert_eq!(line["end"], "timeout");
    assert_eq!(line["alert_sent"], serde_json::Value::Null);
    let errors = edge
        .metric("cutwater_client_hello_errors_total", &["timeout"])
        .await;
    assert_eq!(errors, 1.0);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    let house = House::new();
    let edge = house.start(SHORT_HELLO, HELLO).await;
    // The kernel keeps it back for some seconds before we see it: TCP_DEFER_ACCEPT.
    let mut client = Client::connect(edge.address(), NAME, &house.client()).await;
    assert!(is_cut(&client.ending().await));
    assert_eq!(timeouts(&edge, "client_hello").await, 1.0);
}

#[tokio::test]
async fn a_finished_that_never_comes_ends_the_connection() {
    let house = House::new();
    let edge = house.start("", EARLY).await;
    let mut client = Client::connect(edge.address(), NAME, &house.client()).await;
    client.hold_finished();
    client.send_pending().await;
    client.server_flight().await.unwrap();
    let (plain, ending) = client.read_to_end().await;
    assert!(plain.is_empty());
    assert!(is_cut(&ending), "{ending:?}");
    assert_eq!(timeouts(&edge, "handshake").await, 1.0);
    let failed = edge
        .metric("cutwater_handshake_failures_total", &["by=\"edge\""])
        .await;
    assert_eq!(failed, 1.0);
    let line = edge.until_connection(|_| true).await;
    assert_eq!(line["end"], "timeout");
}

#[tokio::test]
async fn an_early_request_that_waits_goes_unanswered_with_its_handshake() {
    let house = House::new();
    let edge = house.start("", EARLY).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    let mut client = Client::connect(edge.address(), NAME, &setup).await;
    client.early(&get("/wait"));
    client.hold_finished();
    client.send_pending().await;
    let (plain, ending) = client.read_to_end().await;
    assert_eq!(String::from_utf8_lossy(&plain), "");
    assert!(is_cut(&ending), "{ending:?}");
    let line = edge.until_access(|line| line["path"] == "/wait").await;
    assert_eq!(line["confirmed"], "failed");
    assert_eq!(line["status"], serde_json::Value::Null);
    assert_eq!(line["end"], "handshake_failed");
    assert_eq!(line["early"], "waited");
    assert_eq!(timeouts(&edge, "handshake").await, 1.0);
    assert_eq!(edge.metric("cutwater_early_aborted_total", &[]).await, 1.0);
}

#[tokio::test]
async fn an_early_answer_that_streams_is_cut_with_its_handshake() {
    let house = House::new();
    let origin = Origin::start(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .then_silence()
    })
    .await;
    let target = format!(
        "origin = {{ servers = [\"{}\"], early_data_aware = true }}",
        origin.url()
    );
    let site = EARLY.replace("respond = { body = \"hello\\n\" }", &target);
    let edge = house.start("", &site).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    let mut client = Client::connect(edge.address(), NAME, &setup).await;
    client.early(&get("/"));
    client.hold_finished();
    client.send_pending().await;
    let (plain, ending) = client.read_to_end().await;
    assert!(plain.ends_with(b"4\r\nhalf\r\n"), "no final chunk");
    assert!(is_cut(&ending), "{ending:?}");
    let line = edge.until_access(|_| true).await;
    assert_eq!(line["end"], "handshake_failed");
    assert_eq!(line["answered_before_finished"], true);
    assert_eq!(timeouts(&edge, "handshake").await, 1.0);
    assert_eq!(edge.metric("cutwater_early_aborted_total", &[]).await, 1.0);
    // Its connection is not pooled.
    origin.until_open(0).await;
}

#[tokio::test]
async fn the_line_of_an_early_request_is_written_after_the_handshake() {
    let house = House::new();
    let site = EARLY.replace("400ms", "9s");
    let edge = house.start("", &site).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    let mut client = Client::connect(edge.address(), NAME, &setup).await;
    client.early(&get("/early"));
    client.hold_finished();
    client.send_pending().await;
    assert_eq!(client.response().await.text(), "hello\n");
    // Lines keep their order: once this one is there, an earlier one would be too.
    let mut other = house.open(&edge).await;
    other.send(&get("/other")).await;
    other.response().await;
    edge.until_access(|line| line["path"] == "/other").await;
    assert!(edge.access().iter().all(|line| line["path"] != "/early"));
    client.finish().await;
    let line = edge.until_access(|line| line["path"] == "/early").await;
    assert_eq!(line["answered_before_finished"], true);
    assert_eq!(line["confirmed"], true);
    assert_eq!(line["early"], "served");
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
}
