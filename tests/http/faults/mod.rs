//! A faulty origin costs its own requests at most.
//!
//! Each fault is played twice beside a thousand requests to a healthy origin, through one worker.
//! First it is **held** at its worst moment, with requests pending on the very connections that the
//! others use: all of those end while every faulty one is still under way, which the order of the
//! access log proves. Then it runs **freely**, over and over.

mod http2;
mod pool;
mod raw;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use self::stage::{Fault, Outcome, beside};
use crate::support::origin::{Origin, Reply, When};

const HEAD: &str = "HTTP/1.1 200 OK\r\n";
const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort";

#[tokio::test]
async fn an_early_close() {
    let origin = Origin::start(|_| Reply::default().held().then_close()).await;
    beside(Fault::of(&origin), &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn a_reset_before_the_answer() {
    let origin = Origin::start(|_| Reply::default().held().then_reset()).await;
    beside(Fault::of(&origin), &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn a_body_that_is_too_short() {
    let origin = Origin::start(|_| Reply::raw(LONG).held().then_close()).await;
    beside(Fault::of(&origin), &[Outcome::Cut]).await;
}

#[tokio::test]
async fn a_reset_after_the_head() {
    let origin = Origin::start(|_| Reply::raw(LONG).held().then_reset()).await;
    beside(Fault::of(&origin), &[Outcome::Cut]).await;
}

#[tokio::test]
async fn bad_framing_of_a_head() {
    let lengths = "content-length: 1\r\ncontent-length: 2\r\n\r\nab";
    let origin = Origin::start(move |_| Reply::raw(HEAD).held().send(lengths)).await;
    beside(Fault::of(&origin), &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn bad_framing_of_a_body() {
    let chunk = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let origin = Origin::start(move |_| {
        let reply = Reply::raw([HEAD, chunk].concat());
        reply.held().send("not a size\r\n").then_silence()
    })
    .await;
    beside(Fault::of(&origin), &[Outcome::Cut]).await;
}

#[tokio::test]
async fn what_is_no_http() {
    let origin = Origin::start(|_| Reply::raw("SSH-2.0-").held().send("OpenSSH\r\n\r\n")).await;
    beside(Fault::of(&origin), &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn endless_headers() {
    let fields = "x-field: 0123456789\r\n".repeat(1000);
    let origin = Origin::start(move |_| {
        let reply = Reply::raw([HEAD, &fields].concat()).held();
        (0..50).fold(reply, |reply, _| reply.send(fields.as_str()))
    })
    .await;
    beside(Fault::of(&origin), &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn a_storm_of_informational_answers() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let origin = Origin::start(|_| {
        let reply = Reply::raw(HINT.repeat(10)).held();
        (0..50).fold(reply, |reply, _| reply.send(HINT.repeat(1000)))
    })
    .await;
    beside(Fault::of(&origin), &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn an_answer_before_the_requests_end() {
    let origin = Origin::start_when(When::AfterHead, |_| {
        Reply::default()
            .held()
            .and(Reply::status(413, "no").then_close())
    })
    .await;
    let fault = Fault::of(&origin).with_body(300_000);
    // What the origin closed on may reset its answer away.
    let outcomes = [Outcome::Status(413), Outcome::Status(502), Outcome::Cut];
    beside(fault, &outcomes).await;
}

#[tokio::test]
async fn a_body_that_nobody_takes() {
    let origin =
        Origin::start_when(When::AfterHead, |_| Reply::default().held().then_reset()).await;
    let fault = Fault::of(&origin).with_body(3_000_000);
    beside(fault, &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn a_slow_answer() {
    let origin = Origin::start(|_| {
        let reply = Reply::raw("HTTP/1.1 200 OK\r\ncontent-le").held();
        reply.send("ngth: 9\r\n\r\nslow").send("ness!")
    })
    .await;
    beside(Fault::of(&origin), &[Outcome::Status(200)]).await;
}

#[tokio::test]
async fn silence() {
    let origin = Origin::start(|_| Reply::default().held().then_silence()).await;
    let fault = Fault::of(&origin).timeouts("response_headers = \"5s\"");
    beside(fault, &[Outcome::Status(504)]).await;
}

#[tokio::test]
async fn a_flapping_origin() {
    let origin = Origin::start(|asked| match asked.connection % 3 {
        0 => Reply::default().held().and(Reply::ok("up")),
        1 => Reply::default().held().then_close(),
        _ => Reply::default().held().then_reset(),
    })
    .await;
    beside(
        Fault::of(&origin),
        &[Outcome::Status(200), Outcome::Status(502)],
    )
    .await;
}

#[tokio::test]
async fn a_dead_origin() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    beside(
        Fault::at(&format!("http://{address}")),
        &[Outcome::Status(502)],
    )
    .await;
}

#[tokio::test]
async fn an_origin_that_takes_no_connection() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    // One fills the queue; the kernel drops every SYN after it.
    let _filler = tokio::net::TcpStream::connect(address).await.unwrap();
    let fault = Fault::at(&format!("http://{address}"))
        .timeouts("connect = \"5s\"")
        .pending();
    beside(fault, &[Outcome::Status(504)]).await;
}
