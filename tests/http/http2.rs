//! What only HTTP/2 has: resets, windows, many streams, floods.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use tokio::task::JoinSet;

use crate::http::stand::{NAME, Stand, forward, resident, respond, route};
use crate::support::client::{Client, Ending};
use crate::support::h2::{request, whole};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

const LARGE: usize = 40 * 1024 * 1024;

fn head(method: &str, path: &str) -> Request<()> {
    let uri = format!("https://{NAME}{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

#[tokio::test]
async fn a_reset_by_the_client_ends_its_origin_request_alone() {
    let origin = Origin::start(|asked| match asked.target() {
        "/silent" => Reply::silence(),
        "/half" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").then_silence(),
        _ => Reply::ok("ok"),
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut client = stand.http2().await;
    for path in ["/silent", "/half"] {
        let (answer, mut stream) = client.send.send_request(head("GET", path), true).unwrap();
        origin.until_heads(1).await;
        origin.until_open(1).await;
        if path == "/half" {
            let (_, mut body) = within("a head", answer).await.unwrap().into_parts();
            assert_eq!(within("data", body.data()).await.unwrap().unwrap(), "half");
            stream.send_reset(Reason::CANCEL);
        } else {
            stream.send_reset(Reason::CANCEL);
            drop(answer);
        }
        origin.until_open(0).await;
        let uri = format!("https://{NAME}/");
        let answer = client.fetch(request("GET", &uri, "")).await.unwrap();
        assert_eq!(answer.text(), "ok");
        origin.close_idle();
        origin.until_open(0).await;
    }
    let aborted = stand
        .edge
        .until_accesses(2, |line| line["path"] != "/")
        .await;
    for line in aborted {
        assert_eq!(line["end"], "aborted_by_client", "{line}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_reset_and_no_other_is() {
    let body = vec![b'x'; LARGE];
    let text = String::from_utf8(body.clone()).unwrap();
    let origin = Origin::start(move |_| Reply::ok(&body)).await;
    let idle = "timeouts = { write_idle = \"1s\" }";
    let routes = route("/origin", &format!("origin = [{:?}]\n{idle}", origin.url()))
        + &route(
            "/fixed",
            &format!("respond = {{ status = 200, body_file = \"large.txt\" }}\n{idle}"),
        )
        + &route(
            "/moved",
            "redirect = { to = \"https://example.com/\", status = 307 }",
        );
    let stand = Stand::start_with(&routes, |start| start.file("large.txt", &text)).await;
    let before = resident(stand.edge.pid());
    for path in ["/origin", "/fixed"] {
        let mut client = stand.http2().await;
        let (answer, _) = client.send.send_request(head("GET", path), true).unwrap();
        let (_, mut body) = within("a head", answer).await.unwrap().into_parts();
        // No capacity is ever given back: the windows of stream and connection run dry.
        let error = loop {
            match within("data or a reset", body.data()).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("{path}: the body ended"),
            }
        };
        assert!(error.is_reset(), "{path}: {error}");
        let moved = format!("https://{NAME}/moved");
        let answer = client.fetch(request("GET", &moved, "")).await.unwrap();
        assert_eq!(answer.status, 307, "{path}");
        let grown = resident(stand.edge.pid()).saturating_sub(before);
        assert!(grown < LARGE / 2, "{path}: {grown} bytes more");
    }
    let timeouts = stand
        .edge
        .metric("cutwater_timeouts_total", &["write_idle"])
        .await;
    assert_eq!(timeouts, 2.0);
}

#[tokio::test]
async fn streams_above_the_limit_wait_their_turn() {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("ok"))).await;
    let stand = Stand::start(&(respond("/fixed", "ok") + &forward("/", &origin))).await;
    let mut client = stand.http2().await;
    // The server's SETTINGS are here when the first answer is.
    let fixed = request("GET", &format!("https://{NAME}/fixed"), "");
    assert_eq!(client.fetch(fixed).await.unwrap().text(), "ok");
    let mut streams = JoinSet::new();
    for _ in 0..150 {
        let send = client.send.clone();
        streams.spawn(async move {
            let mut send = within("a stream", send.ready()).await.unwrap();
            let (answer, _) = send.send_request(head("GET", "/"), true).unwrap();
            within("an answer", whole(answer)).await.unwrap()
        });
    }
    origin.until_heads(128).await;
    assert!(origin.heads().len() <= 150);
    origin.release();
    while let Some(answer) = streams.join_next().await {
        assert_eq!(answer.unwrap().text(), "ok");
    }
    assert_eq!(origin.heads().len(), 150);
}

#[tokio::test]
async fn a_length_that_is_not_the_bodys_is_a_stream_error() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&(respond("/fixed", "ok") + &forward("/", &origin))).await;
    let mut client = stand.http2().await;
    for path in ["/", "/fixed"] {
        for (length, body) in [("10", "short"), ("3", "too long"), ("5", "right")] {
            let mut head = head("POST", path);
            head.headers_mut()
                .insert("content-length", length.parse().unwrap());
            let (answer, mut stream) = client.send.send_request(head, false).unwrap();
            let _ = stream.send_data(Bytes::from_static(body.as_bytes()), true);
            let answer = within("an end", whole(answer)).await;
            if body == "right" {
                assert_eq!(answer.unwrap().status, 200, "{path}");
            } else {
                let error = answer.expect_err(body);
                assert_eq!(
                    error.reason(),
                    Some(Reason::PROTOCOL_ERROR),
                    "{path} {body}"
                );
            }
        }
    }
    let whole = origin
        .requests()
        .iter()
        .filter(|asked| !asked.cut_short)
        .count();
    assert_eq!(whole, 1);
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_own_connection_only() {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("ok"))).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let client = stand.http2().await;
    let mut sent = 0;
    for _ in 0..5000 {
        let Ok(Ok(mut send)) =
            tokio::time::timeout(Duration::from_secs(5), client.send.clone().ready()).await
        else {
            break;
        };
        let Ok((_, mut stream)) = send.send_request(head("GET", "/"), true) else {
            break;
        };
        stream.send_reset(Reason::CANCEL);
        sent += 1;
        tokio::task::yield_now().await;
    }
    // The connection ends once so many resets have come in one piece that nobody has looked at: how
    // many that takes in all, the pieces decide.
    assert!(sent > 20, "{sent}");
    origin.release();
    // Whatever became of it, others are served and the origin is let go.
    let mut other = stand.http2().await;
    let uri = format!("https://{NAME}/");
    assert_eq!(
        other.fetch(request("GET", &uri, "")).await.unwrap().text(),
        "ok"
    );
    client.close().await;
}

