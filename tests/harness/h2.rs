use std::time::Duration;

use super::server::{Early, start_h2};
use crate::support::client::{Client, Ending};
use crate::support::h2::{H2, request};
use crate::support::pki::Pki;

const NAME: &str = "example.com";

#[tokio::test]
async fn requests_are_answered_and_the_connection_closes() {
    let pki = Pki::new();
    let address = start_h2(&pki, Early::Taken).await;
    let setup = pki.client().alpn(&["h2"]);
    let client = Client::open(address, NAME, &setup).await;
    assert_eq!(client.alpn().as_deref(), Some("h2"));
    let mut h2 = H2::start(client).await;
    for path in ["/a", "/b"] {
        let get = request("GET", &format!("https://{NAME}{path}"), "");
        let answer = h2.fetch(get).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, path));
    }
    let mut client = h2.close().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
}

#[tokio::test]
async fn early_requests_are_answered_while_finished_is_held() {
    let pki = Pki::new();
    let address = start_h2(&pki, Early::Taken).await;
    let setup = pki.client().alpn(&["h2"]);
    Client::fetch_ticket(address, NAME, &setup).await;
    let mut client = Client::connect(address, NAME, &setup).await;
    client.hold_finished();
    let requests = vec![
        request("GET", "https://example.com/one", ""),
        request("GET", "https://example.com/two", ""),
    ];
    let mut h2 = H2::start_early(client, requests).await;
    assert_eq!(h2.next().await.unwrap().text(), "/one");
    assert_eq!(h2.next().await.unwrap().text(), "/two");
    h2.begin_request(request("GET", "https://example.com/late", ""))
        .await;
    assert!(h2.silent_for(Duration::from_millis(20)).await);
    h2.finish();
    assert_eq!(h2.next().await.unwrap().text(), "/late");
    assert!(h2.close().await.early_accepted());
}

#[tokio::test]
async fn refused_early_requests_are_sent_again() {
    let pki = Pki::new();
    let address = start_h2(&pki, Early::Refused).await;
    let setup = pki.client().alpn(&["h2"]);
    Client::fetch_ticket(address, NAME, &setup).await;
    let client = Client::connect(address, NAME, &setup).await;
    let get = request("GET", "https://example.com/again", "");
    let mut h2 = H2::start_early(client, vec![get]).await;
    assert_eq!(h2.next().await.unwrap().text(), "/again");
    assert!(!h2.close().await.early_accepted());
}
