//! What bounds floods of packets and frames: a client that makes its own gets no further than this.

use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::quic::forger::{
    Forger, INTERNAL_ERROR, Level, PING, ack, by_transport, stream, varint, whole,
};
use crate::quic::scene::{NAME, Scene};
use crate::support::BOUND;

/// Error codes of RFC 9000 §20.1.
const FLOW_CONTROL_ERROR: u64 = 0x3;
const STREAM_LIMIT_ERROR: u64 = 0x4;
const CONNECTION_ID_LIMIT_ERROR: u64 = 0x9;
const PROTOCOL_VIOLATION: u64 = 0xa;
/// Of RFC 9114 §8.1.
const EXCESSIVE_LOAD: u64 = 0x107;

/// The frame for requests; that for other streams has the next type.
const MAX_STREAMS: u64 = 0x12;

async fn connected(scene: &Scene) -> Forger {
    Forger::connected(scene.address(), NAME, &scene.setup).await
}

/// Sends packets of these frames until the server closes, at most so many; its code. The server gets
/// time to read what comes.
async fn flood(
    forger: &mut Forger,
    most: usize,
    mut frames: impl FnMut(usize) -> Vec<u8>,
) -> (u64, bool) {
    for nth in 0..most {
        let frames = frames(nth);
        forger.send(Level::Full, &frames).await;
        if nth % 16 == 15 {
            forger.drain().await;
        }
        if forger.got.close.is_some() {
            break;
        }
    }
    forger.closed().await
}

/// A head as QPACK has it: `GET https://example.com/`.
fn get(path: &str) -> Vec<u8> {
    let section = [
        b"\x00\x00\xd1\xd7\x50\x0bexample.com\x51",
        &[path.len() as u8][..],
        path.as_bytes(),
    ]
    .concat();
    [&[1, section.len() as u8][..], &section].concat()
}

#[tokio::test]
async fn frames_that_are_small_and_many_end_the_connection() {
    let scene = Scene::start().await;
    let ask = |kind: u8, values: &[u64]| {
        let values = values.iter().flat_map(|value| varint(*value));
        [kind].into_iter().chain(values).collect::<Vec<u8>>()
    };
    // Each does nothing, or nothing after the first, and fills a packet many times over.
    let frames = [
        ("PING", PING.to_vec()),
        ("MAX_DATA that falls", ask(0x10, &[0])),
        ("MAX_STREAM_DATA that falls", ask(0x11, &[0, 0])),
        ("MAX_STREAMS that falls", ask(0x12, &[1])),
        ("DATA_BLOCKED", ask(0x14, &[7])),
        ("MAX_STREAMS of the other kind", ask(0x13, &[1])),
        ("STREAM_DATA_BLOCKED", ask(0x15, &[0, 7])),
        ("STREAMS_BLOCKED", ask(0x16, &[7])),
        ("STOP_SENDING", ask(0x05, &[0, 0])),
        ("RESET_STREAM", ask(0x04, &[0, 0, get("/").len() as u64])),
        ("STREAM without a byte", ask(0x0a, &[4, 0, 0])),
        ("CRYPTO without a byte", ask(0x06, &[0, 0])),
        ("NEW_CONNECTION_ID again", new_id(1, 0)),
        ("PATH_RESPONSE", [&[0x1b][..], &[7; 8]].concat()),
        // Of what has come.
        ("ACK", Vec::new()),
    ];
    for (nth, (what, frame)) in (1..).zip(frames) {
        let mut forger = connected(&scene).await;
        let head = get("/");
        forger.send(Level::Full, &whole(0, &head)).await;
        let frame = match frame.is_empty() {
            true => ack(*forger.came.last().unwrap()),
            false => frame,
        };
        let packet = frame.repeat(1100 / frame.len());
        let ended = flood(&mut forger, 1000, |_| packet.clone()).await;
        assert_eq!(ended, (EXCESSIVE_LOAD, true), "{what}");
        let label = ["limit=\"frames\""];
        scene
            .until_metric("limits_hit_total", &label, f64::from(nth))
            .await;
    }
    scene.settle().await;
}

#[tokio::test]
async fn a_few_frames_in_each_packet_are_no_flood() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    let games = [&[0x10, 0][..], &[0x12, 1], &[0x14, 7], PING, PING].concat();
    for nth in 0..1000 {
        forger.send(Level::Full, &games).await;
        if nth % 16 == 15 {
            forger.drain().await;
        }
    }
    forger.send(Level::Full, &whole(0, &get("/"))).await;
    scene
        .until_metric("requests_total", &["protocol=\"h3\""], 1.0)
        .await;
    forger.drain().await;
    assert_eq!(forger.got.close, None);
    // CONNECTION_CLOSE of the application.
    forger.send(Level::Full, &[0x1d, 0x41, 0, 0]).await;
    scene.settle().await;
}