#[tokio::test]
async fn a_client_that_says_goaway_is_let_go() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let mut client = stand.http2().await;
    let uri = format!("https://{NAME}/");
    assert_eq!(
        client.fetch(request("GET", &uri, "")).await.unwrap().text(),
        "ok"
    );
    let mut tls = client.close().await;
    assert_eq!(tls.ending().await, Ending::CloseNotify);
    assert!(tls.tcp_closed().await);
    let line = stand.edge.until_connection(|_| true).await;
    assert_eq!(
        (&line["end"], &line["requests"]),
        (&"clean".into(), &1.into())
    );
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Literal fields without indexing and without Huffman codes (RFC 7541 §6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for part in [name, value] {
            block.push(u8::try_from(part.len()).unwrap());
            block.extend(part.as_bytes());
        }
    }
    block
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes of a stream 1 with these fields and this body: the first byte of the answer's
/// fields, or `None` for RST_STREAM, GOAWAY or the end.
async fn outcome(stand: &Stand, block: &[u8], data: Option<&[u8]>) -> Option<u8> {
    let address = stand.edge.address();
    let mut client = Client::open(address, NAME, &stand.setup2().fresh()).await;
    let end = if data.is_some() { 4 } else { 5 };
    let mut bytes = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, end, 1, block)].concat();
    if let Some(data) = data {
        bytes.extend(frame(0, 1, 1, data));
    }
    client.send(&bytes).await;
    let mut seen = Vec::new();
    let decide = |client: &mut Client| {
        seen.extend(client.take_plain());
        while seen.len() >= 9 {
            let length =
                usize::from(seen[0]) << 16 | usize::from(seen[1]) << 8 | usize::from(seen[2]);
            if seen.len() < 9 + length {
                return None;
            }
            let frame: Vec<u8> = seen.drain(..9 + length).collect();
            match frame[3] {
                1 => return Some(Some(frame[9])),
                3 | 7 => return Some(None),
                _ => {}
            }
        }
        None
    };
    client.until("an outcome", decide).await.unwrap_or(None)
}

/// A name, a block of fields, a body.
type Bad<'a> = (&'a str, Vec<u8>, Option<&'a [u8]>);

