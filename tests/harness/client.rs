use std::time::Duration;

use cutwater::load::relay::{Records, Relay, Replay, Withhold};
use rustls::{AlertDescription, HandshakeKind, NamedGroup};

use super::server::{Early, start};
use crate::support::client::{Client, Ending, corrupt_end};
use crate::support::hello::{Hello, garble_binder, garble_ticket, unreadable_early_record};
use crate::support::pki::Pki;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n";
const NAME: &str = "example.com";

#[tokio::test]
async fn full_handshake_then_a_request_then_a_clean_close() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(address, NAME, &setup).await;
    assert_eq!(client.kind(), Some(HandshakeKind::Full));
    assert_eq!(client.alpn().as_deref(), Some("http/1.1"));
    assert_eq!(client.early_room(), 0);
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "late");
    client.key_update().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status, 200);
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert!(setup.tickets().left(NAME) > 0);
    assert_eq!(setup.tickets().seen()[0].max_early_data_size, 16_384);
}

#[tokio::test]
async fn early_get_is_answered_while_finished_is_held() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let setup = pki.client();
    Client::fetch_ticket(address, NAME, &setup).await;
    let mut client = Client::connect(address, NAME, &setup).await;
    assert_eq!(client.early_room(), 16_384);
    client.early(GET);
    client.hold_finished();
    client.send_pending().await;
    assert_eq!(client.response().await.text(), "early");
    client.server_flight().await.unwrap();
    assert!(client.early_accepted());
    let kinds: Vec<_> = Records::of(client.pending())
        .map(|r| r.body.len())
        .collect();
    assert_eq!(kinds.first(), Some(&21), "EndOfEarlyData is pending");
    client.queue(GET);
    assert!(client.silent_for(Duration::from_millis(20)).await);
    client.finish().await;
    assert_eq!(client.response().await.text(), "late");
}

#[tokio::test]
async fn relay_holds_finished_and_its_record_can_be_replayed() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let setup = pki.client();
    Client::fetch_ticket(address, NAME, &setup).await;
    let relay = Relay::to(address)
        .withhold(Withhold::Finished)
        .record(true)
        .bind()
        .await
        .unwrap();
    let mut client = Client::connect(relay.address(), NAME, &setup).await;
    client.early(GET);
    client.send_pending().await;
    let sent_first = relay.until(|all| all.first().is_some_and(|one| one.to_client > 0));
    sent_first.await;
    assert_eq!(client.response().await.text(), "early");
    client.send_pending().await;
    relay.until(|all| all[0].withheld > 0).await;
    let flight = relay.flights().remove(0);
    assert!(flight.whole);
    assert_eq!(
        flight.records().map(|r| r.kind).collect::<Vec<_>>(),
        [22, 20, 23]
    );
    let replay = Replay::to(address).quiet(Duration::from_millis(50));
    let answer = replay.send(&flight.bytes).await.unwrap();
    assert_eq!(Records::of(&answer.bytes).next().unwrap().kind, 22);
    relay.release();
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "late");
}

#[tokio::test]
async fn refused_early_data_of_any_shape_is_sent_again() {
    let pki = Pki::new();
    let address = start(&pki, Early::Refused);
    let setup = pki.client();
    Client::fetch_ticket(address, NAME, &setup).await;
    let mut client = Client::connect(address, NAME, &setup).await;
    for byte in GET {
        client.early(&[*byte]);
    }
    let flight = client.take_pending();
    let early = Records::of(&flight).filter(|r| r.kind == 23);
    assert_eq!(
        early.map(|r| r.body.len()).collect::<Vec<_>>(),
        [18; GET.len()]
    );
    client.send_raw(&flight).await;
    client.send_raw(&unreadable_early_record(1000)).await;
    client.handshake().await.unwrap();
    assert!(!client.early_accepted());
    assert_eq!(client.kind(), Some(HandshakeKind::Resumed));
    client.resend_early().await;
    assert_eq!(client.response().await.text(), "late");
}

