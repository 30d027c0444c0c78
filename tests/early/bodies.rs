//! Bodies over the border between early and 1-RTT data, and the memory that a slow side costs.

use std::time::Duration;

use crate::early::scene::{NAME, Scene, get};
use crate::support::client::{Client, Ending};
use crate::support::h2::{H2, request};
use crate::support::origin::{Origin, Reply, When};

/// More than the kernel's buffers on the whole way take.
const LARGE: usize = 48 << 20;

/// More than a connection may cost, with room for an allocator's habits.
const MEMORY: usize = 8 << 20;

fn post(path: &str, length: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}

fn letters(count: usize) -> Vec<u8> {
    (0..count).map(|n| b'a' + (n % 23) as u8).collect()
}

#[tokio::test]
async fn a_body_split_over_early_and_later_data_comes_whole() {
    let origin = Origin::echo().await;
    let scene = Scene::before(&origin).await;
    let body = letters(100_000);
    for path in ["/echo", "/aware"] {
        let head = post(path, body.len());
        let early = 16_384 - head.len();
        for pieces in [16_384, 100] {
            scene.ticket().await;
            let mut client = scene.connect().await;
            for piece in [&head, &body[..early]].concat().chunks(pieces) {
                client.early(piece);
            }
            client.hold_finished();
            client.send_pending().await;
            if path == "/aware" {
                // It is on its way before the handshake ends.
                let count = origin.heads().len().max(1);
                let heads = origin.until_heads(count).await;
                assert!(!heads.is_empty());
            }
            client.finish().await;
            assert!(client.early_accepted());
            client.send(&body[early..]).await;
            let answer = client.response().await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.body.ends_with(&body), "{path}");
            client.close_notify().await;
            assert_eq!(client.ending().await, Ending::CloseNotify);
        }
        let line = scene.edge.until_access(|line| line["path"] == path).await;
        assert_eq!(line["bytes_in"], 100_000);
        let early = if path == "/aware" { "served" } else { "waited" };
        assert_eq!(line["early"], early);
    }
    for asked in origin.requests() {
        assert_eq!(asked.body, body);
        let early = (asked.target() == "/aware").then_some("1");
        assert_eq!(asked.field("early-data"), early);
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn a_body_over_http2_split_over_early_and_later_data_comes_whole() {
    let origin = Origin::echo().await;
    let mut scene = Scene::before(&origin).await;
    scene.setup = scene.setup.alpn(&["h2"]);
    let body = letters(16_000);
    for path in ["/echo", "/aware"] {
        scene.ticket().await;
        let mut client = scene.connect().await;
        client.hold_finished();
        let uri = format!("https://{NAME}{path}");
        let mut h2 = H2::start_early(client, vec![request("POST", &uri, body.clone())]).await;
        h2.finish();
        let answer = h2.next().await.unwrap();
        assert!(answer.body.ends_with(&body), "{path}");
        let large = request("POST", &uri, letters(1 << 20));
        assert!(h2.fetch(large).await.unwrap().body.len() > 1 << 20);
        h2.close().await;
    }
    scene.settle(0).await;
}

async fn one_request(scene: &Scene, path: &str) {
    let mut client = Client::open(scene.edge.address(), NAME, &scene.setup).await;
    client.send(&get(path)).await;
    client.response().await;
    client.close_notify().await;
    client.ending().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_costs_bounded_memory() {
    let origin = Origin::start(|asked| match asked.target() {
        "/echo?large" => Reply::ok(vec![b'x'; LARGE]),
        _ => Reply::ok("small"),
    })
    .await;
    let scene = Scene::before(&origin).await;
    one_request(&scene, "/echo").await;
    let before = scene.edge.memory();
    let mut client = scene.early(&get("/echo?large")).await;
    client.send_pending().await;
    client.finish().await;
    origin.until_heads(2).await;
    // The origin would like to send it all at once.
    let grown = settled(|| scene.edge.memory()).await.saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    let answer = client.response().await;
    assert_eq!(answer.body.len(), LARGE);
    let grown = scene.edge.memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    scene.settle(0).await;
}

#[tokio::test]
async fn an_origin_that_stops_reading_costs_bounded_memory() {
    let origin = Origin::start_when(When::AfterHead, |asked| match asked.target() {
        "/echo?upload" => Reply::default().held().and(Reply::ok("done")),
        _ => Reply::ok("small"),
    })
    .await;
    let scene = Scene::before(&origin).await;
    one_request(&scene, "/echo").await;
    let before = scene.edge.memory();
    let mut client = scene.early(&post("/echo?upload", LARGE)).await;
    client.send_pending().await;
    client.finish().await;
    client.queue(&vec![b'x'; LARGE]);
    assert!(
        !client.send_pending_for(Duration::from_millis(500)).await,
        "it takes all"
    );
    let grown = scene.edge.memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    origin.release();
    client.send_pending().await;
    assert_eq!(client.response().await.text(), "done");
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    scene.settle(0).await;
}

/// A figure once it is the same twice, 100 ms apart; at most 20 looks.
async fn settled(figure: impl Fn() -> usize) -> usize {
    let mut last = figure();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    ticks.tick().await;
    for _ in 0..20 {
        ticks.tick().await;
        let now = figure();
        if now == last {
            break;
        }
        last = now;
    }
    last
}
