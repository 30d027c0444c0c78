use rustls::HandshakeKind;

use super::super::{MAX_AGE, ROTATION, Refusal, Sessions};
use super::support::{Hello, World};
use crate::tags::Tag;

fn with_ticket(early_data: bool) -> World {
    let world = World::new(early_data);
    assert!(!world.connect().resumed());
    world
}

#[test]
fn another_early_data_policy_resumes_and_refuses_early_data() {
    let mut world = with_ticket(true);
    let issued = world.policy;
    world.policy.early = Tag::of(&[b"another policy"]);
    let (mut client, flight) = world.client();
    let mut other = world.serve(&flight);
    other.finish(&mut client);
    assert!(other.resumed() && !other.accepted);
    assert_eq!(other.refusal(), Some(Refusal::Policy));
    // Spent by resuming: the old policy does not see it again.
    world.policy = issued;
    assert!(!world.serve(&flight).accepted);
}

#[test]
fn another_trust_is_a_full_handshake_and_leaves_the_session_to_its_owner() {
    let mut world = with_ticket(true);
    let issued = world.policy;
    world.policy.trust = Tag::of(&[b"another trust"]);
    let (_, flight) = world.client();
    let other = world.serve(&flight);
    assert!(!other.failed && !other.accepted);
    assert_eq!(other.server.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(other.refusal(), Some(Refusal::Policy));
    world.policy = issued;
    assert!(world.serve(&flight).accepted);
}

#[test]
fn a_session_is_accepted_until_it_is_24_hours_old() {
    for (age, accepted) in [(MAX_AGE - 1, true), (MAX_AGE, false)] {
        let mut world = with_ticket(true);
        let (_, flight) = world.client();
        world.now = age;
        let served = world.serve(&flight);
        assert_eq!(
            (served.accepted, served.resumed(), served.failed),
            (accepted, accepted, false)
        );
        assert_eq!(
            served.refusal(),
            (!accepted).then_some(Refusal::UnknownTicket)
        );
    }
}

#[test]
fn pressure_resumes_and_refuses_early_data() {
    let mut world = with_ticket(true);
    world.pressure = true;
    let pressed = world.connect();
    assert!(pressed.resumed() && !pressed.accepted);
    assert_eq!(pressed.refusal(), Some(Refusal::Pressure));
    // The ticket made meanwhile takes no early data, the one after that does.
    world.pressure = false;
    let next = world.connect();
    assert!(next.resumed() && !next.prepared.offered);
    assert_eq!(next.refusal(), None);
    assert!(world.connect().accepted);
}

#[test]
fn a_site_chosen_by_default_resumes_and_refuses_early_data() {
    let mut world = with_ticket(true);
    world.by_default = true;
    let strange = world.connect();
    assert!(strange.resumed() && !strange.accepted);
    assert_eq!(strange.refusal(), Some(Refusal::Policy));
    // Nor does it hand out tickets that promise early data.
    assert!(!Hello::parse(&world.client().1).early_data);
}

#[test]
fn an_evicted_session_is_a_full_handshake() {
    let mut world = World::new(true);
    world.sessions = Sessions::new(1);
    world.connect();
    let (_, flight) = world.client();
    // Another client takes the only place.
    let mut stranger = World::new(true);
    stranger.sessions = world.sessions.clone();
    stranger.connect();
    let evicted = world.serve(&flight);
    assert!(!evicted.accepted && !evicted.failed && !evicted.resumed());
    assert_eq!(evicted.refusal(), Some(Refusal::UnknownTicket));
    assert_eq!(world.sessions.stats().evicted, 1);
}

#[test]
fn a_site_that_switched_early_data_off_refuses_it() {
    let mut world = with_ticket(true);
    let (_, flight) = world.client();
    let off = World::new(false);
    world.site = off.site;
    world.policy.early_data = false;
    let served = world.serve(&flight);
    assert!(!served.accepted && !served.failed && !served.resumed());
    assert_eq!(served.refusal(), Some(Refusal::SiteOff));
}

#[test]
fn a_stateless_ticket_resumes_across_one_rotation_and_never_offers_early_data() {
    let mut world = with_ticket(false);
    let (_, flight) = world.client();
    // More than once: that is why it takes no early data.
    for now in [0, ROTATION, 2 * ROTATION - 1] {
        world.now = now;
        let served = world.serve(&flight);
        assert!(
            served.resumed() && !served.prepared.offered && !served.accepted,
            "at {now}"
        );
    }
    world.now = 2 * ROTATION;
    let late = world.serve(&flight);
    assert!(!late.failed && !late.resumed());
    assert_eq!(world.sessions.stats().stored, 0);
}

#[test]
fn tls_1_2_neither_fills_nor_asks_the_single_use_store() {
    let world = World::with_versions(true, &[&rustls::version::TLS12]);
    for _ in 0..2 {
        let served = world.connect();
        assert_eq!(
            served.server.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_2)
        );
        assert!(!served.resumed());
    }
    let stats = world.sessions.stats();
    assert_eq!((stats.stored, stats.missed), (0, 0));
}

#[test]
fn tls_1_2_resumes_by_stateless_tickets() {
    let world = World::with_versions(false, &[&rustls::version::TLS12]);
    assert!(!world.connect().resumed());
    assert!(world.connect().resumed());
}
