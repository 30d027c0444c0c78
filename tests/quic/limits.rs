//! What bounds clients that take nothing, leave, or come again and again.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, TransportConfig, VarInt};
use rustls::NamedGroup;
use serde_json::Value;

use crate::quic::client::{Client, closed, endpoint};
use crate::quic::forger::{Forger, Level, whole};
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

pub async fn connect(endpoint: &Endpoint, scene: &Scene) -> quinn::Connection {
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    within("the handshake", connecting).await.unwrap()
}

/// A HEADERS frame with `:method`, `:scheme https`, a path, the authority and more.
pub fn head(method: u8, path: &str, more: &[u8]) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    let section = [
        &[0, 0, method, 0xd7, 0x51, length][..],
        path.as_bytes(),
        b"\x50\x0bexample.com",
        more,
    ]
    .concat();
    assert!(section.len() < 64);
    [&[1, section.len() as u8][..], &section].concat()
}

/// A request that is answered as it should be.
pub async fn hello(quic: &quinn::Connection) {
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&head(GET, "/", b"")).await.unwrap();
    send.finish().unwrap();
    let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
    assert!(answer.ends_with(b"hello"));
}

pub const GET: u8 = 0xd1;
pub const POST: u8 = 0xd4;

/// Time in which nothing is read: that is what a test is about.
#[expect(clippy::disallowed_methods, reason = "a client that does nothing")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
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

