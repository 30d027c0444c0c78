//! Bodies and trailers, both ways.

use http::Request;
use tokio::task::JoinSet;

use crate::http::stand::{NAME, Stand, forward, pattern, post, route};
use crate::support::h2::{request, whole};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

const LARGE: usize = 10 * 1024 * 1024;

async fn mirror() -> (Origin, Stand) {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&forward("/", &origin)).await;
    (origin, stand)
}

fn url(path: &str) -> String {
    format!("https://{NAME}{path}")
}

#[tokio::test]
async fn ten_megabytes_go_up_and_down_over_http1() {
    let (origin, stand) = mirror().await;
    let body = pattern(LARGE);
    let mut client = stand.http1().await;
    client.send(&post("/mirror", &body)).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "what came back differs");
    assert!(origin.requests()[0].body == body, "what arrived differs");
}

#[tokio::test]
async fn ten_megabytes_go_up_and_down_over_http2() {
    let (origin, stand) = mirror().await;
    let body = pattern(LARGE);
    let mut client = stand.http2().await;
    let answer = client.fetch(request("POST", &url("/"), body.clone())).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "what came back differs");
    assert!(origin.requests()[0].body == body, "what arrived differs");
}

#[tokio::test]
async fn a_large_fixed_answer_comes_whole_over_both_protocols() {
    let text = "0123456789abcdef".repeat(LARGE / 16);
    let routes = route("/", "respond = { status = 200, body_file = \"large.txt\" }");
    let stand = Stand::start_with(&routes, |start| start.file("large.txt", &text)).await;
    assert!(stand.ask(&crate::http::stand::get("/")).await.body == text.as_bytes());
    let mut client = stand.http2().await;
    let answer = client.fetch(request("GET", &url("/"), "")).await.unwrap();
    assert!(answer.body == text.as_bytes());
}

#[tokio::test]
async fn a_hundred_concurrent_streams_keep_their_bodies_apart() {
    let (_origin, stand) = mirror().await;
    let client = stand.http2().await;
    let bodies: Vec<_> = (0..100_u8)
        .map(|n| [vec![n], pattern(50_000 + usize::from(n))].concat())
        .collect();
    let mut streams = JoinSet::new();
    for body in bodies {
        let send = client.send.clone();
        streams.spawn(async move {
            let mut send = within("a stream", send.ready()).await.unwrap();
            let head = Request::post(url("/")).body(()).unwrap();
            let (answer, mut stream) = send.send_request(head, false).unwrap();
            stream.send_data(body.clone().into(), true).unwrap();
            let answer = within("an answer", whole(answer)).await.unwrap();
            assert!(answer.body == body, "the answer to number {}", body[0]);
        });
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_chunked_body_and_its_trailers_reach_the_origin() {
    let (origin, stand) = mirror().await;
    let mut client = stand.http1().await;
    let sent = "POST / HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\
        trailer: x-sum\r\n\r\n3\r\nabc\r\n4;a=b\r\ndefg\r\n0\r\nx-sum: 7\r\nearly-data: 1\r\n\r\n";
    client.send(sent.as_bytes()).await;
    assert_eq!(client.response().await.text(), "abcdefg");
    let asked = &origin.requests()[0];
    assert_eq!(asked.body, b"abcdefg");
    // EARLY-DATA R17: not in trailers.
    assert_eq!(asked.trailers.to_ascii_lowercase(), "x-sum: 7\r\n");
}

#[tokio::test]
async fn an_origins_trailers_reach_a_client_that_takes_them() {
    let origin = Origin::start(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n",
        )
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut client = stand.http1().await;
    let sent = "GET / HTTP/1.1\r\nhost: example.com\r\nte: trailers\r\nconnection: te\r\n\r\n";
    client.send(sent.as_bytes()).await;
    let answer = client.response().await;
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "3".to_owned())]);

    let mut client = stand.http2().await;
    let answer = client.fetch(request("GET", &url("/"), "")).await.unwrap();
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.trailers.unwrap()["x-sum"], "3");
}

#[tokio::test]
async fn http2_trailers_reach_the_origin() {
    let (origin, stand) = mirror().await;
    let client = stand.http2().await;
    let mut send = client.send.clone().ready().await.unwrap();
    let (parts, _) = request("POST", &url("/"), "").into_parts();
    let mut head = Request::from_parts(parts, ());
    // Without it HTTP/1.1 has no place for them.
    head.headers_mut()
        .insert("trailer", "x-sum".parse().unwrap());
    let (answer, mut body) = send.send_request(head, false).unwrap();
    body.send_data("abc".into(), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "3".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    let answer = within("the answer", whole(answer)).await.unwrap();
    assert_eq!(answer.text(), "abc");
    assert_eq!(
        origin.requests()[0].trailers.to_ascii_lowercase(),
        "x-sum: 3\r\n"
    );
}

#[tokio::test]
async fn bodies_stream_before_they_are_whole() {
    let origin = Origin::start(|_| {
        let first = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc";
        Reply::raw(first).held().and(Reply::raw("def"))
    })
    .await;
    let stand = Stand::start(&forward("/", &origin)).await;
    let mut client = stand.http1().await;
    client.send(crate::http::stand::get("/").as_bytes()).await;
    let done = |client: &mut crate::support::client::Client| {
        let plain = client.take_plain();
        let end = plain.ends_with(b"abc");
        (end || plain.is_empty()).then_some(end).filter(|end| *end)
    };
    client.until("the first half", done).await.unwrap();
    origin.release();
    assert_eq!(client.read(3).await.unwrap(), b"def");

    origin.hold();
    let mut client = stand.http2().await;
    client.begin_request(request("GET", &url("/"), "")).await;
    origin.until_heads(2).await;
    origin.release();
    assert_eq!(client.next().await.unwrap().text(), "abcdef");
}
