use std::process::ExitStatus;

use super::house::{House, NAME, get, get2, pause, until_gauge};
use crate::support::client::{Client, Ending};
use crate::support::edge::{Edge, Start};
use crate::support::h2::H2;
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// `/` answers at once, `/held` when the origin is released.
async fn start(house: &House, drain: &str) -> (Edge, Origin) {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("held"))).await;
    let site = format!(
        "[[site.route]]\npath = \"/held\"\norigin = [\"{}\"]\n\
         [[site.route]]\npath = \"/\"\nrespond = {{ body = \"hello\\n\" }}\n",
        origin.url()
    );
    let config = format!(
        "[server]\ndrain = {{ {drain} }}\n{}",
        house.config("", &site)
    );
    (Start::with(&config).run().await, origin)
}

async fn until_unready(edge: &Edge) {
    within("503", async {
        while edge.admin_get("/readyz").await.status != 503 {
            pause(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn assert_success(status: ExitStatus) {
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_draining_edge_is_unready_at_once_and_accepts_for_the_delay() {
    let house = House::new();
    let (mut edge, origin) = start(&house, "delay = \"2s\"").await;
    let mut before = house.open(&edge).await;
    before.send(&get("/held")).await;
    origin.until_heads(1).await;
    edge.signal("TERM").await;
    until_unready(&edge).await;
    assert_eq!(edge.admin_get("/healthz").await.status, 200);
    let mut late = house.open(&edge).await;
    late.send(&get("/")).await;
    let answer = late.response().await;
    assert_eq!(answer.text(), "hello\n");
    // The delay is over when the idle connection is closed; then nobody listens.
    assert_eq!(late.ending().await, Ending::CloseNotify);
    within("a refusal", async {
        while tokio::net::TcpStream::connect(edge.address()).await.is_ok() {
            pause(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    origin.release();
    let answer = before.response().await;
    assert_eq!(answer.text(), "held");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(before.ending().await, Ending::CloseNotify);
    before.close_notify().await;
    late.close_notify().await;
    drop((before, late));
    assert_success(edge.exit().await);
}

#[tokio::test]
async fn streams_under_way_finish_after_goaway() {
    let house = House::new();
    let (mut edge, origin) = start(&house, "timeout = \"9s\"").await;
    let client = Client::open(edge.address(), NAME, &house.h2()).await;
    let mut h2 = H2::start(client).await;
    h2.begin_request(get2("/held")).await;
    origin.until_heads(1).await;
    edge.signal("TERM").await;
    // GOAWAY lets nothing new begin.
    let refused = within("GOAWAY", async {
        loop {
            match h2.send.clone().ready().await {
                Ok(_) => pause(std::time::Duration::from_millis(5)).await,
                Err(error) => return error,
            }
        }
    })
    .await;
    assert_eq!(refused.reason(), Some(h2::Reason::NO_ERROR), "{refused}");
    origin.release();
    assert_eq!(h2.next().await.unwrap().text(), "held");
    let mut client = h2.ended().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    drop(client);
    assert_success(edge.exit().await);
}

#[tokio::test]
async fn idle_connections_of_both_protocols_are_closed() {
    let house = House::new();
    let (mut edge, _origin) = start(&house, "timeout = \"9s\"").await;
    let mut one = house.open(&edge).await;
    one.send(&get("/")).await;
    one.response().await;
    let client = Client::open(edge.address(), NAME, &house.h2()).await;
    let mut two = H2::start(client).await;
    two.fetch(get2("/")).await.unwrap();
    edge.signal("TERM").await;
    assert_eq!(one.ending().await, Ending::CloseNotify);
    assert_eq!(two.ended().await.ending().await, Ending::CloseNotify);
    one.close_notify().await;
    drop(one);
    assert_success(edge.exit().await);
}

#[tokio::test]
async fn a_connection_that_has_just_come_may_ask_once() {
    let house = House::new();
    let (mut edge, _origin) = start(&house, "timeout = \"9s\"").await;
    let mut client = house.open(&edge).await;
    let mut silent = house.open(&edge).await;
    until_gauge(&edge, "cutwater_handshakes_unfinished", 0.0).await;
    edge.signal("TERM").await;
    until_unready(&edge).await;
    client.send(&get("/")).await;
    let answer = client.response().await;
    assert_eq!(answer.text(), "hello\n");
    assert_eq!(client.ending().await, Ending::CloseNotify);
    // Who asks nothing is not waited for until its time is over.
    assert_eq!(silent.ending().await, Ending::CloseNotify);
    client.close_notify().await;
    silent.close_notify().await;
    drop((client, silent));
    assert_success(edge.exit().await);
}

#[tokio::test]
async fn a_drain_cuts_what_is_left_at_its_timeout() {
    let house = House::new();
    let (mut edge, origin) = start(&house, "timeout = \"500ms\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/held")).await;
    origin.until_heads(1).await;
    edge.signal("TERM").await;
    assert_success(edge.exit().await);
    edge.until_text("cutting what is left").await;
    let (plain, _) = client.read_to_end().await;
    assert!(plain.is_empty());
    let line = edge.until_access(|line| line["path"] == "/held").await;
    assert_ne!(line["end"], "complete");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let house = House::new();
    let (mut edge, origin) = start(&house, "delay = \"60s\", timeout = \"60s\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/held")).await;
    origin.until_heads(1).await;
    edge.signal("TERM").await;
    until_unready(&edge).await;
    edge.signal("TERM").await;
    assert_success(edge.exit().await);
}

#[tokio::test]
async fn an_idle_edge_ends_at_once() {
    let house = House::new();
    let (mut edge, _origin) = start(&house, "timeout = \"60s\"").await;
    let mut client = house.open(&edge).await;
    client.send(&get("/")).await;
    client.response().await;
    client.close_notify().await;
    drop(client);
    until_gauge(&edge, "cutwater_connections_open", 0.0).await;
    edge.signal("INT").await;
    assert_success(edge.exit().await);
}
