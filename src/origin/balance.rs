//! Who of several servers is asked: a pure choice over what is known of each.

use std::cmp::Ordering;

use crate::config::snapshot::Balance;

/// One server, as the choice sees it.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Its share beside the others'; 0 gets no request.
    pub(super) weight: u32,
    /// Requests under way with it.
    pub(super) active: u32,
    /// Whether it is asked after all others: it could not be connected to a moment ago.
    pub(super) avoided: bool,
    /// What stands for it in consistent hashing. The same for the same server, in every process.
    identity: u64,
    /// How much it is owed: servers that are otherwise alike take turns by their weights.
    owed: i64,
}

impl Load {
    /// A server without requests. `name` tells it from all others.
    pub(super) fn new(weight: u32, name: &str) -> Self {
        Self {
            weight,
            active: 0,
            avoided: false,
            identity: hash(name.as_bytes()),
            owed: 0,
        }
    }

    /// Compares requests for their weights.
    fn busier(&self, other: &Self) -> Ordering {
        let own = u64::from(self.active) * u64::from(other.weight);
        own.cmp(&(u64::from(other.active) * u64::from(self.weight)))
    }
}

/// Chooses among the servers that `may` be asked and have a weight; `None` if there are none.
///
/// `key` is what consistent hashing goes by: without one the least busy server is chosen.
/// `random` is a number that nobody can foresee.
pub(super) fn choose(
    loads: &mut [Load],
    balance: &Balance,
    key: Option<u64>,
    random: u64,
    may: impl Fn(usize) -> bool,
) -> Option<usize> {
    if let [only] = loads {
        return (only.weight > 0 && may(0)).then_some(0);
    }
    let open = |index: usize, load: &Load| load.weight > 0 && may(index);
    // A server that is avoided is still better than none.
    let mut calm = loads.iter().enumerate();
    let calm = calm.any(|(index, load)| !load.avoided && open(index, load));
    let may = |index: usize, load: &Load| (!calm || !load.avoided) && open(index, load);
    match (balance, key) {
        (Balance::RoundRobin, _) => take_turns(loads, may),
        (Balance::PowerOfTwo, _) => of_two(loads, random, may),
        (Balance::Hash { factor, .. }, Some(key)) => rendezvous(loads, key, *factor, may),
        (Balance::LeastRequests | Balance::Hash { .. }, _) => least(loads, may),
    }
}

/// The least busy one; those that are equally busy take turns.
fn least(loads: &mut [Load], may: impl Fn(usize, &Load) -> bool) -> Option<usize> {
    let open = loads.iter().enumerate();
    let open = open.filter(|(index, load)| may(*index, load));
    let least = open.map(|(_, load)| load).min_by(|a, b| a.busier(b))?;
    let least = least.clone();
    take_turns(loads, |index, load| {
        may(index, load) && load.busier(&least) == Ordering::Equal
    })
}

/// Smooth weighted round robin, as nginx has it: everybody is owed its weight in each round, whoever
/// is owed most is asked and pays the whole round.
fn take_turns(loads: &mut [Load], may: impl Fn(usize, &Load) -> bool) -> Option<usize> {
    let mut round = 0;
    let mut most: Option<(usize, i64)> = None;
    for (index, load) in loads.iter_mut().enumerate() {
        if !may(index, load) {
            continue;
        }
        load.owed += i64::from(load.weight);
        round += i64::from(load.weight);
        if most.is_none_or(|(_, owed)| load.owed > owed) {
            most = Some((index, load.owed));
        }
    }
    let (index, _) = most?;
    loads.get_mut(index)?.owed -= round;
    Some(index)
}

/// Power of two choices: draws two by their weights, takes the less busy one.
fn of_two(loads: &[Load], random: u64, may: impl Fn(usize, &Load) -> bool) -> Option<usize> {
    let first = draw(loads, random >> 32, &may)?;
    let other = |index: usize, load: &Load| index != first && may(index, load);
    let Some(second) = draw(loads, random & u64::from(u32::MAX), &other) else {
        return Some(first);
    };
    let (one, two) = (loads.get(first)?, loads.get(second)?);
    match two.busier(one) {
        Ordering::Less => Some(second),
        _ => Some(first),
    }
}

/// Draws one by the weights. `random` has 32 bits.
fn draw(loads: &[Load], random: u64, may: &impl Fn(usize, &Load) -> bool) -> Option<usize> {
    let open = || {
        let all = loads.iter().enumerate();
        all.filter(|(index, load)| may(*index, load))
    };
    let total: u64 = open().map(|(_, load)| u64::from(load.weight)).sum();
    let mut left = (random * total) >> 32;
    for (index, load) in open() {
        match left.checked_sub(u64::from(load.weight)) {
            None => return Some(index),
            Some(less) => left = less,
        }
    }
    None
}

/// Rendezvous hashing with weights: each server draws a number by itself and the key, and the best
/// one has the key. When a server goes, its keys alone move, and they come back with it.
///
/// `factor` bounds the load: a server that has more than so many percent of its share passes the
/// key on to the next best one.
fn rendezvous(
    loads: &[Load],
    key: u64,
    factor: Option<u32>,
    may: impl Fn(usize, &Load) -> bool,
) -> Option<usize> {
    let open = || {
        let all = loads.iter().enumerate();
        all.filter(|(index, load)| may(*index, load))
    };
    let bound = factor.map(|factor| {
        let active: u64 = open().map(|(_, load)| u64::from(load.active)).sum();
        let weight: u64 = open().map(|(_, load)| u64::from(load.weight)).sum();
        (u64::from(factor) * (active + 1), weight * 100)
    });
    // Below its share, rounded up: at least one server always is.
    let has_room = |load: &Load| {
        bound.is_none_or(|(share, weight)| {
            u64::from(load.active) < (share * u64::from(load.weight)).div_ceil(weight)
        })
    };
    let score = |load: &Load| {
        let drawn = (mix(load.identity ^ key) >> 11) as f64 + 0.5;
        // An exponential variable of the rate `weight`: the smallest is the server's with the
        // probability of its share.
        -(drawn / (1_u64 << 53) as f64).ln() / f64::from(load.weight)
    };
    let open = open().filter(|(_, load)| has_room(load));
    let best = open.min_by(|(_, a), (_, b)| score(a).total_cmp(&score(b)));
    best.map(|(index, _)| index)
}

/// A hash that is the same in every process and on every machine (FNV-1a, then mixed).
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let each = bytes.iter();
    mix(each.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// The finaliser of splitmix64: every bit depends on every bit.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
