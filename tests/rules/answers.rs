//! What handlers answer with: bodies, errors, panics.

use cutwater::{Body, EarlyRequest, Edge, Handler, HandlerError, Site, early};
use http::Response;

use crate::support::client::Client;
use crate::support::h2::{H2, request};
use crate::support::pki::Pki;

const NAME: &str = "a.test";

fn edge(pki: &Pki, handler: impl Handler) -> Edge {
    let leaf = pki.leaf(&[NAME]);
    let site = Site::new(NAME)
        .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
        .handler(handler);
    let address = ([127, 0, 0, 1], 0).into();
    let edge = Edge::builder().listen(address).workers(1).site(site);
    edge.build().unwrap()
}

async fn h1(edge: &Edge, pki: &Pki) -> Client {
    let setup = pki.client().alpn(&["http/1.1"]);
    Client::open(edge.addresses()[0], NAME, &setup).await
}

async fn h2(edge: &Edge, pki: &Pki) -> H2 {
    let setup = pki.client().alpn(&["h2"]);
    H2::start(Client::open(edge.addresses()[0], NAME, &setup).await).await
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_body_streams_through_a_handler_both_ways() {
    let pki = Pki::new();
    let echo = early(|request: EarlyRequest| async {
        let request = request.confirmed().await?;
        Ok(Response::new(request.into_body()))
    });
    let edge = edge(&pki, echo);
    let body = "0123456789abcdef".repeat(1 << 16);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = h1(&edge, &pki).await;
    client.send(head.as_bytes()).await;
    client.send(body.as_bytes()).await;
    assert!(client.response().await.text() == body);
    // Small enough for the first window: the client does not wait for more of it.
    let body = &body[..60_000];
    let uri = format!("https://{NAME}/");
    let mut client = h2(&edge, &pki).await;
    let answer = client.fetch(request("POST", &uri, body.to_owned())).await;
    assert!(answer.unwrap().text() == body);
}

#[tokio::test]
async fn a_handler_that_fails_is_answered_500() {
    let pki = Pki::new();
    let fails = early(|request: EarlyRequest| async {
        request.confirmed().await?;
        Err(HandlerError::Failed("no reason".into()))
    });
    let edge = edge(&pki, fails);
    let mut client = h1(&edge, &pki).await;
    client.send(&get("/")).await;
    let answer = client.response().await;
    // What went wrong is ours to know.
    assert_eq!((answer.status, answer.text()), (500, ""));
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_only() {
    let pki = Pki::new();
    let panics = early(|request: EarlyRequest| async {
        let request = request.confirmed().await?;
        assert_ne!(request.uri().path(), "/panic", "as it should");
        Ok(Response::new(Body::from("well")))
    });
    let edge = edge(&pki, panics);
    let mut other = h1(&edge, &pki).await;
    let mut client = h1(&edge, &pki).await;
    client.send(&get("/panic")).await;
    client.ending().await;
    let mut second = h2(&edge, &pki).await;
    let uri = format!("https://{NAME}/panic");
    assert!(second.fetch(request("GET", &uri, "")).await.is_err());
    other.send(&get("/")).await;
    assert_eq!(other.response().await.text(), "well");
    drop((client, other, second));
    let handle = edge.handle();
    let open = &handle.metrics().connections.open;
    crate::support::within("the end of all", async {
        while open.get() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
