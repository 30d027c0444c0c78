//! ClientHellos that come in several datagrams, of which some are late, or twice: what a client is told
//! meanwhile.

use std::time::Duration;

use rustls::NamedGroup;
use serde_json::Value;

use crate::quic::addresses::{LARGE, large};
use crate::quic::client::Client;
use crate::quic::forger::{Forger, LEAST, Level, PING, crypto};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::support::BOUND;

const ACK: u64 = 0x02;

/// Waits until so many packets are acknowledged, each by an answer of its own.
async fn acknowledged(forger: &mut Forger, count: usize) {
    while forger.got.count(ACK) < count {
        assert!(forger.receive(BOUND).await, "{:?}", forger.got);
    }
}

/// Some clients send a hello again only when they learn that a later packet has come (OpenSSL's probes
/// are empty): who has half of one must not wait for the rest in silence.
#[tokio::test]
async fn half_a_hello_is_acknowledged_and_so_is_every_probe_until_the_rest_comes() {
    for late in [0, 1] {
        let scene = Scene::start().await;
        let mut forger = Forger::to(scene.address(), NAME, &scene.setup).await;
        let original = forger.to.clone();
        let hello = forger.hello.clone();
        let (begin, end) = hello.split_at(hello.len() / 2);
        let mut halves = [crypto(0, begin), crypto(begin.len() as u64, end)];
        halves.rotate_right(late);
        let [late, early] = halves;
        forger.send(Level::Initial, &early).await;
        acknowledged(&mut forger, 1).await;
        assert_ne!(forger.to, original, "the edge's own id");
        let own = forger.to.clone();
        // Whoever has lost the answer still sends to the id that it made up.
        for (nth, to) in (2..).zip([&original, &original, &own]) {
            forger.to.clone_from(to);
            forger.send(Level::Initial, PING).await;
            acknowledged(&mut forger, nth).await;
        }
        forger.send(Level::Initial, &late).await;
        forger.fly().await;
        forger.complete().await;
        // CONNECTION_CLOSE of the application.
        forger.send(Level::Full, &[0x1d, 0x41, 0, 0]).await;
        scene.settle().await;
    }
}

/// What answers half a hello counts too. quinn begins a datagram as long as a byte may be sent
/// (quinn-rs/quinn#1082): so thrice what came, and less than a datagram.
#[tokio::test]
async fn who_sends_its_hello_by_halves_is_sent_thrice_that_and_less_than_a_datagram_more() {
    let scene = Scene::with_sites(large, Wants::default()).await;
    let mut forger = Forger::to(scene.address(), LARGE, &scene.setup).await;
    let hello = forger.hello.clone();
    let (begin, end) = hello.split_at(hello.len() / 2);
    forger.send(Level::Initial, &crypto(0, begin)).await;
    acknowledged(&mut forger, 1).await;
    assert!(forger.got.bytes < 100, "{} bytes", forger.got.bytes);
    let end = crypto(begin.len() as u64, end);
    forger.send(Level::Initial, &end).await;
    // Until the server is tired of waiting, and has nothing left to send (RFC 9002 §6.2.2.1).
    while forger.receive(Duration::from_millis(1200)).await {}
    let (sent, most) = (forger.got.bytes, 3 * 2 * LEAST);
    assert!(most < sent + LEAST && sent < most + LEAST, "{sent} bytes");
}

/// Whoever has the server's first flight knows its settings, so that its first request can heed them.
#[tokio::test]
async fn settings_leave_with_the_first_flight() {
    let scene = Scene::start().await;
    // A hello of one datagram.
    let setup = scene.setup.clone().groups(&[NamedGroup::X25519]);
    let forger = Forger::flown(scene.address(), NAME, &setup).await;
    // The first unidirectional stream of a server: control, and SETTINGS.
    let control = forger.got.streams.get(&3);
    let control = control.unwrap_or_else(|| panic!("{:?}", forger.got));
    assert!(control.starts_with(&[0, 4]), "{control:x?}");
}

/// The edge has no such group as the first, which alone has a share: it asks for another hello.
const RETRIED: [NamedGroup; 2] = [NamedGroup::MLKEM1024, NamedGroup::X25519];

#[tokio::test]
async fn what_a_second_hello_brings_is_what_both_logs_have() {
    let scene = Scene::start().await;
    scene.ticket().await;
    let setup = scene.setup.clone().early_data(false).groups(&RETRIED);
    let mut client = Client::connect(scene.address(), NAME, &setup).await;
    let answer = client.get("https://example.com/?again").await;
    assert_eq!(answer.text(), "hello");
    let asked = |line: &Value| line["path"] == "/?again";
    assert_eq!(scene.edge.until_access(asked).await["resumed"], true);
    client.close().await;
    let retried = |line: &Value| line["client_hellos"] == 2;
    let line = scene.edge.until_connection(retried).await;
    assert_eq!(line["resumed"], true);
    assert_eq!(line["requests"], 1);
    scene.settle().await;
}

#[tokio::test]
async fn a_second_hello_is_awaited_as_long_as_a_handshake_may_take() {
    let scene = Scene::with(Wants {
        site: "timeouts = { handshake = \"300ms\" }",
        ..Wants::default()
    })
    .await;
    let setup = scene.setup.clone().groups(&RETRIED);
    let mut forger = Forger::to(scene.address(), NAME, &setup).await;
    forger.say_hello().await;
    let kind = ["kind=\"handshake\""];
    scene.until_metric("timeouts_total", &kind, 1.0).await;
    let line = scene.edge.until_connection(|_| true).await;
    assert_eq!(line["error"], "timeout: handshake");
    assert_eq!(line["end"], "timeout");
    scene.settle().await;
}

#[tokio::test]
async fn whoever_leaves_before_its_second_hello_is_let_go() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().groups(&RETRIED);
    let mut forger = Forger::to(scene.address(), NAME, &setup).await;
    forger.say_hello().await;
    acknowledged(&mut forger, 1).await;
    // CONNECTION_CLOSE with user_canceled (RFC 9001 §4.8).
    forger.send(Level::Initial, &[0x1c, 0x41, 90, 0, 0]).await;
    let line = scene.edge.until_connection(|_| true).await;
    assert_eq!(line["end"], "clean");
    scene.settle().await;
}
