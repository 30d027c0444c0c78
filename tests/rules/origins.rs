//! EARLY-DATA R17, R19, R20: an origin that speaks 425.

use cutwater::telemetry::labels::{EarlyState, RetryReason, TooEarlyBy};

use super::stage::{EARLY, Stage, asked};
use crate::support::client::Client;
use crate::support::origin::{Asked, Origin, Reply};

fn early_only(asked: &Asked) -> Reply {
    if asked.fields("early-data").is_empty() {
        Reply::ok(&asked.body)
    } else {
        Reply::too_early()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {EARLY}\r\n\r\n")
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: {EARLY}\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn a_425_to_an_early_request_is_sent_again_after_finished_without_the_field() {
    let stage = Stage::with(Origin::start(early_only).await).await;
    let setup = stage.returning(&["http/1.1"]).await;
    let mut client = stage.early(&setup, &get("/aware/safe")).await;
    stage.aware.until_requests(1).await;
    let origins = &stage.metrics().origins;
    stage
        .until("the 425", |_| origins.too_early.get() == 1)
        .await;
    assert_eq!(client.take_plain(), b"");
    client.finish().await;
    assert_eq!(client.response().await.status, 200);
    let asked = asked(&stage.aware, "/aware/safe");
    let told: Vec<_> = asked.iter().map(|a| a.fields("early-data")).collect();
    assert_eq!(told, [vec!["1"], vec![]]);
    assert_eq!(origins.retries.get(RetryReason::TooEarly), 1);
    let early = &stage.metrics().early;
    assert_eq!(early.too_early.get(TooEarlyBy::Origin), 0);
    assert_eq!(early.too_early.get(TooEarlyBy::Edge), 0);
}

#[tokio::test]
async fn a_second_425_is_passed_on() {
    let stage = Stage::with(Origin::start(|_| Reply::too_early()).await).await;
    let setup = stage.returning(&["http/1.1"]).await;
    let mut client = stage.early(&setup, &get("/aware/safe")).await;
    stage.aware.until_requests(1).await;
    client.finish().await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.text()), (425, "too early"));
    assert_eq!(asked(&stage.aware, "/aware/safe").len(), 2);
    let metrics = stage.metrics();
    assert_eq!(metrics.origins.too_early.get(), 2);
    assert_eq!(metrics.early.too_early.get(TooEarlyBy::Origin), 1);
}

#[tokio::test]
async fn an_early_body_that_is_held_whole_is_sent_again() {
    let stage = Stage::with(Origin::start(early_only).await).await;
    let setup = stage.returning(&["http/1.1"]).await;
    let body = "x".repeat(60_000);
    let (first, rest) = body.split_at(10_000);
    let request = post("/aware/allow", body.len()) + first;
    let mut client = stage.early(&setup, &request).await;
    client.finish().await;
    client.send(rest.as_bytes()).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 200);
    assert!(answer.text() == body, "the body was changed");
    let asked = stage.aware.requests();
    let told: Vec<_> = asked.iter().map(|a| a.fields("early-data")).collect();
    assert_eq!(told, [vec!["1"], vec![]]);
    assert!(asked.iter().all(|asked| asked.body == body.as_bytes()));
}

#[tokio::test]
async fn an_early_body_too_large_to_hold_is_not_sent_again() {
    let stage = Stage::with(Origin::start(early_only).await).await;
    let setup = stage.returning(&["http/1.1"]).await;
    let body = "x".repeat(100_000);
    let (first, rest) = body.split_at(10_000);
    let request = post("/aware/allow", body.len()) + first;
    let mut client = stage.early(&setup, &request).await;
    client.finish().await;
    client.send(rest.as_bytes()).await;
    assert_eq!(client.response().await.status, 425);
    assert_eq!(stage.aware.requests().len(), 1);
    let origins = &stage.metrics().origins;
    assert_eq!(origins.retries.get(RetryReason::TooEarly), 0);
}

#[tokio::test]
async fn a_425_to_a_marked_request_is_the_clients_to_answer() {
    let stage = Stage::with(Origin::start(early_only).await).await;
    let setup = stage.returning(&["http/1.1"]).await;
    let marked = get("/aware/safe").replace("\r\n\r\n", "\r\nearly-data: 1\r\n\r\n");
    let mut client = stage.early(&setup, &marked).await;
    // At once: the handshake's end would not change what the client has to do.
    assert_eq!(client.response().await.status, 425);
    client.finish().await;
    client.send(marked.as_bytes()).await;
    assert_eq!(client.response().await.status, 425);
    assert_eq!(stage.aware.requests().len(), 2);
    let metrics = stage.metrics();
    assert_eq!(metrics.early.too_early.get(TooEarlyBy::Origin), 2);
    assert_eq!(metrics.origins.retries.get(RetryReason::TooEarly), 0);
}

#[tokio::test]
async fn a_425_that_nobody_asked_for_passes_unchanged_and_is_counted() {
    let stage = Stage::with(Origin::start(|_| Reply::too_early()).await).await;
    let setup = stage.pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(stage.address, EARLY, &setup).await;
    client.send(get("/aware/safe").as_bytes()).await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.text()), (425, "too early"));
    let metrics = stage.metrics();
    assert_eq!(stage.aware.requests().len(), 1);
    assert_eq!(metrics.origins.too_early.get(), 1);
    assert_eq!(metrics.early.too_early.get(TooEarlyBy::Origin), 1);
    assert_eq!(metrics.early.requests.get(EarlyState::Refused), 0);
}

#[tokio::test]
async fn the_field_in_an_origins_answer_is_dropped() {
    let reply = |_: &Asked| Reply::full(200, &[("Early-Data", "1"), ("x-kept", "1")], "ok");
    let stage = Stage::with(Origin::start(reply).await).await;
    let setup = stage.pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(stage.address, EARLY, &setup).await;
    client.send(get("/aware/wait").as_bytes()).await;
    let answer = client.response().await;
    assert_eq!(answer.header("early-data"), None);
    assert_eq!(answer.header("x-kept"), Some("1"));
}

#[tokio::test]
async fn an_early_request_whose_handshake_fails_is_aborted_and_not_sent_again() {
    let held = Reply::default().held().and(Reply::ok(""));
    let stage = Stage::with(Origin::start(move |_| held.clone()).await).await;
    let setup = stage.returning(&["http/1.1"]).await;
    let client = stage.early(&setup, &get("/aware/safe")).await;
    stage.aware.until_heads(1).await;
    client.reset();
    stage
        .until("the count", |metrics| metrics.early.aborted.get() == 1)
        .await;
    // The connection to the origin is not pooled: it is closed.
    stage.aware.release();
    stage.aware.until_open(0).await;
    assert_eq!(stage.aware.heads().len(), 1);
}

#[tokio::test]
async fn early_requests_of_one_connection_each_go_their_own_way() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["http/1.1"]).await;
    let pipelined = get("/aware/safe/1")
        + &get("/aware/refuse/2")
        + &get("/aware/wait/3")
        + &get("/aware/safe/4");
    let mut client = stage.early(&setup, &pipelined).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.status, 425);
    stage
        .until("the held one", |metrics| metrics.early.delayed.get() == 1)
        .await;
    client.finish().await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.status, 200);
    let told = |path| asked(&stage.aware, path)[0].fields("early-data").len();
    assert_eq!(told("/aware/safe/1"), 1);
    assert_eq!(told("/aware/wait/3"), 0);
    // Its turn came after Finished: not early any more.
    assert_eq!(told("/aware/safe/4"), 0);
}
