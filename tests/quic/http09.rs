//! HTTP/0.9, as tests between implementations speak it: a program that has the library can switch it on,
//! and nobody else can.

use std::net::SocketAddr;
use std::sync::Arc;

use cutwater::config::spec::ListenSpec;
use cutwater::{Body, EarlyDataPolicy, EarlyRequest, Edge, HandlerError, Site, handler};
use http::{Request, Response, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, ReadError, ReadToEndError};
use rustls::NamedGroup;

use crate::quic::scene::{NAME, Scene};
use crate::support::pki::Pki;
use crate::support::setup::ClientSetup;
use crate::support::within;

const LARGEST: usize = 1 << 20;

async fn answer(request: EarlyRequest) -> Result<Response<Body>, HandlerError> {
    let group = request.connection().group;
    let request: Request<Body> = request.replay_safe();
    if request.uri().path() == "/group" {
        let group = group.map(|group| format!("{group:?}"));
        return Ok(Response::new(Body::from(group.unwrap_or_default())));
    }
    let mut response = Response::new(Body::from(format!("at {}", request.uri().path())));
    if request.uri().path() == "/missing" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

fn edge(pki: &Pki) -> Edge {
    let files = pki.files(&[NAME]);
    let site = Site::new(NAME)
        .certificate_files(&files.chain, &files.key)
        .early_data(true)
        .early_data_policy(EarlyDataPolicy::Safe)
        .http09_for_interop(true)
        .handler(handler::early(answer));
    let mut listener = ListenSpec::new(([127, 0, 0, 1], 0).into());
    listener.quic = true.into();
    let edge = Edge::builder().listener(listener).site(site).workers(1);
    edge.build().unwrap()
}

fn endpoint(setup: &ClientSetup) -> Endpoint {
    let crypto = QuicClientConfig::try_from(setup.clone().alpn(&["hq-interop"]).config()).unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    endpoint
}

async fn connect(endpoint: &Endpoint, to: SocketAddr) -> Result<Connection, ConnectionError> {
    let connecting = endpoint.connect(to, NAME).unwrap();
    within("the handshake", connecting).await
}

async fn get(quic: &Connection, line: &str) -> Result<String, ReadToEndError> {
    let (mut send, mut receive) = quic.open_bi().await.unwrap();
    send.write_all(line.as_bytes()).await.unwrap();
    send.finish().unwrap();
    let content = within("the answer", receive.read_to_end(LARGEST)).await?;
    Ok(String::from_utf8(content).unwrap())
}

#[tokio::test]
async fn a_line_asks_and_the_content_is_all_of_the_answer() {
    let pki = Pki::new();
    let (edge, setup) = (edge(&pki), pki.client());
    let address = edge.addresses()[0];
    let endpoint = endpoint(&setup);
    let quic = connect(&endpoint, address).await.unwrap();
    assert_eq!(get(&quic, "GET /a\r\n").await.unwrap(), "at /a");
    // Without a status there is no other way to say that it is not there, or that it is no request.
    for line in ["GET /missing\r\n", "POST /a\r\n", "GET a\r\n"] {
        let failed = get(&quic, line).await;
        assert!(matches!(
            failed,
            Err(ReadToEndError::Read(ReadError::Reset(_)))
        ));
    }
    assert_eq!(get(&quic, "GET /b").await.unwrap(), "at /b");
    // What is spoken is no HTTP/3: no control stream was opened.
    let none = tokio::time::timeout(std::time::Duration::ZERO, quic.accept_uni()).await;
    assert!(none.is_err());
    let came = async {
        while setup.tickets().left(NAME) == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a ticket", came).await;
    quic.close(0_u32.into(), b"");

    let connecting = endpoint.connect(address, NAME).unwrap();
    let Ok((quic, accepted)) = connecting.into_0rtt() else {
        panic!("the ticket allows no early data");
    };
    assert_eq!(get(&quic, "GET /early\r\n").await.unwrap(), "at /early");
    assert!(within("the handshake", accepted).await);
}

/// What was agreed on is known after the second hello only.
#[tokio::test]
async fn a_hello_retry_request_changes_nothing() {
    let pki = Pki::new();
    let edge = edge(&pki);
    let groups = [NamedGroup::MLKEM1024, NamedGroup::X25519];
    let endpoint = endpoint(&pki.client().groups(&groups));
    let quic = connect(&endpoint, edge.addresses()[0]).await.unwrap();
    assert_eq!(get(&quic, "GET /group\r\n").await.unwrap(), "X25519");
}

#[tokio::test]
async fn an_edge_that_was_not_told_to_speaks_http3_alone() {
    let scene = Scene::start().await;
    let failed = connect(&endpoint(&scene.setup), scene.address()).await;
    // no_application_protocol, RFC 7301.
    let closed = match failed {
        Err(ConnectionError::ConnectionClosed(close)) => u64::from(close.error_code),
        other => panic!("{other:?}"),
    };
    assert_eq!(closed, 0x100 + 120);
}
