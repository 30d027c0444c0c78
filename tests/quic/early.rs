//! Early data over QUIC: the same rules (P1, P2, P3).

use std::time::Duration;

use bytes::Bytes;
use cutwater::load::relay::{DatagramRelay, Direction};
use serde_json::Value;

use crate::quic::client::{Client, answer, get, request};
use crate::quic::limits::{GET, head};
use crate::quic::proofs::untold;
use crate::quic::scene::{NAME, Scene, Wants};
use crate::quic::wire::{Wire, replay};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// A client with early data whose Finished is held back, and its wire.
pub async fn held(scene: &Scene) -> (Client, Wire) {
    scene.ticket().await;
    let wire = Wire::to(scene.address()).await;
    let (client, _) = Client::early(wire.address(), NAME, &scene.setup).await;
    (client, wire)
}

async fn offers(scene: &Scene, count: usize) -> Vec<Value> {
    let offered = |line: &Value| line["early"] != "none";
    scene.edge.until_connections(count, offered).await
}

fn accepted(lines: &[Value]) -> usize {
    let accepted = |line: &&Value| line["early"] == "accepted";
    lines.iter().filter(accepted).count()
}

#[tokio::test]
async fn p1_an_early_get_is_answered_before_finished() {
    let scene = Scene::start().await;
    let (mut client, wire) = held(&scene).await;
    let mut stream = client.begin(get("https://example.com/?early")).await;
    stream.finish().await.unwrap();
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    wire.turn().await;
    assert_eq!(answer(&mut stream).await.text(), "hello");
    assert_eq!(scene.metric("handshakes_unfinished", &[]).await, 1.0);
    wire.release().await;
    let line = |line: &Value| line["path"] == "/?early";
    let line = scene.edge.until_access(line).await;
    assert_eq!(line["early"], "served");
    assert_eq!(line["confirmed"], true);
    assert_eq!(line["answered_before_finished"], true);
    assert_eq!(line["resumed"], true);
    client.close().await;
    let lines = offers(&scene, 1).await;
    assert_eq!(accepted(&lines), 1);
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 1.0);
    scene.settle().await;
}

#[tokio::test]
async fn a_relay_withholds_finished_and_lets_early_data_and_its_answer_pass() {
    let scene = Scene::start().await;
    scene.ticket().await;
    let relay = DatagramRelay::to(scene.address()).withhold_finished();
    let relay = relay.bind().await.unwrap();
    let (mut client, _) = Client::early(relay.address(), NAME, &scene.setup).await;
    let mut stream = client.begin(get("https://example.com/?relayed")).await;
    stream.finish().await.unwrap();
    assert_eq!(answer(&mut stream).await.text(), "hello");
    within("Finished", relay.until(|passed| passed.held > 0)).await;
    assert!(relay.passed().one_rtt_to_client > 0);
    assert_eq!(scene.metric("handshakes_unfinished", &[]).await, 1.0);
    relay.release(Direction::ToServer);
    scene.until_metric("handshakes_unfinished", &[], 0.0).await;
    client.close().await;
    assert_eq!(accepted(&offers(&scene, 1).await), 1);
}

#[tokio::test]
async fn p1_an_early_post_waits_for_finished() {
    let scene = Scene::start().await;
    let (mut client, wire) = held(&scene).await;
    let mut post = client
        .begin(request("POST", "https://example.com/wait"))
        .await;
    post.send_data(Bytes::from_static(b"abc")).await.unwrap();
    post.finish().await.unwrap();
    // One that goes at once shows that the other has come, and waits.
    let mut get = client.begin(get("https://example.com/")).await;
    get.finish().await.unwrap();
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    wire.turn().await;
    assert_eq!(answer(&mut get).await.text(), "hello");
    scene.until_metric("early_delayed_total", &[], 1.0).await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), post.recv_response()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    wire.release().await;
    assert_eq!(answer(&mut post).await.text(), "waited");
    let line = |line: &Value| line["path"] == "/wait";
    let line = scene.edge.until_access(line).await;
    assert_eq!(line["early"], "waited");
    assert_eq!(line["arrived_early"], true);
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn a_route_that_refuses_early_data_answers_425_until_finished() {
    let scene = Scene::start().await;
    let (mut client, wire) = held(&scene).await;
    let mut stream = client.begin(get("https://example.com/refuse")).await;
    stream.finish().await.unwrap();
    scene
        .until_metric("too_early_total", &["by=\"edge\""], 1.0)
        .await;
    wire.release().await;
    assert_eq!(answer(&mut stream).await.status, 425);
    // R23 is about streams: a later one on the same connection is not early.
    within(
        "Finished",
        scene.edge.until_access(|line| line["status"] == 425),
    )
    .await;
    assert_eq!(
        client.get("https://example.com/refuse").await.text(),
        "sure"
    );
    client.close().await;
    scene.settle().await;
}

