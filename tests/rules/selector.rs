//! A library user's own choice of a site by the ClientHello.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cutwater::body::Body;
use cutwater::certs::chooser::CertificateChooser;
use cutwater::config::site_tls::SiteTls;
use cutwater::early::EarlyDataPolicy;
use cutwater::edge::{Edge, Site};
use cutwater::handler::{EarlyRequest, early};
use cutwater::telemetry::labels::{HelloError, TimeoutKind};
use cutwater::tls::hello::ClientHello;
use cutwater::tls::selector::{Selection, Selector};
use http::Response;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme};
use tokio::sync::watch;

use crate::support::client::{Client, Ending};
use crate::support::pki::{Leaf, Pki};
use crate::support::within;

const SITE: &str = "site.test";
const OTHER: &str = "other.test";

fn certified(leaf: &Leaf) -> Arc<CertifiedKey> {
    let key = PrivateKeyDer::try_from(leaf.key_der.clone()).unwrap();
    let provider = aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).unwrap();
    Arc::new(CertifiedKey::new(leaf.chain.clone(), key))
}

/// An edge whose one site answers with the server name of the ClientHello.
fn edge(leaf: &Leaf, selector: impl Selector) -> Edge {
    let handler = early(|request: EarlyRequest| async {
        let name = request.connection().server_name.clone();
        request.confirmed().await?;
        Ok(Response::new(Body::from(
            name.as_deref().unwrap_or("-").to_owned(),
        )))
    });
    let site = Site::new(SITE)
        .certified_key(certified(leaf))
        .handshake_timeout(Duration::from_secs(4))
        .handler(handler);
    let address = ([127, 0, 0, 1], 0).into();
    let edge = Edge::builder().listen(address).workers(1).site(site);
    edge.selector(selector).build().unwrap()
}

