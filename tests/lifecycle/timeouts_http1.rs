use std::time::Duration;

use super::house::{HELLO, House, NAME, get, timeouts, until_metric};
use crate::support::client::{Client, Ending};
use crate::support::edge::Edge;

const SHORT: &str = "timeouts = { request_headers = \"500ms\", keep_alive = \"500ms\" }\n";

async fn short() -> (House, Edge) {
    let house = House::new();
    let edge = house.start("", &format!("{SHORT}{HELLO}")).await;
    (house, edge)
}

/// A site with one route whose timeouts are these.
fn site(timeouts: &str, target: &str) -> String {
    format!("[[site.route]]\npath = \"/\"\ntimeouts = {{ {timeouts} }}\n{target}\n")
}

#[tokio::test]
async fn half_a_head_is_answered_408_and_closed() {
    let (house, edge) = short().await;
    let mut client = house.open(&edge).await;
    client.send(b"GET / HTTP/1.1\r\nhost: exa").await;
    let answer = client.response().await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert_eq!(timeouts(&edge, "request_headers").await, 1.0);
}

#[tokio::test]
async fn a_head_that_dribbles_is_answered_408() {
    let (house, edge) = short().await;
    let mut client = house.open(&edge).await;
    let mut status = None;
    for byte in b"GET / HTTP/1.1\r\nhost: example.com\r\nx-slow: 0123456789".repeat(4) {
        client.send(&[byte]).await;
        if !client.silent_for(Duration::from_millis(20)).await {
            status = Some(client.response().await.status);
            break;
        }
    }
    assert_eq!(status, Some(408));
}

#[tokio::test]
async fn half_a_second_head_is_answered_408() {
    let (house, edge) = short().await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    assert_eq!(client.response().await.text(), "hello\n");
    client.send(b"GET / HTTP/1.1\r\n").await;
    assert_eq!(client.response().await.status, 408);
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert_eq!(timeouts(&edge, "request_headers").await, 1.0);
    assert_eq!(timeouts(&edge, "keep_alive").await, 0.0);
}

#[tokio::test]
async fn a_pipelined_half_head_is_answered_408_after_the_first_answer() {
    let (house, edge) = short().await;
    let mut client = house.open(&edge).await;
    let mut bytes = get("/");
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
    client.send(&bytes).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.status, 408);
    assert_eq!(client.ending().await, Ending::CloseNotify);
}

