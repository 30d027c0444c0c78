use std::collections::BTreeSet;
use std::time::Duration;

use rustls::HandshakeKind;

use super::house::{HELLO, House, NAME, get, is_cut, pause, until_gauge, until_metric};
use crate::support::client::Client;
use crate::support::edge::{Edge, Start};

const EARLY: &str = "early_data = true\n[[site.route]]\npath = \"/\"\nearly_data = \"safe\"\n\
                     respond = { body = \"hello\\n\" }\n";

/// One worker, so that all connections share one list; every connection gets a line.
fn config(house: &House, limits: &str, site: &str) -> String {
    let listen = format!("[limits]\n{limits}\n[log]\nconnections = \"all\"");
    format!("[server]\nworkers = 1\n{}", house.config(&listen, site))
}

async fn start(house: &House, limits: &str, site: &str) -> Edge {
    Start::with(&config(house, limits, site)).run().await
}

/// A connection whose ClientHello is not whole yet.
async fn unfinished(house: &House, edge: &Edge) -> Client {
    let mut client = Client::connect(edge.address(), NAME, &house.client()).await;
    let hello = client.take_pending();
    client.send_raw(&hello[..10]).await;
    client
}

async fn refused(edge: &Edge, cap: &str) -> f64 {
    let label = format!("cap=\"{cap}\"");
    edge.metric("cutwater_connections_refused_total", &[&label])
        .await
}

#[tokio::test]
async fn past_the_cap_of_connections_new_ones_are_closed() {
    let house = House::new();
    let edge = start(&house, "connections = 2", HELLO).await;
    let mut one = house.open(&edge).await;
    let _two = house.open(&edge).await;
    let mut three = Client::connect(edge.address(), NAME, &house.client()).await;
    three.send_pending().await;
    assert!(is_cut(&three.ending().await));
    assert_eq!(refused(&edge, "connections").await, 1.0);
    one.close_notify().await;
    drop(one);
    until_gauge(&edge, "cutwater_connections_open", 1.0).await;
    let mut four = house.open(&edge).await;
    four.send(&get("/")).await;
    assert_eq!(four.response().await.status, 200);
}

#[tokio::test]
async fn at_the_cap_the_oldest_silent_handshake_goes() {
    let house = House::new();
    let edge = start(&house, "handshakes = 2", HELLO).await;
    let mut oldest = unfinished(&house, &edge).await;
    until_gauge(&edge, "cutwater_handshakes_unfinished", 1.0).await;
    let mut second = unfinished(&house, &edge).await;
    until_gauge(&edge, "cutwater_handshakes_unfinished", 2.0).await;
    pause(Duration::from_millis(1500)).await;
    let mut third = house.open(&edge).await;
    assert!(is_cut(&oldest.ending().await));
    third.send(&get("/")).await;
    assert_eq!(third.response().await.status, 200);
    assert!(second.silent_for(Duration::from_millis(50)).await);
    let evicted = edge.metric("cutwater_handshakes_evicted_total", &[]).await;
    assert_eq!(evicted, 1.0);
    edge.until_connection(|line| line["end"] == "evicted").await;
    assert_eq!(refused(&edge, "handshakes").await, 0.0);
}

#[tokio::test]
async fn at_the_cap_a_silent_handshake_of_any_worker_goes() {
    let house = House::new();
    let config = format!(
        "[server]\nworkers = 4\n{}",
        house.config("[limits]\nhandshakes = 1", HELLO)
    );
    let edge = Start::with(&config).run().await;
    for _ in 0..2 {
        let mut silent = unfinished(&house, &edge).await;
        until_gauge(&edge, "cutwater_handshakes_unfinished", 1.0).await;
        pause(Duration::from_millis(1300)).await;
        let mut client = house.open(&edge).await;
        client.send(&get("/")).await;
        assert_eq!(client.response().await.status, 200);
        assert!(is_cut(&silent.ending().await));
        until_gauge(&edge, "cutwater_handshakes_unfinished", 0.0).await;
    }
}

#[tokio::test]
async fn at_the_cap_with_nobody_silent_the_new_connection_is_closed() {
    let house = House::new();
    let edge = start(&house, "handshakes = 2", HELLO).await;
    let _young = [
        unfinished(&house, &edge).await,
        unfinished(&house, &edge).await,
    ];
    let mut third = Client::connect(edge.address(), NAME, &house.client()).await;
    third.send_pending().await;
    assert!(is_cut(&third.ending().await));
    assert_eq!(refused(&edge, "handshakes").await, 1.0);
}

