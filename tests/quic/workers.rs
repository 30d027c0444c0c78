//! Workers, limits, drain and reload.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::Duration;

use bytes::{Buf, Bytes};
use quinn::udp::{Transmit, UdpSocketState};
use serde_json::Value;

use crate::quic::client::{answer, closed, get, request};
use crate::quic::forger::{Forger, Level, whole};
use crate::quic::limits::{GET, head, pause};
use crate::quic::scene::{NAME, Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

#[tokio::test]
async fn connections_reach_their_worker_from_wherever_their_client_is() {
    let scene = Scene::start().await;
    let mut workers = HashSet::new();
    for nth in 0.. {
        assert!(nth < 100, "100 connections and one worker had none");
        let mut client = scene.client().await;
        for rebinding in 0..4 {
            let url = format!("https://example.com/?{nth}-{rebinding}");
            assert_eq!(client.get(&url).await.text(), "hello");
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.endpoint.rebind(socket).unwrap();
        }
        client.close().await;
        let path = format!("/?{nth}-3");
        let line = scene.edge.until_access(|line| line["path"] == *path).await;
        workers.insert(line["worker"].as_u64());
        if workers.len() == 2 && nth > 3 {
            break;
        }
    }
    scene.settle().await;
}

#[tokio::test]
async fn a_download_survives_a_change_of_address() {
    let origin = Origin::start(|_| Reply::ok(vec![7; 3_000_000])).await;
    let routes = route_to("/origin", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let mut client = scene.client().await;
    let mut stream = client.begin(get("https://example.com/origin")).await;
    stream.finish().await.unwrap();
    within("the head", stream.recv_response()).await.unwrap();
    let mut length = 0;
    let mut rebinds = 0;
    while let Some(data) = within("content", stream.recv_data()).await.unwrap() {
        length += data.remaining();
        if length > rebinds * 1_000_000 {
            rebinds += 1;
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.endpoint.rebind(socket).unwrap();
        }
    }
    assert_eq!((length, rebinds), (3_000_000, 3));
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn without_migration_a_changed_address_is_not_served() {
    let scene = Scene::with(Wants {
        listener: "quic_migration = false",
        ..Wants::default()
    })
    .await;
    let mut client = scene.client().await;
    assert_eq!(client.get("https://example.com/").await.text(), "hello");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.endpoint.rebind(socket).unwrap();
    let mut stream = client.begin(get("https://example.com/?moved")).await;
    let _ = stream.finish().await;
    let waited = tokio::time::timeout(Duration::from_millis(300), stream.recv_response()).await;
    assert!(!matches!(waited, Ok(Ok(_))), "{waited:?}");
    let moved = |line: &Value| line["path"] == "/?moved";
    assert!(!scene.edge.access().iter().any(moved));
}

#[tokio::test]
async fn a_client_proves_its_address_where_it_must() {
    let scene = Scene::with(Wants {
        listener: "quic_retry = \"always\"",
        ..Wants::default()
    })
    .await;
    let mut client = scene.client().await;
    assert_eq!(client.get("https://example.com/").await.text(), "hello");
    assert_eq!(scene.metric("quic_retries_total", &[]).await, 1.0);
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn first_packets_alone_fill_no_more_than_the_handshakes_cap() {
    let scene = Scene::with(Wants {
        limits: "handshakes = 8",
        listener: "quic_retry = \"never\"\ntimeouts = { client_hello = \"2s\" }",
        site: "timeouts = { handshake = \"2s\" }",
        ..Wants::default()
    })
    .await;
    // First flights of clients that then say nothing more.
    let mut flood = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..40 {
        let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let endpoint = crate::quic::client::endpoint(&scene.setup);
        let to = nobody.local_addr().unwrap();
        // Dropped, it would say goodbye.
        clients.push(endpoint.connect(to, NAME).unwrap());
        let mut buffer = vec![0; 2000];
        for _ in 0..2 {
            let length = within("a flight", nobody.recv(&mut buffer)).await.unwrap();
            flood.push(buffer[..length].to_vec());
        }
    }
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in &flood {
        socket.send_to(datagram, scene.address()).await.unwrap();
    }
    let cap = ["cap=\"handshakes\""];
    let refused = async { while scene.metric("connections_refused_total", &cap).await < 32.0 {} };
    within("the refusal of all others", refused).await;
    assert_eq!(scene.metric("handshakes_unfinished", &[]).await, 8.0);
    // They make room, and the next client is served.
    scene.until_metric("handshakes_unfinished", &[], 0.0).await;
    assert_eq!(
        scene
            .client()
            .await
            .get("https://example.com/")
            .await
            .status,
        200
    );
    scene.settle().await;
}

#[tokio::test]
async fn under_load_clients_prove_their_address_first() {
    let scene = Scene::with(Wants {
        limits: "handshakes = 2",
        ..Wants::default()
    })
    .await;
    // Two over TCP that say nothing are more than half of two.
    let mut silent = Vec::new();
    for _ in 0..2 {
        let stream = tokio::net::TcpStream::connect(scene.address())
            .await
            .unwrap();
        silent.push(stream);
        use tokio::io::AsyncWriteExt;
        silent.last_mut().unwrap().write_all(&[22]).await.unwrap();
    }
    scene.until_metric("handshakes_unfinished", &[], 2.0).await;
    let endpoint = crate::quic::client::endpoint(&scene.setup);
    let connecting = endpoint.connect(scene.address(), NAME).unwrap();
    let asked = async { while scene.metric("quic_retries_total", &[]).await == 0.0 {} };
    within("a retry", asked).await;
    drop((connecting, silent));
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_turns_later_ones_away() {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("slow"))).await;
    let routes = route_to("/origin", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let mut scene = Scene::with(wants).await;
    let mut client = scene.client().await;
    let mut stream = client.begin(get("https://example.com/origin")).await;
    stream.finish().await.unwrap();
    origin.until_heads(1).await;
    scene.edge.signal("TERM").await;
    // GOAWAY comes, and the client starts nothing any more.
    let refused = async {
        while let Ok(mut stream) = client.http.send_request(get("https://example.com/")).await {
            let _ = stream.finish().await;
            if stream.recv_response().await.is_err() {
                break;
            }
        }
    };
    within("goaway", refused).await;
    origin.release();
    assert_eq!(answer(&mut stream).await.text(), "slow");
    assert_eq!(closed(&client.quic).await, 0x100);
    assert!(scene.edge.exit().await.success());
}

#[tokio::test]
async fn a_drain_cuts_what_is_left_at_its_timeout() {
    let origin = Origin::start(|_| Reply::default().held().and(Reply::ok("slow"))).await;
    let mut scene = Scene::with(Wants {
        limits: "[server.drain]\ntimeout = \"300ms\"",
        routes: &route_to("/origin", &origin.url(), ""),
        ..Wants::default()
    })
    .await;
    let mut client = scene.client().await;
    let mut stream = client.begin(get("https://example.com/origin")).await;
    stream.finish().await.unwrap();
    origin.until_heads(1).await;
    scene.edge.signal("TERM").await;
    assert_eq!(closed(&client.quic).await, 0x100);
    assert!(scene.edge.exit().await.success());
    let line = scene
        .edge
        .until_connection(|line| line["alpn"] == "h3")
        .await;
    assert_eq!(line["end"], "timeout");
    let line = scene
        .edge
        .until_access(|line| line["path"] == "/origin")
        .await;
    assert_ne!(line["end"], "complete", "{line:#}");
}

#[tokio::test]
async fn a_connection_that_has_just_come_may_ask_once() {
    let mut scene = Scene::start().await;
    let client = scene.client().await;
    let silent = scene.client().await;
    scene.until_metric("handshakes_unfinished", &[], 0.0).await;
    scene.edge.signal("TERM").await;
    // Told goodbye, and after more than what is under way may take.
    let told = async { while scene.edge.admin_get("/readyz").await.status != 503 {} };
    within("the drain", told).await;
    pause(Duration::from_millis(700)).await;
    let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
    send.write_all(&head(GET, "/", b"")).await.unwrap();
    send.finish().unwrap();
    let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
    assert!(answer.ends_with(b"hello"));
    assert_eq!(closed(&client.quic).await, 0x100);
    // Who asks nothing is not waited for until the drain is over.
    assert_eq!(closed(&silent.quic).await, 0x100);
    assert!(scene.edge.exit().await.success());
    drop(client.http);
}

#[tokio::test]
async fn a_reload_keeps_connections_and_turns_away_those_whose_site_is_gone() {
    let scene = Scene::start().await;
    let mut kept = scene.client().await;
    assert_eq!(kept.get("https://example.com/").await.text(), "hello");
    let changed = scene
        .config
        .replacen("body = \"hello\"", "body = \"hallo\"", 1);
    scene.reload(&changed).await;
    assert_eq!(kept.get("https://example.com/").await.text(), "hallo");
    let gone = changed.replace("names = [\"example.com\"]", "names = [\"other.example\"]");
    let certificate = scene.pki.files(&["other.example"]).toml();
    let old = changed
        .lines()
        .find(|line| line.contains("certificate ="))
        .unwrap();
    let gone = gone.replacen(old, &format!("certificate = {certificate}"), 1);
    scene.reload(&gone).await;
    assert_eq!(kept.get("https://example.com/").await.status, 421);
    within("the end", kept.quic.closed()).await;
    scene.settle().await;
}

#[tokio::test]
async fn an_idle_connection_ends_after_keep_alive() {
    let scene = Scene::with(Wants {
        site: "timeouts = { keep_alive = \"300ms\" }",
        ..Wants::default()
    })
    .await;
    let mut client = scene.client().await;
    assert_eq!(client.get("https://example.com/").await.text(), "hello");
    within("the end", client.quic.closed()).await;
    assert_eq!(
        scene
            .metric("timeouts_total", &["kind=\"keep_alive\""])
            .await,
        1.0
    );
    let line = |line: &Value| line["alpn"] == "h3";
    assert_eq!(scene.edge.until_connection(line).await["end"], "clean");
    scene.settle().await;
}

#[tokio::test]
async fn silent_clients_are_timed_out_as_over_tcp() {
    let origin = Origin::start(|_| Reply::ok(vec![7; 8_000_000])).await;
    let timeouts = "timeouts = { request_body_idle = \"300ms\", write_idle = \"300ms\" }";
    let routes = [
        route_to("/origin", &origin.url(), timeouts),
        format!("[[site.route]]\npath = \"/body\"\nrespond = {{ status = 200 }}\n{timeouts}"),
    ]
    .concat();
    let scene = Scene::with(Wants {
        routes: &routes,
        site: "timeouts = { request_headers = \"300ms\" }",
        ..Wants::default()
    })
    .await;
    let mut client = scene.client().await;
    // Half a head.
    let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
    send.write_all(&[1, 40, 0, 0]).await.unwrap();
    let late = within("the end of the stream", recv.read_to_end(10)).await;
    let expected = quinn::ReadError::Reset(0x10bu32.into());
    assert_eq!(late, Err(quinn::ReadToEndError::Read(expected)));
    // Half of its content.
    let mut post = client
        .begin(request("POST", "https://example.com/body"))
        .await;
    post.send_data(Bytes::from_static(b"half")).await.unwrap();
    let late = within("the end of the stream", post.recv_response()).await;
    assert!(late.is_err(), "{late:?}");
    // An answer that nobody reads.
    let mut unread = client.begin(get("https://example.com/origin")).await;
    unread.finish().await.unwrap();
    for kind in ["request_headers", "request_body_idle", "write_idle"] {
        let kind = format!("kind=\"{kind}\"");
        scene.until_metric("timeouts_total", &[&kind], 1.0).await;
    }
    // All that concerned streams only.
    assert_eq!(client.get("https://example.com/").await.status, 200);
    client.close().await;
    scene.settle().await;
}

#[tokio::test]
async fn requests_that_are_given_up_again_and_again_end_the_connection() {
    let origin = Origin::start(|_| Reply::silence()).await;
    let routes = route_to("/origin", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    let scene = Scene::with(wants).await;
    let client = scene.client().await;
    let flood = async {
        while client.quic.close_reason().is_none() {
            let Ok((mut send, mut recv)) = client.quic.open_bi().await else {
                break;
            };
            let _ = send.write_all(&[1, 40, 0, 0]).await;
            let _ = send.reset(0x10cu32.into());
            let _ = recv.stop(0x10cu32.into());
        }
    };
    within("the end", flood).await;
    assert_eq!(closed(&client.quic).await, 0x107);
    let limit = ["limit=\"given_up\""];
    scene.until_metric("limits_hit_total", &limit, 1.0).await;
    scene.settle().await;
}

/// Sends these datagrams, all of one length, as one.
fn joined(socket: &UdpSocket, to: std::net::SocketAddr, datagrams: &[Vec<u8>]) {
    let state = UdpSocketState::new(socket.into()).unwrap();
    let transmit = Transmit {
        destination: to,
        ecn: None,
        contents: &datagrams.concat(),
        segment_size: Some(datagrams[0].len()),
        src_ip: None,
    };
    state.send(socket.into(), &transmit).unwrap();
}

#[tokio::test]
async fn what_the_kernel_joins_reaches_the_workers_that_it_is_for() {
    let scene = Scene::start().await;
    let connected = async || Forger::connected(scene.address(), NAME, &scene.setup).await;
    let worker = |forger: &Forger| forger.to[1] % 2;
    let mut one = connected().await;
    let mut two = connected().await;
    while worker(&two) == worker(&one) {
        two = connected().await;
    }
    // On the way from a network card datagrams of one socket are joined, whosever they are; over
    // loopback those that are sent so stay so.
    let ask = whole(0, b"\x01\x12\x00\x00\xd1\xd7\xc1\x50\x0bexample.com");
    let mut ping = vec![1];
    ping.resize(ask.len(), 0);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let datagrams = [
        one.packet(Level::Full, &ping),
        two.packet(Level::Full, &ask),
        one.packet(Level::Full, &ping),
    ];
    joined(&socket, scene.address(), &datagrams);
    two.socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    scene
        .until_metric("requests_total", &["protocol=\"h3\""], 1.0)
        .await;
}