#[tokio::test]
async fn a_connection_without_any_request_is_closed_without_an_answer() {
    let (house, edge) = short().await;
    let mut client = house.open(&edge).await;
    let (plain, ending) = client.read_to_end().await;
    assert!(plain.is_empty());
    assert_eq!(ending, Ending::CloseNotify);
    assert_eq!(timeouts(&edge, "request_headers").await, 1.0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_properly() {
    let house = House::new();
    let log = "[log]\nconnections = \"all\"";
    let edge = house.start(log, &format!("{SHORT}{HELLO}")).await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    client.response().await;
    let (plain, ending) = client.read_to_end().await;
    assert!(plain.is_empty());
    assert_eq!(ending, Ending::CloseNotify);
    assert_eq!(timeouts(&edge, "keep_alive").await, 1.0);
    client.close_notify().await;
    drop(client);
    // It is how most connections end: no error.
    let line = edge.until_connection(|_| true).await;
    assert_eq!(line["end"], "clean");
}

#[tokio::test]
async fn a_request_in_time_keeps_the_connection() {
    let house = House::new();
    let site = format!("timeouts = {{ keep_alive = \"1s\" }}\n{HELLO}");
    let log = "[log]\nconnections = \"all\"";
    let edge = house.start(log, &site).await;
    let mut client = house.open(&edge).await;
    for _ in 0..3 {
        client.send(&get("/")).await;
        client.response().await;
        // Meanwhile it has come to rest.
        assert!(client.silent_for(Duration::from_millis(400)).await);
    }
    assert_eq!(timeouts(&edge, "keep_alive").await, 0.0);
    client.close_notify().await;
    let line = edge.until_connection(|_| true).await;
    assert_eq!(line["requests"], 3);
}

#[tokio::test]
async fn a_client_silent_in_its_body_gets_408() {
    let house = House::new();
    let idle = site(
        "request_body_idle = \"300ms\"",
        "respond = { body = \"hello\\n\" }",
    );
    let edge = house.start("", &idle).await;
    let mut client = house.open(&edge).await;
    let head = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 10\r\n\r\nabc");
    client.send(head.as_bytes()).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert_eq!(timeouts(&edge, "request_body_idle").await, 1.0);
    let line = edge.until_access(|_| true).await;
    assert_eq!(line["status"], 408);
    assert_eq!(line["bytes_in"], 3);
}

#[tokio::test]
async fn a_slow_body_that_goes_on_is_taken() {
    let house = House::new();
    let idle = site(
        "request_body_idle = \"1s\"",
        "respond = { body = \"hello\\n\" }",
    );
    let edge = house.start("", &idle).await;
    let mut client = house.open(&edge).await;
    let head = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 3\r\n\r\n");
    client.send(head.as_bytes()).await;
    for _ in 0..3 {
        let quiet = client.silent_for(Duration::from_millis(400)).await;
        let plain = client.take_plain();
        assert!(quiet, "{}", String::from_utf8_lossy(&plain));
        client.send(b"x").await;
    }
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn total_bounds_a_body_that_dribbles() {
    let house = House::new();
    let total = site("total = \"600ms\"", "respond = { body = \"hello\\n\" }");
    let edge = house.start("", &total).await;
    let mut client = house.open(&edge).await;
    let head = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 1000\r\n\r\n");
    client.send(head.as_bytes()).await;
    let mut status = None;
    for _ in 0..100 {
        client.send(b"x").await;
        if !client.silent_for(Duration::from_millis(50)).await {
            status = Some(client.response().await.status);
            break;
        }
    }
    assert_eq!(status, Some(504));
    assert_eq!(timeouts(&edge, "total").await, 1.0);
}

async fn large(timeouts: &str) -> (House, Edge) {
    let house = House::new();
    // More than what the kernel buffers on both sides.
    let body = "0123456789abcdef".repeat(1 << 20);
    std::fs::write(house.pki.directory().join("large.txt"), body).unwrap();
    let file = house.pki.directory().join("large.txt");
    let target = format!("respond = {{ body_file = \"{}\" }}", file.display());
    let edge = house.start("", &site(timeouts, &target)).await;
    (house, edge)
}

#[tokio::test]
async fn who_says_goodbye_first_and_reads_late_gets_all_and_a_goodbye() {
    let (house, edge) = large("write_idle = \"30s\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    client.close_notify().await;
    // More than the kernels buffer: the edge waits with the end of it.
    let (plain, ending) = client.read_to_end().await;
    assert!(plain.len() > 16 << 20, "{} bytes", plain.len());
    assert_eq!(ending, Ending::CloseNotify);
    until_metric(
        &edge,
        "cutwater_connections_closed_total",
        &["how=\"clean\""],
        1.0,
    )
    .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let (house, edge) = large("write_idle = \"300ms\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    let kind = ["kind=\"write_idle\""];
    until_metric(&edge, "cutwater_timeouts_total", &kind, 1.0).await;
    let line = edge.until_access(|_| true).await;
    assert_ne!(line["end"], "complete");
    let (plain, _) = client.read_to_end().await;
    assert!(plain.len() < 16 << 20);
}

#[tokio::test]
async fn a_slow_reader_that_goes_on_is_served() {
    let (house, edge) = large("write_idle = \"3s\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    for piece in 0..16 {
        client.read(1 << 20).await.unwrap();
        if piece < 8 {
            super::house::pause(Duration::from_millis(450)).await;
        }
    }
    assert_eq!(timeouts(&edge, "write_idle").await, 0.0);
}

#[tokio::test]
async fn total_cuts_an_answer_that_is_taken_too_slowly() {
    let (house, edge) = large("total = \"500ms\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    let kind = ["kind=\"total\""];
    until_metric(&edge, "cutwater_timeouts_total", &kind, 1.0).await;
    let (plain, _) = client.read_to_end().await;
    assert!(plain.len() < 16 << 20);
}

#[tokio::test]
async fn off_is_no_limit() {
    let (house, edge) = large("write_idle = \"off\", total = \"off\"").await;
    let mut client = Client::open(edge.address(), NAME, &house.client()).await;
    client.send(&get("/")).await;
    super::house::pause(Duration::from_millis(800)).await;
    client.read(16 << 20).await.unwrap();
}
