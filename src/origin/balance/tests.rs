use proptest::prelude::*;

use super::*;
use crate::config::snapshot::HashKey;

fn loads(weights: &[u32]) -> Vec<Load> {
    let each = weights.iter().enumerate();
    each.map(|(index, weight)| Load::new(*weight, &format!("http://10.0.0.{index}:80")))
        .collect()
}

/// Asks `times` times, all requests staying under way; how often each was chosen.
fn asked(loads: &mut [Load], balance: &Balance, times: u32) -> Vec<u32> {
    let before: Vec<u32> = loads.iter().map(|load| load.active).collect();
    for time in 0..times {
        let random = mix(u64::from(time));
        let index = choose(loads, balance, None, random, |_| true).unwrap();
        loads[index].active += 1;
    }
    let now = loads.iter().zip(before);
    now.map(|(load, before)| load.active - before).collect()
}

fn hashed(factor: Option<u32>) -> Balance {
    Balance::Hash {
        key: HashKey::Client,
        factor,
    }
}

/// Which server each of `keys` keys has.
fn homes(
    loads: &mut [Load],
    balance: &Balance,
    keys: u64,
    may: impl Fn(usize) -> bool,
) -> Vec<usize> {
    (0..keys)
        .map(|key| choose(loads, balance, Some(mix(key)), 0, &may).unwrap())
        .collect()
}

#[test]
fn requests_spread_by_weights() {
    for balance in [Balance::LeastRequests, Balance::RoundRobin] {
        assert_eq!(asked(&mut loads(&[1, 2, 5]), &balance, 80), [10, 20, 50]);
    }
    let drawn = asked(&mut loads(&[1, 2, 5]), &Balance::PowerOfTwo, 8000);
    for (drawn, share) in drawn.iter().zip([1000_u32, 2000, 5000]) {
        assert!(drawn.abs_diff(share) < share / 10, "{drawn} for {share}");
    }
}

#[test]
fn idle_servers_take_turns_by_their_weights() {
    let mut loads = loads(&[2, 1]);
    let mut next = || choose(&mut loads, &Balance::LeastRequests, None, 0, |_| true).unwrap();
    let turns: Vec<usize> = (0..6).map(|_| next()).collect();
    assert_eq!(turns, [0, 1, 0, 0, 1, 0]);
}

#[test]
fn the_least_busy_for_its_weight_is_asked() {
    let mut loads = loads(&[1, 4]);
    loads[0].active = 2;
    loads[1].active = 7;
    assert_eq!(asked(&mut loads, &Balance::LeastRequests, 1), [0, 1]);
    assert_eq!(asked(&mut loads, &Balance::LeastRequests, 2), [1, 1]);
}

#[test]
fn of_two_drawn_the_less_busy_one_is_asked() {
    let mut loads = loads(&[1, 1]);
    loads[1].active = 50;
    assert_eq!(asked(&mut loads, &Balance::PowerOfTwo, 50), [50, 0]);
}

#[test]
fn servers_without_a_share_or_tried_before_are_never_asked() {
    for balance in [
        Balance::LeastRequests,
        Balance::PowerOfTwo,
        Balance::RoundRobin,
        hashed(None),
        hashed(Some(125)),
    ] {
        let mut loads = loads(&[1, 0, 3, 1]);
        for random in 0..200 {
            let key = Some(mix(random));
            let found = choose(&mut loads, &balance, key, mix(random), |index| index != 2);
            assert!(matches!(found, Some(0 | 3)), "{balance:?} {found:?}");
        }
        assert_eq!(
            choose(&mut loads, &balance, None, 0, |index| index == 1),
            None
        );
        assert_eq!(choose(&mut loads[..1], &balance, None, 0, |_| false), None);
        assert_eq!(choose(&mut [], &balance, None, 0, |_| true), None);
    }
}