#[tokio::test]
async fn questions_about_paths_are_answered_so_often_and_no_more() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    // Each is answered with a full datagram.
    let challenge = [&[0x1a][..], &[7; 8]].concat();
    for _ in 0..64 + 2 * 128 {
        forger.send(Level::Full, &challenge).await;
        forger.drain().await;
        forger.acknowledge().await;
        if forger.got.close.is_some() {
            break;
        }
    }
    assert_eq!(forger.closed().await, (EXCESSIVE_LOAD, true));
    let label = ["limit=\"path_challenges\""];
    scene.until_metric("limits_hit_total", &label, 1.0).await;
    // Those that the budget has, and what came until it was looked at.
    let answers = forger.got.count(0x1b);
    assert!(answers > 0 && answers < 64 + 2 * 128, "{answers} answers");
    scene.settle().await;
}

#[tokio::test]
async fn who_moves_with_each_packet_is_followed_so_often_and_no_more() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    // To each that a connection seems to move to goes a full datagram, for a packet of thirty bytes.
    let mut victims = Vec::new();
    for _ in 0..2 {
        victims.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    }
    let mut buffer = [0; 2048];
    let began = Instant::now();
    let label = ["limit=\"moves\""];
    let mut proofs = 0;
    for turn in 0..20_000 {
        let victim = &victims[turn % 2];
        forger.send_from(victim, Level::Full, PING).await;
        let answer = victim.recv(&mut buffer);
        match tokio::time::timeout(Duration::from_millis(20), answer).await {
            Ok(length) => proofs += usize::from(length.unwrap() >= 1200),
            Err(_) if scene.metric("limits_hit_total", &label).await == 1.0 => break,
            Err(_) => {}
        }
    }
    scene.until_metric("limits_hit_total", &label, 1.0).await;
    // Those that the budget has, and what came until it was looked at.
    let most = 2048 + 32 * began.elapsed().as_secs() as usize + 2 * 128;
    assert!((1000..=most).contains(&proofs), "{proofs} proofs");
    scene.settle().await;
}

#[tokio::test]
async fn ids_that_are_given_back_again_and_again_end_the_connection() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    // Each that comes goes back.
    for sequence in 1..2000 {
        while !forger.got.ids.contains_key(&sequence) && forger.got.close.is_none() {
            assert!(forger.receive(Duration::from_secs(5)).await);
            forger.acknowledge().await;
        }
        if forger.got.close.is_some() {
            break;
        }
        let retire = [vec![0x19], varint(sequence)].concat();
        forger.send(Level::Full, &retire).await;
    }
    assert_eq!(forger.closed().await, (EXCESSIVE_LOAD, true));
    let label = ["limit=\"connection_ids\""];
    scene.until_metric("limits_hit_total", &label, 1.0).await;
    // As many as the budget has, and what came until it was looked at.
    let given = forger.got.ids.len();
    assert!((256..256 + 2 * 128).contains(&given), "{given}");
    scene.settle().await;
}

/// A NEW_CONNECTION_ID of this number that asks for those before another one back.
fn new_id(number: u64, before: u64) -> Vec<u8> {
    let id = number.to_be_bytes();
    let head = [vec![0x18], varint(number), varint(before), vec![8]].concat();
    [&head[..], &id, &id, &id].concat()
}

#[tokio::test]
async fn more_ids_than_we_want_end_the_connection() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    let ended = flood(&mut forger, 100, |nth| new_id(nth as u64 + 1, 0)).await;
    assert_eq!(ended, by_transport(CONNECTION_ID_LIMIT_ERROR));
    scene.until_error("connection_id_limit", 1).await;
    scene.settle().await;
}

/// Each is a debt of ours to give one back (CVE-2024-22189).
#[tokio::test]
async fn ids_that_are_asked_back_again_and_again_end_the_connection() {
    let scene = Scene::start().await;
    // In one packet more than we may owe.
    let mut forger = connected(&scene).await;
    let ids = (1..=60).flat_map(|number| new_id(number, number));
    forger.send(Level::Full, &ids.collect::<Vec<u8>>()).await;
    let ended = forger.closed().await;
    assert_eq!(ended, by_transport(CONNECTION_ID_LIMIT_ERROR));
    scene.until_error("connection_id_limit", 1).await;
    // One by one, without acknowledging what we give back: then we may send no more, not even that
    // the connection has ended.
    let mut forger = connected(&scene).await;
    let label = ["error=\"connection_id_limit\""];
    let mut number = 0;
    while scene.metric("quic_errors_total", &label).await < 2.0 {
        assert!(number < 10_000, "no bound: {:?}", forger.got);
        for _ in 0..16 {
            number += 1;
            forger.send(Level::Full, &new_id(number, number)).await;
        }
        forger.drain().await;
    }
    scene.settle().await;
}

