//! Limits of routes: 413, 414, 431.

use crate::http::stand::{NAME, Stand, get, post, route};
use crate::support::client::Ending;
use crate::support::h2::{request, whole};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

async fn stand() -> (Origin, Stand) {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let fixed = "respond = { status = 200, body = \"ok\" }";
    let routes = route("/body", &format!("{fixed}\nlimits = {{ body = \"1KiB\" }}"))
        + &route(
            "/origin",
            &format!(
                "origin = [{:?}]\nlimits = {{ body = \"1KiB\" }}",
                origin.url()
            ),
        )
        + &route("/uri", &format!("{fixed}\nlimits = {{ uri = \"256B\" }}"))
        + &route("/few", &format!("{fixed}\nlimits = {{ headers = 5 }}"))
        + &route(
            "/short",
            &format!("{fixed}\nlimits = {{ header_bytes = \"1KiB\" }}"),
        )
        + &route("/", fixed);
    (origin, Stand::start(&routes).await)
}

fn chunked(path: &str, size: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {NAME}\r\ntransfer-encoding: chunked\r\n\r\n\
         {size:x}\r\n{}\r\n0\r\n\r\n",
        "x".repeat(size)
    )
}

#[tokio::test]
async fn a_body_above_the_limit_is_413() {
    let (origin, stand) = stand().await;
    for path in ["/body", "/origin"] {
        let mut client = stand.http1().await;
        client.send(&post(path, &[b'x'; 1024])).await;
        assert_eq!(client.response().await.status, 200);
        client.send(chunked(path, 1024).as_bytes()).await;
        assert_eq!(client.response().await.status, 200);
        // One that is here whole costs its connection nothing.
        client.send(&post(path, &[b'x'; 1025])).await;
        assert_eq!(client.response().await.status, 413);
        client.send(get(path).as_bytes()).await;
        assert_eq!(client.response().await.status, 200);
        client.send(chunked(path, 1025).as_bytes()).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (413, Some("close"))
        );
        assert_eq!(client.ending().await, Ending::CloseNotify);

        // A large one is not read to its end, and the answer still arrives.
        let mut client = stand.http1().await;
        client.send(&post(path, &vec![b'x'; 3_000_000])).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (413, Some("close"))
        );
        assert_eq!(client.ending().await, Ending::CloseNotify);
    }
    let large = origin
        .requests()
        .iter()
        .filter(|asked| asked.body.len() > 1024 && !asked.cut_short)
        .count();
    assert_eq!(large, 0);
    assert!(
        stand
            .edge
            .metric("cutwater_limits_hit_total", &["body"])
            .await
            >= 6.0
    );
}

#[tokio::test]
async fn a_body_above_the_limit_is_413_over_http2() {
    let (_origin, stand) = stand().await;
    let mut client = stand.http2().await;
    for path in ["/body", "/origin"] {
        let uri = format!("https://{NAME}{path}");
        for (size, status) in [(1024, 200), (1025, 413), (300_000, 413)] {
            // Without and with its length.
            let answer = client.fetch(request("POST", &uri, vec![b'x'; size])).await;
            assert_eq!(answer.unwrap().status, status, "{path} {size}");
            let mut request = request("POST", &uri, vec![b'x'; size]);
            request.headers_mut().insert("content-length", size.into());
            assert_eq!(
                client.fetch(request).await.unwrap().status,
                status,
                "{path} {size}"
            );
        }
    }
}