#[tokio::test]
async fn more_early_data_than_granted_is_an_alert() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let setup = pki.client();
    Client::fetch_ticket(address, NAME, &setup).await;
    setup.tickets().pretend_early_data_size(Some(40_000));
    let mut client = Client::connect(address, NAME, &setup).await;
    client.early(&[b'x'; 16_384]);
    client.early(&[b'x'; 16_384]);
    client.send_pending().await;
    assert!(matches!(
        client.ending().await,
        Ending::Alert(_) | Ending::Reset
    ));
}

#[tokio::test]
async fn garbled_tickets_and_binders_change_one_bit_in_the_right_place() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let setup = pki.client().early_data(false);
    Client::fetch_ticket(address, NAME, &setup).await;
    let mut client = Client::connect(address, NAME, &setup).await;
    let flight = client.take_pending();
    let hello = Hello::find(&flight);
    assert_eq!(hello.psks().len(), 1);
    assert_eq!(hello.psks()[0].binder.len(), 48);

    let forged = garble_binder(&flight);
    assert_eq!(differing(&flight, &forged), 1);
    assert_eq!(Hello::find(&forged).ticket(), hello.ticket());
    client.send_raw(&forged).await;
    let alert = Ending::Alert(AlertDescription::DecryptError);
    assert_eq!(client.ending().await, alert);

    let unknown = garble_ticket(&flight);
    assert_eq!(differing(&flight, &unknown), 1);
    assert_ne!(Hello::find(&unknown).ticket(), hello.ticket());
    let replay = Replay::to(address).quiet(Duration::from_millis(50));
    let answer = replay.send(&unknown).await.unwrap();
    assert_eq!(Records::of(&answer.bytes).next().unwrap().kind, 22);
}

#[tokio::test]
async fn corrupt_finished_is_an_alert() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let mut client = Client::connect(address, NAME, &pki.client()).await;
    client.send_pending().await;
    client.hold_finished();
    client.server_flight().await.unwrap();
    let mut finished = client.take_pending();
    corrupt_end(&mut finished);
    client.send_raw(&finished).await;
    let alert = Ending::Alert(AlertDescription::BadRecordMac);
    assert_eq!(client.ending().await, alert);
}

#[tokio::test]
async fn finished_may_be_dribbled() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let setup = pki.client().fragment(27);
    let mut client = Client::connect(address, NAME, &setup).await;
    client.send_pending().await;
    client.hold_finished();
    client.server_flight().await.unwrap();
    let finished = client.take_pending();
    client.send_raw_in_pieces(&finished, 1).await;
    client.finish().await;
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "late");
}

#[tokio::test]
async fn a_group_that_the_server_lacks_brings_a_retry() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let groups = [NamedGroup::MLKEM768, NamedGroup::X25519];
    let setup = pki.client().groups(&groups);
    for kind in [
        HandshakeKind::FullWithHelloRetryRequest,
        HandshakeKind::Resumed,
    ] {
        let mut client = Client::open(address, NAME, &setup).await;
        assert_eq!(client.kind(), Some(kind));
        client.send(GET).await;
        assert_eq!(client.response().await.text(), "late");
    }
}

#[tokio::test]
async fn truncation_is_told_from_a_close() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let mut client = Client::open(address, NAME, &pki.client()).await;
    client.shutdown_write().await;
    assert_eq!(client.ending().await, Ending::Truncated);
    assert!(client.tcp_closed().await);
}

#[tokio::test]
async fn tickets_are_bound_to_nothing_when_the_test_says_so() {
    let pki = Pki::new();
    let address = start(&pki, Early::Taken);
    let setup = pki.client();
    Client::fetch_ticket(address, NAME, &setup).await;
    assert_eq!(setup.fresh().tickets().left(NAME), 0);
    let setup = pki.client();
    Client::fetch_ticket(address, NAME, &setup).await;
    let mut other = Client::connect(address, "other.example", &setup).await;
    assert!(Hello::find(other.pending()).psks().is_empty());
    setup.tickets().ignore_names(true);
    let mut other = Client::connect(address, "other.example", &setup).await;
    assert_eq!(Hello::find(other.pending()).psks().len(), 1);
}

fn differing(one: &[u8], other: &[u8]) -> usize {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).filter(|(a, b)| a != b).count()
}
