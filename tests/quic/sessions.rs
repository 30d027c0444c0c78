//! Sessions under pressure, and tickets that others have seen (EARLY-DATA R8, R9).

use std::time::Duration;

use serde_json::Value;

use crate::quic::client::{Accepted, Client, Stream, answer, endpoint, get};
use crate::quic::flight::Flight;
use crate::quic::forger::{Forger, Level};
use crate::quic::limits::{GET, head, hello};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::quic::wire::{Wire, replay};
use crate::support::hello::{garble_binder, garble_random, with_identities};
use crate::support::within;

const QUIET: Duration = Duration::from_millis(50);

#[tokio::test]
async fn r8_under_pressure_early_data_is_refused_and_sessions_are_resumed() {
    let wants = Wants {
        limits: "handshakes = 8",
        listener: "quic_retry = \"never\"",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    scene.ticket().await;
    let mut unfinished = Vec::new();
    for _ in 0..7 {
        let setup = scene.setup.clone().fresh();
        unfinished.push(Forger::flown(scene.address(), NAME, &setup).await);
    }
    let endpoint = endpoint(&scene.setup);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let Ok((quic, accepted)) = connecting.into_0rtt() else {
        panic!("no ticket for early data");
    };
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(&head(GET, "/?early", b"")).await.unwrap();
    send.finish().unwrap();
    assert!(!within("the handshake", accepted).await);
    hello(&quic).await;
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    let offered = |line: &Value| line["early"] != "none";
    let line = scene.edge.until_connection(offered).await;
    assert_eq!(line["early"], "refused_pressure");
    assert_eq!(line["resumed"], true);
    assert_eq!(line["requests"], 1);
    let reason = ["reason=\"pressure\""];
    let refused = scene.metric("early_data_refused_total", &reason).await;
    assert_eq!(refused, 1.0);
    let early = |line: &Value| line["path"] == "/?early";
    assert!(!scene.edge.access().iter().any(early));
    // None had to go for it, and with them the pressure goes.
    assert_eq!(scene.metric("handshakes_evicted_total", &[]).await, 0.0);
    for mut forger in unfinished {
        forger.complete().await;
        // CONNECTION_CLOSE of the application.
        forger.send(Level::Full, &[0x1d, 0x41, 0, 0]).await;
    }
    scene.settle().await;
    scene.ticket().await;
    let (client, accepted) = Client::early(scene.address(), NAME, &scene.setup).await;
    assert!(accepted.known().await);
    client.close().await;
    scene.settle().await;
}

/// A client whose first flight is on its way, and somebody who has seen it.
struct Seen {
    client: Client,
    accepted: Accepted,
    stream: Stream,
    wire: Wire,
    flight: Flight,
}

async fn seen(scene: &Scene) -> Seen {
    scene.ticket().await;
    let wire = Wire::shut(scene.address()).await;
    let (mut client, accepted) = Client::early(wire.address(), NAME, &scene.setup).await;
    let mut stream = client.begin(get("https://example.com/?owner")).await;
    stream.finish().await.unwrap();
    let whole = async {
        loop {
            let flight = Flight::of(wire.held());
            match flight.is_whole() {
                true => break flight,
                false => tokio::task::yield_now().await,
            }
        }
    };
    let flight = within("the hello", whole).await;
    Seen {
        client,
        accepted,
        stream,
        wire,
        flight,
    }
}

/// The flight gets there: its ticket is as good as ever.
async fn is_taken(scene: &Scene, seen: Seen) {
    let Seen {
        client,
        accepted,
        mut stream,
        wire,
        ..
    } = seen;
    wire.release().await;
    assert!(accepted.known().await);
    assert_eq!(answer(&mut stream).await.text(), "hello");
    let owner = |line: &Value| line["path"] == "/?owner";
    let line = scene.edge.until_access(owner).await;
    assert_eq!(
        (&line["early"], &line["resumed"]),
        (&"served".into(), &true.into())
    );
    // Nobody waits until quinn forgets it: to the client the way seems as long as it was shut.
    client.quic.close(0x100u32.into(), b"");
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 1.0);
    scene.settle().await;
}

#[tokio::test]
async fn r9_a_wrong_binder_does_not_burn_the_ticket_of_its_owner() {
    let scene = Scene::start().await;
    let seen = seen(&scene).await;
    let forgeries = [garble_binder, garble_random].map(|forge| seen.flight.forged(forge));
    for (forged, nth) in forgeries.iter().zip(0..) {
        for worker in 0..2 {
            let answers = replay(scene.address(), &forged.again(worker), QUIET).await;
            assert!(answers > 0);
            let alerted = |line: &Value| line["alert_sent"] == "decrypt_error";
            let count = 2 * nth + usize::from(worker) + 1;
            let lines = scene.edge.until_connections(count, alerted).await;
            let line = &lines[count - 1];
            assert_eq!(
                (&line["end"], &line["resumed"]),
                (&"alert".into(), &false.into())
            );
            assert_eq!(
                (&line["sni"], &line["early"]),
                (&NAME.into(), &"offered".into())
            );
        }
    }
    is_taken(&scene, seen).await;
}

#[tokio::test]
async fn r9_more_than_two_identities_bring_a_full_handshake_and_burn_nothing() {
    let wants = Wants {
        // Who made such a hello cannot end its handshake.
        site: "timeouts = { handshake = \"1s\" }",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let seen = seen(&scene).await;
    let forged = seen.flight.forged(|hello| with_identities(hello, 3));
    for worker in 0..2 {
        replay(scene.address(), &forged.again(worker), QUIET).await;
    }
    let offered = |line: &Value| line["early"] != "none";
    for line in scene.edge.until_connections(2, offered).await {
        assert_eq!(line["early"], "refused_too_many_identities");
        assert_eq!(
            (&line["resumed"], &line["certificate"]),
            (&false.into(), &"ecdsa_p256".into())
        );
        assert_eq!(
            (&line["end"], &line["alert_sent"]),
            (&"timeout".into(), &Value::Null)
        );
    }
    let reason = ["reason=\"too_many_identities\""];
    let refused = scene.metric("early_data_refused_total", &reason).await;
    assert_eq!(refused, 2.0);
    is_taken(&scene, seen).await;
}