#[tokio::test]
async fn a_target_above_the_limit_is_414() {
    let (_origin, stand) = stand().await;
    let uri = |length: usize| format!("/uri?{}", "x".repeat(length - 5));
    let mut client = stand.http1().await;
    for (length, status) in [(256, 200), (257, 414), (8192, 414), (256, 200)] {
        client.send(get(&uri(length)).as_bytes()).await;
        assert_eq!(client.response().await.status, status, "{length}");
    }
    client.send(get(&uri(8193)).as_bytes()).await;
    assert_eq!(client.response().await.status, 414);
    assert_eq!(client.ending().await, Ending::CloseNotify);

    let mut client = stand.http2().await;
    for (length, status) in [(256, 200), (257, 414), (8192, 414), (9000, 414), (256, 200)] {
        let uri = format!("https://{NAME}{}", uri(length));
        let answer = client.fetch(request("GET", &uri, "")).await.unwrap();
        assert_eq!(answer.status, status, "{length}");
    }
}

#[tokio::test]
async fn too_many_or_too_long_fields_are_431() {
    let (_origin, stand) = stand().await;
    let few = |path: &str, count: usize| {
        let fields = "x: y\r\n".repeat(count - 1);
        format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\n{fields}\r\n")
    };
    let long = |path: &str, bytes: usize| {
        let value = "y".repeat(bytes - "host: example.com\r\nx: \r\n".len());
        format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nx: {value}\r\n\r\n")
    };
    let mut client = stand.http1().await;
    for (request, status) in [
        (few("/few", 5), 200),
        (few("/few", 6), 431),
        (few("/", 100), 200),
        (long("/short", 1024), 200),
        (long("/short", 1025), 431),
        (long("/", 32 * 1024), 200),
        (long("/", 32 * 1024 + 1), 431),
        (few("/few", 5), 200),
    ] {
        client.send(request.as_bytes()).await;
        assert_eq!(client.response().await.status, status, "{}", request.len());
    }
    client.send(few("/", 101).as_bytes()).await;
    assert_eq!(client.response().await.status, 431);
    assert_eq!(client.ending().await, Ending::CloseNotify);
}

#[tokio::test]
async fn too_many_or_too_long_fields_are_431_over_http2() {
    let (_origin, stand) = stand().await;
    let client = stand.http2().await;
    let ask = async |path: &str, count: usize, bytes: usize| {
        let mut head = http::Request::new(());
        *head.uri_mut() = format!("https://{NAME}{path}").parse().unwrap();
        let value: http::HeaderValue = "y".repeat(bytes).parse().unwrap();
        for _ in 0..count {
            head.headers_mut().append("x", value.clone());
        }
        let mut send = within("a stream", client.send.clone().ready())
            .await
            .unwrap();
        let (answer, _) = send.send_request(head, true).unwrap();
        within("an answer", whole(answer))
            .await
            .unwrap()
            .status
            .as_u16()
    };
    assert_eq!(ask("/few", 5, 1).await, 200);
    assert_eq!(ask("/few", 6, 1).await, 431);
    assert_eq!(ask("/short", 1, 100).await, 200);
    assert_eq!(ask("/short", 1, 1024).await, 431);
    assert_eq!(ask("/", 100, 1).await, 200);
    assert_eq!(ask("/", 101, 1).await, 431);
    assert_eq!(ask("/", 1, 33_000).await, 431);
    assert_eq!(ask("/", 1, 60_000).await, 431);
    assert_eq!(ask("/", 5000, 1).await, 431);
    assert_eq!(ask("/", 1, 1).await, 200);
}

#[tokio::test]
async fn a_large_head_is_taken_where_it_is_allowed() {
    let fixed = "respond = { status = 200, body = \"ok\" }";
    let limits = "limits = { header_bytes = \"256KiB\" }";
    let stand = Stand::start(&route("/", &format!("{fixed}\n{limits}"))).await;
    let field = format!("\r\nx-long: {}\r\n\r\n", "x".repeat(200 * 1024));
    let asked = get("/").replace("\r\n\r\n", &field);
    let mut client = stand.http1().await;
    for _ in 0..2 {
        client.send(asked.as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
    }
    // And byte by byte.
    let mut client = stand.http1().await;
    for byte in get("/").as_bytes() {
        client.queue(&[*byte]);
    }
    client.send_pending().await;
    assert_eq!(client.response().await.text(), "ok");
}
