//! Several requests in one write, and clients that read slowly meanwhile.

use std::time::Duration;

use crate::http::stand::{NAME, Stand, forward, get, post, respond, route};
use crate::support::client::Ending;
use crate::support::origin::Origin;

#[tokio::test]
async fn a_hundred_requests_in_one_write_are_answered_in_order() {
    let origin = Origin::echo().await;
    let routes = respond("/fixed", "fixed") + &forward("/", &origin);
    let stand = Stand::start(&routes).await;
    let mut client = stand.http1().await;
    let mut all = Vec::new();
    for n in 0..100 {
        match n % 3 {
            0 => all.extend(get("/fixed").into_bytes()),
            1 => all.extend(get(&format!("/{n}")).into_bytes()),
            _ => all.extend(post(&format!("/{n}"), &[b'x'; 3000])),
        }
    }
    client.send(&all).await;
    for n in 0..100 {
        let answer = client.response().await;
        assert_eq!(answer.status, 200);
        match n % 3 {
            0 => assert_eq!(answer.text(), "fixed"),
            _ => assert!(answer.text().contains(&format!(" /{n} HTTP/1.1\r\n"))),
        }
    }
    // The connection goes on.
    client.send(get("/fixed").as_bytes()).await;
    assert_eq!(client.response().await.text(), "fixed");
}

#[tokio::test]
async fn requests_that_come_byte_by_byte_are_answered() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let mut client = stand.http1().await;
    for byte in [get("/").into_bytes(), post("/", b"abc")].concat() {
        client.send(&[byte]).await;
    }
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(client.response().await.text(), "ok");
}

/// More than all buffers between the edge and a client that does not read.
const LARGE: usize = 24 * 1024 * 1024;

async fn large() -> (String, Stand) {
    let text = "0123456789abcdef".repeat(LARGE / 16);
    let routes = route(
        "/large",
        "respond = { status = 200, body_file = \"large.txt\" }",
    ) + &respond("/", "small");
    let stand = Stand::start_with(&routes, |start| start.file("large.txt", &text)).await;
    (text, stand)
}

#[tokio::test]
async fn a_client_that_reads_late_gets_its_whole_answer() {
    let (text, stand) = large().await;
    let mut client = stand.http1().await;
    client.deaf(true);
    client.send(get("/large").as_bytes()).await;
    // Longer than an idle connection keeps its HTTP side.
    pause(Duration::from_millis(500)).await;
    client.deaf(false);
    assert!(client.response().await.body == text.as_bytes());
    client.send(get("/").as_bytes()).await;
    assert_eq!(client.response().await.text(), "small");
}

#[tokio::test]
async fn a_bad_request_behind_a_large_answer_does_not_cut_it() {
    let (text, stand) = large().await;
    let mut client = stand.http1().await;
    client.deaf(true);
    let bad = format!("GET / HTTP/1.1\nhost: {NAME}\n\n");
    client
        .send(format!("{}{bad}", get("/large")).as_bytes())
        .await;
    pause(Duration::from_millis(100)).await;
    client.deaf(false);
    assert!(client.response().await.body == text.as_bytes());
    assert_eq!(client.response().await.status, 400);
    assert_eq!(client.ending().await, Ending::CloseNotify);
}

/// Time in which nothing is read: that is what the test is about.
#[expect(clippy::disallowed_methods, reason = "a client that does not read")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
