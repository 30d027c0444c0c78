//! P1: who withholds its Finished still gets what may go before it, and nothing else.

use std::time::Duration;

use crate::early::scene::{GET, NAME, PLAIN, POST, Scene, get, get_of};
use crate::support::client::{Client, Ending};
use crate::support::h2::{H2, request};

const QUIET: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_safe_early_get_is_answered_before_finished_and_an_early_post_after() {
    let scene = Scene::start().await;
    let mut client = scene.early(&[GET, POST].concat()).await;
    client.send_pending().await;
    assert_eq!(client.response().await.text(), "hello");
    assert!(client.silent_for(QUIET).await, "the POST waits");
    assert!(
        scene.edge.access().is_empty(),
        "R15: lines wait for the handshake"
    );
    client.finish().await;
    assert!(client.early_accepted());
    assert_eq!(client.response().await.text(), "waited");
    client.send(&get("/late")).await;
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);

    let get = scene.edge.until_access(|line| line["path"] == "/").await;
    assert_eq!(get["early"], "served");
    assert_eq!(get["answered_before_finished"], true);
    assert_eq!(get["confirmed"], true);
    assert_eq!(get["resumed"], true);
    let post = scene
        .edge
        .until_access(|line| line["path"] == "/wait")
        .await;
    assert_eq!(post["early"], "waited");
    assert_eq!(post["answered_before_finished"], false);
    assert_eq!(post["arrived_early"], true);
    assert_eq!(post["confirmed"], true);
    assert!(post["wait_ms"].as_f64().unwrap() >= 100.0);
    let late = scene
        .edge
        .until_access(|line| line["path"] == "/late")
        .await;
    assert_eq!(late["early"], "none");
    assert_eq!(late["arrived_early"], false);
    let line = scene.line(&client).await;
    assert_eq!(line["early"], "accepted");
    assert_eq!(line["resumed"], true);
    assert_eq!(line["end"], "clean");
    assert_eq!(line["requests"], 3);
    assert_eq!(line["tickets_sent"], 1);

    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 1.0);
    assert_eq!(
        scene.metric("answered_before_finished_total", &[]).await,
        1.0
    );
    assert_eq!(scene.metric("early_delayed_total", &[]).await, 1.0);
    assert_eq!(
        scene.metric("handshakes_total", &["kind=\"early\""]).await,
        1.0
    );
    scene.settle(0).await;
}

#[tokio::test]
async fn early_data_that_comes_together_with_finished_is_not_early_but_logged() {
    let scene = Scene::start().await;
    let mut client = scene.early(GET).await;
    client.hold_finished();
    let flight = client.take_pending();
    let hello = 5 + usize::from(u16::from_be_bytes([flight[3], flight[4]]));
    client.send_raw(&flight[..hello]).await;
    client.server_flight().await.unwrap();
    let rest = [&flight[hello..], &client.take_pending()].concat();
    client.send_raw(&rest).await;
    assert_eq!(client.response().await.text(), "hello");
    assert!(client.early_accepted());
    // Nothing is left to be held.
    client.finish().await;
    client.send(&get("/late")).await;
    assert_eq!(client.response().await.text(), "hello");

    let get = scene.edge.until_access(|line| line["path"] == "/").await;
    assert_eq!(get["early"], "none");
    assert_eq!(get["arrived_early"], true);
    assert_eq!(get["answered_before_finished"], false);
    let late = scene
        .edge
        .until_access(|line| line["path"] == "/late")
        .await;
    assert_eq!(late["arrived_early"], false);
    client.close_notify().await;
    assert_eq!(scene.line(&client).await["early"], "accepted");
}

#[tokio::test]
async fn the_same_over_http2() {
    let mut scene = Scene::start().await;
    scene.setup = scene.setup.alpn(&["h2"]);
    scene.ticket().await;
    let mut client = scene.connect().await;
    client.hold_finished();
    let requests = vec![
        request("GET", "https://example.com/", ""),
        request("POST", "https://example.com/wait", "abc"),
    ];
    let mut h2 = H2::start_early(client, requests).await;
    assert_eq!(h2.next().await.unwrap().text(), "hello");
    // Nothing of the next answer may come, so it is asked for by another request's answer.
    h2.begin_request(request("GET", "https://example.com/refuse", ""))
        .await;
    assert!(scene.edge.access().is_empty());
    h2.finish();
    assert_eq!(h2.next().await.unwrap().text(), "waited");
    assert_eq!(h2.next().await.unwrap().text(), "sure");
    let client = h2.close().await;
    assert!(client.early_accepted());
    let get = scene.edge.until_access(|line| line["path"] == "/").await;
    assert_eq!(
        (&get["early"], &get["alpn"]),
        (&"served".into(), &"h2".into())
    );
    assert_eq!(get["answered_before_finished"], true);
    let post = scene
        .edge
        .until_access(|line| line["path"] == "/wait")
        .await;
    assert_eq!(post["early"], "waited");
    assert_eq!(post["answered_before_finished"], false);
    assert_eq!(post["confirmed"], true);
    assert_eq!(scene.line(&client).await["early"], "accepted");
    scene.settle(0).await;
}

