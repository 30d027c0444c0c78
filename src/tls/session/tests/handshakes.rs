use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::super::{Refusal, Sessions};
use super::support::{Hello, NAME, P256, World};

/// A world whose client holds one ticket that takes early data.
fn with_ticket() -> World {
    let world = World::new(true);
    let first = world.connect();
    assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(
        first
            .prepared
            .sessions
            .as_ref()
            .map(|sessions| sessions.tickets()),
        Some(1)
    );
    assert_eq!(first.refusal(), None);
    world
}

#[test]
fn a_ticket_brings_early_data_in_once() {
    let world = with_ticket();
    let (mut client, flight) = world.client();
    let mut second = world.serve(&flight);
    assert!(second.accepted && second.resumed());
    assert_eq!(second.early, b"GET / early");
    second.finish(&mut client);
    assert!(client.is_early_data_accepted() && !second.server.is_handshaking());
    assert_eq!(second.refusal(), None);
    // Each connection has its own ticket, so the next one is early again.
    assert!(world.connect().accepted);
}

#[test]
fn a_replayed_flight_is_refused_without_an_alert() {
    let world = with_ticket();
    let (_, flight) = world.client();
    assert!(world.serve(&flight).accepted);
    for _ in 0..3 {
        let replay = world.serve(&flight);
        assert!(!replay.accepted && !replay.failed && !replay.resumed());
        assert_eq!(replay.refusal(), Some(Refusal::ReplaySuspected));
    }
}

#[test]
fn a_flight_whose_handshake_was_never_finished_is_spent_too() {
    let world = with_ticket();
    let (_, flight) = world.client();
    let first = world.serve(&flight);
    assert!(first.accepted);
    drop(first);
    assert!(!world.serve(&flight).accepted);
}

#[test]
fn of_sixteen_racing_copies_one_is_accepted() {
    for _ in 0..10 {
        let world = with_ticket();
        let (_, flight) = world.client();
        let (accepted, suspected) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let start = Barrier::new(16);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    let copy = world.serve(&flight);
                    assert!(!copy.failed);
                    accepted.fetch_add(usize::from(copy.accepted), Ordering::Relaxed);
                    let known = copy.refusal() == Some(Refusal::ReplaySuspected);
                    suspected.fetch_add(usize::from(known), Ordering::Relaxed);
                });
            }
        });
        assert_eq!((accepted.into_inner(), suspected.into_inner()), (1, 15));
    }
}

#[test]
fn a_forged_binder_fails_and_does_not_burn_the_ticket() {
    let world = with_ticket();
    let (mut client, flight) = world.client();
    let mut forged = flight.clone();
    let end = Hello::parse(&flight).end;
    forged[end - 1] ^= 1;
    for _ in 0..3 {
        let attempt = world.serve(&forged);
        assert!(attempt.failed && !attempt.accepted);
    }
    let mut owner = world.serve(&flight);
    assert!(owner.accepted);
    owner.finish(&mut client);
    assert!(client.is_early_data_accepted());
    assert!(!world.serve(&flight).accepted);
}

#[test]
fn a_forged_binder_after_a_hello_retry_request_does_not_burn_the_ticket() {
    let mut world = with_ticket();
    world.group = P256;
    let (mut client, flight) = world.client();
    let mut attempt = world.serve(&flight);
    let mut answer = Vec::new();
    attempt.server.write_tls(&mut answer).unwrap();
    client.read_tls(&mut answer.as_slice()).unwrap();
    client.process_new_packets().unwrap();
    let mut second = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut second).unwrap();
    }
    // The compatibility ChangeCipherSpec may come before it.
    let start = if second[0] == 20 { 6 } else { 0 };
    let end = start + 5 + usize::from(u16::from_be_bytes([second[start + 3], second[start + 4]]));
    second[end - 1] ^= 1;
    attempt.server.read_tls(&mut second.as_slice()).unwrap();
    assert!(attempt.server.process_new_packets().is_err());
    let sessions = attempt.prepared.sessions.as_ref().unwrap();
    assert_eq!(world.sessions.stats().taken, 1);
    sessions.settle(attempt.server.handshake_kind());
    assert_eq!(world.sessions.stats().returned, 1);
    assert_eq!(world.sessions.stats().held, 1);
}

#[test]
fn another_name_in_the_hello_is_a_full_handshake_and_does_not_burn_the_ticket() {
    let world = with_ticket();
    let (_, flight) = world.client();
    let at = flight
        .windows(NAME.len())
        .position(|bytes| bytes == NAME.as_bytes())
        .unwrap();
    let mut other = flight.clone();
    other[at] = b'a';
    let stranger = world.serve(&other);
    assert!(!stranger.accepted && !stranger.failed);
    assert_eq!(stranger.server.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(stranger.refusal(), Some(Refusal::Policy));
    assert!(world.serve(&flight).accepted);
}

#[test]
fn three_identities_get_a_full_handshake_without_an_alert() {
    let world = with_ticket();
    let (_, flight) = world.client();
    let many = world.serve(&Hello::with_more_identities(&flight, 2));
    assert!(!many.failed && !many.accepted);
    assert_eq!(many.server.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(many.refusal(), Some(Refusal::TooManyIdentities));
    assert_eq!(world.sessions.stats().held, 1);
    assert!(world.serve(&flight).accepted);
}

#[test]
fn a_second_identity_with_a_forged_binder_does_not_burn_the_ticket() {
    let world = with_ticket();
    let (_, flight) = world.client();
    // The hello has changed, so the owner's binder no longer fits.
    let two = world.serve(&Hello::with_more_identities(&flight, 1));
    assert!(two.failed && !two.accepted);
    assert_eq!(world.sessions.stats().taken, 1);
    assert!(world.serve(&flight).accepted);
}

#[test]
fn a_hello_retry_request_resumes_and_refuses_early_data() {
    let mut world = with_ticket();
    world.group = P256;
    let retried = world.connect();
    assert!(retried.resumed() && !retried.accepted);
    assert_eq!(retried.refusal(), Some(Refusal::Hrr));
}

#[test]
fn another_alpn_resumes_and_refuses_early_data() {
    let mut world = with_ticket();
    world.client.alpn_protocols = vec![b"h2".to_vec()];
    let other = world.connect();
    assert!(other.resumed() && !other.accepted);
    assert_eq!(other.refusal(), Some(Refusal::ResumedRefused));
}

/// A client's clock, ahead of ours.
#[derive(Debug)]
struct Ahead(u64);

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs() + self.0;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

#[test]
fn an_age_off_by_more_than_a_minute_resumes_and_refuses_early_data() {
    for (seconds, accepted) in [(30, true), (120, false)] {
        let mut world = with_ticket();
        world.client.time_provider = Arc::new(Ahead(seconds));
        let served = world.connect();
        assert!(served.resumed() && served.prepared.offered);
        assert_eq!(served.accepted, accepted, "{seconds} s ahead");
        assert_eq!(
            served.refusal(),
            (!accepted).then_some(Refusal::ResumedRefused)
        );
    }
}

#[test]
fn an_earlier_process_has_left_nothing() {
    let mut world = with_ticket();
    let (_, flight) = world.client();
    world.sessions = Sessions::new(100);
    let after = world.serve(&flight);
    assert!(!after.accepted && !after.failed && !after.resumed());
    assert_eq!(after.refusal(), Some(Refusal::UnknownTicket));
}
