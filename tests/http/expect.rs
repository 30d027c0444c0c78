//! `Expect: 100-continue` (RFC 9110 §10.1.1).

use crate::http::stand::{NAME, Stand, forward, respond, route};
use crate::support::origin::{Origin, Reply};

fn expecting(path: &str, expectation: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {NAME}\r\nexpect: {expectation}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_100_comes_before_the_body_and_the_origin_sees_no_expectation() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut client = stand.http1().await;
    for expectation in ["100-continue", "100-Continue"] {
        client.send(expecting("/", expectation, 5).as_bytes()).await;
        assert_eq!(client.response().await.status, 100);
        client.send(b"hello").await;
        let answer = client.response().await;
        assert_eq!((answer.status, answer.text()), (200, "hello"));
    }
    for asked in origin.requests() {
        assert_eq!(asked.field("expect"), None);
    }
}

#[tokio::test]
async fn an_unknown_expectation_is_417() {
    let stand = Stand::start(&respond("/", "ok")).await;
    for expectation in ["200-ok", "100-continue, x", ""] {
        let answer = stand.ask(&expecting("/", expectation, 5)).await;
        assert_eq!(answer.status, 417, "{expectation:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_gets_no_100() {
    let routes = route(
        "/small",
        "respond = { status = 200, body = \"ok\" }\nlimits = { body = \"1KiB\" }\nmethods = [\"POST\"]",
    ) + &route(
        "/get",
        "respond = { status = 200, body = \"ok\" }\nmethods = [\"GET\"]",
    );
    let stand = Stand::start(&routes).await;
    for (path, status) in [
        ("/small", 413),
        ("/none", 404),
        ("/get", 405),
        ("/%2f", 400),
    ] {
        let answer = stand.ask(&expecting(path, "100-continue", 2000)).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_fixed_answer_takes_the_body_first() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let mut client = stand.http1().await;
    for _ in 0..3 {
        client
            .send(expecting("/", "100-continue", 5).as_bytes())
            .await;
        assert_eq!(client.response().await.status, 100);
        client.send(b"hello").await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn http10_and_a_body_that_is_here_get_no_needless_100() {
    let stand = Stand::start(&respond("/", "ok")).await;
    // RFC 9110 §10.1.1: an expectation in HTTP/1.0 is to be ignored.
    let old = expecting("/", "100-continue", 5).replace("HTTP/1.1", "HTTP/1.0");
    let answer = stand.ask(&format!("{old}hello")).await;
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    let mut client = stand.http1().await;
    let whole = format!("{}hello", expecting("/", "100-continue", 5));
    client.send(whole.as_bytes()).await;
    let mut answer = client.response().await;
    if answer.status == 100 {
        answer = client.response().await;
    }
    assert_eq!((answer.status, answer.text()), (200, "ok"));
}