#[test]
fn an_avoided_server_is_asked_last_but_asked() {
    for balance in [Balance::LeastRequests, Balance::RoundRobin, hashed(None)] {
        let mut loads = loads(&[1, 1, 1]);
        loads[0].avoided = true;
        loads[2].avoided = true;
        assert_eq!(asked(&mut loads, &balance, 5), [0, 5, 0]);
        let found = choose(&mut loads, &balance, None, 0, |index| index != 1);
        assert!(found.is_some());
    }
}

#[test]
fn only_the_keys_of_a_server_that_goes_move() {
    let mut loads = loads(&[1, 1, 1, 1, 1]);
    let before = homes(&mut loads, &hashed(None), 5000, |_| true);
    let after = homes(&mut loads, &hashed(None), 5000, |index| index != 2);
    let mut moved = [0; 5];
    for (before, after) in before.iter().zip(&after) {
        match before {
            2 => moved[*after] += 1,
            _ => assert_eq!(before, after),
        }
    }
    // They spread over all others.
    for (index, moved) in moved.iter().enumerate().filter(|(index, _)| *index != 2) {
        assert!((150..350).contains(moved), "{moved} to {index}");
    }
}

#[test]
fn keys_spread_by_weights_and_a_growing_weight_only_attracts() {
    let mut small = loads(&[1, 1, 2]);
    let before = homes(&mut small, &hashed(None), 8000, |_| true);
    let count = |homes: &[usize], of| homes.iter().filter(|home| **home == of).count();
    assert!(count(&before, 2).abs_diff(4000) < 200);
    let mut grown = loads(&[1, 1, 4]);
    let after = homes(&mut grown, &hashed(None), 8000, |_| true);
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *after == 2);
    }
}

#[test]
fn the_order_of_the_servers_does_not_matter_to_keys() {
    let mut one = loads(&[1, 3, 1]);
    let mut two = one.clone();
    two.reverse();
    let before = homes(&mut one, &hashed(None), 1000, |_| true);
    let after = homes(&mut two, &hashed(None), 1000, |_| true);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(*before, 2 - after);
    }
}

#[test]
fn a_key_has_its_server_for_ever() {
    // Other versions, other processes and other machines must agree.
    assert_eq!(hash(b"192.0.2.1"), 0x4d0e_1bc6_8452_59f5);
    let homes = homes(&mut loads(&[1, 1, 1]), &hashed(None), 12, |_| true);
    assert_eq!(homes, [2, 1, 1, 2, 0, 0, 1, 1, 0, 1, 0, 2]);
}

#[test]
fn a_bound_on_the_load_passes_a_hot_key_on() {
    let mut loads = loads(&[1, 1, 1, 1]);
    let bound = hashed(Some(125));
    for _ in 0..100 {
        let index = choose(&mut loads, &bound, Some(7), 0, |_| true).unwrap();
        loads[index].active += 1;
    }
    let mut active: Vec<u32> = loads.iter().map(|load| load.active).collect();
    active.sort_unstable();
    // Nobody has more than 125 % of the average, rounded up.
    assert!(active[3] <= 32, "{active:?}");
    assert!(active[2] > 0, "{active:?}");
}

proptest! {
    #[test]
    fn whoever_can_be_asked_is_found(
        servers in prop::collection::vec((0_u32..4, 0_u32..50, any::<bool>(), any::<bool>()), 0..12),
        how in 0..5,
        key in any::<Option<u64>>(),
        random in any::<u64>(),
    ) {
        let balance = match how {
            0 => Balance::LeastRequests,
            1 => Balance::PowerOfTwo,
            2 => Balance::RoundRobin,
            3 => hashed(None),
            _ => hashed(Some(101)),
        };
        let weights: Vec<u32> = servers.iter().map(|server| server.0).collect();
        let mut loads = loads(&weights);
        for (load, server) in loads.iter_mut().zip(&servers) {
            load.active = server.1;
            load.avoided = server.2;
        }
        let may = |index: usize| servers[index].3;
        let any = (0..servers.len()).any(|index| weights[index] > 0 && may(index));
        let found = choose(&mut loads, &balance, key, random, may);
        prop_assert_eq!(found.is_some(), any);
        if let Some(index) = found {
            prop_assert!(weights[index] > 0 && may(index));
        }
    }
}
