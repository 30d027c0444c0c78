//! What becomes of a connection, whatever its handlers and its client do with bodies and time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cutwater::body::Body;
use cutwater::edge::{Edge, Site};
use cutwater::handler::{EarlyRequest, Handler, early};
use http::Response;
use http_body_util::BodyExt;
use tokio::net::TcpStream;

use crate::support::client::{Client, Ending};
use crate::support::h2::{H2, request};
use crate::support::pki::Pki;
use crate::support::setup::ClientSetup;
use crate::support::within;

const NAME: &str = "a.test";
const LARGE: usize = 8 * 1024 * 1024;

struct Stand {
    address: SocketAddr,
    setup: ClientSetup,
    edge: Edge,
}

impl Stand {
    fn start(handler: impl Handler) -> Self {
        let pki = Pki::new();
        let leaf = pki.leaf(&[NAME]);
        let site = Site::new(NAME)
            .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
            .handler(handler);
        let edge = Edge::builder()
            .listen(([127, 0, 0, 1], 0).into())
            .workers(1)
            .site(site)
            .build()
            .unwrap();
        Self {
            address: edge.addresses()[0],
            setup: pki.client().alpn(&["http/1.1"]),
            edge,
        }
    }

    async fn client(&self) -> Client {
        Client::open(self.address, NAME, &self.setup).await
    }
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// RFC 9112 §11.2: what came as content must never be read as a request.
#[tokio::test]
async fn a_body_that_outlives_its_answer_is_no_request() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    let (read, reads) = tokio::sync::watch::channel(false);
    let (collected, mut bodies) = tokio::sync::mpsc::channel(8);
    let stand = Stand::start(early(move |request: EarlyRequest| {
        let (mut reads, collected) = (reads.clone(), collected.clone());
        seen.lock().unwrap().push(request.uri().path().to_owned());
        let body = request.replay_safe().into_body();
        // Answered before the body is read, which happens some time later.
        tokio::spawn(async move {
            let _ = reads.wait_for(|read| *read).await;
            let body = body.collect().await.unwrap().to_bytes();
            let _ = collected.send(body).await;
        });
        async { Ok(Response::new(Body::from("ok"))) }
    }));
    let mut client = stand.client().await;
    let content = format!("GET /smuggled HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    // Nobody asked for the body, which comes all the same.
    let first = post("/first", &content);
    let first = first.replacen("\r\n", "\r\nexpect: 100-continue\r\n", 1);
    client.send(first.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
    // An idle connection's HTTP side would be dropped now.
    assert!(client.silent_for(Duration::from_millis(500)).await);
    assert_eq!(*paths.lock().unwrap(), ["/first"]);
    read.send_replace(true);
    let body = within("the body", bodies.recv()).await.unwrap();
    assert_eq!(body, content.as_bytes());
    client.send(post("/second", "x").as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(*paths.lock().unwrap(), ["/first", "/second"]);
}

#[tokio::test]
async fn an_answer_is_sent_whole_though_the_body_was_not_read() {
    let stand = Stand::start(early(|request: EarlyRequest| {
        drop(request.replay_safe());
        async { Ok(Response::new(Body::from(vec![b'x'; LARGE]))) }
    }));
    let mut client = stand.client().await;
    client.deaf(true);
    let half = format!("POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 9\r\n\r\nhalf");
    client.send(half.as_bytes()).await;
    // The answer fills what TCP takes, and waits.
    #[expect(clippy::disallowed_methods, reason = "that no more comes is no event")]
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.deaf(false);
    assert_eq!(client.response().await.body.len(), LARGE);
    assert_eq!(client.ending().await, Ending::CloseNotify);
}

#[tokio::test]
async fn http2_that_begins_in_a_drain_is_answered_and_told_to_go() {
    let stand = Stand::start(early(|_| async { Ok(Response::new(Body::from("ok"))) }));
    let setup = stand.setup.clone().alpn(&["h2"]);
    let mut client = Client::connect(stand.address, NAME, &setup).await;
    client.hold_finished();
    client.send_pending().await;
    client.server_flight().await.unwrap();
    let runs = tokio::spawn(stand.edge.run(std::future::ready(())));
    within("the port's end", async {
        while TcpStream::connect(stand.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut client = H2::start(client).await;
    let uri = format!("https://{NAME}/");
    client.begin_request(request("GET", &uri, "")).await;
    // Finished, preface and request come together.
    #[expect(
        clippy::disallowed_methods,
        reason = "what is queued inside h2 is no event"
    )]
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.finish();
    assert_eq!(client.next().await.unwrap().text(), "ok");
    within("the end of h2", client.ended()).await;
    within("the end of run", runs).await.unwrap().unwrap();
}

#[tokio::test]
async fn answers_that_have_no_content_send_none() {
    let stand = Stand::start(early(|request: EarlyRequest| {
        let status = request.uri().path().trim_start_matches('/').to_owned();
        let answer = Response::builder().status(status.as_str());
        let answer = answer.body(Body::from("content")).unwrap();
        async { Ok(answer) }
    }));
    let setup = stand.setup.clone().alpn(&["h2"]);
    let second = Client::open(stand.address, NAME, &setup).await;
    let (mut first, mut second) = (stand.client().await, H2::start(second).await);
    for (status, content) in [(204, ""), (304, ""), (200, "content")] {
        let asked = format!("GET /{status} HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
        first.send(asked.as_bytes()).await;
        let answer = first.response().await;
        assert_eq!((answer.status, answer.text()), (status, content));
        let uri = format!("https://{NAME}/{status}");
        let answer = second.fetch(request("GET", &uri, "")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (status, content));
    }
}
