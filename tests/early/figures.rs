//! That the metrics come to what was done: requests, waits, sessions, origins.

use std::time::{Duration, SystemTime};

use crate::early::scene::{self, NAME, POST, Scene, get};
use crate::support::client::{Client, Ending};
use crate::support::origin::Origin;
use crate::support::pki::Pki;
use crate::support::within;

async fn close(mut client: Client) {
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
}

#[tokio::test]
async fn figures_come_to_what_was_done() {
    let origin = Origin::echo().await;
    let pki = Pki::new();
    let config = scene::config(&pki, &scene::routes_to(&scene::servers(&origin.url())));
    let scene = Scene::with(pki, format!("[sessions]\ncapacity = 2\n{config}")).await;
    // An early request to the origin, and a later one.
    let mut client = scene.early(&get("/aware")).await;
    client.send_pending().await;
    assert_eq!(client.response().await.status, 200);
    client.finish().await;
    client.send(&get("/aware")).await;
    assert_eq!(client.response().await.status, 200);
    close(client).await;

    // An early request that waits for Finished.
    let mut client = scene.early(POST).await;
    client.send_pending().await;
    assert!(client.silent_for(Duration::from_millis(200)).await);
    client.finish().await;
    assert_eq!(client.response().await.status, 200);
    close(client).await;

    // A ticket that is not known here; then more sessions than there is room for.
    let twin = scene.twin().await;
    scene.setup.tickets().clear();
    Client::fetch_ticket(twin.address(), NAME, &scene.setup).await;
    close(Client::open(scene.edge.address(), NAME, &scene.setup).await).await;
    for _ in 0..3 {
        scene.ticket().await;
    }

    within("the figures of the sessions", async {
        while scene.metric("sessions_stored_total", &[]).await
            < scene.metric("tickets_sent_total", &[]).await
        {}
    })
    .await;
    let text = scene.edge.metrics().await;
    let sum = |name: &str, labels: &[&str]| {
        crate::support::edge::sum_of(&text, &format!("cutwater_{name}"), labels)
    };
    for (name, labels, expected) in [
        ("early_requests_total", &["state=\"served\""][..], 1.0),
        ("early_requests_total", &["state=\"waited\""], 1.0),
        ("early_delayed_total", &[], 1.0),
        ("confirmations_awaited_total", &[], 1.0),
        ("confirmation_seconds_count", &[], 1.0),
        ("answered_before_finished_total", &[], 1.0),
        ("origin_requests_total", &[], 2.0),
        ("origin_connections_total", &["how=\"opened\""], 1.0),
        ("origin_connections_total", &["how=\"reused\""], 1.0),
        ("origin_response_seconds_count", &[], 2.0),
        ("request_seconds_count", &["target=\"origin\""], 2.0),
        ("sessions_taken_total", &[], 2.0),
        ("sessions_missed_total", &[], 1.0),
        ("sessions_held", &[], 2.0),
        ("sessions_expired_total", &[], 0.0),
    ] {
        assert_eq!(sum(name, labels), expected, "{name} {labels:?}");
    }
    let waited = sum("confirmation_seconds_sum", &[]);
    assert!((0.2..30.0).contains(&waited), "{waited}");
    for kind in ["full", "resumed", "early"] {
        let label = format!("kind=\"{kind}\"");
        let handshakes = sum("handshakes_total", &[&label]);
        assert_eq!(sum("handshake_seconds_count", &[&label]), handshakes);
    }
    assert_eq!(sum("handshakes_total", &["kind=\"early\""]), 2.0);
    // No session is lost sight of.
    let stored = sum("sessions_stored_total", &[]);
    let gone = sum("sessions_taken_total", &[]) + sum("sessions_evicted_total", &[]);
    assert_eq!(stored, sum("sessions_held", &[]) + gone, "{text}");
    assert!(sum("sessions_evicted_total", &[]) > 0.0);
    for direction in ["direction=\"in\"", "direction=\"out\""] {
        assert!(sum("bytes_total", &[direction]) > 1000.0, "{direction}");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let age = now.unwrap().as_secs_f64() - sum("start_time_seconds", &[]);
    assert!((0.0..600.0).contains(&age), "{age}");
}
