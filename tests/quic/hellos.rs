//! ClientHellos that come in several datagrams, of which some are late: what a client is told meanwhile.

use crate::quic::forger::{Forger, Level, crypto};
use crate::quic::scene::{NAME, Scene};
use crate::support::BOUND;

const PING: &[u8] = &[1];
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
