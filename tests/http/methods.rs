//! HEAD, OPTIONS, CONNECT, and methods that a route has not.

use crate::http::stand::{NAME, Stand, forward, get, respond, route};
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};

async fn targets(origin: &Origin) -> Stand {
    let routes = respond("/fixed", "hello")
        + &route(
            "/moved",
            "redirect = { to = \"https://example.com/new\", status = 307 }",
        )
        + &forward("/origin", origin)
        + &route(
            "/some",
            "respond = { status = 200, body = \"some\" }\nmethods = [\"PUT\", \"POST\"]",
        );
    Stand::start(&routes).await
}

async fn origin() -> Origin {
    Origin::start(|asked| match asked.method() {
        "HEAD" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"),
        _ => Reply::ok("get"),
    })
    .await
}

#[tokio::test]
async fn head_keeps_the_length_and_has_no_body() {
    let origin = origin().await;
    let stand = targets(&origin).await;
    let cases = [
        ("/fixed", 200, Some("5")),
        ("/moved", 307, None),
        ("/origin", 200, Some("1234")),
    ];
    let mut client = stand.http1().await;
    for (path, status, length) in cases {
        let head = get(path).replace("GET", "HEAD");
        client.send(head.as_bytes()).await;
        let answer = client.response_to_head().await;
        assert_eq!(answer.status, status, "{path}");
        let zero = length.is_none().then_some("0");
        let found = answer.header("content-length");
        assert!(found == length || found == zero, "{path}: {found:?}");
    }
    client.send(get("/fixed").as_bytes()).await;
    assert_eq!(client.response().await.text(), "hello");

    let mut client = stand.http2().await;
    for (path, status, length) in cases {
        let head = request("HEAD", &format!("https://{NAME}{path}"), "");
        let answer = client.fetch(head).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.is_empty());
        if let Some(length) = length {
            assert_eq!(answer.headers["content-length"], length, "{path}");
        }
    }
}

#[tokio::test]
async fn options_of_the_server_is_answered_by_the_edge() {
    let origin = origin().await;
    let stand = targets(&origin).await;
    let asterisk = format!("OPTIONS * HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    assert_eq!(stand.ask(&asterisk).await.status, 204);
    assert!(origin.heads().is_empty());
}

#[tokio::test]
async fn a_method_that_the_route_has_not_is_405_with_allow() {
    let origin = origin().await;
    let stand = targets(&origin).await;
    let answer = stand.ask(&get("/some")).await;
    assert_eq!(answer.status, 405);
    let allow = answer.header("allow").unwrap();
    let mut methods: Vec<_> = allow.split(',').map(str::trim).collect();
    methods.sort_unstable();
    assert_eq!(methods, ["POST", "PUT"]);
    assert_eq!(stand.status_of("/nothing").await, 404);
}

#[tokio::test]
async fn connect_is_not_implemented() {
    let origin = origin().await;
    let stand = targets(&origin).await;
    let connect = format!("CONNECT {NAME}:443 HTTP/1.1\r\nhost: {NAME}:443\r\n\r\n");
    assert_eq!(stand.ask(&connect).await.status, 501);
    let mut client = stand.http2().await;
    let connect = http::Request::builder()
        .method("CONNECT")
        .uri("example.com:443")
        .body(bytes::Bytes::new())
        .unwrap();
    assert_eq!(client.fetch(connect).await.unwrap().status, 501);
    assert!(origin.heads().is_empty());
}
