//! What an address may be sent before it is proved, what is answered without a connection, and what
//! an address that has changed is worth.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::TokenStore;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::NamedGroup;
use tokio::net::UdpSocket;

use crate::quic::client::{Client, endpoint};
use crate::quic::forger::{Forger, LEAST, Level};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::support::pki::Pki;
use crate::support::within;

/// A site whose certificate alone is more than a dozen datagrams.
pub fn large(pki: &Pki) -> String {
    let names: Vec<_> = (0..300)
        .map(|nth| format!("a-name-that-is-rather-long-{nth}.large.example"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let certificate = pki.files(&names).toml();
    format!(
        "[[site]]\nnames = [\"{}\"]\ncertificate = {certificate}\n[[site.route]]\npath = \"/\"\nrespond = {{ status = 200 }}\n",
        names[0]
    )
}

/// Its name.
pub const LARGE: &str = "a-name-that-is-rather-long-0.large.example";

#[tokio::test]
async fn who_is_not_proved_is_sent_no_more_than_thrice_what_it_sent() {
    let scene = Scene::with_sites(large, Wants::default()).await;
    // In one datagram.
    let setup = scene.setup.clone().groups(&[NamedGroup::X25519]);
    let mut forger = Forger::to(scene.address(), LARGE, &setup).await;
    forger.say_hello().await;
    assert_eq!(forger.next_number(Level::Initial), 1);
    for sent in [LEAST, 2 * LEAST] {
        // As much as may come does, and no more when the server is tired of waiting (RFC 9002
        // §6.2.2.1).
        while forger.receive(Duration::from_millis(1200)).await {
            assert!(forger.got.bytes <= 3 * sent, "{} bytes", forger.got.bytes);
        }
        assert!(
            forger.got.bytes > 3 * sent - LEAST,
            "{} bytes",
            forger.got.bytes
        );
        // One more datagram of ours lets three more come.
        forger.send(Level::Initial, &[1]).await;
    }
}

#[tokio::test]
async fn unknown_versions_are_told_which_one_is_known() {
    let scene = Scene::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ask = |version: u32, length: usize| {
        let mut datagram = vec![0xc0];
        datagram.extend(version.to_be_bytes());
        datagram.extend([&[8][..], b"to-there", &[5], b"hence"].concat());
        datagram.resize(length, 0);
        datagram
    };
    // One that is reserved, version 2, one of a draft.
    for version in [0x1a2a_3a4a, 0x6b33_43cf, 0xff00_001d] {
        // Too short to be worth an answer, which may be longer (RFC 9000 §5.2.2).
        socket
            .send_to(&ask(version, 1199), scene.address())
            .await
            .unwrap();
        socket
            .send_to(&ask(version, 1200), scene.address())
            .await
            .unwrap();
        let mut buffer = [0; 2048];
        let length = within("an answer", socket.recv(&mut buffer)).await.unwrap();
        let answer = &buffer[..length];
        assert!(length < 100);
        assert_eq!(answer[0] & 0xc0, 0xc0);
        assert_eq!(answer[1..5], [0; 4]);
        assert_eq!(answer[5..20], *b"\x05hence\x08to-there");
        let versions: Vec<_> = answer[20..]
            .chunks(4)
            .map(|version| u32::from_be_bytes(version.try_into().unwrap()))
            .collect();
        // And one that is reserved, so that clients do not rely on there being one.
        let known: Vec<_> = versions
            .iter()
            .filter(|it| **it & 0x0f0f_0f0f != 0x0a0a_0a0a)
            .collect();
        assert_eq!(known, [&1], "{versions:x?}");
    }
    // An answer to an answer would go on for ever.
    socket
        .send_to(&ask(0, 1200), scene.address())
        .await
        .unwrap();
    let mut buffer = [0; 100];
    let more = socket.recv(&mut buffer);
    let more = tokio::time::timeout(Duration::from_millis(100), more).await;
    assert!(more.is_err(), "{more:?}");
    scene.settle().await;
}

#[tokio::test]
async fn who_has_a_connection_that_we_forgot_is_told_so() {
    let scene = Scene::start().await;
    let mut forger = Forger::connected(scene.address(), NAME, &scene.setup).await;
    while !forger.got.ids.contains_key(&1) {
        assert!(forger.receive(Duration::from_secs(5)).await);
    }
    let known = forger.got.ids[&1].clone();
    // CONNECTION_CLOSE of the application.
    forger.send(Level::Full, &[0x1d, 0x41, 0, 0]).await;
    scene.until_metric("connections_open", &[], 0.0).await;
    scene
        .until_metric("quic_connections_closing", &[], 0.0)
        .await;
    forger.drain().await;
    forger.to = known.id;
    let began = Instant::now();
    let mut answers = 0;
    let mut sent = 0;
    while answers == 0 || sent < 200 {
        assert!(sent < 2000);
        let packet = forger.packet(Level::Full, &[0; 100]);
        forger
            .socket
            .send_to(&packet, scene.address())
            .await
            .unwrap();
        sent += 1;
        let mut buffer = [0; 2048];
        let answer = forger.socket.recv(&mut buffer);
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(1), answer).await {
            let length = answer.unwrap();
            // Shorter than what it answers, so that two servers do not go on for ever (RFC 9000
            // §10.3.3), and with the token that only we can have made.
            assert!(length < packet.len(), "{length}");
            assert!(buffer[..length].ends_with(&known.reset));
            assert_eq!(buffer[0] & 0xc0, 0x40);
            answers += 1;
        }
    }
    // One in 20 ms for each worker, however many ask.
    let most = 1 + began.elapsed().as_millis() / 20;
    assert!(answers <= most, "{answers} answers, {most} at most");
    scene.settle().await;
}

/// Shows the same token for ever.
struct Same(Vec<u8>);

impl TokenStore for Same {
    fn insert(&self, _: &str, _: bytes::Bytes) {}

    fn take(&self, _: &str) -> Option<bytes::Bytes> {
        Some(self.0.clone().into())
    }
}

/// Keeps the newest token.
#[derive(Default)]
struct Kept(std::sync::Mutex<Option<bytes::Bytes>>);

impl TokenStore for Kept {
    fn insert(&self, _: &str, token: bytes::Bytes) {
        *self.0.lock().unwrap() = Some(token);
    }

    fn take(&self, _: &str) -> Option<bytes::Bytes> {
        None
    }
}

fn with_tokens(scene: &Scene, store: Arc<dyn TokenStore>) -> quinn::Endpoint {
    let setup = scene.setup.clone().fresh().alpn(&["h3"]);
    let crypto = QuicClientConfig::try_from(setup.config()).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.token_store(store);
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

async fn connect(scene: &Scene, store: Arc<dyn TokenStore>) {
    let endpoint = with_tokens(scene, store);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let quic = within("the handshake", connecting).await.unwrap();
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
}

#[tokio::test]
async fn tokens_that_are_none_or_were_used_prove_nothing() {
    let wants = Wants {
        listener: "quic_retry = \"always\"",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let refused = async |reason: &str| scene.metric("quic_tokens_refused_total", &[reason]).await;
    let retries = async || scene.metric("quic_retries_total", &[]).await;
    // Bytes that we never made: a Retry, as for who has none.
    for (nth, length) in (1..).zip([1, 16, 17, 60, 500]) {
        connect(&scene, Arc::new(Same(vec![7; length]))).await;
        assert_eq!(retries().await, f64::from(nth), "{length}");
    }
    // The first is too short to be opened at all.
    let unknown = refused("reason=\"unknown\"").await;
    assert!(unknown >= 3.0, "{unknown}");
    // One that we made, twice.
    let store = Arc::new(Kept::default());
    let endpoint = with_tokens(&scene, Arc::clone(&store) as Arc<_>);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let quic = within("the handshake", connecting).await.unwrap();
    let come = async {
        while store.0.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    within("a token", come).await;
    quic.close(0x100u32.into(), b"");
    let token = store.0.lock().unwrap().clone().unwrap();
    // It is of that address, and no other.
    let before = retries().await;
    let endpoint = with_tokens(&scene, Arc::new(Same(token.to_vec())));
    let elsewhere = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    endpoint.rebind(elsewhere).unwrap();
    Client::by(endpoint, scene.address(), NAME)
        .await
        .close()
        .await;
    assert_eq!(retries().await, before + 1.0);
    assert_eq!(refused("reason=\"address\"").await, 1.0);
    let before = retries().await;
    connect(&scene, Arc::new(Same(token.to_vec()))).await;
    assert_eq!(retries().await, before);
    assert_eq!(refused("reason=\"used\"").await, 0.0);
    connect(&scene, Arc::new(Same(token.to_vec()))).await;
    assert_eq!(retries().await, before + 1.0);
    assert_eq!(refused("reason=\"used\"").await, 1.0);
    assert_eq!(refused("reason=\"address\"").await, 1.0);
    assert_eq!(refused("reason=\"retry\"").await, 0.0);
    scene.settle().await;
}

/// Routes that go by the client's address, and one that does not.
const BY_ADDRESS: &str = "
    [[site.route]]
    path = \"/inside\"
    allow = [\"127.0.0.1/32\"]
    respond = { status = 200, body = \"inside\" }
    [[site.route]]
    path = \"/not-there\"
    deny = [\"127.0.0.2/32\"]
    respond = { status = 200, body = \"not there\" }
    [[site.route]]
    path = \"/rated\"
    rate_limit = { requests = 2, per = \"1h\" }
    respond = { status = 200, body = \"rated\" }
";

/// Sends from this address now.
fn move_to(client: &Client, address: &str) {
    let socket = std::net::UdpSocket::bind((address, 0)).unwrap();
    client.endpoint.rebind(socket).unwrap();
}

#[tokio::test]
async fn an_address_that_has_changed_has_to_be_proved_anew_where_it_counts() {
    let wants = Wants {
        routes: BY_ADDRESS,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let url = |path: &str| format!("https://{NAME}{path}");
    for (path, there) in [("/inside", 403), ("/not-there", 403), ("/rated", 200)] {
        let mut client = scene.client().await;
        assert_eq!(client.get(&url(path)).await.status, 200, "{path}");
        // Another port is the same client.
        move_to(&client, "127.0.0.1");
        assert_eq!(client.get(&url("/")).await.status, 200);
        if path != "/rated" {
            assert_eq!(client.get(&url(path)).await.status, 200, "{path}");
        }
        // What goes by no address goes on, elsewhere too.
        move_to(&client, "127.0.0.2");
        assert_eq!(client.get(&url("/")).await.status, 200);
        assert_eq!(client.get(&url(path)).await.status, 421, "{path}");
        // The connection ends, and the next one is where it is.
        within("the end", client.quic.closed()).await;
        let endpoint = endpoint(&scene.setup);
        let socket = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
        endpoint.rebind(socket).unwrap();
        let mut next = Client::by(endpoint, scene.address(), NAME).await;
        assert_eq!(next.get(&url(path)).await.status, there, "{path}");
        next.close().await;
    }
    assert_eq!(scene.metric("misdirected_requests_total", &[]).await, 3.0);
    scene.settle().await;
}

#[tokio::test]
async fn a_proxy_that_has_moved_is_not_believed() {
    let wants = Wants {
        listener: "trusted_proxies = [\"127.0.0.1/32\"]",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let mut client = scene.client().await;
    assert_eq!(client.get("https://example.com/").await.status, 200);
    move_to(&client, "127.0.0.2");
    // The edge sees where it is with the first packet from there.
    let answer = client.get("https://example.com/").await;
    assert_eq!(answer.status, 421);
    within("the end", client.quic.closed()).await;
    scene.settle().await;
}
