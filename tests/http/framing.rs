//! Framing that two readers may read in two ways: 400 and a close, and nobody behind sees it.

use crate::http::stand::{Stand, forward, get, respond};
use crate::support::client::Ending;
use crate::support::origin::{Origin, Reply};

async fn stand() -> (Origin, Stand) {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let routes = respond("/fixed", "ok") + &forward("/", &origin);
    let stand = Stand::start(&routes).await;
    (origin, stand)
}

/// Heads that never become a request, and what each is answered with.
fn heads() -> Vec<(&'static str, Vec<u8>, u16)> {
    let post = |fields: &str| {
        format!("POST /bad HTTP/1.1\r\nhost: example.com\r\n{fields}\r\n\r\n0\r\n\r\n").into_bytes()
    };
    let line = |line: &str| format!("{line}\r\nhost: example.com\r\n\r\n").into_bytes();
    let raw = |bytes: &str| bytes.as_bytes().to_vec();
    vec![
        // Two lengths (RFC 9112 §6.3).
        (
            "length and chunked",
            post("content-length: 5\r\ntransfer-encoding: chunked"),
            400,
        ),
        (
            "chunked and length",
            post("transfer-encoding: chunked\r\ncontent-length: 5"),
            400,
        ),
        (
            "equal lengths",
            post("content-length: 5\r\ncontent-length: 5"),
            400,
        ),
        (
            "differing lengths",
            post("content-length: 5\r\ncontent-length: 6"),
            400,
        ),
        ("a list of lengths", post("content-length: 5, 5"), 400),
        ("a length with a sign", post("content-length: +5"), 400),
        ("a negative length", post("content-length: -5"), 400),
        ("a length in hex", post("content-length: 0x5"), 400),
        ("an empty length", post("content-length:"), 400),
        ("a length in two words", post("content-length: 5 5"), 400),
        (
            "a length above all",
            post("content-length: 18446744073709551617"),
            400,
        ),
        // Codings (RFC 9112 §6.1).
        ("identity", post("transfer-encoding: identity"), 400),
        (
            "gzip and chunked",
            post("transfer-encoding: gzip, chunked"),
            400,
        ),
        (
            "chunked twice",
            post("transfer-encoding: chunked, chunked"),
            400,
        ),
        (
            "two codings",
            post("transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
            400,
        ),
        (
            "chunked and identity",
            post("transfer-encoding: chunked\r\ntransfer-encoding: identity"),
            400,
        ),
        ("xchunked", post("transfer-encoding: xchunked"), 400),
        (
            "a vertical tab",
            post("transfer-encoding: \x0bchunked"),
            400,
        ),
        (
            "chunked with a parameter",
            post("transfer-encoding: chunked;q=1"),
            400,
        ),
        (
            "chunked in quotes",
            post("transfer-encoding: \"chunked\""),
            400,
        ),
        ("no coding", post("transfer-encoding:"), 400),
        (
            "chunked under 1.0",
            raw(
                "POST /bad HTTP/1.0\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            400,
        ),
        // Names, values, folds (RFC 9112 §5).
        (
            "a space before the colon",
            post("transfer-encoding : chunked"),
            400,
        ),
        (
            "a tab before the colon",
            post("transfer-encoding\t: chunked"),
            400,
        ),
        ("a space in a name", post("content length: 5"), 400),
        ("no name", post(": 5"), 400),
        ("no colon", post("content-length 5"), 400),
        (
            "a folded value",
            post("x: a\r\n transfer-encoding: chunked"),
            400,
        ),
        (
            "a fold by tab",
            post("transfer-encoding:\r\n\tchunked"),
            400,
        ),
        (
            "a fold before all fields",
            raw("POST /bad HTTP/1.1\r\n host: example.com\r\n\r\n"),
            400,
        ),
        ("a NUL in a value", post("x: a\0b"), 400),
        ("a NUL in a name", post("x\0y: a"), 400),
        (
            "8-bit in a name",
            post("transf\u{e9}r-encoding: chunked"),
            400,
        ),
        // Line ends.
        (
            "a bare LF in a field",
            post("x: a\ntransfer-encoding: chunked"),
            400,
        ),
        (
            "bare LF only",
            raw("GET /bad HTTP/1.1\nhost: example.com\n\n"),
            400,
        ),
        (
            "a bare LF behind the request line",
            raw("GET /bad HTTP/1.1\nhost: example.com\r\n\r\n"),
            400,
        ),
        (
            "a bare LF at the end",
            raw("GET /bad HTTP/1.1\r\nhost: example.com\r\n\n"),
            400,
        ),
        (
            "a bare CR in a value",
            post("x: a\rtransfer-encoding: chunked"),
            400,
        ),
        ("a CR before CRLF", post("x: a\r"), 400),
        (
            "bare LF before the request",
            raw("\nGET /bad HTTP/1.1\r\nhost: example.com\r\n\r\n"),
            400,
        ),
        // Request lines (RFC 9112 §3).
        ("two spaces", line("GET  /bad HTTP/1.1"), 400),
        ("a tab", line("GET\t/bad HTTP/1.1"), 400),
        ("a space in front", line(" GET /bad HTTP/1.1"), 400),
        ("a space behind", line("GET /bad HTTP/1.1 "), 400),
        ("a space in the target", line("GET /bad bad HTTP/1.1"), 400),
        ("no version", line("GET /bad"), 400),
        ("a version in small letters", line("GET /bad http/1.1"), 400),
        ("a version without minor", line("GET /bad HTTP/1"), 400),
        ("no method", line("/bad HTTP/1.1"), 400),
        ("a method that is no token", line("G@T /bad HTTP/1.1"), 400),
        ("a relative target", line("GET bad HTTP/1.1"), 400),
        (
            "an authority as the target",
            line("GET example.com:443 HTTP/1.1"),
            400,
        ),
        ("an asterisk with GET", line("GET * HTTP/1.1"), 400),
        ("a fragment", line("GET /bad#x HTTP/1.1"), 400),
        ("8-bit in the target", line("GET /b\u{e4}d HTTP/1.1"), 400),
        (
            "another scheme",
            line("GET ftp://example.com/bad HTTP/1.1"),
            400,
        ),
        ("version 1.2", line("GET /bad HTTP/1.2"), 505),
        ("version 0.9", line("GET /bad HTTP/0.9"), 505),
        (
            "the preface of HTTP/2",
            raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            505,
        ),
        ("a method without end", vec![b'A'; 100], 501),
        (
            "a target without end",
            [b"GET /".as_slice(), &[b'a'; 9000]].concat(),
            414,
        ),
        (
            "a head without end",
            [b"GET /bad HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 60_000]].concat(),
            431,
        ),
        (
            "fields without end",
            [
                b"GET /bad HTTP/1.1\r\n".as_slice(),
                "x: y\r\n".repeat(120).as_bytes(),
            ]
            .concat(),
            431,
        ),
        (
            "a TLS record",
            vec![
                22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, b'\r', b'\n', b'\r', b'\n',
            ],
            400,
        ),
    ]
}

#[tokio::test]
async fn a_bad_head_is_answered_after_the_good_requests_before_it_and_reaches_nobody() {
    let (origin, stand) = stand().await;
    let mut good = 0;
    for (name, bad, status) in heads() {
        let mut client = stand.http1().await;
        let smuggled = get("/smuggled");
        let all = [
            get("/good").into_bytes(),
            get("/fixed").into_bytes(),
            bad,
            smuggled.into(),
        ];
        client.send(&all.concat()).await;
        good += 1;
        assert_eq!(client.response().await.status, 200, "{name}");
        assert_eq!(client.response().await.text(), "ok", "{name}");
        let answer = client.try_response(false).await;
        let answer = answer.unwrap_or_else(|ending| panic!("{name}: {ending:?}"));
        assert_eq!(answer.status, status, "{name}");
        assert_eq!(answer.header("connection"), Some("close"), "{name}");
        let (rest, ending) = client.read_to_end().await;
        assert_eq!((rest.len(), ending), (0, Ending::CloseNotify), "{name}");
        assert!(client.tcp_closed().await, "{name}");
        assert_eq!(origin.heads().len(), good, "{name}");
        assert_eq!(origin.heads()[good - 1].target(), "/good", "{name}");
    }
    let violations = stand
        .edge
        .metric("cutwater_framing_violations_total", &[])
        .await;
    assert_eq!(violations, good as f64);
}

#[tokio::test]
async fn a_bad_first_head_is_answered_byte_by_byte_too() {
    let (origin, stand) = stand().await;
    for (name, bad, status) in heads() {
        let mut client = stand.http1().await;
        if bad.len() < 300 {
            for byte in &bad {
                client.send(&[*byte]).await;
            }
        } else {
            client.send(&bad).await;
        }
        let answer = client.try_response(false).await;
        let answer = answer.unwrap_or_else(|ending| panic!("{name}: {ending:?}"));
        assert_eq!(answer.status, status, "{name}");
        assert_eq!(client.ending().await, Ending::CloseNotify, "{name}");
        assert!(client.tcp_closed().await, "{name}");
    }
    assert!(origin.heads().is_empty());
}

/// What may go wrong inside a chunked body (RFC 9112 §7.1).
const CHUNKS: [(&str, &str); 19] = [
    ("no number", "zz\r\nhello\r\n0\r\n\r\n"),
    ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
    ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
    ("a space in front", " 5\r\nhello\r\n0\r\n\r\n"),
    ("too many digits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("more data than said", "4\r\nhello\r\n0\r\n\r\n"),
    ("less data than said", "6\r\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the size", "5\nhello\r\n0\r\n\r\n"),
    ("bare LF behind the data", "5\r\nhello\n0\r\n\r\n"),
    ("bare LF in an extension", "5;a=b\nc\r\nhello\r\n0\r\n\r\n"),
    ("a CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
    (
        "a length in the trailers",
        "5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n",
    ),
    (
        "a coding in the trailers",
        "5\r\nhello\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
    ),
    (
        "a host in the trailers",
        "5\r\nhello\r\n0\r\nhost: other\r\n\r\n",
    ),
    (
        "a fold in the trailers",
        "5\r\nhello\r\n0\r\nx: a\r\n b\r\n\r\n",
    ),
    ("no colon in the trailers", "5\r\nhello\r\n0\r\nx\r\n\r\n"),
];

#[tokio::test]
async fn a_bad_chunk_is_answered_400_and_no_request_follows_it() {
    let (origin, stand) = stand().await;
    for (count, path) in ["/fixed", "/origin"].into_iter().enumerate() {
        for (name, body) in CHUNKS {
            let name = format!("{path}: {name}");
            let mut client = stand.http1().await;
            let bad = format!(
                "POST {path} HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n{body}{}",
                get("/smuggled")
            );
            client
                .send(format!("{}{bad}", get("/fixed")).as_bytes())
                .await;
            assert_eq!(client.response().await.text(), "ok", "{name}");
            let answer = client.try_response(false).await;
            let answer = answer.unwrap_or_else(|ending| panic!("{name}: {ending:?}"));
            assert_eq!(answer.status, 400, "{name}");
            assert_eq!(answer.header("connection"), Some("close"), "{name}");
            let (rest, ending) = client.read_to_end().await;
            assert_eq!((rest.len(), ending), (0, Ending::CloseNotify), "{name}");
            assert!(client.tcp_closed().await, "{name}");
        }
        let violations = stand
            .edge
            .metric("cutwater_framing_violations_total", &[])
            .await;
        assert_eq!(violations, ((count + 1) * CHUNKS.len()) as f64);
    }
    // The origin never got such a body whole.
    for asked in origin.heads() {
        assert_eq!(asked.target(), "/origin");
    }
    assert!(origin.requests().iter().all(|asked| asked.cut_short));
    let all = |line: &serde_json::Value| line["error"].to_string().contains("broken framing");
    stand.edge.until_connection(all).await;
}

#[tokio::test]
async fn what_is_strict_and_unusual_is_served() {
    let (_origin, stand) = stand().await;
    for request in [
        "\r\nGET /fixed HTTP/1.1\r\nhost: example.com\r\n\r\n",
        "GET /fixed HTTP/1.1\r\nHOST:example.com\r\n\r\n",
        "GET /fixed HTTP/1.1\r\nhost: \t example.com \t \r\nx:\r\n\r\n",
        "GET https://example.com/fixed HTTP/1.1\r\nhost: example.com\r\n\r\n",
        "POST /fixed HTTP/1.1\r\nhost: example.com\r\nTransfer-Encoding: Chunked\r\n\r\n00\r\n\r\n",
        "POST /fixed HTTP/1.1\r\nhost: example.com\r\ncontent-length: 0\r\n\r\n",
        "UPDATEREDIRECTREF /fixed HTTP/1.1\r\nhost: example.com\r\nx: \u{e9}\r\n\r\n",
    ] {
        assert_eq!(stand.ask(request).await.text(), "ok", "{request:?}");
    }
}
