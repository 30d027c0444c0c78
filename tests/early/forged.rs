//! R9 and R6: tickets and binders that are not what they seem.

use rustls::{AlertDescription, CipherSuite, HandshakeKind, NamedGroup};

use crate::early::scene::{GET, NAME, OTHER, PLAIN, Scene, get, get_of};
use crate::support::client::{Client, Ending};
use crate::support::hello::{Hello, garble_binder, garble_random, garble_ticket, with_identities};

#[tokio::test]
async fn a_forged_binder_does_not_burn_its_owner() {
    let scene = Scene::start().await;
    let flight = scene.flight(GET).await;
    let forgeries = [garble_binder(&flight), garble_random(&flight)];
    for forged in &forgeries {
        // The keys do not matter: nothing of it can be read but the alert, which is plain.
        let mut forger = scene.connect().await;
        forger.send_raw(forged).await;
        let ending = forger.ending().await;
        assert_eq!(ending, Ending::Alert(AlertDescription::DecryptError));
        let line = scene.line(&forger).await;
        assert_eq!(
            (&line["end"], &line["alert_sent"]),
            (&"alert".into(), &"decrypt_error".into())
        );
    }
    let mut owner = scene.connect().await;
    owner.send_raw(&flight).await;
    let accepted = |line: &serde_json::Value| line["early"] == "accepted";
    owner.shutdown_write().await;
    scene.edge.until_connection(accepted).await;
    assert_eq!(scene.metric("early_data_accepted_total", &[]).await, 1.0);
    scene.settle(2).await;
}

#[tokio::test]
async fn a_forged_binder_beside_the_owner_changes_nothing() {
    let scene = Scene::start().await;
    for _ in 0..5 {
        let mut client = scene.early(GET).await;
        let flight = client.take_pending();
        let mut forger = scene.connect().await;
        forger.send_raw(&garble_binder(&flight)).await;
        assert!(matches!(forger.ending().await, Ending::Alert(_)));
        client.send_raw(&flight).await;
        assert_eq!(client.response().await.text(), "hello");
        client.finish().await;
        assert!(client.early_accepted());
        client.close_notify().await;
    }
    scene.settle(5).await;
}

#[tokio::test]
async fn a_garbled_ticket_brings_a_full_handshake() {
    let scene = Scene::start().await;
    for name in [NAME, PLAIN] {
        Client::fetch_ticket(scene.edge.address(), name, &scene.setup).await;
        let mut client = Client::connect(scene.edge.address(), name, &scene.setup).await;
        let hello = client.take_pending();
        // A changed ClientHello breaks the transcript, so the handshake cannot end well for us;
        // the server goes on to its certificate without an alert.
        client.hold_finished();
        client.send_raw(&garble_ticket(&hello)).await;
        let ending = client.ending().await;
        assert!(matches!(ending, Ending::Broken(_)), "{ending:?}");
        drop(client);
    }
    let full = |line: &serde_json::Value| line["resumed"] == false && line["end"] == "truncated";
    scene.edge.until_connections(2, full).await;
}

#[tokio::test]
async fn more_than_two_identities_bring_a_full_handshake_without_an_alert() {
    let scene = Scene::start().await;
    let flight = scene.flight(GET).await;
    let hello = with_identities(&flight, 3);
    let mut client = scene.connect().await;
    client.hold_finished();
    client.send_raw(&hello).await;
    // The transcript is another than ours; what counts is that there is a ServerHello, no alert.
    assert!(matches!(client.ending().await, Ending::Broken(_)));
    let address = client.local_address().to_string();
    drop(client);
    let line = scene
        .edge
        .until_connection(|line| line["client"] == address.as_str());
    let line = line.await;
    assert_eq!(line["early"], "refused_too_many_identities");
    assert_eq!(line["resumed"], false);
    assert!(line["alert_sent"].is_null());
    assert_eq!(scene.refused("too_many_identities").await, 1.0);
    // None of them was burnt.
    let mut owner = scene.connect().await;
    owner.send_raw(&flight).await;
    owner.shutdown_write().await;
    let accepted = |line: &serde_json::Value| line["early"] == "accepted";
    scene.edge.until_connection(accepted).await;
    scene.settle(0).await;
}