/// The end of the head comes when nothing on the connection is early any more.
#[tokio::test]
async fn r23_a_stream_that_began_early_stays_early() {
    let scene = Scene::start().await;
    let (mut client, wire) = held(&scene).await;
    let head = head(GET, "/refuse", b"");
    let (begin, end) = head.split_at(head.len() / 2);
    let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
    send.write_all(begin).await.unwrap();
    // Streams are accepted in their order: the answer to this one shows that the other is here.
    let mut whole = client.begin(get("https://example.com/")).await;
    whole.finish().await.unwrap();
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    wire.release().await;
    scene.until_metric("handshakes_unfinished", &[], 0.0).await;
    send.write_all(end).await.unwrap();
    send.finish().unwrap();
    within("an answer", recv.read_to_end(1000)).await.unwrap();
    let line = |line: &Value| line["path"] == "/refuse";
    let line = scene.edge.until_access(line).await;
    assert_eq!(line["status"], 425);
    assert_eq!(line["early"], "refused");
    assert_eq!(line["arrived_early"], true);
    assert_eq!(line["confirmed"], true);
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn r23_a_stream_of_early_data_is_early_though_finished_comes_with_it() {
    let scene = Scene::start().await;
    scene.ticket().await;
    // The ClientHello gets there, and what follows it is held back.
    let wire = Wire::begun(scene.address()).await;
    let (mut client, accepted) = Client::early(wire.address(), NAME, &scene.setup).await;
    wire.until_sent().await;
    let mut stream = client.begin(get("https://example.com/refuse")).await;
    stream.finish().await.unwrap();
    // 0-RTT; Handshake, perhaps behind an acknowledgement in an Initial packet.
    wire.until_held(&[0x90]).await;
    wire.hear().await;
    assert!(accepted.known().await);
    wire.until_held(&[0xa0, 0x80]).await;
    // All of it is read at once.
    scene.edge.signal("STOP").await;
    wire.release().await;
    scene.edge.signal("CONT").await;
    assert_eq!(answer(&mut stream).await.status, 425);
    let line = |line: &Value| line["path"] == "/refuse";
    let line = scene.edge.until_access(line).await;
    assert_eq!(
        (&line["early"], &line["arrived_early"]),
        (&"refused".into(), &true.into())
    );
    assert_eq!(line["confirmed"], true);
    // What comes later is not.
    assert_eq!(
        client.get("https://example.com/refuse").await.text(),
        "sure"
    );
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn an_origin_sees_which_requests_may_be_replays() {
    let origin = Origin::start(|_| Reply::ok("answer")).await;
    let routes = untold("/origin", &origin.url(), "", "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let (mut client, wire) = held(&scene).await;
    let mut stream = client.begin(get("https://example.com/origin/1")).await;
    stream.finish().await.unwrap();
    origin.until_requests(1).await;
    wire.release().await;
    assert_eq!(answer(&mut stream).await.text(), "answer");
    scene.until_metric("handshakes_unfinished", &[], 0.0).await;
    client.get("https://example.com/origin/2").await;
    let asked = origin.until_requests(2).await;
    assert_eq!(asked[0].field("early-data"), Some("1"));
    assert_eq!(asked[1].field("early-data"), None);
    client.close().await;
}

#[tokio::test]
async fn p2_a_recorded_flight_gets_in_once_at_most() {
    let scene = Scene::with(Wants {
        site: "timeouts = { handshake = \"300ms\" }",
        ..Wants::default()
    })
    .await;
    let (mut client, wire) = held(&scene).await;
    let mut stream = client.begin(get("https://example.com/?flight=1")).await;
    stream.finish().await.unwrap();
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    let flight = wire.sent();
    wire.release().await;
    answer(&mut stream).await;
    client.close().await;
    offers(&scene, 1).await;
    let quiet = Duration::from_millis(50);
    // While a connection with its ids is there, a copy of its datagrams belongs to it.
    let copies = async {
        while scene.metric("early_data_offered_total", &[]).await < 2.0 {
            replay(scene.address(), &flight, quiet).await;
        }
    };
    within("another connection", copies).await;
    scene.until_metric("connections_open", &[], 0.0).await;
    assert_eq!(accepted(&offers(&scene, 2).await), 1);
    let served = |line: &&Value| line["path"] == "/?flight=1";
    assert_eq!(scene.edge.access().iter().filter(served).count(), 1);
    assert_eq!(
        scene
            .metric("early_requests_total", &["state=\"served\""])
            .await,
        1.0
    );
    scene.until_metric("sessions_taken_total", &[], 1.0).await;
}

#[tokio::test]
async fn r3_a_restart_lets_no_old_flight_in() {
    let mut scene = Scene::start().await;
    scene.ticket().await;
    scene.edge.crash().await;
    scene.edge = Edge::start(&scene.config).await;
    let (mut client, accepted) = Client::early(scene.address(), NAME, &scene.setup).await;
    let stream = client.begin(get("https://example.com/")).await;
    assert!(!accepted.known().await);
    drop(stream);
    let lines = offers(&scene, 0).await;
    assert_eq!(self::accepted(&lines), 0);
    let label = ["reason=\"unknown_ticket\""];
    scene
        .until_metric("early_data_refused_total", &label, 1.0)
        .await;
}

#[tokio::test]
async fn r6_no_ticket_goes_from_one_transport_to_the_other() {
    use crate::support::client::Client as Tcp;
    let scene = Scene::start().await;
    // One from TCP is offered over QUIC.
    let tcp = scene.setup.clone().alpn(&["http/1.1"]);
    Tcp::fetch_ticket(scene.address(), NAME, &tcp).await;
    let endpoint = crate::quic::client::endpoint(&scene.setup);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let quic = within("the handshake", connecting).await.unwrap();
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    let line = |line: &Value| line["alpn"] == "h3";
    assert_eq!(scene.edge.until_connection(line).await["resumed"], false);
    // One from QUIC is offered over TCP.
    scene.ticket().await;
    let mut client = Tcp::connect(scene.address(), NAME, &tcp).await;
    client.handshake().await.unwrap();
    assert_eq!(client.kind(), Some(rustls::HandshakeKind::Full));
}
