//! A faulty origin costs its own requests at most.
//!
//! Each fault is played twice beside a thousand requests to a healthy origin, through one worker.
//! First it is **held** at its worst moment, with requests pending on the very connections that the
//! others use: all of those end while every faulty one is still under way, which the order of the
//! access log proves. Then it runs **freely**, over and over. All that is played in the clear, and
//! over TLS.

mod http2;
mod pool;
mod raw;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use self::stage::{Fault, Outcome, beside};
use crate::support::origin::{Asked, Origin, Reply, When};
use crate::support::pki::Pki;

const HEAD: &str = "HTTP/1.1 200 OK\r\n";
const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort";

/// Plays what an origin of HTTP/1.1 does, in the clear and over TLS.
async fn both<R>(reply: R, outcomes: &[Outcome])
where
    R: Fn(&Asked) -> Reply + Clone + Send + Sync + 'static,
{
    both_when(When::AfterBody, reply, |fault| fault, outcomes).await;
}

/// The same of an origin that chooses its reply at this moment, and of a fault that is `more`.
async fn both_when<R>(when: When, reply: R, more: fn(Fault<'_>) -> Fault<'_>, outcomes: &[Outcome])
where
    R: Fn(&Asked) -> Reply + Clone + Send + Sync + 'static,
{
    let origin = Origin::start_when(when, reply.clone()).await;
    beside(more(Fault::of(&origin)), outcomes).await;
    over_tls(when, reply, more, outcomes).await;
}

async fn over_tls<R>(when: When, reply: R, more: fn(Fault<'_>) -> Fault<'_>, outcomes: &[Outcome])
where
    R: Fn(&Asked) -> Reply + Send + Sync + 'static,
{
    let pki = Pki::new();
    let origin = Origin::start_tls(&pki.leaf(&["127.0.0.1"]), when, reply).await;
    let fault = Fault::of(&origin).tls(&format!("ca = {:?}", pki.ca_file()));
    beside(more(fault), outcomes).await;
}

#[tokio::test]
async fn an_early_close() {
    let reply = |_: &Asked| Reply::default().held().then_close();
    both(reply, &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn a_reset_before_the_answer() {
    let reply = |_: &Asked| Reply::default().held().then_reset();
    both(reply, &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn a_body_that_is_too_short() {
    let reply = |_: &Asked| Reply::raw(LONG).held().then_close();
    both(reply, &[Outcome::Cut]).await;
}

#[tokio::test]
async fn a_reset_after_the_head() {
    let reply = |_: &Asked| Reply::raw(LONG).held().then_reset();
    both(reply, &[Outcome::Cut]).await;
}

#[tokio::test]
async fn an_end_that_tls_did_not_announce() {
    // Whoever is between could have made it.
    let reply = |_: &Asked| {
        let until_close = Reply::raw([HEAD, "\r\nhalf of it"].concat());
        until_close.held().then_cut()
    };
    over_tls(When::AfterBody, reply, |fault| fault, &[Outcome::Cut]).await;
}

#[tokio::test]
async fn bad_framing_of_a_head() {
    let lengths = "content-length: 1\r\ncontent-length: 2\r\n\r\nab";
    let reply = move |_: &Asked| Reply::raw(HEAD).held().send(lengths);
    both(reply, &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn bad_framing_of_a_body() {
    let chunk = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let reply = move |_: &Asked| {
        let reply = Reply::raw([HEAD, chunk].concat());
        reply.held().send("not a size\r\n").then_silence()
    };
    both(reply, &[Outcome::Cut]).await;
}

#[tokio::test]
async fn what_is_no_http() {
    let reply = |_: &Asked| Reply::raw("SSH-2.0-").held().send("OpenSSH\r\n\r\n");
    both(reply, &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn endless_headers() {
    let fields = "x-field: 0123456789\r\n".repeat(1000);
    let reply = move |_: &Asked| {
        let reply = Reply::raw([HEAD, &fields].concat()).held();
        (0..50).fold(reply, |reply, _| reply.send(fields.as_str()))
    };
    both(reply, &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn a_storm_of_informational_answers() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let reply = |_: &Asked| {
        let reply = Reply::raw(HINT.repeat(10)).held();
        (0..50).fold(reply, |reply, _| reply.send(HINT.repeat(1000)))
    };
    both(reply, &[Outcome::Status(502)]).await;
}

#[tokio::test]
async fn an_answer_before_the_requests_end() {
    let reply = |_: &Asked| {
        let answer = Reply::status(413, "no").then_close();
        Reply::default().held().and(answer)
    };
    // What the origin closed on may reset its answer away.
    let outcomes = [Outcome::Status(413), Outcome::Status(502), Outcome::Cut];
    both_when(
        When::AfterHead,
        reply,
        |fault| Fault::with_body(fault, 300_000),
        &outcomes,
    )
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_takes() {
    let reply = |_: &Asked| Reply::default().held().then_reset();
    both_when(
        When::AfterHead,
        reply,
        |fault| Fault::with_body(fault, 3_000_000),
        &[Outcome::Status(502)],
    )
    .await;
}

#[tokio::test]
async fn a_slow_answer() {
    let reply = |_: &Asked| {
        let reply = Reply::raw("HTTP/1.1 200 OK\r\ncontent-le").held();
        reply.send("ngth: 9\r\n\r\nslow").send("ness!")
    };
    both(reply, &[Outcome::Status(200)]).await;
}

#[tokio::test]
async fn silence() {
    let reply = |_: &Asked| Reply::default().held().then_silence();
    both_when(
        When::AfterBody,
        reply,
        |fault| Fault::timeouts(fault, "response_headers = \"5s\""),
        &[Outcome::Status(504)],
    )
    .await;
}

#[tokio::test]
async fn a_flapping_origin() {
    let reply = |asked: &Asked| match asked.connection % 3 {
        0 => Reply::default().held().and(Reply::ok("up")),
        1 => Reply::default().held().then_close(),
        _ => Reply::default().held().then_reset(),
    };
    both(reply, &[Outcome::Status(200), Outcome::Status(502)]).await;
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

#[tokio::test]
async fn an_origin_that_shakes_no_hands() {
    // The kernel accepts, and takes the ClientHello; nobody reads it.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let fault = Fault::at(&format!("https://{address}"))
        .timeouts("connect = \"5s\"")
        .pending();
    beside(fault, &[Outcome::Status(504)]).await;
}

#[tokio::test]
async fn an_origin_that_closes_on_handshakes() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let url = format!("https://{address}");
    beside(Fault::at(&url), &[Outcome::Status(502)]).await;
}
