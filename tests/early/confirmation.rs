//! R11: the wait for the client's Finished, and what becomes of early requests when it fails.

use std::time::Duration;

use cutwater::load::relay::{Cut, Relay, Withhold};
use rustls::AlertDescription;

use crate::early::scene::{GET, NAME, POST, Scene, get};
use crate::support::client::{Client, Ending, corrupt_end};
use crate::support::h2::{H2, request};
use crate::support::origin::{Origin, Reply, When};

const QUIET: Duration = Duration::from_millis(100);

#[tokio::test]
async fn hundreds_of_pipelined_early_requests_wait_and_are_answered_in_order() {
    let scene = Scene::start().await;
    let one = get("/wait");
    let count = 16_384 / one.len();
    let mut client = scene.early(&one.repeat(count)).await;
    client.send_pending().await;
    assert!(client.silent_for(QUIET).await);
    client.finish().await;
    assert!(client.early_accepted());
    for _ in 0..count {
        assert_eq!(client.response().await.text(), "waited");
    }
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    let lines = scene
        .edge
        .until_accesses(count + 1, |line| line["status"] == 200);
    let waited = lines
        .await
        .iter()
        .filter(|line| line["early"] == "waited")
        .count();
    assert!(waited >= 1);
    scene.settle(0).await;
}