#[tokio::test]
async fn an_early_post_over_http2_gets_nothing_before_finished() {
    let mut scene = Scene::start().await;
    scene.setup = scene.setup.alpn(&["h2"]);
    scene.ticket().await;
    let mut client = scene.connect().await;
    client.hold_finished();
    let requests = vec![request("POST", "https://example.com/wait", "abc")];
    let mut h2 = H2::start_early(client, requests).await;
    assert!(h2.silent_for(QUIET).await);
    h2.finish();
    let post = scene
        .edge
        .until_access(|line| line["path"] == "/wait")
        .await;
    assert_eq!(post["early"], "waited");
    assert_eq!(post["status"], 200);
    h2.close().await;
    scene.settle(0).await;
}

#[tokio::test]
async fn a_route_that_refuses_answers_425_at_once() {
    let scene = Scene::start().await;
    let mut client = scene.early(&get("/refuse")).await;
    client.send_pending().await;
    assert_eq!(client.response().await.status, 425);
    client.finish().await;
    client.send(&get("/refuse")).await;
    assert_eq!(client.response().await.text(), "sure");
    client.close_notify().await;
    let line = scene.edge.until_access(|line| line["status"] == 425).await;
    assert_eq!(line["early"], "refused");
    assert_eq!(line["answered_before_finished"], true);
    assert_eq!(scene.metric("too_early_total", &["by=\"edge\""]).await, 1.0);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_request_whose_head_ends_after_finished_is_not_early() {
    let scene = Scene::start().await;
    // EARLY-DATA: Finished proves the bytes that came before it.
    let request = get("/wait");
    let mut client = scene.early(&request[..20]).await;
    client.send_pending().await;
    client.finish().await;
    assert!(client.early_accepted());
    client.send(&request[20..]).await;
    assert_eq!(client.response().await.text(), "waited");
    client.close_notify().await;
    let line = scene
        .edge
        .until_access(|line| line["path"] == "/wait")
        .await;
    assert_eq!(line["early"], "none");
    assert!(line["wait_ms"].is_null());
    scene.settle(0).await;
}

#[tokio::test]
async fn early_data_without_a_byte_of_it_is_neither_accepted_nor_refused() {
    let scene = Scene::start().await;
    scene.ticket().await;
    let mut client = scene.connect().await;
    client.handshake().await.unwrap();
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    let line = scene.line(&client).await;
    assert_eq!(line["resumed"], true);
    assert_eq!(line["early"], "empty");
    let offered = scene.metric("early_data_offered_total", &[]).await;
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 0.0);
    assert_eq!(scene.metric("early_data_refused_total", &[]).await, 0.0);
    assert!(offered <= 1.0);
}

#[tokio::test]
async fn early_data_is_off_where_it_is_not_switched_on() {
    // EARLY-DATA R1
    let scene = Scene::start().await;
    Client::fetch_ticket(scene.edge.address(), PLAIN, &scene.setup).await;
    let tickets = scene.setup.tickets();
    assert_eq!(tickets.seen()[0].max_early_data_size, 0);
    let mut client = Client::connect(scene.edge.address(), PLAIN, &scene.setup).await;
    assert_eq!(client.early_room(), 0);
    client.handshake().await.unwrap();
    assert_eq!(client.kind(), Some(rustls::HandshakeKind::Resumed));
    client.send(&get_of(PLAIN)).await;
    assert_eq!(client.response().await.text(), "plain");
    client.close_notify().await;
    // Even if it is sent all the same.
    tickets.pretend_early_data_size(Some(16_384));
    let mut client = Client::connect(scene.edge.address(), PLAIN, &scene.setup).await;
    client.early(&get_of(PLAIN));
    client.handshake().await.unwrap();
    assert!(!client.early_accepted());
    client.resend_early().await;
    assert_eq!(client.response().await.text(), "plain");
    client.close_notify().await;
    assert_eq!(scene.line(&client).await["early"], "refused_site_off");
    assert_eq!(scene.refused("site_off").await, 1.0);
    assert_eq!(scene.setup.tickets().left(NAME), 0);
    scene.settle(0).await;
}