#[tokio::test]
async fn windows_that_open_byte_by_byte_end_the_connection() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    let mut window = 1 << 20;
    let ended = flood(&mut forger, 1000, |_| {
        let windows = window..window + 200;
        window += 200;
        windows
            .flat_map(|window| [vec![0x10], varint(window)].concat())
            .collect()
    });
    assert_eq!(ended.await, (EXCESSIVE_LOAD, true));
    let label = ["limit=\"frames\""];
    scene.until_metric("limits_hit_total", &label, 1.0).await;
    scene.settle().await;
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_sent_ends_the_connection() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    let ended = flood(&mut forger, 1, |_| ack(1_000_000)).await;
    assert_eq!(ended, by_transport(PROTOCOL_VIOLATION));
    scene.until_error("protocol_violation", 1).await;
    scene.settle().await;
}

#[tokio::test]
async fn streams_and_their_bytes_have_limits() {
    let scene = Scene::start().await;
    // The 129th request, and the ninth stream of another kind.
    for id in [4 * 128, 4 * 8 + 2] {
        let mut forger = connected(&scene).await;
        let ended = flood(&mut forger, 1, |_| stream(id, 0, b"x")).await;
        assert_eq!(ended, by_transport(STREAM_LIMIT_ERROR), "{id}");
    }
    scene.until_error("stream_limit", 2).await;
    // Beyond the window of a stream, and of all together.
    let mut forger = connected(&scene).await;
    let beyond = stream(0, 256 * 1024, b"x");
    let ended = flood(&mut forger, 1, |_| beyond.clone()).await;
    assert_eq!(ended, by_transport(FLOW_CONTROL_ERROR));
    let mut forger = connected(&scene).await;
    let ended = flood(&mut forger, 5, |nth| {
        // A hole of so much: only the end counts.
        stream(4 * nth as u64, 256 * 1024 - 1, b"x")
    });
    assert_eq!(ended.await, by_transport(FLOW_CONTROL_ERROR));
    scene.until_error("flow_control", 2).await;
    scene.settle().await;
}

/// As the rapid reset of HTTP/2 was, in a packet each (CVE-2023-44487): what was reset makes room for
/// more.
#[tokio::test]
async fn streams_that_are_reset_before_they_begin_end_the_connection() {
    let scene = Scene::start().await;
    // Those of requests, and others.
    let kinds = [
        (0, 128, MAX_STREAMS, "given_up", 512),
        (2, 8, MAX_STREAMS + 1, "control", 1024),
    ];
    for (first, at_first, kind, limit, most) in kinds {
        let mut forger = connected(&scene).await;
        let mut reset = 0;
        while forger.got.close.is_none() {
            assert!(reset < 8 * most, "no bound: {:?}", forger.got);
            // How many there may be: what has ended makes room (RFC 9000 §4.6).
            let allowed = forger.got.allowed.get(&kind).copied();
            if reset >= allowed.unwrap_or_default().max(at_first) {
                forger.acknowledge().await;
                assert!(forger.receive(BOUND).await, "{:?}", forger.got);
                continue;
            }
            let id = first + 4 * reset;
            let frame = [vec![4], varint(id), vec![0, 0]].concat();
            forger.send(Level::Full, &frame).await;
            reset += 1;
            if reset % 4 == 0 {
                forger.drain().await;
                forger.acknowledge().await;
            }
        }
        assert_eq!(forger.got.close, Some((EXCESSIVE_LOAD, true)), "{limit}");
        assert!(reset > most, "{limit}: {reset}");
        let limit = format!("limit=\"{limit}\"");
        scene.until_metric("limits_hit_total", &[&limit], 1.0).await;
    }
    scene.settle().await;
}

#[tokio::test]
async fn holes_in_a_stream_are_bounded() {
    let scene = Scene::start().await;
    let mut forger = connected(&scene).await;
    let mut offset = 1;
    let ended = flood(&mut forger, 300, |_| {
        let mut frames = Vec::new();
        // So few in each packet that they are no flood of frames.
        for _ in 0..16 {
            frames.extend(stream(0, offset, b"x"));
            offset += 2;
        }
        frames
    });
    assert_eq!(ended.await, by_transport(INTERNAL_ERROR));
    scene.until_error("stream_gaps", 1).await;
    scene.settle().await;
}
