use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use proptest::prelude::*;
use rustls::HandshakeKind;
use rustls::server::StoresServerSessions;

use super::super::store::Tags;
use super::super::{ConnectionSessions, Id, MAX_AGE, Miss, REMEMBERED, Session, Store, Use};
use crate::tags::Tag;

fn tags(trust: &str, early: &str) -> Tags {
    Tags::new(&Tag::of(&[trust.as_bytes()]), &Tag::of(&[early.as_bytes()]))
}

fn site() -> Tags {
    tags("example.com", "safe")
}

fn id(n: u64) -> Id {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

fn put(store: &Store, n: u64, now: u64) {
    assert!(store.put(
        &id(n),
        Session::new(n.to_be_bytes().to_vec(), site(), now),
        now
    ));
}

fn take(store: &Store, n: u64, now: u64) -> Result<Session, Miss> {
    store.take(&id(n), &site(), Use::EarlyData, now)
}

#[test]
fn what_was_put_is_taken_once_and_then_suspected() {
    let store = Store::new(10);
    put(&store, 1, 0);
    assert_eq!(&*take(&store, 1, 5).unwrap().value, &1u64.to_be_bytes());
    assert_eq!(take(&store, 1, 5), Err(Miss::ReplaySuspected));
    assert_eq!(take(&store, 2, 5), Err(Miss::Unknown));
    let stats = store.stats();
    assert_eq!(
        (stats.held, stats.stored, stats.taken, stats.missed),
        (0, 1, 1, 2)
    );
}

#[test]
fn another_trust_misses_and_removes_nothing() {
    let store = Store::new(10);
    put(&store, 1, 0);
    let other = tags("example.org", "safe");
    for purpose in [Use::EarlyData, Use::Resumption] {
        assert_eq!(
            store.take(&id(1), &other, purpose, 0),
            Err(Miss::OtherTrust)
        );
        // Nor can it make one expire.
        assert_eq!(
            store.take(&id(1), &other, purpose, MAX_AGE),
            Err(Miss::OtherTrust)
        );
    }
    assert!(take(&store, 1, 0).is_ok());
}

#[test]
fn another_early_data_policy_is_good_for_resumption_only() {
    let store = Store::new(10);
    put(&store, 1, 0);
    let other = tags("example.com", "allow");
    assert_eq!(store.classify(&id(1), &other, 0), Err(Miss::OtherPolicy));
    assert_eq!(
        store.take(&id(1), &other, Use::EarlyData, 0),
        Err(Miss::OtherPolicy)
    );
    assert!(store.take(&id(1), &other, Use::Resumption, 0).is_ok());
}

#[test]
fn a_session_ends_at_24_hours() {
    let store = Store::new(10);
    put(&store, 1, 100);
    put(&store, 2, 100);
    assert!(take(&store, 1, 100 + MAX_AGE - 1).is_ok());
    assert_eq!(
        store.classify(&id(2), &site(), 100 + MAX_AGE),
        Err(Miss::Expired)
    );
    assert_eq!(take(&store, 2, 100 + MAX_AGE), Err(Miss::Expired));
    let stats = store.stats();
    assert_eq!((stats.held, stats.expired, stats.taken), (0, 1, 1));
}

#[test]
fn later_puts_clear_expired_sessions_away() {
    let store = Store::new(100);
    (0..10).for_each(|n| put(&store, n, 0));
    (10..15).for_each(|n| put(&store, n, MAX_AGE));
    let stats = store.stats();
    assert_eq!((stats.held, stats.expired, stats.evicted), (5, 10, 0));
}

#[test]
fn an_idle_store_forgets_expired_sessions_when_told_the_time() {
    let store = Store::new(100);
    (0..10).for_each(|n| put(&store, n, n));
    store.clear_expired(MAX_AGE + 4);
    let stats = store.stats();
    assert_eq!((stats.held, stats.expired), (5, 5));
}

#[test]
fn a_full_store_drops_its_oldest() {
    let store = Store::new(3);
    (1..=3).for_each(|n| put(&store, n, 0));
    assert!(take(&store, 2, 0).is_ok());
    (4..=5).for_each(|n| put(&store, n, 0));
    assert_eq!(take(&store, 1, 0), Err(Miss::Unknown));
    assert!([3, 4, 5].into_iter().all(|n| take(&store, n, 0).is_ok()));
    assert_eq!(store.stats().evicted, 1);
}

#[test]
fn a_store_without_room_stores_nothing() {
    let store = Store::new(0);
    assert!(!store.put(&id(1), Session::new(vec![1], site(), 0), 0));
    assert_eq!(take(&store, 1, 0), Err(Miss::Unknown));
    assert_eq!(store.stats().stored, 0);
}

#[test]
fn many_shards_hold_no_more_than_the_capacity_and_nearly_all_of_it() {
    let capacity = 100_001;
    let store = Store::new(capacity);
    (0..3 * capacity as u64).for_each(|n| put(&store, n, 0));
    let held = store.stats().held as usize;
    assert!(held <= capacity && held > capacity * 99 / 100, "{held}");
}

#[test]
fn identities_of_any_other_length_are_unknown() {
    let store = Store::new(10);
    for length in [0, 31, 33, 65_535] {
        let id = vec![7; length];
        assert!(!store.put(&id, Session::new(vec![1], site(), 0), 0));
        assert_eq!(
            store.take(&id, &site(), Use::EarlyData, 0),
            Err(Miss::Unknown)
        );
        assert_eq!(store.classify(&id, &site(), 0), Err(Miss::Unknown));
    }
}

#[test]
fn a_session_put_back_keeps_its_age_and_is_no_longer_suspected() {
    let store = Store::new(10);
    put(&store, 1, 0);
    let session = take(&store, 1, 1).unwrap();
    store.put_back(&id(1), session, 1);
    assert_eq!(store.classify(&id(1), &site(), 1), Ok(()));
    assert_eq!(take(&store, 1, MAX_AGE), Err(Miss::Expired));
    assert_eq!(store.stats().returned, 1);
    assert_eq!(store.stats().stored, 1);
}

#[test]
fn the_last_65_536_taken_are_known_whatever_the_number_of_shards() {
    for capacity in [100, 1_000_000] {
        let store = Store::new(capacity);
        let count = 2 * REMEMBERED as u64;
        for n in 0..count {
            put(&store, n, 0);
            take(&store, n, 0).unwrap();
        }
        let forgotten = (count - REMEMBERED as u64..count)
            .filter(|n| take(&store, *n, 0) != Err(Miss::ReplaySuspected))
            .count();
        assert_eq!(forgotten, 0, "with room for {capacity}");
        assert_eq!(take(&store, 0, 0), Err(Miss::Unknown));
    }
}

#[test]
fn of_sixteen_threads_one_takes_each_session() {
    const SESSIONS: u64 = 500;
    let store = Store::new(10_000);
    (0..SESSIONS).for_each(|n| put(&store, n, 0));
    let (taken, start) = (AtomicUsize::new(0), Barrier::new(16));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                let mine = (0..SESSIONS)
                    .filter(|n| take(&store, *n, 0).is_ok())
                    .count();
                taken.fetch_add(mine, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(taken.into_inner(), SESSIONS as usize);
}

#[test]
fn a_session_that_comes_back_meanwhile_is_not_taken_under_another_policy() {
    let store = Arc::new(Store::new(10));
    put(&store, 1, 0);
    let other = tags("example.com", "allow");
    let first = ConnectionSessions::new(store.clone(), other, Use::Resumption, 0);
    assert!(first.take(&id(1)).is_some());
    // Away when this connection looked, so it goes on as if early data might be accepted.
    assert_eq!(
        store.classify(&id(1), &other, 0),
        Err(Miss::ReplaySuspected)
    );
    let second = ConnectionSessions::new(store.clone(), other, Use::EarlyData, 0);
    first.settle(None);
    assert!(second.take(&id(1)).is_none());
    assert!(take(&store, 1, 0).is_ok());
}

#[test]
fn a_connection_asks_for_two_identities_at_most() {
    let store = Arc::new(Store::new(10));
    (1..=3).for_each(|n| put(&store, n, 0));
    let connection = ConnectionSessions::new(store.clone(), site(), Use::EarlyData, 0);
    assert!(connection.take(&id(1)).is_some());
    assert!(connection.take(&id(2)).is_some());
    assert!(connection.take(&id(3)).is_none());
    assert_eq!(store.stats().held, 1);
}

#[test]
fn settling_spends_the_resumed_session_and_returns_the_others() {
    let store = Arc::new(Store::new(10));
    (1..=2).for_each(|n| put(&store, n, 0));
    let connection = ConnectionSessions::new(store.clone(), site(), Use::EarlyData, 0);
    assert!(connection.take(&id(1)).is_some() && connection.take(&id(2)).is_some());
    connection.settle(Some(HandshakeKind::Resumed));
    connection.settle(None);
    assert!(take(&store, 1, 0).is_ok());
    assert_eq!(take(&store, 2, 0), Err(Miss::ReplaySuspected));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    Take(u64),
    TakeAsOther(u64),
    TakeAndPutBack(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = 0..40u64;
    let step = prop_oneof![
        4 => n.clone().prop_map(Step::Put),
        3 => n.clone().prop_map(Step::Take),
        1 => n.clone().prop_map(Step::TakeAsOther),
        1 => n.prop_map(Step::TakeAndPutBack),
        1 => (0..MAX_AGE).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn never_more_than_the_capacity_and_never_more_takes_than_puts(
        capacity in 1..30usize,
        steps in steps(),
    ) {
        let store = Store::new(capacity);
        let mut stamps: HashMap<u64, u64> = HashMap::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Put(n) => {
                    put(&store, n, now);
                    stamps.insert(n, now);
                }
                Step::Take(n) => {
                    if let Ok(session) = take(&store, n, now) {
                        // Known to the model means: put, and not taken since.
                        let stamp = stamps.remove(&n);
                        prop_assert_eq!(stamp, Some(u64::from(session.stamp)));
                        prop_assert_eq!(&*session.value, &n.to_be_bytes());
                        prop_assert!(now - u64::from(session.stamp) < MAX_AGE);
                    }
                }
                Step::TakeAsOther(n) => {
                    let other = tags("example.org", "safe");
                    let held = store.stats().held;
                    prop_assert!(store.take(&id(n), &other, Use::Resumption, now).is_err());
                    prop_assert_eq!(store.stats().held, held);
                }
                Step::TakeAndPutBack(n) => {
                    if let Ok(session) = take(&store, n, now) {
                        store.put_back(&id(n), session, now);
                        prop_assert_eq!(store.classify(&id(n), &site(), now), Ok(()));
                    }
                }
                Step::Wait(seconds) => now += seconds,
            }
            let stats = store.stats();
            prop_assert!(stats.held <= capacity as u64);
            prop_assert_eq!(
                stats.stored + stats.returned,
                stats.held + stats.taken + stats.evicted + stats.expired
            );
        }
    }

    #[test]
    fn without_evictions_and_waits_the_newest_survive(count in 1..60u64, capacity in 1..30usize) {
        let store = Store::new(capacity);
        (0..count).for_each(|n| put(&store, n, 0));
        for n in 0..count {
            prop_assert_eq!(take(&store, n, 0).is_ok(), n + capacity as u64 >= count);
        }
    }
}