#[tokio::test]
async fn a_handshake_whose_early_answer_is_being_read_goes_last() {
    let house = House::new();
    let edge = start(&house, "handshakes = 3", EARLY).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    until_gauge(&edge, "cutwater_handshakes_unfinished", 0.0).await;
    let mut reader = Client::connect(edge.address(), NAME, &setup).await;
    reader.early(&get("/"));
    reader.hold_finished();
    reader.send_pending().await;
    assert_eq!(reader.response().await.text(), "hello\n");
    let mut silent = [
        unfinished(&house, &edge).await,
        unfinished(&house, &edge).await,
    ];
    until_gauge(&edge, "cutwater_handshakes_unfinished", 3.0).await;
    pause(Duration::from_millis(1500)).await;
    let mut new = unfinished(&house, &edge).await;
    assert!(is_cut(&silent[0].ending().await));
    // The reader is older, and lives.
    reader.finish().await;
    reader.send(&get("/")).await;
    assert_eq!(reader.response().await.text(), "hello\n");
    assert!(new.silent_for(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn near_the_cap_sessions_resume_without_early_data() {
    let house = House::new();
    let edge = start(&house, "handshakes = 4", EARLY).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    until_gauge(&edge, "cutwater_handshakes_unfinished", 0.0).await;
    let _crowd = [
        unfinished(&house, &edge).await,
        unfinished(&house, &edge).await,
        unfinished(&house, &edge).await,
    ];
    until_gauge(&edge, "cutwater_handshakes_unfinished", 3.0).await;
    let mut client = Client::connect(edge.address(), NAME, &setup).await;
    client.early(&get("/"));
    client.handshake().await.unwrap();
    assert!(!client.early_accepted());
    // EARLY-DATA R8: it is no full handshake.
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    client.resend_early().await;
    assert_eq!(client.response().await.text(), "hello\n");
    let reason = ["reason=\"pressure\""];
    let refused = edge.metric("cutwater_early_data_refused_total", &reason);
    assert_eq!(refused.await, 1.0);
}

#[tokio::test]
async fn accepting_survives_the_want_of_descriptors() {
    let house = House::new();
    let edge = Start::with(&config(&house, "connections = 1000", HELLO))
        .descriptors(64)
        .run()
        .await;
    let mut crowd = Vec::new();
    for _ in 0..80 {
        crowd.push(unfinished(&house, &edge).await);
    }
    edge.until_text("accept failed").await;
    drop(crowd);
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    assert_eq!(client.response().await.status, 200);
    let errors = ["error=\"emfile\""];
    until_metric(&edge, "cutwater_accept_errors_total", &errors, 1.0).await;
    until_metric(&edge, "cutwater_accept_backoffs_total", &[], 1.0).await;
}

#[tokio::test]
async fn every_worker_gets_connections() {
    let house = House::new();
    let config = format!("[server]\nworkers = 3\n{}", house.config("", HELLO));
    let edge = Start::with(&config).run().await;
    let setup = house.client();
    let mut workers = BTreeSet::new();
    for count in 1..200 {
        let mut client = Client::open(edge.address(), NAME, &setup).await;
        client.send(&get("/")).await;
        client.response().await;
        for line in edge.until_accesses(count, |_| true).await {
            workers.insert(line["worker"].as_u64().unwrap());
        }
        if workers.len() == 3 {
            return;
        }
    }
    panic!("only {workers:?}");
}

#[tokio::test]
async fn idle_connections_hold_no_large_buffers() {
    const COUNT: usize = 200;
    // A read or write buffer has 68 KB or more.
    const EACH: usize = 40 * 1024;
    let house = House::new();
    let large = "[[site.route]]\npath = \"/\"\nrespond = { body_file = \"large\" }\n";
    let config = format!("[server]\nworkers = 1\n{}", house.config("", large));
    let start = Start::with(&config).file("large", &"x".repeat(200_000));
    let edge = start.run().await;
    let mut clients = Vec::new();
    let mut before = 0;
    for number in 0..COUNT + 20 {
        if number == 20 {
            before = edge.memory();
        }
        let mut client = house.open(&edge).await;
        client.send(&get("/")).await;
        assert_eq!(client.response().await.body.len(), 200_000);
        clients.push(client);
    }
    // More than two ticks: each has come to rest.
    pause(Duration::from_millis(500)).await;
    let grown = edge.memory().saturating_sub(before);
    assert!(grown < COUNT * EACH, "{} bytes each", grown / COUNT);
}

#[tokio::test]
async fn both_families_are_served() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 here");
        return;
    }
    let house = House::new();
    let listen = "[[listen]]\nname = \"six\"\naddress = \"[::1]:0\"\n\
                  [[listen]]\nname = \"both\"\naddress = \"[::]:0\"\n";
    let edge = house.start(listen, HELLO).await;
    let both = edge.listener("both").port();
    let addresses = [
        edge.listener("public"),
        edge.listener("six"),
        ([127, 0, 0, 1], both).into(),
        (std::net::Ipv6Addr::LOCALHOST, both).into(),
    ];
    for address in addresses {
        let mut client = Client::open(address, NAME, &house.client()).await;
        client.send(&get("/")).await;
        assert_eq!(client.response().await.status, 200, "{address}");
    }
}

#[tokio::test]
async fn of_overlapping_addresses_the_closest_gets_the_connection() {
    let Ok(free) = std::net::TcpListener::bind("[::]:0") else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let port = free.local_addr().unwrap().port();
    drop(free);
    let house = House::new();
    let mut listen = String::new();
    for (name, host) in [("four", "0.0.0.0"), ("any", "[::]"), ("own", "127.0.0.1")] {
        listen += &format!("[[listen]]\nname = \"{name}\"\naddress = \"{host}:{port}\"\n");
    }
    let edge = house.start(&listen, HELLO).await;
    for (name, address) in [
        ("own", std::net::IpAddr::from([127, 0, 0, 1])),
        ("four", [127, 0, 0, 2].into()),
        ("any", std::net::Ipv6Addr::LOCALHOST.into()),
    ] {
        let mut client = Client::open((address, port).into(), NAME, &house.client()).await;
        client.send(&get(&format!("/{name}"))).await;
        assert_eq!(client.response().await.status, 200, "{address}");
        let path = format!("/{name}");
        let line = edge.until_access(|line| line["path"] == path).await;
        assert_eq!(line["listener"], name, "{address}");
    }
}
