//! Timeouts of origins and of what is sent to them, over HTTP/3: those of clients and connections
//! are in `workers`, `vanish` and `limits`.

use bytes::Bytes;
use quinn::ReadToEndError;

use crate::quic::client::{get, request};
use crate::quic::limits::{GET, head};
use crate::quic::scene::{Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

const INTERNAL_ERROR: u32 = 0x102;

fn timeouts(keys: &str) -> String {
    format!("timeouts = {{ {keys} }}")
}

async fn before(routes: &str) -> Scene {
    Scene::with(Wants {
        routes,
        ..Wants::default()
    })
    .await
}

async fn counted(scene: &Scene, kind: &str, count: f64) {
    let label = format!("kind=\"{kind}\"");
    scene.until_metric("timeouts_total", &[&label], count).await;
}

#[tokio::test]
async fn before_the_head_an_origin_that_fails_is_502_and_one_that_is_late_504() {
    let silent = Origin::start(|_| Reply::silence()).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let url = silent.url();
    let routes = route_to("/refused", &nobody, "")
        + &route_to("/late", &url, &timeouts("response_headers = \"300ms\""))
        + &route_to("/total", &url, &timeouts("total = \"300ms\""));
    let scene = before(&routes).await;
    let mut client = scene.client().await;
    for (path, status) in [("refused", 502), ("late", 504), ("total", 504)] {
        let answer = client.get(&format!("https://example.com/{path}")).await;
        assert_eq!(answer.status, status, "{path}");
    }
    counted(&scene, "response_headers", 1.0).await;
    counted(&scene, "total", 1.0).await;
    silent.until_open(0).await;
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn after_the_head_the_answer_breaks_off() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let origin = Origin::start(move |_| Reply::raw(half).then_silence()).await;
    let url = origin.url();
    let routes = route_to("/idle", &url, &timeouts("response_idle = \"300ms\""))
        + &route_to("/total", &url, &timeouts("total = \"300ms\""));
    let scene = before(&routes).await;
    let mut client = scene.client().await;
    for (path, kind) in [("/idle", "response_idle"), ("/total", "total")] {
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head(GET, path, b"")).await.unwrap();
        send.finish().unwrap();
        let end = within("the end", recv.read_to_end(10_000)).await;
        let reset = quinn::ReadError::Reset(INTERNAL_ERROR.into());
        assert_eq!(end, Err(ReadToEndError::Read(reset)), "{path}");
        counted(&scene, kind, 1.0).await;
        let line = scene.edge.until_access(|line| line["path"] == path).await;
        assert_eq!(line["status"], 200);
        assert_eq!(line["end"], format!("timeout_{kind}"), "{line}");
    }
    // Only streams have ended.
    assert_eq!(client.get("https://example.com/").await.status, 200);
    origin.until_open(0).await;
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn a_client_silent_in_content_that_goes_to_an_origin_ends_its_stream() {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let keys = timeouts("request_body_idle = \"300ms\"");
    let scene = before(&route_to("/origin", &origin.url(), &keys)).await;
    let mut client = scene.client().await;
    let mut post = client
        .begin(request("POST", "https://example.com/origin"))
        .await;
    post.send_data(Bytes::from_static(b"half")).await.unwrap();
    let end = within("the end", post.recv_response()).await;
    assert!(end.is_err(), "{end:?}");
    counted(&scene, "request_body_idle", 1.0).await;
    origin.until_open(0).await;
    assert_eq!(client.get("https://example.com/").await.status, 200);
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn an_origin_may_take_its_time_where_nothing_bounds_it() {
    let origin = Origin::start(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
            .held()
            .send("half")
    })
    .await;
    let keys = timeouts("response_idle = \"off\", total = \"off\", write_idle = \"off\"");
    let scene = before(&route_to("/origin", &origin.url(), &keys)).await;
    let mut client = scene.client().await;
    let mut stream = client.begin(get("https://example.com/origin")).await;
    stream.finish().await.unwrap();
    let head = within("the head", stream.recv_response()).await.unwrap();
    assert_eq!(head.status(), 200);
    let first = within("half", stream.recv_data()).await.unwrap();
    assert!(first.is_some());
    origin.release();
    let second = within("the rest", stream.recv_data()).await.unwrap();
    assert!(second.is_some());
    client.close().await;
    scene.settle().await;
}
