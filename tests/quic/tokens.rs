//! Floods of address validation tokens that are not what they should be (RFC 9000 §8.1).

use crate::quic::forger::{Forger, LEAST, Level, crypto};
use crate::quic::scene::{NAME, Scene, Wants};

const INVALID_TOKEN: u64 = 0xb;

/// CONNECTION_CLOSE of the application.
const CLOSE: &[u8] = &[0x1d, 0x41, 0, 0];
/// The same of a handshake: user_canceled (RFC 9001 §4.8).
const LEAVE: &[u8] = &[0x1c, 0x41, 90, 0, 0];

async fn refused(scene: &Scene, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    scene.metric("quic_tokens_refused_total", &[&reason]).await
}

/// Begins a connection with half a hello.
async fn begin(forger: &mut Forger) {
    forger.renew();
    let half = forger.hello[..forger.hello.len() / 2].to_vec();
    forger.send(Level::Initial, &crypto(0, &half)).await;
}

/// Whoever was asked to prove its address goes on with the token that it got.
async fn go_on(forger: &mut Forger) {
    forger.say_hello().await;
    forger.fly().await;
    forger.complete().await;
    forger.send(Level::Full, CLOSE).await;
}

#[tokio::test]
async fn who_shows_a_token_that_is_none_is_treated_as_who_has_none() {
    let scene = Scene::with(Wants {
        limits: "handshakes = 8",
        listener: "timeouts = { client_hello = \"60s\" }",
        ..Wants::default()
    })
    .await;
    let to = async || Forger::to(scene.address(), NAME, &scene.setup).await;
    // Without need nobody is asked, whatever it shows; then there is need.
    let mut waiting = Vec::new();
    for nth in 1..=5u8 {
        let mut forger = to().await;
        forger.token = vec![nth; 60];
        begin(&mut forger).await;
        scene
            .until_metric("handshakes_unfinished", &[], f64::from(nth))
            .await;
        waiting.push(forger);
    }
    let mut forger = to().await;
    begin(&mut forger).await;
    forger.retried().await;
    let good = forger.token.clone();
    // One bit is wrong, somewhere; something is missing, or too much.
    let mut bad: Vec<Vec<u8>> = (0..good.len())
        .map(|place| {
            let mut token = good.clone();
            token[place] ^= 1 << (place % 8);
            token
        })
        .collect();
    bad.extend((16..good.len()).map(|length| good[..length].to_vec()));
    bad.extend((1..100).map(|more| [&good[..], &vec![0; more]].concat()));
    for token in &bad {
        forger.token.clone_from(token);
        begin(&mut forger).await;
        // Nothing else is answered, and nobody gets a connection.
        forger.retried().await;
    }
    let count = |metric| scene.metric(metric, &[]);
    let asked = bad.len() as f64 + 1.0;
    assert_eq!(count("quic_retries_total").await, asked);
    assert_eq!(count("connections_accepted_total").await, 5.0);
    assert_eq!(count("handshakes_unfinished").await, 5.0);
    assert_eq!(refused(&scene, "unknown").await, bad.len() as f64 + 5.0);
    for reason in ["used", "address", "retry"] {
        assert_eq!(refused(&scene, reason).await, 0.0, "{reason}");
    }
    // Those who do as they are told are served meanwhile.
    go_on(&mut forger).await;
    let mut client = scene.client().await;
    assert_eq!(client.get("https://example.com/").await.status, 200);
    client.close().await;
    assert_eq!(count("connections_accepted_total").await, 7.0);
    for mut forger in waiting {
        forger.send(Level::Initial, LEAVE).await;
    }
    scene.settle().await;
}

/// A client that gets a Retry takes no other, so it had better begin anew at once (RFC 9000 §8.1.3).
#[tokio::test]
async fn the_token_of_somebody_elses_retry_is_refused_and_nothing_kept() {
    const COUNT: u32 = 200;
    let scene = Scene::with(Wants {
        listener: "quic_retry = \"always\"",
        ..Wants::default()
    })
    .await;
    let mut owner = Forger::to(scene.address(), NAME, &scene.setup).await;
    begin(&mut owner).await;
    owner.retried().await;
    let mut forger = Forger::to(scene.address(), NAME, &scene.setup).await;
    forger.token.clone_from(&owner.token);
    for nth in 1..=COUNT {
        begin(&mut forger).await;
        assert_eq!(forger.closed().await, (INVALID_TOKEN, false));
        assert!(forger.got.bytes <= LEAST, "{} bytes", forger.got.bytes);
        assert_eq!(refused(&scene, "retry").await, f64::from(nth));
    }
    let none = [
        "connections_accepted_total",
        "handshakes_unfinished",
        "quic_connections_closing",
    ];
    for metric in none {
        assert_eq!(scene.metric(metric, &[]).await, 0.0, "{metric}");
    }
    assert_eq!(scene.metric("quic_retries_total", &[]).await, 1.0);
    for reason in ["unknown", "used", "address"] {
        assert_eq!(refused(&scene, reason).await, 0.0, "{reason}");
    }
    // Its owner has lost nothing, nor has anybody else. A Retry lasts for seconds, so it is a new one.
    owner.token.clear();
    begin(&mut owner).await;
    owner.retried().await;
    go_on(&mut owner).await;
    let mut client = scene.client().await;
    assert_eq!(client.get("https://example.com/").await.status, 200);
    client.close().await;
    scene.settle().await;
}
