//! What refuses early data, or a request, beside the ticket.

use cutwater::load::relay::Records;
use rustls::{AlertDescription, HandshakeKind};

use crate::early::scene::{GET, NAME, Scene, get};
use crate::support::client::{Client, Ending};

#[tokio::test]
async fn answers_before_routing_go_at_once() {
    // EARLY-DATA R12
    let mut scene = Scene::start().await;
    scene.config = scene.config.replacen("path = \"/\"", "exact = \"/\"", 1);
    scene.restart().await;
    let cases: [(&[u8], u16); 3] = [
        (b"GET /nowhere HTTP/1.1\r\nhost: example.com\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nhost: elsewhere.example\r\n\r\n", 421),
        (b"GET /%00 HTTP/1.1\r\nhost: example.com\r\n\r\n", 400),
    ];
    for (request, status) in cases {
        answered_before_finished(&scene, request, status).await;
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn ambiguous_early_framing_is_answered_400_and_reaches_nobody() {
    let scene = Scene::start().await;
    let request = b"POST /wait HTTP/1.1\r\nhost: example.com\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut client = scene.early(request).await;
    client.send_pending().await;
    client.finish().await;
    assert_eq!(client.response().await.status, 400);
    assert_eq!(client.ending().await, Ending::CloseNotify);
    client.shutdown_write().await;
    scene.line(&client).await;
    assert!(
        scene
            .edge
            .access()
            .iter()
            .all(|line| line["route"].is_null())
    );
    scene.settle(0).await;
}

#[tokio::test]
async fn accepted_early_data_past_its_limit_ends_in_an_alert() {
    let scene = Scene::start().await;
    for (first, more) in [(16_384, 1), (10_000, 10_000), (16_384, 16_384)] {
        scene.setup.tickets().pretend_early_data_size(Some(100_000));
        let mut client = scene.early(&vec![b'x'; first]).await;
        client.early(&vec![b'x'; more]);
        client.send_pending().await;
        let ending = client.ending().await;
        assert!(matches!(ending, Ending::Alert(_)), "{ending:?}");
        client.shutdown_write().await;
        let line = scene.line(&client).await;
        assert_eq!(
            (&line["early"], &line["end"]),
            (&"accepted".into(), &"alert".into())
        );
        assert_ne!(ending, Ending::Alert(AlertDescription::InternalError));
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn under_pressure_early_data_is_refused_and_sessions_are_resumed() {
    // EARLY-DATA R8
    let mut scene = Scene::start().await;
    scene.config = format!("[limits]\nhandshakes = 8\n{}", scene.config);
    scene.restart().await;
    scene.ticket().await;
    let mut unfinished = Vec::new();
    for _ in 0..7 {
        let setup = scene.setup.clone().fresh();
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        client.hold_finished();
        client.send_pending().await;
        client.server_flight().await.unwrap();
        unfinished.push(client);
    }
    let mut client = scene.connect().await;
    client.early(GET);
    client.handshake().await.unwrap();
    assert!(!client.early_accepted());
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    client.resend_early().await;
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    assert_eq!(scene.line(&client).await["early"], "refused_pressure");
    assert_eq!(scene.refused("pressure").await, 1.0);
    drop(unfinished);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_site_that_answers_by_default_takes_no_early_data_for_other_names() {
    let mut scene = Scene::start().await;
    scene.config =
        scene
            .config
            .replacen("early_data = true", "early_data = true\ndefault = true", 1);
    scene.restart().await;
    let setup = scene.setup.clone().no_sni();
    Client::fetch_ticket(scene.edge.address(), NAME, &setup).await;
    assert_eq!(scene.setup.tickets().seen()[0].max_early_data_size, 0);
    scene.setup.tickets().pretend_early_data_size(Some(16_384));
    let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
    client.early(GET);
    client.handshake().await.unwrap();
    assert!(!client.early_accepted());
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    client.resend_early().await;
    assert_eq!(client.response().await.text(), "hello");
    client.close_notify().await;
    assert_eq!(scene.line(&client).await["early"], "refused_policy");
    scene.settle(0).await;
}

#[tokio::test]
async fn requests_not_confirmed_when_a_reload_switches_early_data_off_get_425() {
    let mut scene = Scene::start().await;
    let mut client = scene.early(&get("/?first")).await;
    client.early(&get("/?second"));
    let flight = client.take_pending();
    let second = Records::of(&flight).last().unwrap().at;
    client.send_raw(&flight[..second]).await;
    assert_eq!(client.response().await.text(), "hello");
    let off = scene
        .config
        .replacen("early_data = true", "early_data = false", 1);
    let off = off.replacen("early_data = \"safe\"", "", 1);
    let off = off.replacen("early_data = \"refuse\"", "", 1);
    scene.reload(&off).await;
    client.send_raw(&flight[second..]).await;
    let answer = client.response().await;
    assert_eq!(answer.status, 425);
    client.finish().await;
    client.close_notify().await;
    client.ending().await;
    scene.settle(0).await;
}

#[tokio::test]
async fn over_tcp_an_early_request_is_admitted_or_not_by_its_address() {
    // EARLY-DATA R15: the three-way handshake has proved it.
    let mut scene = Scene::start().await;
    let guarded = "path = \"/\"\nrate_limit = { requests = 1, per = \"1h\" }";
    scene.config = scene.config.replacen("path = \"/\"", guarded, 1);
    scene.restart().await;
    for status in [200, 429] {
        answered_before_finished(&scene, GET, status).await;
    }
    let by_rate = ["by=\"rate\""];
    assert_eq!(scene.metric("requests_denied_total", &by_rate).await, 1.0);
    scene.settle(0).await;
}

/// Sends an early request, and has its answer before the edge has its Finished.
async fn answered_before_finished(scene: &Scene, request: &[u8], status: u16) {
    let mut client = scene.early(request).await;
    client.send_pending().await;
    assert_eq!(client.response().await.status, status);
    client.finish().await;
    client.close_notify().await;
    let line = scene
        .edge
        .until_access(|line| line["status"] == status)
        .await;
    assert_eq!(line["answered_before_finished"], true, "{status}");
}
