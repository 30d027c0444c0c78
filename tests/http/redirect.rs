//! Listeners without TLS send every request on to https.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::stand::{NAME, Stand, respond};
use crate::support::http1::Response;
use crate::support::within;

const PLAIN: &str = r#"
[[listen]]
address = "127.0.0.1:0"
name = "plain"
tls = false
"#;

async fn stand() -> Stand {
    Stand::start(&format!("{}{PLAIN}", respond("/", "ok"))).await
}

async fn ask(stand: &Stand, request: &[u8]) -> Response {
    let address = stand.edge.listener("plain");
    let mut stream = within("connect", TcpStream::connect(address))
        .await
        .unwrap();
    let _ = within("send", stream.write_all(request)).await;
    let mut bytes = Vec::new();
    within("the answer", stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    Response::take(&mut bytes, request.starts_with(b"HEAD"), true).expect("an answer")
}

#[tokio::test]
async fn path_and_query_are_kept() {
    let stand = stand().await;
    let port = stand.edge.listener("public").port();
    let base = format!("https://{NAME}:{port}");
    for (line, location) in [
        ("GET /", "/"),
        ("GET /a/b?c=d&e", "/a/b?c=d&e"),
        ("POST /x", "/x"),
        ("HEAD /x", "/x"),
        ("GET /a/../b", "/b"),
        ("GET http://example.com/abs?q", "/abs?q"),
    ] {
        for host in [NAME, "EXAMPLE.com", "example.com:80", "example.com."] {
            if line.contains("http://") && host != NAME {
                continue;
            }
            let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            let answer = ask(&stand, request.as_bytes()).await;
            assert_eq!(answer.status, 308, "{line} {host}");
            let expected = format!("{base}{location}");
            assert_eq!(
                answer.header("location"),
                Some(expected.as_str()),
                "{line} {host}"
            );
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
}

#[tokio::test]
async fn nobody_is_sent_where_no_site_is() {
    let stand = stand().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: other.example\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nhost: example.com\r\nhost: example.com\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nhost: user@example.com\r\n\r\n", 400),
        ("GET /.. HTTP/1.1\r\nhost: example.com\r\n\r\n", 400),
        (
            "GET http://other.example/ HTTP/1.1\r\nhost: example.com\r\n\r\n",
            400,
        ),
    ] {
        let answer = ask(&stand, request.as_bytes()).await;
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(answer.header("location"), None);
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_cost_the_answer() {
    let stand = stand().await;
    let body = vec![b'x'; 2_000_000];
    let head = format!(
        "POST /x HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for _ in 0..5 {
        let answer = ask(&stand, &[head.as_bytes(), &body].concat()).await;
        assert_eq!(answer.status, 308);
    }
}

#[tokio::test]
async fn a_client_that_still_sends_is_not_reset() {
    let stand = stand().await;
    let address = stand.edge.listener("plain");
    let mut stream = within("connect", TcpStream::connect(address))
        .await
        .unwrap();
    let head = format!("POST /x HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 3000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    within("the answer", stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    assert_eq!(Response::take(&mut bytes, false, true).unwrap().status, 308);
    for piece in [b'x'; 3_000_000].chunks(100_000) {
        within("the body", stream.write_all(piece)).await.unwrap();
    }
}

#[tokio::test]
async fn broken_framing_is_400() {
    let stand = stand().await;
    for bad in [
        "POST / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : example.com\r\n\r\n",
        "garbage\r\n\r\n",
    ] {
        assert_eq!(ask(&stand, bad.as_bytes()).await.status, 400, "{bad:?}");
    }
}
