//! What is decided by a client's address, and when it is proved (EARLY-DATA R15).

use std::time::Duration;

use serde_json::Value;

use crate::quic::client::{Client, answer, get};
use crate::quic::early::held;
use crate::quic::limits::{GET, head};
use crate::quic::scene::{NAME, Scene, Wants, route_to};
use crate::quic::wire::Wire;
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// A route that admits by address.
const INSIDE: &str = "[[site.route]]\npath = \"/inside\"\nearly_data = \"safe\"\nallow = [\"127.0.0.1/32\"]\nrespond = { status = 200, body = \"inside\" }";

#[tokio::test]
async fn r15_no_address_counts_before_it_is_proved() {
    let wants = Wants {
        routes: INSIDE,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let (mut client, wire) = held(&scene).await;
    let mut stream = client.begin(get("https://example.com/inside")).await;
    stream.finish().await.unwrap();
    scene
        .until_metric("too_early_total", &["by=\"edge\""], 1.0)
        .await;
    wire.release().await;
    assert_eq!(answer(&mut stream).await.status, 425);
    let refused = |line: &Value| line["status"] == 425;
    scene.edge.until_access(refused).await;
    let url = "https://example.com/inside";
    assert_eq!(client.get(url).await.text(), "inside");
    client.close().await;
}

#[tokio::test]
async fn r15_a_retry_proves_an_address() {
    let wants = Wants {
        listener: "quic_retry = \"always\"",
        routes: INSIDE,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    scene.ticket().await;
    // The Retry is let through, and nothing else.
    let wire = Wire::after(1, scene.address()).await;
    let (mut client, _) = Client::early(wire.address(), NAME, &scene.setup).await;
    let mut stream = client.begin(get("https://example.com/inside")).await;
    stream.finish().await.unwrap();
    scene
        .until_metric("answered_before_finished_total", &[], 1.0)
        .await;
    wire.turn().await;
    assert_eq!(answer(&mut stream).await.text(), "inside");
    assert_eq!(scene.metric("quic_retries_total", &[]).await, 2.0);
    wire.release().await;
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn r15_a_token_of_an_earlier_connection_proves_no_address() {
    use crate::quic::limits::connect;
    let wants = Wants {
        listener: "quic_retry = \"always\"",
        routes: INSIDE,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let endpoint = crate::quic::client::endpoint(&scene.setup);
    let first = connect(&endpoint, &scene).await;
    let come = async {
        while first.stats().frame_rx.new_token == 0 || scene.setup.tickets().left(NAME) == 0 {
            tokio::task::yield_now().await;
        }
    };
    within("a token and a ticket", come).await;
    first.close(0x100u32.into(), b"");
    let wire = Wire::to(scene.address()).await;
    let connecting = endpoint.connect(wire.address(), NAME).unwrap();
    let Ok((quic, _)) = connecting.into_0rtt() else {
        panic!("no ticket for early data");
    };
    let (mut send, _recv) = quic.open_bi().await.unwrap();
    send.write_all(&head(GET, "/inside", b"")).await.unwrap();
    send.finish().unwrap();
    scene
        .until_metric("too_early_total", &["by=\"edge\""], 1.0)
        .await;
    // The token was good: nobody was asked again.
    assert_eq!(scene.metric("quic_retries_total", &[]).await, 1.0);
    wire.turn().await;
    wire.release().await;
    scene.edge.until_access(|line| line["status"] == 425).await;
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

/// A route to an origin that is not told the client's address.
pub fn untold(path: &str, origin: &str, more: &str, fields: &str) -> String {
    format!(
        "[[site.route]]\npath = \"{path}\"\nearly_data = \"safe\"\n{fields}\n\
         origin = {{ servers = [\"{origin}\"], early_data_aware = true, forwarded = \"off\"{more} }}\n"
    )
}

#[tokio::test]
async fn r15_no_origin_is_told_an_address_that_may_be_forged() {
    let origin = Origin::start(|_| Reply::ok("answer")).await;
    let url = origin.url();
    let mut routes = route_to("/x", &url, "early_data = \"safe\"");
    let variable = "request_headers = { set = { x-who = \"is $client_address\" } }";
    routes += &untold("/variable", &url, "", variable);
    routes += &untold("/hash", &url, ", balance = { hash = \"client\" }", "");
    routes += &untold("/untold", &url, "", "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let (mut client, wire) = held(&scene).await;
    let mut waiting = Vec::new();
    for path in ["x", "variable", "hash", "untold"] {
        let mut stream = client
            .begin(get(&format!("https://example.com/{path}")))
            .await;
        stream.finish().await.unwrap();
        waiting.push(stream);
    }
    // The last one shows that the others have come.
    let asked = origin.until_requests(1).await;
    assert_eq!(asked[0].field("early-data"), Some("1"));
    scene.until_metric("early_delayed_total", &[], 3.0).await;
    assert_eq!(origin.heads().len(), 1);
    wire.turn().await;
    wire.release().await;
    for stream in &mut waiting {
        assert_eq!(answer(stream).await.text(), "answer");
    }
    for asked in &origin.until_requests(4).await[1..] {
        assert_eq!(asked.field("early-data"), None);
    }
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn r15_an_origin_is_told_an_address_that_a_retry_has_proved() {
    let origin = Origin::start(|_| Reply::ok("answer")).await;
    let routes = route_to("/x", &origin.url(), "early_data = \"safe\"");
    let wants = Wants {
        listener: "quic_retry = \"always\"",
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    scene.ticket().await;
    let wire = Wire::after(1, scene.address()).await;
    let (mut client, _) = Client::early(wire.address(), NAME, &scene.setup).await;
    let mut stream = client.begin(get("https://example.com/x")).await;
    stream.finish().await.unwrap();
    let asked = origin.until_requests(1).await.remove(0);
    assert_eq!(asked.field("early-data"), Some("1"));
    assert_eq!(asked.field("x-forwarded-for"), Some("127.0.0.1"));
    wire.release().await;
    assert_eq!(answer(&mut stream).await.text(), "answer");
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn r15_a_proxy_is_believed_once_it_is_where_it_says() {
    let origin = Origin::start(|_| Reply::ok("answer")).await;
    let routes = route_to("/origin", &origin.url(), "early_data = \"safe\"");
    let wants = Wants {
        listener: "trusted_proxies = [\"127.0.0.1/32\"]",
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let (mut client, wire) = held(&scene).await;
    let mut streams = Vec::new();
    // What an origin is told, and what the edge answers by itself: the log tells it.
    for path in ["/origin", "/?own"] {
        let mut asked = get(&format!("https://example.com{path}"));
        let told = "192.0.2.7".parse().unwrap();
        asked.headers_mut().insert("x-forwarded-for", told);
        let mut stream = client.begin(asked).await;
        stream.finish().await.unwrap();
        streams.push(stream);
    }
    scene.until_metric("handshakes_unfinished", &[], 1.0).await;
    wire.turn().await;
    for stream in &mut streams {
        let waiting = tokio::time::timeout(Duration::from_millis(50), stream.recv_response());
        let waiting = waiting.await;
        assert!(waiting.is_err(), "{waiting:?}");
    }
    assert_eq!(origin.heads().len(), 0);
    let early = scene.metric("answered_before_finished_total", &[]);
    assert_eq!(early.await, 0.0);
    wire.release().await;
    for (stream, text) in streams.iter_mut().zip(["answer", "hello"]) {
        assert_eq!(answer(stream).await.text(), text);
    }
    let line = scene.edge.until_access(|line| line["path"] == "/?own");
    let client_told = line.await["client"].as_str().unwrap().to_owned();
    assert!(client_told.starts_with("192.0.2.7"), "{client_told}");
    let asked = origin.until_requests(1).await.remove(0);
    assert_eq!(asked.field("x-forwarded-for"), Some("192.0.2.7, 127.0.0.1"));
    client.close().await;
    scene.settle().await;
}
