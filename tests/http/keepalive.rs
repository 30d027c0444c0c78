//! How long a connection lives: keep-alive, HTTP/1.0, `Connection: close`, half-closed clients.

use std::time::Duration;

use crate::http::stand::{NAME, Stand, forward, get, post, respond};
use crate::support::client::Ending;
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};

#[tokio::test]
async fn a_connection_that_was_idle_serves_on() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&(respond("/fixed", "ok") + &forward("/", &origin))).await;
    let mut client = stand.http1().await;
    for _ in 0..3 {
        client.send(get("/fixed").as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
        client.send(&post("/", b"body")).await;
        assert_eq!(client.response().await.text(), "body");
        // More than two ticks: the HTTP side is dropped, and made again by the next request.
        assert!(client.silent_for(Duration::from_millis(350)).await);
    }
    // Half a head may wait as well.
    let (first, second) = (get("/fixed"), get("/fixed"));
    let (begin, end) = second.split_at(20);
    client.send(format!("{first}{begin}").as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
    assert!(client.silent_for(Duration::from_millis(350)).await);
    client.send(end.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");

    let mut client = stand.http2().await;
    for _ in 0..2 {
        let uri = format!("https://{NAME}/fixed");
        client.begin_request(request("GET", &uri, "")).await;
        assert_eq!(client.next().await.unwrap().text(), "ok");
        tokio::time::timeout(Duration::from_millis(350), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn http10_closes_unless_asked_to_keep_alive() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let mut client = stand.http1().await;
    client.send(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert!(client.tcp_closed().await);

    let mut client = stand.http1().await;
    for _ in 0..2 {
        let asked = b"GET / HTTP/1.0\r\nhost: example.com\r\nconnection: keep-alive\r\n\r\n";
        client.send(asked).await;
        let answer = client.response().await;
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn http10_gets_no_chunks() {
    let origin = Origin::start(|_| Reply::chunked(&[b"abc", b"def"], &[])).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let answer = stand
        .ask("GET / HTTP/1.0\r\nhost: example.com\r\n\r\n")
        .await;
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.text(), "abcdef");
    assert_eq!(
        origin.requests()[0].head.lines().next(),
        Some("GET / HTTP/1.1")
    );
}

#[tokio::test]
async fn connection_close_is_answered_and_obeyed() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let mut client = stand.http1().await;
    let closing = "GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";
    // What follows the last request is thrown away (RFC 9112 §9.6).
    client
        .send(format!("{closing}{}", get("/")).as_bytes())
        .await;
    let answer = client.response().await;
    assert_eq!(answer.header("connection"), Some("close"));
    let (rest, ending) = client.read_to_end().await;
    assert_eq!((rest.len(), ending), (0, Ending::CloseNotify));
    assert!(client.tcp_closed().await);
    let line = stand.edge.until_connection(|_| true).await;
    assert_eq!(line["end"], "clean");
    assert_eq!(line["requests"], 1);
}

#[tokio::test]
async fn a_client_that_closed_its_side_still_gets_its_answer() {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("late"))).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut client = stand.http1().await;
    client.send(get("/").as_bytes()).await;
    client.close_notify().await;
    origin.until_heads(1).await;
    origin.release();
    assert_eq!(client.response().await.text(), "late");
    assert_eq!(client.ending().await, Ending::CloseNotify);
}

#[tokio::test]
async fn a_client_that_vanishes_ends_its_request_to_the_origin() {
    let origin = Origin::start(|_| Reply::silence()).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut client = stand.http1().await;
    client.send(get("/").as_bytes()).await;
    origin.until_heads(1).await;
    client.reset();
    origin.until_open(0).await;
    let mut client = stand.http1().await;
    client.send(get("/").as_bytes()).await;
    origin.until_heads(2).await;
    // FIN without close_notify is a truncation, not a half-closed client.
    client.shutdown_write().await;
    origin.until_open(0).await;
    stand
        .edge
        .until_connection(|line| line["end"] == "reset")
        .await;
    stand
        .edge
        .until_connection(|line| line["end"] == "truncated")
        .await;
}

#[tokio::test]
async fn a_client_that_vanishes_in_its_body_ends_its_request_to_the_origin() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let begun = "POST / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 100\r\n\r\nbegun";
    for (count, way) in (1..).zip(["reset", "fin", "close_notify"]) {
        let mut client = stand.http1().await;
        client.send(begun.as_bytes()).await;
        origin.until_heads(count).await;
        match way {
            "reset" => client.reset(),
            "fin" => client.shutdown_write().await,
            _ => {
                client.close_notify().await;
                let (said, ending) = client.read_to_end().await;
                assert_eq!(said, b"", "{ending:?}");
            }
        }
        origin.until_open(0).await;
    }
    assert!(origin.requests().iter().all(|asked| asked.cut_short));
}