#[tokio::test]
async fn malformed_requests_never_reach_the_origin() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", NAME),
        (":path", "/"),
    ];
    let with = |more: &[(&str, &str)]| fields(&[&GET[..], more].concat());
    let without = |name: &str| {
        let rest: Vec<_> = GET.into_iter().filter(|(n, _)| *n != name).collect();
        fields(&rest)
    };
    let path = |path: &str| fields(&[GET[0], GET[1], GET[2], (":path", path)]);
    // RFC 9113 §8.2, §8.3.
    let bad: Vec<Bad<'_>> = vec![
        ("a name in capitals", with(&[("X-Up", "a")]), None),
        ("a CR in a value", with(&[("x", "a\r\nhost: b")]), None),
        ("a LF in a value", with(&[("x", "a\nb")]), None),
        ("a NUL in a value", with(&[("x", "a\0b")]), None),
        ("a space in a name", with(&[("x y", "a")]), None),
        ("a colon in a name", with(&[("x:y", "a")]), None),
        ("a name without letters", with(&[("", "a")]), None),
        ("connection", with(&[("connection", "close")]), None),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            Some(b"0\r\n\r\n"),
        ),
        ("keep-alive", with(&[("keep-alive", "x")]), None),
        ("upgrade", with(&[("upgrade", "h2c")]), None),
        ("te: gzip", with(&[("te", "gzip")]), None),
        ("no method", without(":method"), None),
        ("no scheme", without(":scheme"), None),
        ("no path", without(":path"), None),
        ("no authority", without(":authority"), None),
        ("two methods", with(&[(":method", "POST")]), None),
        ("two paths", with(&[(":path", "/x")]), None),
        (
            "a late pseudo-field",
            fields(&[GET[0], GET[1], GET[2], ("x", "y"), GET[3]]),
            None,
        ),
        ("an unknown pseudo-field", with(&[(":x", "y")]), None),
        (":status", with(&[(":status", "200")]), None),
        ("an empty path", path(""), None),
        ("a space in the path", path("/a b"), None),
        ("CRLF in the path", path("/ HTTP/1.1\r\nhost: b"), None),
        ("a relative path", path("a"), None),
        ("an absolute path", path("https://example.com/"), None),
        ("an asterisk with GET", path("*"), None),
        (
            "a method with a space",
            fields(&[(":method", "GET /"), GET[1], GET[2], GET[3]]),
            None,
        ),
        (
            "an empty method",
            fields(&[(":method", ""), GET[1], GET[2], GET[3]]),
            None,
        ),
        (
            "user information",
            fields(&[GET[0], GET[1], (":authority", "a@example.com"), GET[3]]),
            None,
        ),
        ("another host", with(&[("host", "other.example")]), None),
        (
            "two lengths",
            with(&[("content-length", "3"), ("content-length", "4")]),
            Some(b"abc"),
        ),
        (
            "a length of letters",
            with(&[("content-length", "abc")]),
            Some(b"abc"),
        ),
        (
            "a length with a sign",
            with(&[("content-length", "+3")]),
            Some(b"abc"),
        ),
        (
            "a broken block",
            vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            None,
        ),
    ];
    for (name, block, data) in bad {
        let said = outcome(&stand, &block, data).await;
        // 0x88 is `:status: 200`.
        assert_ne!(said, Some(0x88), "{name}");
        let heads = origin.requests();
        assert!(heads.is_empty(), "{name}: {heads:#?}");
    }
    let good = outcome(&stand, &with(&[("te", "trailers"), ("host", NAME)]), None).await;
    assert_eq!(good, Some(0x88));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn bytes_that_are_not_http2_end_the_connection() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let settings = frame(4, 0, 0, &[]);
    let after = |bytes: &[u8]| [PREFACE, &settings, bytes].concat();
    for (name, bytes) in [
        (
            "HTTP/1.1",
            b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n".to_vec(),
        ),
        ("garbage", crate::http::stand::pattern(2000)),
        ("half a preface", PREFACE[..10].to_vec()),
        (
            "a frame too large",
            after(&frame(0, 0, 1, &vec![0; 20_000])),
        ),
        ("data on no stream", after(&frame(0, 0, 1, b"x"))),
        (
            "an even stream",
            after(&frame(1, 5, 2, &[0x82, 0x87, 0x84])),
        ),
        ("a window of zero", after(&frame(8, 0, 0, &[0; 4]))),
        ("continuation of nothing", after(&frame(9, 4, 1, &[0x82]))),
        (
            "a push promise",
            after(&frame(5, 4, 1, &[0, 0, 0, 2, 0x82])),
        ),
    ] {
        let address = stand.edge.address();
        let mut client = Client::open(address, NAME, &stand.setup2().fresh()).await;
        client.send(&bytes).await;
        eprintln!("{name}");
        if name == "half a preface" {
            client.close_notify().await;
        }
        assert_eq!(client.ending().await, Ending::CloseNotify, "{name}");
        assert!(client.tcp_closed().await, "{name}");
    }
    assert_eq!(stand.status_of("/").await, 200);
}

#[tokio::test]
async fn options_of_the_server_is_answered_by_the_edge() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let asterisk = fields(&[
        (":method", "OPTIONS"),
        (":scheme", "https"),
        (":authority", NAME),
        (":path", "*"),
    ]);
    // 0x89 is `:status: 204`.
    assert_eq!(outcome(&stand, &asterisk, None).await, Some(0x89));
}

#[tokio::test]
async fn fields_without_end_are_not_gathered() {
    let stand = Stand::start(&respond("/", "ok")).await;
    let before = resident(stand.edge.pid());
    let mut client = Client::open(stand.edge.address(), NAME, &stand.setup2()).await;
    client
        .send(&[PREFACE, &frame(4, 0, 0, &[]), &frame(1, 1, 1, &[0x82])].concat())
        .await;
    let block = fields(&[("x", "y"); 3000]);
    let flood = frame(9, 0, 1, &block).repeat(2000);
    // It may be closed before all is taken.
    client.send_pending_for(Duration::from_millis(1)).await;
    client.queue(&flood);
    client.send_pending_for(Duration::from_secs(5)).await;
    client.ending().await;
    let grown = resident(stand.edge.pid()).saturating_sub(before);
    assert!(grown < flood.len() / 2, "{grown} bytes more");
    assert_eq!(stand.status_of("/").await, 200);
}
