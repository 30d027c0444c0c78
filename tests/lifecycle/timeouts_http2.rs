use std::time::Duration;

use h2::Reason;

use super::house::{HELLO, House, NAME, get2, timeouts, until_metric};
use crate::support::client::{Client, Ending};
use crate::support::edge::Edge;
use crate::support::h2::{H2, whole};
use crate::support::within;

const SHORT: &str = "timeouts = { request_headers = \"300ms\", keep_alive = \"300ms\" }\n";

const GOAWAY: u8 = 7;
const PING: u8 = 6;

/// A frame: RFC 9113 §4.1.
#[derive(Debug, Clone)]
struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push(Frame {
            kind: head[3],
            payload: payload.to_vec(),
        });
        bytes = rest;
    }
    frames
}

async fn open(house: &House, edge: &Edge) -> H2 {
    H2::start(Client::open(edge.address(), NAME, &house.h2()).await).await
}

#[tokio::test]
async fn a_connection_without_any_stream_gets_goaway() {
    let house = House::new();
    let edge = house.start("", &format!("{SHORT}{HELLO}")).await;
    let mut client = Client::open(edge.address(), NAME, &house.h2()).await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let mut seen = Vec::new();
    let ping = client
        .until("GOAWAY and PING", |client| {
            seen.extend(client.take_plain());
            let frames = frames(&seen);
            frames.iter().find(|frame| frame.kind == GOAWAY)?;
            frames.into_iter().find(|frame| frame.kind == PING)
        })
        .await
        .unwrap();
    let mut pong = vec![0, 0, 8, PING, 1, 0, 0, 0, 0];
    pong.extend(ping.payload);
    client.send(&pong).await;
    let (rest, ending) = client.read_to_end().await;
    assert_eq!(ending, Ending::CloseNotify);
    let last = frames(&rest).into_iter().rfind(|f| f.kind == GOAWAY);
    assert_eq!(last.unwrap().payload[..8], [0; 8], "no stream, no error");
    assert_eq!(timeouts(&edge, "request_headers").await, 1.0);
}

#[tokio::test]
async fn a_client_that_does_not_heed_goaway_is_closed() {
    let house = House::new();
    let edge = house.start("", &format!("{SHORT}{HELLO}")).await;
    let mut client = Client::open(edge.address(), NAME, &house.h2()).await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let (plain, ending) = client.read_to_end().await;
    assert_eq!(ending, Ending::CloseNotify);
    assert!(frames(&plain).iter().any(|frame| frame.kind == GOAWAY));
}

#[tokio::test]
async fn an_idle_connection_gets_goaway() {
    let house = House::new();
    let edge = house.start("", &format!("{SHORT}{HELLO}")).await;
    let mut h2 = open(&house, &edge).await;
    assert_eq!(h2.fetch(get2("/")).await.unwrap().text(), "hello\n");
    let send = h2.send.clone();
    let mut client = h2.ended().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    let error = within("the end", send.ready()).await.unwrap_err();
    assert!(
        error.reason() == Some(Reason::NO_ERROR) || error.is_io(),
        "{error}"
    );
    assert_eq!(timeouts(&edge, "keep_alive").await, 1.0);
}

#[tokio::test]
async fn a_client_silent_in_its_body_gets_its_stream_reset() {
    let house = House::new();
    let site = "[[site.route]]\npath = \"/\"\nrespond = { body = \"hello\\n\" }\n\
                timeouts = { request_body_idle = \"300ms\" }\n";
    let edge = house.start("", site).await;
    let mut h2 = open(&house, &edge).await;
    let post = http::Request::post(format!("https://{NAME}/"));
    let (answer, mut body) = h2.send.send_request(post.body(()).unwrap(), false).unwrap();
    body.send_data("abc".into(), false).unwrap();
    let error = within("the reset", whole(answer)).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    // The connection is well.
    assert_eq!(h2.fetch(get2("/")).await.unwrap().text(), "hello\n");
    assert_eq!(timeouts(&edge, "request_body_idle").await, 1.0);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_ends_alone() {
    let house = House::new();
    let body = "0123456789abcdef".repeat(1 << 16);
    let file = house.pki.directory().join("large.txt");
    std::fs::write(&file, body).unwrap();
    let site = format!(
        "[[site.route]]\npath = \"/large\"\nrespond = {{ body_file = \"{}\" }}\n\
         timeouts = {{ write_idle = \"300ms\" }}\n\
         [[site.route]]\npath = \"/\"\nrespond = {{ status = 204 }}\n",
        file.display()
    );
    let edge = house.start("", &site).await;
    let mut h2 = open(&house, &edge).await;
    let get = http::Request::get(format!("https://{NAME}/large"));
    let (answer, _) = h2.send.send_request(get.body(()).unwrap(), true).unwrap();
    let answer = within("the head", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    // Its body is not read: no window is given.
    let kind = ["kind=\"write_idle\""];
    until_metric(&edge, "cutwater_timeouts_total", &kind, 1.0).await;
    let line = edge.until_access(|line| line["path"] == "/large").await;
    assert_eq!(line["end"], "timeout_write_idle");
    assert_eq!(h2.fetch(get2("/")).await.unwrap().status, 204);
    let mut body = answer.into_body();
    let reset = within("the reset", async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    });
    assert!(matches!(reset.await, Some(Err(_))));
}

#[tokio::test]
async fn total_ends_a_stream_that_nobody_reads() {
    let house = House::new();
    let file = house.pki.directory().join("large.txt");
    std::fs::write(&file, "0123456789abcdef".repeat(1 << 16)).unwrap();
    let site = format!(
        "[[site.route]]\npath = \"/\"\nrespond = {{ body_file = \"{}\" }}\n\
         timeouts = {{ total = \"300ms\" }}\n",
        file.display()
    );
    let edge = house.start("", &site).await;
    let mut h2 = open(&house, &edge).await;
    let get = http::Request::get(format!("https://{NAME}/"));
    let (answer, _) = h2.send.send_request(get.body(()).unwrap(), true).unwrap();
    let _unread = within("the head", answer).await.unwrap();
    let kind = ["kind=\"total\""];
    until_metric(&edge, "cutwater_timeouts_total", &kind, 1.0).await;
    let line = edge.until_access(|_| true).await;
    assert_eq!(line["end"], "timeout_total");
}

#[tokio::test]
async fn a_stream_that_is_read_slowly_is_served() {
    let house = House::new();
    let body = "0123456789abcdef".repeat(1 << 14);
    let file = house.pki.directory().join("large.txt");
    std::fs::write(&file, body).unwrap();
    let site = format!(
        "[[site.route]]\npath = \"/\"\nrespond = {{ body_file = \"{}\" }}\n\
         timeouts = {{ write_idle = \"1s\" }}\n",
        file.display()
    );
    let edge = house.start("", &site).await;
    let mut h2 = open(&house, &edge).await;
    let get = http::Request::get(format!("https://{NAME}/"));
    let (answer, _) = h2.send.send_request(get.body(()).unwrap(), true).unwrap();
    let mut body = within("the head", answer).await.unwrap().into_body();
    let mut taken = 0;
    while let Some(data) = within("data", body.data()).await {
        let data = data.unwrap();
        taken += data.len();
        super::house::pause(Duration::from_millis(50)).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(taken, 16 << 14);
    assert_eq!(timeouts(&edge, "write_idle").await, 0.0);
}