/// Comes back as `setup` and `name` say; what the connection log says of the early data.
async fn comes_back(scene: &Scene, name: &str, client: &mut Client) -> String {
    client.early(&get_of(name));
    client.handshake().await.unwrap();
    if !client.early_accepted() {
        client.resend_early().await;
    }
    assert_eq!(client.response().await.status, 200);
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    scene.line(client).await["early"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_stale_age_is_resumed_and_its_early_data_refused() {
    let scene = Scene::start().await;
    scene.ticket().await;
    scene.setup.tickets().pretend_older(Some(3_600));
    let mut client = scene.connect().await;
    assert_eq!(
        comes_back(&scene, NAME, &mut client).await,
        "refused_resumed_refused"
    );
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    scene.settle(0).await;
}

#[tokio::test]
async fn another_alpn_is_resumed_and_its_early_data_refused() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().alpn(&["h2"]);
    Client::fetch_ticket(scene.edge.address(), NAME, &setup).await;
    let mut client = scene.connect().await;
    assert_eq!(
        comes_back(&scene, NAME, &mut client).await,
        "refused_resumed_refused"
    );
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    scene.settle(0).await;
}

#[tokio::test]
async fn a_hello_retry_request_is_resumed_and_its_early_data_refused() {
    let scene = Scene::start().await;
    scene.ticket().await;
    let setup = scene.setup.clone();
    let setup = setup.groups(&[NamedGroup::MLKEM1024, NamedGroup::secp256r1]);
    let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
    let early = comes_back(&scene, NAME, &mut client).await;
    let line = scene.line(&client).await;
    assert_eq!(line["client_hellos"], 2, "{line}");
    assert_eq!(early, "refused_hrr");
    assert_eq!(line["resumed"], true);
    assert_eq!(line["group"], "secp256r1");
    assert_eq!(scene.metric("hello_retry_requests_total", &[]).await, 1.0);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_ticket_of_another_site_brings_a_full_handshake_and_is_not_burnt() {
    // EARLY-DATA R6
    let scene = Scene::start().await;
    let tickets = scene.setup.tickets();
    for (from, to, reason) in [
        (NAME, OTHER, "refused_policy"),
        (PLAIN, NAME, "refused_unknown_ticket"),
        (NAME, PLAIN, "refused_site_off"),
    ] {
        tickets.clear();
        tickets.pretend_early_data_size(Some(16_384));
        tickets.ignore_names(true);
        Client::fetch_ticket(scene.edge.address(), from, &scene.setup).await;
        let mut client = Client::connect(scene.edge.address(), to, &scene.setup).await;
        assert_eq!(
            comes_back(&scene, to, &mut client).await,
            reason,
            "{from} to {to}"
        );
        assert_eq!(client.kind(), Some(HandshakeKind::Full), "{from} to {to}");
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn a_ticket_seen_elsewhere_first_is_still_its_owners() {
    let scene = Scene::start().await;
    let mut owner = scene.early(&get("/?owner")).await;
    let flight = owner.take_pending();
    // The same flight with the other site's name would need another binder; the store is asked
    // under the other site's tag all the same.
    let swapped = with_name(&flight, OTHER);
    let mut thief = scene.connect().await;
    thief.hold_finished();
    thief.send_raw(&swapped).await;
    assert!(matches!(
        thief.ending().await,
        Ending::Broken(_) | Ending::Alert(_)
    ));
    drop(thief);
    owner.send_raw(&flight).await;
    assert_eq!(owner.response().await.text(), "hello");
    owner.finish().await;
    assert!(owner.early_accepted());
    owner.close_notify().await;
    scene.line(&owner).await;
    scene.no_panic();
}

/// The flight with another server name, of any length up to the old one's, padded by its host.
fn with_name(flight: &[u8], name: &str) -> Vec<u8> {
    let mut changed = flight.to_vec();
    let at = changed
        .windows(NAME.len())
        .position(|window| window == NAME.as_bytes())
        .unwrap();
    let hello = Hello::find(flight);
    let message = hello.message();
    let grown = name.len() - NAME.len();
    changed.splice(at..at + NAME.len(), name.bytes());
    let mut add = |at: usize| {
        let old = u16::from_be_bytes([changed[at], changed[at + 1]]);
        let new = old + u16::try_from(grown).unwrap();
        changed[at..at + 2].copy_from_slice(&new.to_be_bytes());
    };
    // Record, message, all extensions, the extension, its list, the name.
    let mut extensions = 4 + 2 + 32;
    extensions += 1 + usize::from(message[extensions]);
    extensions += 2 + usize::from(u16::from_be_bytes([
        message[extensions],
        message[extensions + 1],
    ]));
    extensions += 1 + usize::from(message[extensions]);
    for place in [3, 5 + 2, 5 + extensions, at - 7, at - 5, at - 2] {
        add(place);
    }
    changed
}

#[tokio::test]
async fn another_suite_brings_a_full_handshake() {
    let scene = Scene::start().await;
    let sha256 = scene
        .setup
        .clone()
        .suites(&[CipherSuite::TLS13_AES_128_GCM_SHA256]);
    Client::fetch_ticket(scene.edge.address(), NAME, &sha256).await;
    let other = scene.setup.clone().suites(&[
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ]);
    let mut client = Client::connect(scene.edge.address(), NAME, &other).await;
    let early = comes_back(&scene, NAME, &mut client).await;
    let kind = client.kind();
    match kind {
        // The suite that is chosen is not the ticket's.
        Some(HandshakeKind::Full) => assert_eq!(early, "refused_policy"),
        _ => assert_eq!(early, "refused_resumed_refused"),
    }
    scene.settle(0).await;
}