#[tokio::test]
async fn hundreds_of_pipelined_early_requests_are_answered_before_finished() {
    let scene = Scene::start().await;
    let count = 16_384 / GET.len();
    let mut client = scene.early(&GET.repeat(count)).await;
    client.send_pending().await;
    for _ in 0..count {
        assert_eq!(client.response().await.text(), "hello");
    }
    client.finish().await;
    client.close_notify().await;
    let served = |line: &serde_json::Value| line["early"] == "served";
    scene.edge.until_accesses(count, served).await;
    scene.settle(0).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_yet_does_not_keep_finished_away() {
    let scene = Scene::start().await;
    let body = vec![b'x'; 100_000];
    let head = format!(
        "POST /wait HTTP/1.1\r\nhost: example.com\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let early = 16_384 - head.len();
    for at_once in [true, false] {
        let flight = [head.as_bytes(), &body[..early]].concat();
        let mut client = scene.early(&flight).await;
        client.send_pending().await;
        assert!(client.silent_for(QUIET).await);
        client.server_flight().await.unwrap();
        if at_once {
            client.queue(&body[early..]);
            client.finish().await;
        } else {
            client.finish().await;
            client.send(&body[early..]).await;
        }
        assert_eq!(client.response().await.text(), "waited");
        client.send(GET).await;
        assert_eq!(client.response().await.text(), "hello");
        client.close_notify().await;
        assert_eq!(client.ending().await, Ending::CloseNotify);
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_gets_its_answers() {
    let scene = Scene::start().await;
    for early in [GET, POST, &[GET, POST].concat()] {
        let mut client = scene.early(early).await;
        client.send_pending().await;
        client.server_flight().await.unwrap();
        // EndOfEarlyData, Finished and close_notify in one write.
        client.close_notify().await;
        if early.starts_with(GET) {
            assert_eq!(client.response().await.text(), "hello");
        }
        if early.ends_with(POST) {
            assert_eq!(client.response().await.text(), "waited");
        }
        assert_eq!(client.ending().await, Ending::CloseNotify);
        assert!(client.tcp_closed().await);
        assert_eq!(scene.line(&client).await["end"], "clean");
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn an_early_connection_close_is_answered_before_finished_and_closed_after() {
    let scene = Scene::start().await;
    let request = b"GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";
    let mut client = scene.early(request).await;
    client.send_pending().await;
    let answer = client.response().await;
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.silent_for(QUIET).await, "it is not closed yet");
    client.finish().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert!(client.tcp_closed().await);
    let line = scene.edge.until_access(|line| line["path"] == "/").await;
    assert_eq!(
        (&line["early"], &line["confirmed"]),
        (&"served".into(), &true.into())
    );
    assert_eq!(line["answered_before_finished"], true);
    client.shutdown_write().await;
    let line = scene.line(&client).await;
    assert_eq!(line["end"], "clean");
    assert_eq!(line["tickets_sent"], 1);
    scene.settle(0).await;
}

/// How a handshake fails after an early request was handed out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    Corrupt,
    Fin,
    Reset,
    Never,
}

/// Lets it fail; a reset is left to the caller, and so is the wait for nothing.
pub async fn fail(client: &mut Client, how: Failure) {
    client.server_flight().await.unwrap();
    match how {
        Failure::Corrupt => {
            let mut finished = client.take_pending();
            corrupt_end(&mut finished);
            client.send_raw(&finished).await;
            let ending = client.ending().await;
            assert_eq!(ending, Ending::Alert(AlertDescription::BadRecordMac));
        }
        Failure::Fin => client.shutdown_write().await,
        Failure::Reset | Failure::Never => {}
    }
}

#[tokio::test]
async fn early_requests_whose_handshake_fails_are_aborted_and_counted() {
    let origin = Origin::start_when(When::AfterHead, |_| Reply::silence()).await;
    let mut scene = Scene::before(&origin).await;
    let quick = "early_data = true\ntimeouts = { handshake = \"700ms\" }\n";
    scene.config = scene.config.replacen("early_data = true\n", quick, 1);
    scene.restart().await;
    let mut failures = 0;
    let mut heads = 0;
    for how in [
        Failure::Corrupt,
        Failure::Fin,
        Failure::Reset,
        Failure::Never,
    ] {
        for path in ["/wait", "/echo", "/aware"] {
            let target = format!("{path}?{how:?}");
            let mut client = scene.early(&get(&target)).await;
            client.send_pending().await;
            if path == "/aware" {
                heads += 1;
                let asked = origin.until_heads(heads).await;
                assert_eq!(asked[heads - 1].field("early-data"), Some("1"));
            }
            fail(&mut client, how).await;
            failures += 1;
            if how == Failure::Reset {
                client.reset();
            } else if how == Failure::Never {
                assert!(matches!(
                    client.ending().await,
                    Ending::Truncated | Ending::Reset
                ));
            }
            let line = scene
                .edge
                .until_access(|line| line["path"] == target.as_str())
                .await;
            assert_eq!(line["confirmed"], "failed", "{target}");
            assert_eq!(line["end"], "handshake_failed", "{target}");
            assert!(line["status"].is_null(), "{target}: {line}");
            let aborted = scene.metric("early_aborted_total", &[]).await;
            assert_eq!(aborted, f64::from(failures), "{target}");
            // Aborted, and its connection not pooled.
            origin.until_open(0).await;
            assert_eq!(
                origin.heads().len(),
                heads,
                "{target}: nothing is sent unproved, or again"
            );
        }
    }
    let kind = ["kind=\"handshake\""];
    assert_eq!(scene.metric("timeouts_total", &kind).await, 3.0);
    scene.settle(0).await;
}

#[tokio::test]
async fn an_early_answer_whose_handshake_fails_says_so_in_the_log() {
    let scene = Scene::start().await;
    let mut client = scene.early(GET).await;
    client.send_pending().await;
    assert_eq!(client.response().await.text(), "hello");
    fail(&mut client, Failure::Corrupt).await;
    let line = scene.edge.until_access(|line| line["path"] == "/").await;
    assert_eq!(line["early"], "served");
    assert_eq!(line["confirmed"], "failed");
    assert_eq!(line["end"], "complete");
    assert_eq!(line["answered_before_finished"], true);
    client.shutdown_write().await;
    let line = scene.line(&client).await;
    assert_eq!(
        (&line["end"], &line["alert_sent"]),
        (&"alert".into(), &"bad_record_mac".into())
    );
    assert!(line["handshake_ms"].is_null());
    assert_eq!(line["tickets_sent"], 0);
    scene.settle(0).await;
}

#[tokio::test]
async fn early_http2_requests_whose_handshake_fails_are_aborted_and_counted() {
    let mut scene = Scene::start().await;
    scene.setup = scene.setup.alpn(&["h2"]);
    scene.ticket().await;
    let relay = Relay::to(scene.edge.address()).withhold(Withhold::Finished);
    let relay = relay.bind().await.unwrap();
    let client = Client::connect(relay.address(), NAME, &scene.setup).await;
    let requests = vec![
        request("GET", "https://example.com/", ""),
        request("POST", "https://example.com/wait?1", "abc"),
        request("GET", "https://example.com/wait?2", ""),
    ];
    let mut h2 = H2::start_early(client, requests).await;
    assert_eq!(h2.next().await.unwrap().text(), "hello");
    relay.cut(Cut::Reset);
    for path in ["/wait?1", "/wait?2"] {
        let line = scene.edge.until_access(|line| line["path"] == path).await;
        assert_eq!(line["confirmed"], "failed");
        assert_eq!(line["end"], "handshake_failed");
        assert!(h2.next().await.is_err());
    }
    let line = scene.edge.until_access(|line| line["path"] == "/").await;
    assert_eq!(
        (&line["early"], &line["confirmed"]),
        (&"served".into(), &"failed".into())
    );
    assert_eq!(scene.metric("early_aborted_total", &[]).await, 2.0);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_dribbled_finished_confirms() {
    let scene = Scene::start().await;
    let mut client = scene.early(POST).await;
    client.send_pending().await;
    client.server_flight().await.unwrap();
    client.queue(GET);
    let finished = client.take_pending();
    client.send_raw_in_pieces(&finished, 1).await;
    assert_eq!(client.response().await.text(), "waited");
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    scene.settle(0).await;
}

#[tokio::test]
async fn a_dribbled_flight_is_accepted() {
    let scene = Scene::start().await;
    let mut client = scene.early(GET).await;
    let flight = client.take_pending();
    client.send_raw_in_pieces(&flight, 1).await;
    assert_eq!(client.response().await.text(), "hello");
    client.finish().await;
    assert!(client.early_accepted());
    client.close_notify().await;
    scene.settle(0).await;
}

#[tokio::test]
async fn keys_may_be_updated_twenty_times() {
    let scene = Scene::start().await;
    let mut client = scene.early(POST).await;
    client.send_pending().await;
    client.server_flight().await.unwrap();
    client.finish().await;
    for number in 0..20 {
        client.key_update().await;
        if number % 3 == 0 {
            client.key_update().await;
        }
        client.send(GET).await;
    }
    assert_eq!(client.response().await.text(), "waited");
    for _ in 0..20 {
        assert_eq!(client.response().await.text(), "hello");
    }
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    scene.settle(0).await;
}
