//! A client that vanishes at any step leaves nothing behind.

use crate::early::scene::{GET, NAME, POST, Scene, early_at, get};
use crate::support::client::Client;
use crate::support::origin::{Origin, Reply, When};

const STEPS: [Step; 11] = [
    Step::Connect,
    Step::HalfHello,
    Step::Hello,
    Step::HalfEarly,
    Step::Early,
    Step::Flight,
    Step::HalfFinished,
    Step::Finished,
    Step::MidBody,
    Step::MidResponse,
    Step::Waiting,
];

/// The last thing that the client does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Connect,
    HalfHello,
    Hello,
    HalfEarly,
    Early,
    Flight,
    HalfFinished,
    Finished,
    MidBody,
    MidResponse,
    Waiting,
}

async fn up_to(scene: &Scene, step: Step) -> Client {
    let data = match step {
        Step::MidBody => {
            b"POST /echo HTTP/1.1\r\nhost: example.com\r\ncontent-length: 1000\r\n\r\nhalf".to_vec()
        }
        Step::MidResponse => get("/echo?large"),
        Step::Waiting => POST.to_vec(),
        _ => GET.to_vec(),
    };
    let mut client = scene.early(&data).await;
    let flight = client.take_pending();
    let early = early_at(&flight);
    let sent = match step {
        Step::Connect => 0,
        Step::HalfHello => early / 2,
        Step::Hello => early,
        Step::HalfEarly => early + (flight.len() - early) / 2,
        _ => flight.len(),
    };
    client.send_raw(&flight[..sent]).await;
    if sent < flight.len() || step == Step::Early {
        return client;
    }
    client.server_flight().await.unwrap();
    match step {
        Step::HalfFinished => {
            let finished = client.take_pending();
            client.send_raw(&finished[..finished.len() / 2]).await;
        }
        Step::Finished | Step::MidBody => client.finish().await,
        Step::MidResponse => {
            client.finish().await;
            client.read(1_000).await.unwrap();
        }
        _ => {}
    }
    client
}

#[tokio::test]
async fn a_client_that_vanishes_at_any_step_leaves_no_connection() {
    let origin = Origin::start_when(When::AfterHead, |_| Reply::ok(vec![b'x'; 20 << 20])).await;
    let scene = Scene::before(&origin).await;
    for reset in [false, true] {
        for step in STEPS {
            let client = up_to(&scene, step).await;
            let address = client.local_address().to_string();
            if reset {
                client.reset();
                if step == Step::Connect {
                    // The kernel, told to wait for data, never showed it to anyone.
                    continue;
                }
            } else {
                drop(client);
            }
            let line = scene
                .edge
                .until_connection(|line| line["client"] == address.as_str());
            let line = line.await;
            let end = line["end"].as_str().unwrap().to_owned();
            assert!(
                ["truncated", "reset"].contains(&&*end),
                "{step:?}, {reset}: {line}"
            );
        }
    }
    // Who only said hello, or half of its early data, has offered and got no decision on a byte.
    let offered = scene.metric("early_data_offered_total", &[]).await;
    let accepted = scene.metric("early_data_accepted_total", &[]).await;
    scene.settle((offered - accepted) as u32).await;
    assert!(
        offered - accepted <= 6.0,
        "{offered} offered, {accepted} accepted"
    );
    origin.until_open(0).await;
}

#[tokio::test]
async fn half_a_thousand_that_vanish_at_once_leave_no_connection() {
    let scene = Scene::start().await;
    let setup = scene.setup.clone().early_data(false);
    for round in 0..10 {
        let mut clients = Vec::new();
        for number in 0..50 {
            let mut client =
                Client::connect(scene.edge.address(), NAME, &setup.clone().fresh()).await;
            let hello = client.take_pending();
            let part = hello.len() * number / 49;
            client.send_raw(&hello[..part]).await;
            clients.push(client);
        }
        if round % 2 == 0 {
            clients.into_iter().for_each(Client::reset);
        }
    }
    scene.settle(0).await;
    let mut client = Client::open(scene.edge.address(), NAME, &setup).await;
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "hello");
}
