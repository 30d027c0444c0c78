//! P2: a recorded flight gets in at most once, counted over connection log, access log and metrics.

use std::collections::HashSet;
use std::time::Duration;

use cutwater::load::relay::{Relay, Replay, Withhold};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::early::scene::{NAME, Scene, get};
use crate::support::client::Client;
use crate::support::within;

const COPIES: usize = 12;

fn replay(scene: &Scene) -> Replay {
    Replay::to(scene.edge.address())
        .quiet(Duration::from_millis(30))
        .limit(Duration::from_secs(5))
}

/// The lines of connections that offered early data, once there are so many.
async fn offers(scene: &Scene, count: usize) -> Vec<Value> {
    let offered = |line: &Value| line["early"] != "none";
    scene.edge.until_connections(count, offered).await
}

fn accepted(lines: &[Value]) -> usize {
    lines
        .iter()
        .filter(|line| line["early"] == "accepted")
        .count()
}

/// How often the request with this path was processed before it was proved.
fn served_early(scene: &Scene, path: &str) -> usize {
    let lines = scene.edge.access();
    let served = |line: &&Value| line["path"] == path && line["early"] == "served";
    lines.iter().filter(served).count()
}

/// Sends `flight` until each worker has had one; how many that took.
async fn to_every_worker(scene: &Scene, flight: &[u8], lines_before: usize) -> usize {
    for sent in 1..=200 {
        replay(scene).send(flight).await.unwrap();
        let lines = offers(scene, lines_before + sent).await;
        let new = lines.iter().skip(lines_before);
        let workers: HashSet<_> = new.map(|line| line["worker"].as_u64()).collect();
        if workers.len() == 2 {
            return sent;
        }
    }
    panic!("200 connections and one worker had none");
}

#[tokio::test]
async fn a_delivered_flight_is_refused_by_every_worker() {
    let scene = Scene::start().await;
    scene.ticket().await;
    let relay = Relay::to(scene.edge.address())
        .withhold(Withhold::Finished)
        .record(true)
        .bind()
        .await
        .unwrap();
    let mut client = Client::connect(relay.address(), NAME, &scene.setup).await;
    client.early(&get("/?flight=a"));
    client.send_pending().await;
    assert_eq!(client.response().await.text(), "hello");
    within("the answer", relay.until(|all| all[0].withheld > 0)).await;
    let flight = relay.flights().remove(0).bytes;
    // The original is not even confirmed.
    let sent = to_every_worker(&scene, &flight, 0).await;
    relay.release();
    client.close_notify().await;
    let lines = offers(&scene, sent + 1).await;
    assert_eq!(accepted(&lines), 1);
    let refused = |line: &&Value| line["early"] == "refused_replay_suspected";
    assert_eq!(lines.iter().filter(refused).count(), sent);
    assert_eq!(scene.refused("replay_suspected").await, sent as f64);
    scene
        .edge
        .until_access(|line| line["confirmed"] == true)
        .await;
    assert_eq!(served_early(&scene, "/?flight=a"), 1);
    assert_eq!(
        scene.edge.access().len(),
        1,
        "no other request was handed out"
    );
    scene.settle(0).await;
}

/// Sends so many copies at the same time.
async fn at_once(scene: &Scene, flight: &[u8], copies: usize) {
    let mut sending = JoinSet::new();
    for _ in 0..copies {
        let (replay, flight) = (replay(scene), flight.to_owned());
        sending.spawn(async move { replay.send(&flight).await.unwrap() });
    }
    within("the copies", sending.join_all()).await;
}