/// An edge that answers so much, and waits so long for a client that takes nothing.
async fn slow(write_idle: &str, length: usize) -> Scene {
    let routes = format!(
        "[[site.route]]\npath = \"/slow\"\ntimeouts = {{ write_idle = \"{write_idle}\" }}\n\
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
        let scene = slow("1s", length).await;
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
        let scene = slow("500ms", length).await;
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

#[tokio::test]
async fn a_token_spares_a_known_client_the_retry() {
    let wants = Wants {
        listener: "quic_retry = \"always\"",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let endpoint = endpoint(&scene.setup);
    let first = connect(&endpoint, &scene).await;
    let come = async {
        while first.stats().frame_rx.new_token < 2 {
            tokio::task::yield_now().await;
        }
    };
    within("tokens", come).await;
    first.close(0x100u32.into(), b"");
    for _ in 0..2 {
        connect(&endpoint, &scene).await.close(0x100u32.into(), b"");
        assert_eq!(scene.metric("quic_retries_total", &[]).await, 1.0);
    }
    // Others are still asked.
    let other = Client::connect(scene.address(), NAME, &scene.setup).await;
    assert_eq!(scene.metric("quic_retries_total", &[]).await, 2.0);
    other.close().await;
    endpoint.wait_idle().await;
    scene.settle().await;
}

/// Fails a handshake by a ClientHello of two datagrams: after one that fails in the first nothing is
/// kept.
async fn fail(scene: &Scene) {
    let groups = [NamedGroup::X25519MLKEM768, NamedGroup::X25519];
    let endpoint = endpoint(&scene.setup.clone().groups(&groups));
    let connecting = endpoint.connect(scene.address(), "unknown.example");
    let failed = within("the end", connecting.unwrap()).await;
    assert!(failed.is_err());
}

#[tokio::test]
async fn many_that_have_just_ended_make_others_prove_their_address() {
    let wants = Wants {
        limits: "handshakes = 4",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let retried = async {
        while scene.metric("quic_retries_total", &[]).await == 0.0 {
            fail(&scene).await;
        }
    };
    within("a Retry", retried).await;
    assert!(scene.metric("quic_connections_closing", &[]).await > 0.0);
    // They go by and by.
    scene
        .until_metric("quic_connections_closing", &[], 0.0)
        .await;
    scene.settle().await;
}

#[tokio::test]
async fn at_the_cap_those_that_have_just_ended_count() {
    let wants = Wants {
        limits: "connections = 6\nhandshakes = 4",
        listener: "quic_retry = \"never\"",
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let label = ["cap=\"closing\""];
    let refused = async {
        while scene.metric("connections_refused_total", &label).await == 0.0 {
            // Who is not answered would wait.
            let attempt = fail(&scene);
            let _ = tokio::time::timeout(std::time::Duration::from_millis(500), attempt).await;
        }
    };
    within("a refusal", refused).await;
    scene
        .until_metric("quic_connections_closing", &[], 0.0)
        .await;
    let client = scene.client().await;
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn heads_that_are_not_whole_take_so_much_and_no_more() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    // HEADERS of 20000 bytes, of which one is missing.
    let most = [&b"\x01\x80\x00\x4e\x20"[..], &[0; 19_999]].concat();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let (mut send, recv) = quic.open_bi().await.unwrap();
        // One that is rejected may be so before it is sent.
        let _ = send.write_all(&most).await;
        streams.push((send, recv));
    }
    let label = ["limit=\"heads\""];
    let rejected = async { while scene.metric("limits_hit_total", &label).await < 7.0 {} };
    within("rejections", rejected).await;
    // What has ended leaves room.
    for (send, _) in &mut streams {
        let _ = send.reset(0x10cu32.into());
    }
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&head(GET, "/", b"")).await.unwrap();
    send.finish().unwrap();
    let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
    assert!(answer.ends_with(b"hello"));
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

const EXCESSIVE_LOAD: u64 = 0x107;

#[tokio::test]
async fn frames_that_are_no_part_of_a_request_have_a_budget() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let limit = ["limit=\"control\""];
    let mut ended = 0.0;
    // On the control stream, behind SETTINGS.
    let frames: [(&str, &[u8]); 5] = [
        ("what nobody knows", &[0x21, 0]),
        ("a priority", b"\x80\x0f\x07\x00\x04\x00u=1"),
        ("goaway", &[7, 1, 0]),
        ("max push id", &[13, 1, 8]),
        ("what nobody knows, and is large", b"\x21\x03abc"),
    ];
    for (what, frame) in frames {
        let quic = connect(&endpoint, &scene).await;
        let mut control = quic.open_uni().await.unwrap();
        let bytes = [&[0, 4, 0][..], &frame.repeat(2000)].concat();
        // The edge may be quicker to close.
        let _ = control.write_all(&bytes).await;
        assert_eq!(closed(&quic).await, EXCESSIVE_LOAD, "{what}");
        ended += 1.0;
        scene.until_metric("limits_hit_total", &limit, ended).await;
    }
    // In a request: before its head, and as content that is none.
    let post = head(POST, "/", b"");
    let requests = [
        [0x21, 0].repeat(2000),
        [&post[..], &[0x21, 0].repeat(2000)].concat(),
        [&post[..], &[0, 0].repeat(2000)].concat(),
    ];
    for request in requests {
        let quic = connect(&endpoint, &scene).await;
        let (mut send, _recv) = quic.open_bi().await.unwrap();
        let _ = send.write_all(&request).await;
        assert_eq!(closed(&quic).await, EXCESSIVE_LOAD);
        ended += 1.0;
        scene.until_metric("limits_hit_total", &limit, ended).await;
    }
    endpoint.wait_idle().await;
    scene.settle().await;
}

#[tokio::test]
async fn streams_that_nobody_knows_have_the_same_budget() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    // With a type that is reserved, and without any.
    for bytes in [&[0x21][..], &[]] {
        let quic = connect(&endpoint, &scene).await;
        let flood = async {
            while let Ok(mut stream) = quic.open_uni().await {
                let _ = stream.write_all(bytes).await;
                let _ = stream.finish();
            }
        };
        within("the end", flood).await;
        assert_eq!(closed(&quic).await, EXCESSIVE_LOAD);
    }
    let limit = ["limit=\"control\""];
    scene.until_metric("limits_hit_total", &limit, 2.0).await;
    endpoint.wait_idle().await;
    scene.settle().await;
}

#[tokio::test]
async fn who_asks_for_much_may_say_much_beside_it() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let mut control = quic.open_uni().await.unwrap();
    control.write_all(&[0, 4, 0]).await.unwrap();
    for nth in 0..300u16 {
        let stream = (0x4000 | (4 * nth)).to_be_bytes();
        let priority = [b"\x80\x0f\x07\x00\x05", &stream[..], b"u=1"].concat();
        control.write_all(&priority.repeat(6)).await.unwrap();
        hello(&quic).await;
    }
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

#[tokio::test]
async fn requests_that_are_wrong_count_as_given_up() {
    let scene = Scene::start().await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let flood = async {
        while let Ok((mut send, mut recv)) = quic.open_bi().await {
            // No method.
            let _ = send.write_all(b"\x01\x07\x00\x00\xd7\xc1\x50\x01a").await;
            let _ = send.finish();
            let _ = recv.read_to_end(1000).await;
        }
    };
    within("the end", flood).await;
    assert_eq!(closed(&quic).await, EXCESSIVE_LOAD);
    let limit = ["limit=\"given_up\""];
    scene.until_metric("limits_hit_total", &limit, 1.0).await;
    endpoint.wait_idle().await;
    scene.settle().await;
}
