//! A handshake that never ends takes its early requests with it (EARLY-DATA R11).

use crate::quic::client::{Client, Stream, get};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::quic::wire::Wire;
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// An edge before an origin that takes its time.
async fn before(origin: &Origin, site: &str) -> Scene {
    let routes = format!(
        "[[site.route]]\npath = \"/origin\"\nearly_data = \"safe\"\n\
         origin = {{ servers = [\"{}\"], early_data_aware = true, forwarded = \"off\" }}\n",
        origin.url()
    );
    let wants = Wants {
        site,
        routes: &routes,
        ..Wants::default()
    };
    Scene::with(wants).await
}

/// A client whose early request is with the origin. Its stream is to be kept: dropped, it is cancelled.
async fn asking(scene: &Scene, origin: &Origin) -> (Client, Wire, Stream) {
    scene.ticket().await;
    let wire = Wire::to(scene.address()).await;
    let (mut client, _) = Client::early(wire.address(), NAME, &scene.setup).await;
    let mut stream = client.begin(get("https://example.com/origin")).await;
    stream.finish().await.unwrap();
    origin.until_heads(1).await;
    (client, wire, stream)
}

async fn has_failed(scene: &Scene, origin: &Origin) {
    origin.until_open(0).await;
    let line = scene.edge.until_access(|line| line["path"] == "/origin");
    let line = line.await;
    assert_eq!(line["end"], "handshake_failed", "{line}");
    assert_eq!(line["confirmed"], "failed");
    scene.until_metric("early_aborted_total", &[], 1.0).await;
    let line = scene
        .edge
        .until_connection(|line| line["early"] == "accepted");
    assert_eq!(line.await["address_proved"], false);
    scene.settle().await;
}

#[tokio::test]
async fn a_client_that_closes_before_finished_ends_its_early_request() {
    let origin = Origin::start(|_| Reply::silence()).await;
    let scene = before(&origin, "").await;
    let (client, _wire, _stream) = asking(&scene, &origin).await;
    client.quic.close(0x100u32.into(), b"");
    has_failed(&scene, &origin).await;
}

#[tokio::test]
async fn one_that_vanishes_in_the_midst_of_an_answer_does_too() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let origin = Origin::start(move |_| Reply::raw(half).then_silence()).await;
    let scene = before(&origin, "").await;
    let (client, _wire, _stream) = asking(&scene, &origin).await;
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    client.quic.close(0x100u32.into(), b"");
    has_failed(&scene, &origin).await;
}

#[tokio::test]
async fn the_deadline_of_a_handshake_ends_its_early_request() {
    let origin = Origin::start(|_| Reply::silence()).await;
    let scene = before(&origin, "timeouts = { handshake = \"1s\" }").await;
    let (_client, _wire, _stream) = asking(&scene, &origin).await;
    has_failed(&scene, &origin).await;
    let kind = ["kind=\"handshake\""];
    assert_eq!(scene.metric("timeouts_total", &kind).await, 1.0);
}

#[tokio::test]
async fn early_data_without_a_byte_is_not_counted() {
    let scene = Scene::start().await;
    scene.ticket().await;
    let endpoint = crate::quic::client::endpoint(&scene.setup);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let quic = within("the handshake", connecting).await.unwrap();
    scene.until_metric("handshakes_unfinished", &[], 0.0).await;
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    let line = scene.edge.until_connection(|line| line["resumed"] == true);
    let line = line.await;
    assert_eq!(line["early"], "empty");
    assert_eq!(line["address_proved"], true);
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 0.0);
    scene.settle().await;
}