#[tokio::test]
async fn of_many_copies_at_once_exactly_one_is_accepted() {
    let scene = Scene::start().await;
    let mut sent = 0;
    for round in 1..=4 {
        let path = format!("/?round={round}");
        let flight = scene.flight(&get(&path)).await;
        at_once(&scene, &flight, COPIES).await;
        sent += COPIES;
        assert_eq!(accepted(&offers(&scene, sent).await), round);
        // Its Finished never came.
        let line = scene
            .edge
            .until_access(|line| line["path"] == path.as_str());
        assert_eq!(line.await["confirmed"], "failed");
        assert_eq!(served_early(&scene, &path), 1);
        sent += to_every_worker(&scene, &flight, sent).await;
        assert_eq!(accepted(&offers(&scene, sent).await), round);
        assert_eq!(served_early(&scene, &path), 1);
    }
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 4.0);
    assert_eq!(scene.refused("replay_suspected").await, (sent - 4) as f64);
    assert_eq!(scene.edge.access().len(), 4);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_restart_lets_no_recorded_flight_in() {
    // EARLY-DATA R3: neither one that was delivered nor one that never was.
    let mut scene = Scene::start().await;
    let delivered = scene.flight(&get("/?delivered")).await;
    let kept = scene.flight(&get("/?kept")).await;
    replay(&scene).send(&delivered).await.unwrap();
    assert_eq!(accepted(&offers(&scene, 1).await), 1);
    scene.restart().await;
    let sent = to_every_worker(&scene, &delivered, 0).await;
    let sent = sent + to_every_worker(&scene, &kept, sent).await;
    assert_eq!(accepted(&offers(&scene, sent).await), 0);
    assert_eq!(scene.refused("unknown_ticket").await, sent as f64);
    assert!(scene.edge.access().is_empty());
    scene.settle(0).await;
}

#[tokio::test]
async fn copies_that_race_with_a_restart_are_accepted_at_most_once() {
    let mut scene = Scene::start().await;
    let flight = scene.flight(&get("/")).await;
    at_once(&scene, &flight, 2).await;
    let before = accepted(&offers(&scene, 2).await);
    assert_eq!(before, 1);
    scene.restart().await;
    at_once(&scene, &flight, COPIES).await;
    assert_eq!(accepted(&offers(&scene, COPIES).await), 0);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_reload_lets_nothing_in_twice_and_forgets_no_ticket() {
    let mut scene = Scene::start().await;
    let old = scene.flight(&get("/?old")).await;
    replay(&scene).send(&old).await.unwrap();
    let fresh = scene.flight(&get("/?fresh")).await;
    let config = scene.config.clone();
    scene.reload(&config).await;
    let sent = 1 + to_every_worker(&scene, &old, 1).await;
    assert_eq!(accepted(&offers(&scene, sent).await), 1);
    // The site has not changed: its tickets live on.
    at_once(&scene, &fresh, COPIES).await;
    assert_eq!(accepted(&offers(&scene, sent + COPIES).await), 2);
    assert_eq!(served_early(&scene, "/?fresh"), 1);
    scene.settle(0).await;
}

#[tokio::test]
async fn copies_that_race_with_reloads_are_accepted_once() {
    let scene = Scene::start().await;
    let flight = scene.flight(&get("/?raced")).await;
    for _ in 0..4 {
        scene.edge.signal("HUP").await;
        at_once(&scene, &flight, COPIES / 4).await;
    }
    assert_eq!(accepted(&offers(&scene, COPIES).await), 1);
    assert_eq!(served_early(&scene, "/?raced"), 1);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_ticket_of_another_early_data_policy_is_resumed_and_its_early_data_refused() {
    // EARLY-DATA R6, R22
    let mut scene = Scene::start().await;
    let mut client = scene.early(&get("/?policy")).await;
    let config = scene.config.replace("\"refuse\"", "\"wait\"");
    assert_ne!(config, scene.config);
    scene.reload(&config).await;
    client.send_pending().await;
    client.finish().await;
    assert!(!client.early_accepted());
    assert_eq!(client.kind(), Some(rustls::HandshakeKind::Resumed));
    client.resend_early().await;
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    assert_eq!(scene.line(&client).await["early"], "refused_policy");
    assert_eq!(scene.refused("policy").await, 1.0);
    scene.settle(0).await;
}
