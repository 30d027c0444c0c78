//! A 425 of the edge to a request whose body is still on its way (EARLY-DATA R12).

use bytes::Bytes;

use super::stage::{EARLY, Stage, asked};
use crate::support::client::{Client, Ending};
use crate::support::h2::{H2, whole};

fn post(length: usize) -> String {
    format!("POST /aware/refuse HTTP/1.1\r\nhost: {EARLY}\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn a_425_to_a_whole_early_body_keeps_the_connection() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["http/1.1"]).await;
    let request = post(5_000) + &"x".repeat(5_000);
    let mut client = stage.early(&setup, &request).await;
    assert_eq!(client.response().await.status, 425);
    client.finish().await;
    // Not early any more, so that `refuse` has nothing to say.
    client.send(request.as_bytes()).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(asked(&stage.aware, "/aware/refuse").len(), 1);
}

#[tokio::test]
async fn a_425_over_http1_is_read_while_the_body_is_still_sent() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["http/1.1"]).await;
    for length in [8_000, 1_000_000] {
        let request = post(length) + &"x".repeat(4_000);
        let mut client = stage.early(&setup, &request).await;
        // At once: a client that sends no more until it has an answer is not kept waiting.
        assert_eq!(client.response().await.status, 425);
        client.finish().await;
        client.send(&vec![b'x'; length - 4_000]).await;
        assert_eq!(client.ending().await, Ending::CloseNotify, "{length}");
        Client::fetch_ticket(stage.address, EARLY, &setup).await;
    }
    assert!(asked(&stage.aware, "/aware/refuse").is_empty());
}

#[tokio::test]
async fn a_425_over_http2_ends_its_stream_only() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["h2"]).await;
    let mut client = Client::connect(stage.address, EARLY, &setup).await;
    client.hold_finished();
    let mut h2 = H2::start_early(client, Vec::new()).await;
    let head = http::Request::post(format!("https://{EARLY}/aware/refuse"));
    h2.finish();
    // A whole one first: it proves that the connection is open.
    let get = crate::support::h2::request("GET", &format!("https://{EARLY}/aware/wait"), "");
    assert_eq!(h2.fetch(get.clone()).await.unwrap().status, 200);
    let marked = head.header("early-data", "1").body(()).unwrap();
    let (answer, mut stream) = h2.send.send_request(marked, false).unwrap();
    stream
        .send_data(Bytes::from_static(&[b'x'; 4_000]), false)
        .unwrap();
    let answer = crate::support::within("the 425", whole(answer)).await;
    assert_eq!(answer.unwrap().status, 425);
    assert_eq!(h2.fetch(get).await.unwrap().status, 200);
    assert!(asked(&stage.aware, "/aware/refuse").is_empty());
}
