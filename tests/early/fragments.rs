//! rustls panics if it is run without the bytes it holds: messages in parts, with writes between.

use cutwater::load::relay::Records;
use rustls::HandshakeKind;

use crate::early::scene::{GET, NAME, POST, Scene, get};
use crate::support::client::{Client, Ending};
use crate::support::origin::{Origin, Reply, When};

/// Handshake messages are split at so many bytes.
const PART: usize = 27;

/// How a record reaches the server: its bytes in pieces of so many.
const PIECES: [usize; 4] = [1, 3, 20, 100_000];

#[tokio::test]
async fn a_client_hello_in_many_records_and_segments_is_read() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().early_data(false).fragment(PART);
    for pieces in PIECES {
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        let hello = client.take_pending();
        assert!(Records::of(&hello).count() > 5);
        client.send_raw_in_pieces(&hello, pieces).await;
        client.handshake().await.unwrap();
        client.send(GET).await;
        assert_eq!(client.response().await.text(), "hello");
        client.close_notify().await;
        assert_eq!(client.ending().await, Ending::CloseNotify);
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn early_data_behind_a_client_hello_in_parts_is_accepted() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().fragment(PART);
    for pieces in PIECES {
        scene.ticket().await;
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        for part in [GET, POST].concat().chunks(PART) {
            client.early(part);
        }
        client.hold_finished();
        let flight = client.take_pending();
        client.send_raw_in_pieces(&flight, pieces).await;
        assert_eq!(client.response().await.text(), "hello");
        client.server_flight().await.unwrap();
        let finished = client.take_pending();
        client.send_raw_in_pieces(&finished, pieces).await;
        assert!(client.early_accepted());
        assert_eq!(client.response().await.text(), "waited");
        client.close_notify().await;
        assert_eq!(client.ending().await, Ending::CloseNotify);
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn answers_leave_while_part_of_the_finished_is_held() {
    let origin = Origin::start_when(When::AfterHead, |_| {
        Reply::default().held().and(Reply::ok(vec![b'x'; 50_000]))
    })
    .await;
    let scene = Scene::before(&origin).await;
    let setup = scene.setup.clone().fragment(PART);
    let mut heads = 0;
    for cut in 0..4 {
        scene.ticket().await;
        origin.hold();
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        for part in get("/aware").chunks(PART) {
            client.early(part);
        }
        client.hold_finished();
        client.send_pending().await;
        heads += 1;
        origin.until_heads(heads).await;
        client.server_flight().await.unwrap();
        let finished = client.take_pending();
        let last = Records::of(&finished).last().unwrap().at;
        assert!(
            Records::of(&finished).count() > 2,
            "EndOfEarlyData and a Finished in parts"
        );
        // Behind a whole part, and within the record of the last one.
        let cut = last + [0, 1, 5, 12][cut];
        client.send_raw(&finished[..cut]).await;
        origin.release();
        let answer = client.response().await;
        assert_eq!(answer.body.len(), 50_000);
        client.send_raw(&finished[cut..]).await;
        client.finish().await;
        client.send(GET).await;
        assert_eq!(client.response().await.text(), "hello");
        client.close_notify().await;
        assert_eq!(client.ending().await, Ending::CloseNotify);
        scene.no_panic();
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn a_finished_in_parts_ends_a_full_handshake() {
    let scene = Scene::start().await;
    for pieces in PIECES {
        let setup = scene.setup.clone().fresh().fragment(PART);
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        client.hold_finished();
        client.send_pending().await;
        client.server_flight().await.unwrap();
        client.queue(GET);
        let rest = client.take_pending();
        client.send_raw_in_pieces(&rest, pieces).await;
        assert_eq!(client.response().await.text(), "hello");
        assert_eq!(client.kind(), Some(HandshakeKind::Full));
        client.close_notify().await;
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn a_connection_that_ends_within_a_message_ends_without_a_panic() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().fragment(PART);
    for keep in [1, 2] {
        // Part of the Finished, then the end, or garbage.
        for garbage in [false, true] {
            scene.ticket().await;
            let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
            client.early(GET);
            client.hold_finished();
            client.send_pending().await;
            assert_eq!(client.response().await.text(), "hello");
            client.server_flight().await.unwrap();
            let finished = client.take_pending();
            let records: Vec<_> = Records::of(&finished).collect();
            client.send_raw(&finished[..records[keep].at]).await;
            if garbage {
                client.send_raw(&[23, 3, 3, 0, 20]).await;
                client.send_raw(&[0; 20]).await;
                assert!(matches!(client.ending().await, Ending::Alert(_)));
            }
            client.shutdown_write().await;
            scene.line(&client).await;
        }
        // Part of the ClientHello.
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        let hello = client.take_pending();
        let records: Vec<_> = Records::of(&hello).collect();
        client.send_raw(&hello[..records[keep].at]).await;
        client.shutdown_write().await;
        scene.line(&client).await;
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn key_updates_in_pieces_with_answers_between_are_taken() {
    let scene = Scene::start().await;
    let mut client = Client::open(scene.edge.address(), NAME, &scene.setup).await;
    client.send(GET).await;
    client.response().await;
    client.hold_finished();
    for pieces in [1, 3, 7, 11, 100] {
        client.queue(GET);
        client.tls().refresh_traffic_keys().unwrap();
        client.queue(GET);
        let bytes = client.take_pending();
        client.send_raw_in_pieces(&bytes, pieces).await;
        for _ in 0..2 {
            assert_eq!(client.response().await.text(), "hello");
        }
    }
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    scene.settle(0).await;
}
