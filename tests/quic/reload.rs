//! Transfers that are under way while the configuration changes.

use bytes::{Buf, Bytes};

use crate::quic::client::{Client, answer, get, request};
use crate::quic::scene::{Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply, When};
use crate::support::within;

/// So much is moved, of which the origin or the client keeps back most until after the reload.
const LENGTH: usize = 10_000_000;
const BEGUN: usize = 1_000_000;

/// Bytes of which no stretch is like another.
fn content() -> Vec<u8> {
    let words = (0..LENGTH as u32 / 4).map(|word| word.wrapping_mul(0x9e37_79b9).to_be_bytes());
    words.flatten().collect()
}

/// A route to this origin, and an edge that has it.
async fn scene(origin: &Origin) -> (Scene, String) {
    let routes = route_to("/moved", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    (Scene::with(wants).await, routes)
}

/// Takes the route away, and sees on this connection that it is gone.
async fn reload(scene: &Scene, routes: &str, client: &mut Client) {
    let config = scene.config.replace(routes, "");
    let config = config.replace("body = \"hello\"", "body = \"reloaded\"");
    scene.reload(&config).await;
    let answer = client.get("https://example.com/moved").await;
    assert_eq!(answer.text(), "reloaded");
}

/// Whether what came is what was sent, without ten megabytes in a panic.
fn assert_same(came: &[u8], sent: &[u8]) {
    assert_eq!(came.len(), sent.len());
    let differs = came.iter().zip(sent).position(|(came, sent)| came != sent);
    assert_eq!(differs, None);
}

#[tokio::test]
async fn a_download_goes_on_through_a_reload_that_takes_its_route_away() {
    let sent = content();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
    let begin = [head.as_bytes(), &sent[..BEGUN]].concat();
    let reply = Reply::raw(begin).held().send(&sent[BEGUN..]);
    let origin = Origin::start(move |_| reply.clone()).await;
    let (scene, routes) = scene(&origin).await;
    let mut client = scene.client().await;
    let mut stream = client.begin(get("https://example.com/moved")).await;
    stream.finish().await.unwrap();
    let head = within("an answer", stream.recv_response()).await.unwrap();
    assert_eq!(head.status(), 200);
    let mut came = Vec::new();
    while came.len() < BEGUN {
        let mut data = within("content", stream.recv_data())
            .await
            .unwrap()
            .unwrap();
        came.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    assert_eq!(came.len(), BEGUN);
    reload(&scene, &routes, &mut client).await;
    origin.release();
    while let Some(mut data) = within("content", stream.recv_data()).await.unwrap() {
        came.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    assert_same(&came, &sent);
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn an_upload_goes_on_through_a_reload_that_takes_its_route_away() {
    let origin = Origin::start_when(When::AfterBody, |_| Reply::ok("taken")).await;
    let (scene, routes) = scene(&origin).await;
    let mut client = scene.client().await;
    let mut stream = client
        .begin(request("POST", "https://example.com/moved"))
        .await;
    let sent = Bytes::from(content());
    let begin = stream.send_data(sent.slice(..BEGUN));
    within("sending", begin).await.unwrap();
    origin.until_heads(1).await;
    reload(&scene, &routes, &mut client).await;
    assert_eq!(origin.requests().len(), 0);
    let rest = stream.send_data(sent.slice(BEGUN..));
    within("sending", rest).await.unwrap();
    within("the end", stream.finish()).await.unwrap();
    assert_eq!(answer(&mut stream).await.text(), "taken");
    let asked = origin.until_requests(1).await.remove(0);
    assert_same(&asked.body, &sent);
    assert_eq!(origin.heads().len(), 1);
    client.close().await;
    scene.settle().await;
}
