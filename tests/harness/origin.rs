use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http1::Response;
use crate::support::origin::{Origin, Reply, When};
use crate::support::within;

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn answer(stream: &mut TcpStream) -> Option<Response> {
    let mut bytes = Vec::new();
    loop {
        let read = within("an answer", stream.read_buf(&mut bytes)).await;
        let closed = !matches!(read, Ok(1..));
        let response = Response::take(&mut bytes, false, closed);
        if closed || response.is_some() {
            assert!(bytes.is_empty(), "more than an answer: {bytes:?}");
            return response;
        }
    }
}

#[tokio::test]
async fn requests_are_remembered_with_their_bodies() {
    let origin = Origin::echo().await;
    let mut stream = connect(origin.address()).await;
    let first = b"POST /a HTTP/1.1\r\nhost: x\r\nContent-Length: 3\r\n\r\nabc";
    stream.write_all(first).await.unwrap();
    assert_eq!(answer(&mut stream).await.unwrap().body, first);
    let second =
        b"PUT /b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nt: v\r\n\r\n";
    stream.write_all(second).await.unwrap();
    answer(&mut stream).await.unwrap();
    let requests = origin.requests();
    let seen: Vec<_> = requests
        .iter()
        .map(|r| (r.nth, r.method(), r.target(), r.body.as_slice()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, "POST", "/a", b"abc".as_slice()),
            (1, "PUT", "/b", b"de")
        ]
    );
    assert_eq!(requests[0].field("content-length"), Some("3"));
    assert_eq!(requests[1].trailers, "t: v\r\n");
    assert_eq!((origin.connections(), origin.open()), (1, 1));
    drop(stream);
    origin.until_open(0).await;
}

#[tokio::test]
async fn a_reused_connection_can_be_closed_before_any_byte() {
    let origin = Origin::start(|asked| match asked.nth {
        0 => Reply::chunked(&[b"once", b" only"], &[("sum", "9")]),
        _ => Reply::close(),
    })
    .await;
    let mut stream = connect(origin.address()).await;
    let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(get).await.unwrap();
    let first = answer(&mut stream).await.unwrap();
    assert_eq!(first.text(), "once only");
    assert_eq!(first.trailers, [("sum".to_owned(), "9".to_owned())]);
    stream.write_all(get).await.unwrap();
    assert_eq!(answer(&mut stream).await, None);
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn idle_connections_close_on_demand() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let mut stream = connect(origin.address()).await;
    let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(get).await.unwrap();
    answer(&mut stream).await.unwrap();
    // Only when the origin waits again can it be told to close.
    tokio::task::yield_now().await;
    origin.close_idle();
    assert_eq!(answer(&mut stream).await, None);
    origin.until_open(0).await;
}

#[tokio::test]
async fn an_answer_may_be_held_and_come_before_the_body() {
    let origin = Origin::start_when(When::AfterHead, |_| {
        Reply::default().held().and(Reply::too_early())
    })
    .await;
    let mut stream = connect(origin.address()).await;
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert_eq!(origin.until_heads(1).await[0].target(), "/");
    assert!(origin.requests().is_empty());
    origin.release();
    assert_eq!(answer(&mut stream).await.unwrap().status, 425);
    stream.write_all(b"ab").await.unwrap();
    drop(stream);
    let requests = origin.until_requests(1).await;
    assert_eq!(requests[0].body, b"ab");
    assert!(requests[0].cut_short);
}
