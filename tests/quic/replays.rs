//! P2 and P3 with an attacker who makes packets of its own from those that it has recorded.
//!
//! The id that a client's first packets go to decides which worker gets them. A recorded flight
//! therefore reaches the same one whenever it comes. But the keys of Initial packets are no secret:
//! the ClientHello in them can be put into others, to any worker. Early data cannot: its packets are
//! sealed with the id, by keys that the attacker lacks.

use std::time::Duration;

use serde_json::Value;
use tokio::net::UdpSocket;

use crate::quic::client::{Client, get};
use crate::quic::flight::Flight;
use crate::quic::scene::{NAME, Scene, Wants};
use crate::quic::wire::{Wire, replay};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Reply};
use crate::support::within;

const QUIET: Duration = Duration::from_millis(50);

async fn scene() -> Scene {
    let wants = Wants {
        // What a copy has made is gone soon.
        site: "timeouts = { handshake = \"1s\" }",
        ..Wants::default()
    };
    Scene::with(wants).await
}

/// A flight with early requests, which no edge has seen.
async fn unseen(scene: &Scene, paths: &[&str]) -> Flight {
    scene.ticket().await;
    // Nobody answers.
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::to(nobody.local_addr().unwrap()).await;
    let (mut client, _) = Client::early(wire.address(), NAME, &scene.setup).await;
    let mut streams = Vec::new();
    for path in paths {
        let mut stream = client.begin(get(&format!("https://{NAME}{path}"))).await;
        stream.finish().await.unwrap();
        streams.push(stream);
    }
    let recorded = async {
        // Two datagrams of Initial packets for a post-quantum hello, and early data.
        for _ in 0..3 {
            nobody.recv(&mut [0; 2048]).await.unwrap();
        }
    };
    within("the flight", recorded).await;
    let more = async { while nobody.recv(&mut [0; 2048]).await.is_ok() {} };
    let _ = tokio::time::timeout(QUIET, more).await;
    Flight::of(wire.sent())
}

/// Sends so many copies to each of the two workers, all at the same time.
async fn at_once(scene: &Scene, flight: &Flight, each: u8) {
    let mut copies = tokio::task::JoinSet::new();
    for worker in 0..2 {
        for _ in 0..each {
            let (copy, address) = (flight.again(worker), scene.address());
            copies.spawn(async move { replay(address, &copy, QUIET).await });
        }
    }
    copies.join_all().await;
}

/// The lines of connections that offered early data, once there are so many.
async fn offers(scene: &Scene, count: usize) -> Vec<Value> {
    let offered = |line: &Value| line["early"] != "none";
    scene.edge.until_connections(count, offered).await
}

/// Those whose ticket was good, whether or not a byte of early data could be read.
fn taken(lines: &[Value]) -> usize {
    let good = |line: &&Value| line["early"] == "accepted" || line["early"] == "empty";
    lines.iter().filter(good).count()
}

fn workers(lines: &[Value]) -> usize {
    let workers = lines.iter().map(|line| line["worker"].as_u64());
    workers.collect::<std::collections::HashSet<_>>().len()
}

async fn served(scene: &Scene) -> f64 {
    let label = ["state=\"served\""];
    scene.metric("early_requests_total", &label).await
}

#[tokio::test]
async fn p2_a_delivered_flight_is_refused_by_every_worker() {
    let scene = scene().await;
    scene.ticket().await;
    let wire = Wire::to(scene.address()).await;
    let (mut client, _) = Client::early(wire.address(), NAME, &scene.setup).await;
    let mut stream = client.begin(get("https://example.com/?once")).await;
    stream.finish().await.unwrap();
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    let flight = Flight::of(wire.sent());
    // The original is not even confirmed, and never will be.
    for worker in 0..2 {
        let copy = flight.again(worker);
        replay(scene.address(), &copy, QUIET).await;
    }
    let lines = offers(&scene, 3).await;
    assert_eq!((taken(&lines), workers(&lines)), (1, 2), "{lines:#?}");
    let refused = ["reason=\"replay_suspected\""];
    scene
        .until_metric("early_data_refused_total", &refused, 2.0)
        .await;
    assert_eq!(served(&scene).await, 1.0);
    scene.settle().await;
}