fn get(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_selector_sees_the_whole_hello_and_may_take_its_time() {
    type Seen = Arc<Mutex<Option<(Arc<ClientHello>, SocketAddr, SocketAddr)>>>;
    let pki = Pki::new();
    let seen = Seen::default();
    let (go, gone) = watch::channel(false);
    let sees = Arc::clone(&seen);
    let selector = move |hello: Arc<ClientHello>, client: SocketAddr, local: SocketAddr| {
        *sees.lock().unwrap() = Some((hello, client, local));
        let mut gone = gone.clone();
        async move {
            let _ = gone.wait_for(|gone| *gone).await;
            Selection::ByName
        }
    };
    let edge = edge(&pki.leaf(&[SITE]), selector);
    let address = edge.addresses()[0];
    let setup = pki.client().alpn(&["h2", "http/1.1"]);
    let mut client = Client::connect(address, SITE, &setup).await;
    client.send_pending().await;
    within("the hello", async {
        while seen.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (hello, from, to) = seen.lock().unwrap().clone().unwrap();
    assert_eq!((from, to), (client.local_address(), address));
    assert_eq!(hello.server_name(), Some(SITE));
    assert!(hello.alpn().eq([&b"h2"[..], b"http/1.1"]));
    let versions: Vec<_> = hello.supported_versions().collect();
    assert_eq!(versions, [ProtocolVersion::TLSv1_3]);
    assert!(hello.cipher_suites().count() > 0);
    assert!(hello.supports_group(NamedGroup::X25519));
    assert!(hello.supports_scheme(SignatureScheme::ECDSA_NISTP256_SHA256));
    assert!(!hello.offers_psk() && !hello.offers_early_data());
    assert_eq!(edge.handle().metrics().handshakes.unfinished.get(), 1);
    go.send_replace(true);
    client.server_flight().await.unwrap();
    assert_eq!(client.alpn().as_deref(), Some("h2"));
}

#[tokio::test]
async fn a_selector_may_refuse_with_an_alert() {
    let pki = Pki::new();
    let selector = |_: Arc<ClientHello>, _: SocketAddr, _: SocketAddr| async {
        Selection::Refuse(AlertDescription::AccessDenied)
    };
    let edge = edge(&pki.leaf(&[SITE]), selector);
    let mut client = Client::connect(edge.addresses()[0], SITE, &pki.client()).await;
    let ended = client.handshake().await.unwrap_err();
    assert_eq!(ended, Ending::Alert(AlertDescription::AccessDenied));
    let handle = edge.handle();
    let errors = &handle.metrics().handshakes.hello_errors;
    assert_eq!(errors.get(HelloError::Rejected), 1);
}

#[tokio::test]
async fn a_selector_may_send_any_name_to_a_site() {
    let pki = Pki::new();
    let selector =
        |_: Arc<ClientHello>, _: SocketAddr, _: SocketAddr| async { Selection::Site(SITE.into()) };
    let edge = edge(&pki.leaf(&[SITE, OTHER]), selector);
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(edge.addresses()[0], OTHER, &setup).await;
    client.send(&get(OTHER)).await;
    assert_eq!(client.response().await.text(), OTHER);
    client.send(&get("third.test")).await;
    assert_eq!(client.response().await.status, 421);
}

#[tokio::test]
async fn tickets_of_one_tls_side_are_not_taken_by_another() {
    let pki = Pki::new();
    let leaf = pki.leaf(&[SITE]);
    let side = |name: &str| {
        let chooser = CertificateChooser::new(vec![certified(&leaf)]).unwrap();
        let mut tls = SiteTls::new(name, Arc::new(chooser));
        tls.early_data = true;
        Arc::new(tls)
    };
    let sides = [side("one"), side("two")];
    let (choose, chosen) = watch::channel(0);
    let selector = move |_: Arc<ClientHello>, _: SocketAddr, _: SocketAddr| {
        let tls = Arc::clone(&sides[*chosen.borrow()]);
        std::future::ready(Selection::Tls {
            site: SITE.into(),
            tls,
        })
    };
    let edge = edge(&leaf, selector);
    let address = edge.addresses()[0];
    let setup = pki.client().alpn(&["http/1.1"]);
    Client::fetch_ticket(address, SITE, &setup).await;
    let mut client = Client::connect(address, SITE, &setup).await;
    client.early(&get(SITE));
    client.handshake().await.unwrap();
    assert!(client.early_accepted());
    assert_eq!(client.response().await.text(), SITE);
    let ticket = |_: &mut Client| (setup.tickets().left(SITE) > 0).then_some(());
    client.until("the next ticket", ticket).await.unwrap();

    choose.send_replace(1);
    let mut client = Client::connect(address, SITE, &setup).await;
    client.early(&get(SITE));
    client.handshake().await.unwrap();
    assert!(!client.early_accepted());
    assert_eq!(client.kind(), Some(HandshakeKind::Full));
    client.resend_early().await;
    assert_eq!(client.response().await.text(), SITE);
}

#[tokio::test]
async fn tickets_of_a_shared_tls_side_belong_to_the_site_and_its_policy() {
    let pki = Pki::new();
    let leaf = pki.leaf(&[SITE, OTHER]);
    let chooser = CertificateChooser::new(vec![certified(&leaf)]).unwrap();
    let mut shared = SiteTls::new("shared", Arc::new(chooser));
    shared.early_data = true;
    let shared = Arc::new(shared);
    let (choose, chosen) = watch::channel(SITE);
    let selector = move |_: Arc<ClientHello>, _: SocketAddr, _: SocketAddr| {
        std::future::ready(Selection::Tls {
            site: (*chosen.borrow()).into(),
            tls: Arc::clone(&shared),
        })
    };
    let site = |name: &str, policy| {
        let handler = early(|request: EarlyRequest| async {
            request.confirmed().await?;
            Ok(Response::new(Body::empty()))
        });
        Site::new(name)
            .certified_key(certified(&leaf))
            .early_data(true)
            .early_data_policy(policy)
            .handler(handler)
    };
    let edge = Edge::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .workers(1)
        .site(site(SITE, EarlyDataPolicy::Wait))
        .site(site(OTHER, EarlyDataPolicy::Wait))
        .selector(selector)
        .build()
        .unwrap();
    let address = edge.addresses()[0];
    let setup = pki.client().alpn(&["http/1.1"]);
    Client::fetch_ticket(address, SITE, &setup).await;

    choose.send_replace(OTHER);
    let mut client = Client::connect(address, SITE, &setup).await;
    client.early(&get(OTHER));
    client.handshake().await.unwrap();
    assert_eq!(client.kind(), Some(HandshakeKind::Full), "another site");

    choose.send_replace(SITE);
    let setup = setup.fresh();
    Client::fetch_ticket(address, SITE, &setup).await;
    let sites = vec![
        site(SITE, EarlyDataPolicy::Allow),
        site(OTHER, EarlyDataPolicy::Wait),
    ];
    edge.handle().replace_sites(sites).unwrap();
    let mut client = Client::connect(address, SITE, &setup).await;
    client.early(&get(SITE));
    client.handshake().await.unwrap();
    assert!(!client.early_accepted(), "another policy");
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_selector_that_never_answers_is_bounded() {
    let pki = Pki::new();
    let selector =
        |_: Arc<ClientHello>, _: SocketAddr, _: SocketAddr| std::future::pending::<Selection>();
    let edge = edge(&pki.leaf(&[SITE]), selector);
    let mut client = Client::connect(edge.addresses()[0], SITE, &pki.client()).await;
    client.send_pending().await;
    client.ending().await;
    let handle = edge.handle();
    assert_eq!(handle.metrics().timeouts.get(TimeoutKind::Handshake), 1);
}

#[tokio::test]
async fn a_selector_that_panics_ends_its_connection_only() {
    let pki = Pki::new();
    let selector = |hello: Arc<ClientHello>, _: SocketAddr, _: SocketAddr| async move {
        assert_eq!(hello.server_name(), Some(SITE), "as it should");
        Selection::ByName
    };
    let edge = edge(&pki.leaf(&[SITE]), selector);
    let address = edge.addresses()[0];
    let mut client = Client::connect(address, OTHER, &pki.client()).await;
    client.send_pending().await;
    client.ending().await;
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(address, SITE, &setup).await;
    client.send(&get(SITE)).await;
    assert_eq!(client.response().await.status, 200);
}
