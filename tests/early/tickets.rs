//! Tickets: single use where they take early data, stateless where not, never across sites.

use rustls::{AlertDescription, HandshakeKind, ProtocolVersion};

use crate::early::scene::{GET, NAME, OLD, PLAIN, Scene, get_of};
use crate::support::client::{Client, Ending};

#[tokio::test]
async fn sites_without_early_data_resume_with_stateless_tickets() {
    let scene = Scene::start().await;
    let mut client = Client::open(scene.edge.address(), PLAIN, &scene.setup).await;
    client.send(&get_of(PLAIN)).await;
    client.response().await;
    client.close_notify().await;
    assert_eq!(scene.line(&client).await["tickets_sent"], 1);
    assert_eq!(scene.metric("sessions_held", &[]).await, 0.0);
    // More than once: the same ClientHello again is resumed again.
    let mut client = Client::connect(scene.edge.address(), PLAIN, &scene.setup).await;
    let hello = client.take_pending();
    client.send_raw(&hello).await;
    client.handshake().await.unwrap();
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    client.close_notify().await;
    let mut again =
        Client::connect(scene.edge.address(), PLAIN, &scene.setup.clone().fresh()).await;
    again.hold_finished();
    again.send_raw(&hello).await;
    let _ = again.ending().await;
    drop(again);
    let resumed = |line: &serde_json::Value| line["resumed"] == true;
    scene.edge.until_connections(2, resumed).await;
    assert!(
        scene
            .setup
            .tickets()
            .seen()
            .iter()
            .all(|t| t.max_early_data_size == 0)
    );
    scene.settle(0).await;
}

#[tokio::test]
async fn stateless_tickets_do_not_survive_a_restart() {
    let mut scene = Scene::start().await;
    Client::fetch_ticket(scene.edge.address(), PLAIN, &scene.setup).await;
    scene.restart().await;
    let mut client = Client::open(scene.edge.address(), PLAIN, &scene.setup).await;
    assert_eq!(client.kind(), Some(HandshakeKind::Full));
    client.close_notify().await;
    scene.settle(0).await;
}

#[tokio::test]
async fn a_session_for_early_data_is_used_once() {
    let scene = Scene::start().await;
    let mut client = Client::open(scene.edge.address(), NAME, &scene.setup).await;
    client.send(GET).await;
    client.response().await;
    client.close_notify().await;
    scene.line(&client).await;
    assert_eq!(scene.setup.tickets().seen()[0].max_early_data_size, 16_384);
    // Without early data too.
    let setup = scene.setup.clone().early_data(false);
    let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
    let hello = client.take_pending();
    client.send_raw(&hello).await;
    client.handshake().await.unwrap();
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    client.close_notify().await;
    let resumed = scene.line(&client).await;
    assert_eq!(resumed["resumed"], true);
    assert_eq!(resumed["early"], "none");
    let mut again = scene.connect().await;
    again.hold_finished();
    again.send_raw(&hello).await;
    let _ = again.ending().await;
    let address = again.local_address().to_string();
    drop(again);
    let line = scene
        .edge
        .until_connection(|line| line["client"] == address.as_str());
    assert_eq!(line.await["resumed"], false);
    scene.settle(0).await;
}

#[tokio::test]
async fn every_resumption_brings_a_ticket_for_the_next() {
    let scene = Scene::start().await;
    scene.ticket().await;
    for _ in 0..5 {
        let mut client = scene.connect().await;
        client.early(GET);
        client.handshake().await.unwrap();
        assert!(client.early_accepted());
        assert_eq!(client.response().await.text(), "hello");
        client.send(GET).await;
        client.response().await;
        client.close_notify().await;
        assert_eq!(scene.line(&client).await["tickets_sent"], 1);
        assert_eq!(scene.setup.tickets().left(NAME), 1);
    }
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 5.0);
    scene.settle(0).await;
}

#[tokio::test]
async fn tls12_is_spoken_where_it_is_switched_on_and_knows_no_early_data() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().tls12();
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = Client::connect(scene.edge.address(), OLD, &setup).await;
        assert_eq!(client.early_room(), 0);
        client.handshake().await.unwrap();
        assert_eq!(client.version(), Some(ProtocolVersion::TLSv1_2));
        client.send(&get_of(OLD)).await;
        assert_eq!(client.response().await.text(), "old");
        let _ = kind;
        client.close_notify().await;
        assert_eq!(client.ending().await, Ending::CloseNotify);
        let line = scene.line(&client).await;
        assert_eq!(
            (&line["version"], &line["early"]),
            (&"1.2".into(), &"none".into())
        );
        let access = scene
            .edge
            .until_access(|line| line["version"] == "1.2")
            .await;
        assert_eq!(access["early"], "none");
        assert_eq!(access["confirmed"], true);
    }
    // The same site in 1.3 takes early data.
    let setup = scene.setup.clone().tls12_and_13();
    Client::fetch_ticket(scene.edge.address(), OLD, &setup).await;
    let mut client = Client::connect(scene.edge.address(), OLD, &setup).await;
    client.early(&get_of(OLD));
    client.handshake().await.unwrap();
    assert!(client.early_accepted());
    assert_eq!(client.response().await.text(), "old");
    client.close_notify().await;
    scene.settle(0).await;
}

#[tokio::test]
async fn tls12_is_refused_elsewhere() {
    let scene = Scene::start().await;
    for name in [NAME, PLAIN] {
        let setup = scene.setup.clone().tls12();
        let mut client = Client::connect(scene.edge.address(), name, &setup).await;
        let ending = client.handshake().await.unwrap_err();
        assert_eq!(ending, Ending::Alert(AlertDescription::ProtocolVersion));
        let line = scene.line(&client).await;
        assert_eq!(
            (&line["end"], &line["alert_sent"]),
            (&"alert".into(), &"protocol_version".into())
        );
    }
    scene.settle(0).await;
}