#[tokio::test]
async fn r11_what_was_not_confirmed_is_not_run_after_the_connection_has_ended() {
    let origin = Origin::start(|_| Reply::ok("paid")).await;
    let url = origin.url();
    let untold = format!("origin = {{ servers = [\"{url}\"], forwarded = \"off\" }}");
    let refused = "early_data = \"refuse\"";
    let routes = format!(
        "[[site.route]]\npath = \"/pay\"\n{untold}\n\
         [[site.route]]\npath = \"/never\"\n{refused}\n{untold}\n"
    );
    let wants = Wants {
        routes: &routes,
        site: "timeouts = { handshake = \"1s\" }",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    // Every worker has connections to the origin that wait for requests.
    const WARM: usize = 8;
    for _ in 0..WARM {
        let mut client = scene.client().await;
        let answer = client.get("https://example.com/pay").await;
        assert_eq!(answer.text(), "paid");
        client.close().await;
    }
    for round in 1..=5 {
        let flight = unseen(&scene, &["/pay?1", "/pay?2", "/never", "/pay?3"]).await;
        // A worker that is busy finds the end of the connection together with its requests.
        scene.edge.signal("STOP").await;
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for datagram in flight.datagrams.iter().chain([&flight.close()]) {
            sender.send_to(datagram, scene.address()).await.unwrap();
        }
        scene.edge.signal("CONT").await;
        offers(&scene, round).await;
        scene.until_metric("connections_open", &[], 0.0).await;
    }
    // What had begun to go there has got there, or nothing had.
    let mut client = scene.client().await;
    client.get("https://example.com/pay?last").await;
    let asked = origin.until_heads(WARM + 1).await;
    let targets: Vec<_> = asked.iter().map(|asked| asked.target()).collect();
    assert_eq!(targets.len(), WARM + 1, "{targets:?}");
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn p2_of_many_copies_to_all_workers_at_once_one_is_taken() {
    let scene = scene().await;
    for round in 1..=3 {
        let flight = unseen(&scene, &["/?unseen"]).await;
        at_once(&scene, &flight, 6).await;
        // What was recorded comes too late.
        replay(scene.address(), &flight.datagrams, QUIET).await;
        let lines = offers(&scene, 13 * round).await;
        assert_eq!(taken(&lines), round, "{lines:#?}");
        assert_eq!(workers(&lines[13 * (round - 1)..]), 2);
        assert_eq!(served(&scene).await, 0.0);
    }
}

#[tokio::test]
async fn p2_of_many_unseen_copies_one_gets_in() {
    let scene = scene().await;
    let flight = unseen(&scene, &["/?unseen"]).await.datagrams;
    let mut copies = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (flight, address) = (flight.clone(), scene.address());
        copies.spawn(async move { replay(address, &flight, QUIET).await });
    }
    copies.join_all().await;
    // What a copy has made lives until its handshake is due; one after that is another connection.
    let another = async {
        while scene.metric("early_data_offered_total", &[]).await < 2.0 {
            replay(scene.address(), &flight, QUIET).await;
        }
    };
    within("another connection", another).await;
    let lines = offers(&scene, 2).await;
    assert_eq!(taken(&lines), 1, "{lines:#?}");
    scene.until_metric("sessions_taken_total", &[], 1.0).await;
    assert_eq!(served(&scene).await, 1.0);
}

#[tokio::test]
async fn p2_after_a_restart_none_gets_in() {
    let mut scene = scene().await;
    let delivered = unseen(&scene, &["/?delivered"]).await;
    replay(scene.address(), &delivered.datagrams, QUIET).await;
    let kept = unseen(&scene, &["/?kept"]).await;
    let lines = offers(&scene, 1).await;
    assert_eq!(taken(&lines), 1, "{lines:#?}");
    assert_eq!(served(&scene).await, 1.0);
    scene.edge.crash().await;
    scene.edge = Edge::start(&scene.config).await;
    let mut offered = 0;
    for flight in [&delivered, &kept] {
        replay(scene.address(), &flight.datagrams, QUIET).await;
        at_once(&scene, flight, 3).await;
        offered += 7;
        let lines = offers(&scene, offered).await;
        assert_eq!((taken(&lines), workers(&lines)), (0, 2), "{lines:#?}");
    }
    let unknown = ["reason=\"unknown_ticket\""];
    scene
        .until_metric("early_data_refused_total", &unknown, offered as f64)
        .await;
    assert_eq!(served(&scene).await, 0.0);
}

#[tokio::test]
async fn p2_a_reload_lets_nothing_in_twice_and_forgets_no_ticket() {
    let scene = scene().await;
    let old = unseen(&scene, &["/?old"]).await;
    replay(scene.address(), &old.datagrams, QUIET).await;
    assert_eq!(taken(&offers(&scene, 1).await), 1);
    let fresh = unseen(&scene, &["/?fresh"]).await;
    scene.reload(&scene.config).await;
    at_once(&scene, &old, 3).await;
    assert_eq!(taken(&offers(&scene, 7).await), 1);
    // The site has not changed: its tickets live on, and each counts once.
    replay(scene.address(), &fresh.datagrams, QUIET).await;
    at_once(&scene, &fresh, 3).await;
    let lines = offers(&scene, 14).await;
    assert_eq!(taken(&lines), 2, "{lines:#?}");
    assert_eq!(served(&scene).await, 2.0);
    // Reloads that come in between make no difference.
    let raced = unseen(&scene, &["/?raced"]).await;
    for _ in 0..3 {
        scene.edge.signal("HUP").await;
        at_once(&scene, &raced, 1).await;
    }
    let lines = offers(&scene, 20).await;
    assert_eq!(taken(&lines), 3, "{lines:#?}");
    scene.settle().await;
}
