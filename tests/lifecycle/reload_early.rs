use rustls::HandshakeKind;

use super::house::{House, NAME, get, reload, until_gauge};
use crate::support::client::Client;
use crate::support::edge::Edge;
use crate::support::setup::ClientSetup;

const EARLY: &str = "early_data = true\n[[site.route]]\npath = \"/\"\nearly_data = \"safe\"\n\
                     respond = { body = \"hello\\n\" }\n";

/// A resumed connection with an early GET; whether it was accepted.
async fn early_get(edge: &Edge, setup: &ClientSetup) -> bool {
    let mut client = Client::connect(edge.address(), NAME, setup).await;
    assert!(client.early_room() > 0, "a ticket for early data");
    client.early(&get("/"));
    client.handshake().await.unwrap();
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    if !client.early_accepted() {
        client.resend_early().await;
    }
    assert_eq!(client.response().await.text(), "hello\n");
    client.early_accepted()
}

#[tokio::test]
async fn tickets_of_an_unchanged_site_outlive_reloads() {
    let house = House::new();
    let edge = house.start("", EARLY).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    reload(&edge, &house.config("", EARLY)).await;
    assert!(early_get(&edge, &setup).await);
    // Another site beside it changes nothing for this one.
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    let other = house.pki.files(&["other.example"]).toml();
    let more =
        format!("{EARLY}[[site]]\nnames = [\"other.example\"]\ncertificate = {other}\n{EARLY}");
    reload(&edge, &house.config("", &more)).await;
    assert!(early_get(&edge, &setup).await);
}

#[tokio::test]
async fn tickets_of_a_site_with_another_policy_resume_without_early_data() {
    let house = House::new();
    let edge = house.start("", EARLY).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    reload(&edge, &house.config("", &EARLY.replace("safe", "wait"))).await;
    assert!(!early_get(&edge, &setup).await);
    let reason = ["reason=\"policy\""];
    let refused = edge.metric("cutwater_early_data_refused_total", &reason);
    assert_eq!(refused.await, 1.0);
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_handshakes_and_drops_no_session() {
    let house = House::new();
    let edge = house.start("", EARLY).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    let renewed = house.pki.leaf(&[NAME]);
    renewed.write(house.pki.directory(), NAME);
    reload(&edge, &house.config("", EARLY)).await;
    let mut fresh = Client::open(edge.address(), NAME, &house.client()).await;
    let shown = fresh.tls().peer_certificates().unwrap();
    assert_eq!(shown[0], renewed.chain[0]);
    assert!(early_get(&edge, &setup).await);
}

#[tokio::test]
async fn early_data_switched_off_answers_unconfirmed_requests_425() {
    let house = House::new();
    let edge = house.start("", EARLY).await;
    let setup = house.client();
    Client::fetch_ticket(edge.address(), NAME, &setup).await;
    until_gauge(&edge, "cutwater_connections_open", 0.0).await;
    let mut client = Client::connect(edge.address(), NAME, &setup).await;
    let request = get("/");
    let (first, rest) = request.split_at(8);
    // Nothing is read meanwhile: the client's handshake stands still.
    client.early(first);
    client.send_pending().await;
    until_gauge(&edge, "cutwater_handshakes_unfinished", 1.0).await;
    let off = EARLY
        .replace("early_data = true\n", "")
        .replace("early_data = \"safe\"\n", "");
    reload(&edge, &house.config("", &off)).await;
    client.early(rest);
    client.hold_finished();
    client.send_pending().await;
    let answer = client.response().await;
    assert_eq!(answer.status, 425, "{answer:?}");
    client.finish().await;
    assert!(client.early_accepted());
    client.send(&request).await;
    assert_eq!(client.response().await.text(), "hello\n");
    let refused = edge.metric("cutwater_too_early_total", &["edge"]).await;
    assert_eq!(refused, 1.0);
    let line = edge.until_access(|line| line["status"] == 425).await;
    assert_eq!(line["early"], "refused");
}
