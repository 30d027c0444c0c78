//! A library user's own choice of a site by the ClientHello, which over QUIC has to be there at once.

use std::sync::Arc;

use cutwater::body::Body;
use cutwater::config::spec::ListenSpec;
use cutwater::edge::{Edge, Site};
use cutwater::handler::{EarlyRequest, early};
use cutwater::telemetry::labels::HelloError;
use cutwater::tls::hello::ClientHello;
use cutwater::tls::selector::{Selection, Selector};
use http::Response;
use rustls::AlertDescription;

use crate::quic::client::Client;
use crate::quic::names::alert;
use crate::quic::scene::NAME;
use crate::support::client::Client as Tcp;
use crate::support::pki::{Leaf, Pki};

const OTHER: &str = "other.test";

/// An edge whose one site answers with the server name of the ClientHello.
fn edge(leaf: &Leaf, selector: impl Selector) -> Edge {
    let handler = early(|request: EarlyRequest| async {
        let name = request.connection().server_name.clone();
        request.confirmed().await?;
        let name = name.as_deref().unwrap_or("-").to_owned();
        Ok(Response::new(Body::from(name)))
    });
    let site = Site::new(NAME)
        .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
        .handler(handler);
    let mut listener = ListenSpec::new(([127, 0, 0, 1], 0).into());
    listener.quic = true.into();
    let edge = Edge::builder().listener(listener).workers(1).site(site);
    edge.selector(selector).build().unwrap()
}

/// The alert that a handshake ends with.
async fn refused(edge: &Edge, pki: &Pki, name: &str) -> AlertDescription {
    let setup = pki.client().alpn(&["h3"]);
    let ended = Client::try_connect(edge.addresses()[0], name, &setup).await;
    let code = alert(&ended.err().unwrap()).unwrap();
    u8::try_from(code).unwrap().into()
}

#[tokio::test]
async fn a_selector_may_send_any_name_to_a_site() {
    let pki = Pki::new();
    let selector = |hello: Arc<ClientHello>, _, _| async move {
        assert_eq!(hello.server_name(), Some(OTHER));
        Selection::Site(NAME.into())
    };
    let edge = edge(&pki.leaf(&[NAME, OTHER]), selector);
    let setup = pki.client().alpn(&["h3"]);
    let mut client = Client::connect(edge.addresses()[0], OTHER, &setup).await;
    let answer = client.get(&format!("https://{OTHER}/")).await;
    assert_eq!(answer.text(), OTHER);
    assert_eq!(client.get("https://third.test/").await.status, 421);
    client.close().await;
}

#[tokio::test]
async fn a_selector_may_refuse_with_an_alert() {
    let pki = Pki::new();
    let selector =
        |_: Arc<ClientHello>, _, _| async { Selection::Refuse(AlertDescription::AccessDenied) };
    let edge = edge(&pki.leaf(&[NAME]), selector);
    assert_eq!(
        refused(&edge, &pki, NAME).await,
        AlertDescription::AccessDenied
    );
    let handle = edge.handle();
    let errors = &handle.metrics().handshakes.hello_errors;
    assert_eq!(errors.get(HelloError::Rejected), 1);
}

#[tokio::test]
async fn a_selector_that_takes_its_time_serves_tcp_alone() {
    let pki = Pki::new();
    let selector = |_: Arc<ClientHello>, _, _| async {
        tokio::task::yield_now().await;
        Selection::ByName
    };
    let edge = edge(&pki.leaf(&[NAME]), selector);
    assert_eq!(
        refused(&edge, &pki, NAME).await,
        AlertDescription::InternalError
    );
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Tcp::open(edge.addresses()[0], NAME, &setup).await;
    let get = format!("GET / HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    client.send(get.as_bytes()).await;
    assert_eq!(client.response().await.text(), NAME);
}

#[tokio::test]
async fn a_selector_that_panics_ends_that_handshake_alone() {
    let pki = Pki::new();
    let selector = |hello: Arc<ClientHello>, _, _| async move {
        assert_ne!(
            hello.server_name(),
            Some(OTHER),
            "a fault of the selector's"
        );
        Selection::ByName
    };
    let edge = edge(&pki.leaf(&[NAME]), selector);
    let setup = pki.client().alpn(&["h3"]);
    let mut kept = Client::connect(edge.addresses()[0], NAME, &setup).await;
    for _ in 0..2 {
        let alert = refused(&edge, &pki, OTHER).await;
        assert_eq!(alert, AlertDescription::InternalError);
    }
    let mut new = Client::connect(edge.addresses()[0], NAME, &setup).await;
    for client in [&mut kept, &mut new] {
        let answer = client.get(&format!("https://{NAME}/")).await;
        assert_eq!(answer.text(), NAME);
    }
    kept.close().await;
    new.close().await;
}
