//! How connections end, and that a truncation is told from a close.

use crate::early::scene::{GET, NAME, Scene, get};
use crate::support::client::{Client, Ending};
use crate::support::origin::{Origin, Reply};

async fn served(scene: &Scene) -> Client {
    let mut client = Client::open(scene.edge.address(), NAME, &scene.setup.clone().fresh()).await;
    client.send(GET).await;
    client.response().await;
    client
}

#[tokio::test]
async fn a_truncation_is_told_from_a_close() {
    let scene = Scene::start().await;
    let mut client = served(&scene).await;
    client.close_notify().await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    assert!(client.tcp_closed().await);
    assert_eq!(scene.line(&client).await["end"], "clean");

    let mut client = served(&scene).await;
    client.shutdown_write().await;
    client.ending().await;
    assert_eq!(scene.line(&client).await["end"], "truncated");

    let client = served(&scene).await;
    let address = client.local_address().to_string();
    client.reset();
    let reset = |line: &serde_json::Value| line["client"] == address.as_str();
    assert_eq!(scene.edge.until_connection(reset).await["end"], "reset");

    for end in ["clean", "truncated", "reset"] {
        let label = format!("how=\"{end}\"");
        assert_eq!(
            scene.metric("connections_closed_total", &[&label]).await,
            1.0,
            "{end}"
        );
    }
    scene.settle(0).await;
}

#[tokio::test]
async fn an_early_connection_that_is_truncated_after_its_finished_says_so() {
    let scene = Scene::start().await;
    let mut client = scene.early(GET).await;
    client.send_pending().await;
    client.response().await;
    client.finish().await;
    client.shutdown_write().await;
    client.ending().await;
    let line = scene.line(&client).await;
    assert_eq!(
        (&line["end"], &line["early"]),
        (&"truncated".into(), &"accepted".into())
    );
    let access = scene.edge.until_access(|line| line["path"] == "/").await;
    assert_eq!(access["confirmed"], true);
    scene.settle(0).await;
}

#[tokio::test]
async fn a_body_that_is_truncated_is_not_taken_for_a_whole_one() {
    let origin = Origin::echo().await;
    let scene = Scene::before(&origin).await;
    for close_notify in [false, true] {
        let mut client = Client::open(scene.edge.address(), NAME, &scene.setup).await;
        client
            .send(b"POST /echo HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await;
        origin.until_heads(1).await;
        if close_notify {
            client.close_notify().await;
        }
        client.shutdown_write().await;
        client.ending().await;
        let line = scene.line(&client).await;
        assert_ne!((close_notify, &line["end"]), (false, &"clean".into()));
    }
    let lines = scene
        .edge
        .until_accesses(2, |line| line["path"] == "/echo")
        .await;
    for line in lines {
        assert_ne!(line["status"], 200);
        assert_ne!(line["end"], "complete");
    }
    assert!(origin.requests().iter().all(|asked| asked.cut_short));
}

#[tokio::test]
async fn an_answer_that_the_origin_cuts_short_is_not_closed_cleanly() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let origin = Origin::start(move |_| Reply::raw(head).then_close()).await;
    let scene = Scene::before(&origin).await;
    let mut client = scene.early(&get("/echo")).await;
    client.send_pending().await;
    client.finish().await;
    let (bytes, ending) = client.read_to_end().await;
    assert!(
        bytes.ends_with(b"half"),
        "{:?}",
        String::from_utf8_lossy(&bytes)
    );
    let line = scene
        .edge
        .until_access(|line| line["path"] == "/echo")
        .await;
    assert_eq!(line["end"], "aborted_by_origin");
    // close_notify would say that it is whole: one without a length would be.
    assert_eq!(ending, Ending::Truncated);
    client.shutdown_write().await;
    assert_eq!(scene.line(&client).await["end"], "error");
    scene.settle(0).await;
}

#[tokio::test]
async fn what_follows_close_notify_is_thrown_away() {
    let scene = Scene::start().await;
    let mut client = served(&scene).await;
    client.close_notify().await;
    client.send_raw(&[0x5a; 40_000]).await;
    assert_eq!(client.ending().await, Ending::CloseNotify);
    client.shutdown_write().await;
    assert_eq!(scene.line(&client).await["end"], "clean");
    scene.settle(0).await;
}
