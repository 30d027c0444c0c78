//! Clients that take nothing, or little by little, or leave.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, TransportConfig, VarInt};
use serde_json::Value;

use crate::quic::forger::{Forger, Level, whole};
use crate::quic::limits::{GET, POST, connect, head, pause};
use crate::quic::scene::{NAME, Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

/// An endpoint whose clients take so many bytes on a stream.
fn taking(scene: &Scene, window: u32) -> Endpoint {
    let setup = scene.setup.clone().alpn(&["h3"]);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(setup.config()).unwrap();
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(window));
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

#[tokio::test]
async fn no_answer_waits_for_ever_for_a_client_that_takes_nothing() {
    let only_head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let origin = Origin::start(move |_| Reply::raw(only_head).then_silence()).await;
    let keys = "timeouts = { write_idle = \"300ms\" }";
    let routes = format!(
        "{}[[site.route]]\npath = \"/quick\"\n{keys}\nrespond = {{ status = 200, body = \"answer\" }}",
        route_to("/head", &origin.url(), keys)
    );
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let endpoint = taking(&scene, 0);
    let quic = connect(&endpoint, &scene).await;
    let requests = [
        // A head whose content does not come.
        head(GET, "/head", b""),
        // The route's own answer, after which others have its limit.
        head(GET, "/quick", b""),
        // One that no route gives.
        head(GET, "/%00", b""),
        // One to a head that is too large: HEADERS of a mebibyte.
        b"\x01\x80\x10\x00\x00".to_vec(),
    ];
    let mut streams = Vec::new();
    for (request, cut) in requests.iter().zip(1u8..) {
        let (mut send, recv) = quic.open_bi().await.unwrap();
        send.write_all(request).await.unwrap();
        if cut < 4 {
            send.finish().unwrap();
        }
        streams.push((send, recv));
        let kind = ["kind=\"write_idle\""];
        scene
            .until_metric("timeouts_total", &kind, f64::from(cut))
            .await;
    }
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

/// Answers that are longer than what the client lets come at once, with that: one that is shorter than
/// a piece of content, and one that the edge keeps ready to be sent.
const LONGER: [(usize, u32); 2] = [(60_000, 8192), (1000, 300)];

/// An edge that answers so much, with these timeouts.
async fn slow(timeouts: &str, length: usize) -> Scene {
    let routes = format!(
        "[[site.route]]\npath = \"/slow\"\ntimeouts = {{ {timeouts} }}\n\
         respond = {{ status = 200, body = \"{}\" }}",
        "x".repeat(length)
    );
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    Scene::with(wants).await
}

#[tokio::test]
async fn an_answer_that_is_taken_slowly_is_sent_whole() {
    for (length, window) in LONGER {
        let scene = slow("write_idle = \"1s\"", length).await;
        let endpoint = taking(&scene, window);
        let quic = connect(&endpoint, &scene).await;
        let (mut send, mut recv) = quic.open_bi().await.unwrap();
        send.write_all(&head(GET, "/slow", b"")).await.unwrap();
        send.finish().unwrap();
        let mut taken = Vec::new();
        let mut room = vec![0; length / 30];
        while let Some(read) = within("content", recv.read(&mut room)).await.unwrap() {
            taken.extend_from_slice(&room[..read]);
            // The slowness is what is tested: three times as long as it may be silent.
            pause(Duration::from_millis(100)).await;
        }
        let content = taken.iter().rev().take_while(|byte| **byte == b'x');
        assert_eq!(content.count(), length);
        let idle = scene.metric("timeouts_total", &["kind=\"write_idle\""]);
        assert_eq!(idle.await, 0.0);
        let line = scene.edge.until_access(|line| line["end"] == "complete");
        assert_eq!(line.await["bytes_out"], length);
        quic.close(0x100u32.into(), b"");
        endpoint.wait_idle().await;
        scene.settle().await;
    }
}

/// It is handed out at once, and sent as the client lets it.
#[tokio::test]
async fn an_answer_that_is_taken_in_part_is_logged_so() {
    for (length, window) in LONGER {
        let scene = slow("write_idle = \"500ms\"", length).await;
        let endpoint = taking(&scene, window);
        let quic = connect(&endpoint, &scene).await;
        for (leaves, end) in [(false, "timeout_write_idle"), (true, "aborted_by_client")] {
            let (mut send, mut recv) = quic.open_bi().await.unwrap();
            send.write_all(&head(GET, "/slow", b"")).await.unwrap();
            send.finish().unwrap();
            // So few that it gets no more room for them.
            let mut some = [0; 16];
            within("content", recv.read_exact(&mut some)).await.unwrap();
            if leaves {
                recv.stop(0x10cu32.into()).unwrap();
            }
            let line = scene.edge.until_access(|line| line["end"] == end).await;
            let out = line["bytes_out"].as_u64().unwrap();
            // All that the window had room for, but for the head.
            let window = u64::from(window);
            assert!((window - 100..window).contains(&out), "{out}");
        }
        quic.close(0x100u32.into(), b"");
        endpoint.wait_idle().await;
        scene.settle().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_taken_in_part_ends_with_its_time_as_a_whole() {
    for (length, window) in LONGER {
        let scene = slow("write_idle = \"60s\", total = \"500ms\"", length).await;
        let endpoint = taking(&scene, window);
        let quic = connect(&endpoint, &scene).await;
        let (mut send, _recv) = quic.open_bi().await.unwrap();
        send.write_all(&head(GET, "/slow", b"")).await.unwrap();
        send.finish().unwrap();
        let ended = |line: &Value| line["end"] == "timeout_total";
        let line = scene.edge.until_access(ended).await;
        let out = line["bytes_out"].as_u64().unwrap();
        let window = u64::from(window);
        assert!((window - 100..window).contains(&out), "{out}");
        quic.close(0x100u32.into(), b"");
        endpoint.wait_idle().await;
        scene.settle().await;
    }
}

#[tokio::test]
async fn who_takes_the_end_of_an_answer_slowly_is_waited_for() {
    let body = vec![7; 200_000];
    let origin = Origin::start(move |_| Reply::ok(body.clone())).await;
    let keys = "timeouts = { write_idle = \"300ms\" }";
    let mut scene = Scene::with(Wants {
        routes: &route_to("/origin", &origin.url(), keys),
        ..Wants::default()
    })
    .await;
    let complete = |line: &Value| line["path"] == "/origin" && line["end"] == "complete";
    let mut slow = Forger::connected(scene.address(), NAME, &scene.setup).await;
    slow.send(Level::Full, &whole(0, &head(GET, "/origin", b"")))
        .await;
    // quinn has all of it long before the client has.
    scene.edge.until_access(complete).await;
    for _ in 0..10 {
        // The slowness is what is tested.
        pause(Duration::from_millis(100)).await;
        slow.receive(Duration::from_millis(1)).await;
        slow.acknowledge().await;
    }
    let idle = ["kind=\"write_idle\""];
    assert_eq!(scene.metric("timeouts_total", &idle).await, 0.0);
    // Nor is the connection closed on it.
    scene.edge.signal("TERM").await;
    slow.drain().await;
    assert_eq!(slow.got.close, None);
    // Until nothing is acknowledged any more.
    scene.until_metric("timeouts_total", &idle, 1.0).await;
    assert_eq!(slow.closed().await, (0x100, true));
    assert!(scene.edge.exit().await.success());
}

#[tokio::test]
async fn an_interim_answer_that_nobody_takes_does_not_hold_up_the_request() {
    let origin = Origin::start(|_| Reply::ok("answer")).await;
    let routes = route_to("/origin", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let request = [
        &head(POST, "/origin", b"\x26expect\x0c100-continue")[..],
        &[0, 4],
        b"body",
    ]
    .concat();
    // With room for half of the interim answer, what comes after it is still whole.
    for window in [0, 2, 1000] {
        let endpoint = taking(&scene, window);
        let quic = connect(&endpoint, &scene).await;
        let (mut send, mut recv) = quic.open_bi().await.unwrap();
        send.write_all(&request).await.unwrap();
        send.finish().unwrap();
        origin.until_requests(1).await;
        if window > 0 {
            let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
            assert!(answer.ends_with(b"answer"), "{answer:x?}");
            // `:status 100` is in the static table, and so is 200: frames of HEADERS each.
            assert_eq!(answer[0], 1);
            let second = &answer[2 + usize::from(answer[1])..];
            assert_eq!(second[0], 1, "{answer:x?}");
        }
        quic.close(0x100u32.into(), b"");
        endpoint.wait_idle().await;
    }
    scene.settle().await;
}

#[tokio::test]
async fn who_leaves_while_an_answer_pauses_is_noticed() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let origin = Origin::start(move |_| Reply::raw(half).then_silence()).await;
    let routes = route_to("/origin", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let client = scene.client().await;
    let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
    send.write_all(&head(GET, "/origin", b"")).await.unwrap();
    send.finish().unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"half") {
        let chunk = within("content", recv.read_chunk(1000, true)).await;
        got.extend_from_slice(&chunk.unwrap().unwrap().bytes);
    }
    recv.stop(0x10cu32.into()).unwrap();
    origin.until_open(0).await;
    let line = scene.edge.until_access(|line| line["path"] == "/origin");
    assert_eq!(line.await["end"], "aborted_by_client");
    client.close().await;
    scene.settle().await;
}
