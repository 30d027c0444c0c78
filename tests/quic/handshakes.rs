//! What bounds packets of handshakes that do not come to an end.

use std::pin::pin;
use std::time::Duration;

use crate::quic::client::Client;
use crate::quic::forger::{Forger, INTERNAL_ERROR, Level, PING, by_transport, crypto};
use crate::quic::scene::{NAME, Scene, Wants};
use crate::support::BOUND;

/// Of RFC 9000 §20.1.
const CRYPTO_BUFFER_EXCEEDED: u64 = 0xd;

#[tokio::test]
async fn holes_in_a_hello_are_bounded() {
    let scene = Scene::start().await;
    // What lies too far ahead is not kept.
    let mut forger = Forger::to(scene.address(), NAME, &scene.setup).await;
    let first = forger.hello[..100].to_vec();
    forger.send(Level::Initial, &crypto(0, &first)).await;
    forger
        .send(Level::Initial, &crypto(16 * 1024 + 100, b"x"))
        .await;
    assert_eq!(forger.closed().await, by_transport(CRYPTO_BUFFER_EXCEEDED));
    scene.until_error("crypto_buffer", 1).await;
    // Neither are thousands of pieces, a byte each with a hole behind it.
    let mut forger = Forger::to(scene.address(), NAME, &scene.setup).await;
    forger.send(Level::Initial, &crypto(0, &first)).await;
    let mut offset = 200;
    while offset < 16 * 1024 && forger.got.close.is_none() {
        let mut frames = Vec::new();
        while frames.len() < 1000 {
            frames.extend(crypto(offset, b"x"));
            offset += 2;
        }
        forger.send(Level::Initial, &frames).await;
        forger.drain().await;
    }
    assert_eq!(forger.closed().await, by_transport(INTERNAL_ERROR));
    scene.until_error("crypto_gaps", 1).await;
    let closed = ["error=\"closed\""];
    scene
        .until_metric("client_hello_errors_total", &closed, 2.0)
        .await;
    scene.settle().await;
}

#[tokio::test]
async fn so_many_initial_packets_are_read_and_no_more() {
    let scene = Scene::with(Wants {
        listener: "timeouts = { client_hello = \"1s\" }",
        ..Wants::default()
    })
    .await;
    for (pings, is_answered) in [(200, true), (300, false)] {
        let mut forger = Forger::to(scene.address(), NAME, &scene.setup).await;
        let hello = forger.hello.clone();
        let (first, last) = hello.split_at(hello.len() / 2);
        forger.send(Level::Initial, &crypto(0, first)).await;
        for nth in 0..pings {
            forger.send(Level::Initial, PING).await;
            if nth % 16 == 15 {
                forger.drain().await;
            }
        }
        let rest = crypto(first.len() as u64, last);
        forger.send(Level::Initial, &rest).await;
        if is_answered {
            while forger.got.count(0x6) == 0 {
                assert!(forger.receive(Duration::from_secs(5)).await);
            }
        } else {
            let label = ["error=\"timeout\""];
            scene
                .until_metric("client_hello_errors_total", &label, 1.0)
                .await;
            forger.drain().await;
            assert_eq!(forger.got.count(0x6), 0, "{:?}", forger.got);
        }
        let label = ["limit=\"initials\""];
        let beyond = scene.metric("limits_hit_total", &label).await;
        assert_eq!(beyond, f64::from(u8::from(!is_answered)));
    }
}

#[tokio::test]
async fn so_many_packets_of_a_handshake_are_read_and_no_more() {
    let label = ["limit=\"handshake_packets\""];
    for (pings, is_taken) in [(200, true), (300, false)] {
        let site = match is_taken {
            true => "",
            false => "timeouts = { handshake = \"1s\" }",
        };
        let scene = Scene::with(Wants {
            site,
            ..Wants::default()
        })
        .await;
        let mut forger = Forger::flown(scene.address(), NAME, &scene.setup).await;
        for nth in 0..pings {
            forger.send(Level::Handshake, PING).await;
            if nth % 16 == 15 {
                forger.drain().await;
            }
        }
        if is_taken {
            forger.complete().await;
            assert_eq!(scene.metric("limits_hit_total", &label).await, 0.0);
        } else {
            scene.until_metric("limits_hit_total", &label, 1.0).await;
            forger.finish().await;
            let kind = ["kind=\"handshake\""];
            scene.until_metric("timeouts_total", &kind, 1.0).await;
        }
    }
}

#[tokio::test]
async fn who_shows_signs_of_life_is_not_the_one_to_make_room() {
    let scene = Scene::with(Wants {
        limits: "handshakes = 2",
        listener: "quic_retry = \"never\"",
        ..Wants::default()
    })
    .await;
    let flown = async || Forger::flown(scene.address(), NAME, &scene.setup).await;
    // The older one speaks, without ending its handshake.
    let (mut lively, _silent) = (flown().await, flown().await);
    let (address, setup) = (scene.address(), scene.setup.clone());
    let mut third = pin!(Client::connect(address, NAME, &setup));
    // Three packets are signs of life, and who gave one in the last second stays: so they last for
    // more than three, and who comes third asks again after one second, and after three.
    let mut speaks = tokio::time::interval(Duration::from_millis(800));
    speaks.reset();
    let third = loop {
        tokio::select! {
            third = &mut third => break third,
            _ = speaks.tick() => lively.send(Level::Handshake, PING).await,
            _ = lively.receive(BOUND) => {}
        }
    };
    assert_eq!(scene.metric("handshakes_evicted_total", &[]).await, 1.0);
    lively.finish().await;
    while lively.got.count(0x1e) == 0 {
        let come = lively.receive(Duration::from_secs(5)).await;
        assert!(come, "{:?}", lively.got);
    }
    third.close().await;
}
