//! Transfers over lines that lose and reorder, and whose client changes its address meanwhile.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use cutwater::load::relay::{DatagramBuilder, DatagramRelay, Direction};

use crate::quic::client::{Client, Stream, answer, get, request};
use crate::quic::scene::{NAME, Scene, Wants, route_to};
use crate::support::origin::{Origin, Reply};
use crate::support::within;

const DOWN: usize = 2_000_000;
const UP: usize = 500_000;

/// No two places of it look alike.
fn content(length: usize) -> Vec<u8> {
    let word = |nth: usize| (nth as u32).wrapping_mul(0x9e37_79b9).to_be_bytes();
    (0..length.div_ceil(4))
        .flat_map(word)
        .take(length)
        .collect()
}

/// An edge before an origin that has much to give and takes much.
async fn scene() -> (Scene, Origin) {
    let origin = Origin::start(|asked| match asked.method() {
        "GET" => Reply::ok(content(DOWN)),
        _ => Reply::ok(if asked.body == content(UP) {
            "whole"
        } else {
            "broken"
        }),
    })
    .await;
    let routes = route_to("/origin", &origin.url(), "");
    let wants = Wants {
        routes: &routes,
        ..Wants::default()
    };
    (Scene::with(wants).await, origin)
}

/// A line to the edge; what it does is the same each time.
async fn line(
    scene: &Scene,
    shape: impl FnOnce(DatagramBuilder) -> DatagramBuilder,
) -> DatagramRelay {
    let builder = DatagramRelay::to(scene.address()).seed(20);
    let builder = builder.delay(Duration::from_millis(2));
    shape(builder).bind().await.unwrap()
}

fn both(
    builder: DatagramBuilder,
    shape: impl Fn(DatagramBuilder, Direction) -> DatagramBuilder,
) -> DatagramBuilder {
    let builder = shape(builder, Direction::ToServer);
    shape(builder, Direction::ToClient)
}

async fn download(client: &mut Client) -> Stream {
    let mut stream = client.begin(get("https://example.com/origin")).await;
    stream.finish().await.unwrap();
    stream
}

async fn upload(client: &mut Client) {
    let post = request("POST", "https://example.com/origin");
    let mut stream = client.begin(post).await;
    within("sending", stream.send_data(Bytes::from(content(UP))))
        .await
        .unwrap();
    stream.finish().await.unwrap();
    assert_eq!(answer(&mut stream).await.text(), "whole");
}

/// Both ways at once, over one line.
async fn transfer(scene: &Scene, relay: &DatagramRelay) {
    let mut client = Client::connect(relay.address(), NAME, &scene.setup).await;
    let mut up = client
        .begin(request("POST", "https://example.com/origin"))
        .await;
    let mut down = download(&mut client).await;
    let (sent, got) = tokio::join!(
        async {
            within("sending", up.send_data(Bytes::from(content(UP))))
                .await
                .unwrap();
            up.finish().await.unwrap();
            answer(&mut up).await
        },
        answer(&mut down)
    );
    assert_eq!(sent.text(), "whole");
    assert!(got.body == content(DOWN), "{} bytes", got.body.len());
    client.close().await;
}

#[tokio::test]
async fn one_and_five_of_a_hundred_may_be_lost() {
    let (scene, _origin) = scene().await;
    for share in [0.01, 0.05] {
        let relay = line(&scene, |builder| {
            both(builder, |builder, direction| builder.loss(direction, share))
        })
        .await;
        transfer(&scene, &relay).await;
        assert!(relay.passed().lost > 0);
    }
    scene.settle().await;
}

#[tokio::test]
async fn datagrams_may_come_late_and_twice() {
    let (scene, _origin) = scene().await;
    let relay = line(&scene, |builder| {
        both(builder, |builder, direction| {
            builder
                .reorder(direction, 0.1, Duration::from_millis(5))
                .duplicate(direction, 0.05)
        })
    })
    .await;
    transfer(&scene, &relay).await;
    let passed = relay.passed();
    assert!(passed.late > 0 && passed.repeated > 0, "{passed:?}");
    scene.settle().await;
}

#[tokio::test]
async fn handshakes_survive_a_line_that_loses_a_tenth() {
    let (scene, _origin) = scene().await;
    let relay = line(&scene, |builder| {
        // Three of a flight in a row would put the next attempt beyond the handshake's deadline.
        both(builder, |builder, direction| {
            builder.loss(direction, 0.1).in_a_row(direction, 1)
        })
    })
    .await;
    for nth in 0..5 {
        let mut client = Client::connect(relay.address(), NAME, &scene.setup).await;
        let url = format!("https://example.com/?{nth}");
        assert_eq!(client.get(&url).await.text(), "hello");
        client.quic.close(0x100u32.into(), b"");
        let path = format!("/?{nth}");
        scene.edge.until_access(|line| line["path"] == *path).await;
    }
    assert!(relay.passed().lost > 0);
}

#[tokio::test]
async fn a_client_may_get_other_ports_and_addresses_while_much_is_under_way() {
    let (scene, _origin) = scene().await;
    let relay = line(&scene, |builder| {
        both(builder, |builder, direction| builder.loss(direction, 0.01))
    })
    .await;
    let mut client = Client::connect(relay.address(), NAME, &scene.setup).await;
    let mut stream = download(&mut client).await;
    within("the head", stream.recv_response()).await.unwrap();
    let mut body = Vec::new();
    let mut moves = 0;
    while let Some(mut data) = within("content", stream.recv_data()).await.unwrap() {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        if body.len() > (moves + 1) * DOWN / 5 {
            moves += 1;
            match moves % 2 {
                0 => relay.rebind().await.unwrap(),
                _ => {
                    let other = format!("127.0.0.{}", 2 + moves);
                    let other: IpAddr = other.parse().unwrap();
                    relay.rebind_at(other).await.unwrap();
                }
            }
            // It has to say something to be found there.
            upload(&mut client).await;
        }
    }
    assert_eq!(moves, 4);
    assert!(body == content(DOWN), "{} bytes", body.len());
    client.close().await;
    scene.settle().await;
}
