//! Clients that a route does not admit: by network, and by how often they ask.

use crate::http::stand::{NAME, Stand, get, respond, route};
use crate::support::h2::request;
use crate::support::http1::Response;

fn guarded(path: &str, keys: &str) -> String {
    route(path, &format!("respond = {{ body = \"ok\" }}\n{keys}"))
}

fn retry_after(answer: &Response) -> u64 {
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn clients_are_allowed_and_denied_by_their_network() {
    let stand = Stand::start(
        &(guarded("/allowed", "allow = [\"127.0.0.0/8\"]")
            + &guarded("/foreign", "allow = [\"10.0.0.0/8\", \"::1\"]")
            + &guarded("/denied", "deny = [\"127.0.0.1\"]")
            + &guarded(
                "/both",
                "allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.0/24\"]\n\
                 response_headers = { set = { x-seen = \"1\" } }",
            )
            + &guarded("/other", "deny = [\"10.0.0.0/8\"]")),
    )
    .await;
    for (path, status) in [
        ("/allowed", 200),
        ("/foreign", 403),
        ("/denied", 403),
        ("/both", 403),
        ("/other", 200),
    ] {
        let answer = stand.ask(&get(path)).await;
        assert_eq!(answer.status, status, "{path}");
        let line = stand.edge.until_access(|line| line["path"] == path).await;
        assert_eq!(line["route"], format!("{path}*"), "{path}");
        if path == "/both" {
            assert_eq!(answer.header("x-seen"), Some("1"));
        }
    }
    let name = "cutwater_requests_denied_total";
    let denied = stand.edge.metric(name, &["by=\"network\""]).await;
    assert_eq!(denied, 3.0);
}

#[tokio::test]
async fn who_asks_too_often_gets_429_and_when_to_come_again() {
    // Slow enough that no token comes while the test runs.
    let stand = Stand::start(
        &(guarded(
            "/few",
            "rate_limit = { requests = 1, per = \"1h\", burst = 3 }",
        ) + &respond("/", "free")),
    )
    .await;
    let mut client = stand.http1().await;
    for _ in 0..2 {
        client.send(get("/few").as_bytes()).await;
        assert_eq!(client.response().await.status, 200);
    }
    // A connection of its own has the same address.
    assert_eq!(stand.status_of("/few").await, 200);
    client.send(get("/few").as_bytes()).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 429);
    assert!((3500..=3600).contains(&retry_after(&answer)));
    let mut http2 = stand.http2().await;
    let url = format!("https://{NAME}/few");
    let answer = http2.fetch(request("GET", &url, "")).await.unwrap();
    assert_eq!(answer.status, 429);
    assert_eq!(stand.status_of("/free").await, 200);
    let name = "cutwater_requests_denied_total";
    let denied = stand.edge.metric(name, &["by=\"rate\""]).await;
    assert_eq!(denied, 2.0);
}

#[tokio::test]
async fn a_body_of_a_request_that_is_not_admitted_is_read_away() {
    let stand = Stand::start(&guarded("/", "deny = [\"0.0.0.0/0\"]")).await;
    let mut client = stand.http1().await;
    for _ in 0..2 {
        let sent = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 5\r\n\r\nhello");
        client.send(sent.as_bytes()).await;
        assert_eq!(client.response().await.status, 403);
    }
}
