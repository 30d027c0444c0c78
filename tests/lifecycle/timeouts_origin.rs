use std::time::Duration;

use h2::Reason;
use socket2::{Domain, Socket, Type};

use super::house::{House, NAME, get, get2, timeouts};
use crate::support::client::{Client, Ending};
use crate::support::edge::Edge;
use crate::support::h2::{H2, request};
use crate::support::origin::{Origin, Reply};

async fn start(origin: &str, timeouts: &str) -> (House, Edge) {
    let house = House::new();
    let site = format!(
        "[[site.route]]\npath = \"/\"\norigin = [\"{origin}\"]\ntimeouts = {{ {timeouts} }}\n"
    );
    let edge = house.start("", &site).await;
    (house, edge)
}

/// A head and one chunk, then nothing.
fn half_an_answer() -> Reply {
    Reply::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").then_silence()
}

/// GETs with HTTP/1.1 and with HTTP/2; both statuses.
async fn statuses(house: &House, edge: &Edge) -> [u16; 2] {
    let mut client = house.open(edge).await;
    client.send(&get("/")).await;
    let one = client.response().await.status;
    let client = Client::open(edge.address(), NAME, &house.h2()).await;
    let mut h2 = H2::start(client).await;
    let two = h2.fetch(get2("/")).await.unwrap().status.as_u16();
    [one, two]
}

#[tokio::test]
async fn an_origin_that_does_not_take_connections_is_504() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    // One fills the queue; the kernel drops every SYN after it.
    let _filler = tokio::net::TcpStream::connect(address).await.unwrap();
    let origin = format!("http://{address}");
    let (house, edge) = start(&origin, "connect = \"300ms\"").await;
    assert_eq!(statuses(&house, &edge).await, [504, 504]);
    assert!(timeouts(&edge, "connect").await >= 2.0);
}

#[tokio::test]
async fn an_origin_that_refuses_connections_is_502() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let (house, edge) = start(&origin, "connect = \"300ms\"").await;
    assert_eq!(statuses(&house, &edge).await, [502, 502]);
    assert_eq!(timeouts(&edge, "connect").await, 0.0);
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_504() {
    let origin = Origin::start(|_| Reply::silence()).await;
    let (house, edge) = start(&origin.url(), "response_headers = \"300ms\"").await;
    assert_eq!(statuses(&house, &edge).await, [504, 504]);
    assert_eq!(timeouts(&edge, "response_headers").await, 2.0);
    // Given up, not pooled.
    origin.until_open(0).await;
}

#[tokio::test]
async fn total_before_the_head_is_504() {
    let origin = Origin::start(|_| Reply::silence()).await;
    let (house, edge) = start(&origin.url(), "total = \"300ms\"").await;
    assert_eq!(statuses(&house, &edge).await, [504, 504]);
    assert_eq!(timeouts(&edge, "total").await, 2.0);
}

#[tokio::test]
async fn after_the_head_response_idle_cuts_the_answer() {
    cut_after_the_head("response_idle").await;
}

#[tokio::test]
async fn after_the_head_total_cuts_the_answer() {
    cut_after_the_head("total").await;
}

async fn cut_after_the_head(kind: &str) {
    let origin = Origin::start(|_| half_an_answer()).await;
    let (house, edge) = start(&origin.url(), &format!("{kind} = \"300ms\"")).await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    let (plain, ending) = client.read_to_end().await;
    let text = String::from_utf8(plain).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(text.ends_with("4\r\nhalf\r\n"), "no final chunk: {text}");
    assert!(!matches!(ending, Ending::Broken(_)), "{ending:?}");

    let client = Client::open(edge.address(), NAME, &house.h2()).await;
    let mut h2 = H2::start(client).await;
    let error = h2.fetch(get2("/")).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
    assert_eq!(timeouts(&edge, kind).await, 2.0);
    let lines = edge.until_accesses(2, |_| true).await;
    for line in lines {
        assert_eq!(line["end"], format!("timeout_{kind}"));
    }
}

#[tokio::test]
async fn a_client_silent_in_a_forwarded_body_gets_408() {
    let origin = Origin::start(|_| Reply::ok("never")).await;
    let (house, edge) = start(&origin.url(), "request_body_idle = \"300ms\"").await;
    let mut client = house.open(&edge).await;
    let post = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 10\r\n\r\nabc");
    client.send(post.as_bytes()).await;
    assert_eq!(client.response().await.status, 408);
    assert_eq!(client.ending().await, Ending::CloseNotify);
    // The origin sees no whole request, and its connection is not used again.
    let asked = origin.until_requests(1).await;
    assert!(asked[0].cut_short);
    origin.until_open(0).await;
}

#[tokio::test]
async fn off_lets_an_origin_take_its_time() {
    let origin = Origin::start(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
            .wait(Duration::from_millis(600))
            .send("half")
    })
    .await;
    let (house, edge) = start(&origin.url(), "response_idle = \"off\", total = \"off\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    assert_eq!(client.response().await.text(), "halfhalf");
    let client = Client::open(edge.address(), NAME, &house.h2()).await;
    let mut h2 = H2::start(client).await;
    let post = request("POST", &format!("https://{NAME}/"), "body");
    assert_eq!(h2.fetch(post).await.unwrap().text(), "halfhalf");
}
