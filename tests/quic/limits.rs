//! What bounds clients that come again and again, or say much and ask for little.

use std::time::Duration;

use quinn::Endpoint;
use rustls::NamedGroup;

use crate::quic::client::{Client, closed, endpoint};
use crate::quic::forger::{Forger, Level, stream};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::support::within;

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

#[tokio::test]
async fn a_request_that_ends_with_its_connection_breaks_no_rule_itself() {
    let scene = Scene::start().await;
    let mut forger = Forger::connected(scene.address(), NAME, &scene.setup).await;
    let frames = [
        // Content before any head ends the connection.
        stream(0, 0, b"\x00\x01x"),
        // Content is announced, and does not come.
        stream(4, 0, &head(POST, "/", b"\x54\x014")),
    ];
    forger.send(Level::Full, &frames.concat()).await;
    assert_eq!(forger.closed().await, (0x105, true));
    assert_eq!(scene.metric("framing_violations_total", &[]).await, 0.0);
    scene.settle().await;
}
