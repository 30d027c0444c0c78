//! A token bucket for each client address, in bounded memory.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often an address may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many requests …
    pub requests: u32,
    /// … in this time, once the burst is used up.
    pub per: Duration,
    /// So many at once.
    pub burst: u32,
    /// How many addresses are kept.
    pub clients: usize,
}

/// The buckets of a route's clients.
///
/// A bucket is one number: when it will be full again. So a bucket that is full needs no memory, and
/// the table has a fixed size: sets of eight slots, of which an address uses one. If all eight are in
/// use the one that is nearest to full gives way, which grants its owner at most that much again. The
/// hash is keyed, so nobody can choose whose bucket gives way.
pub struct RateLimit {
    rate: Rate,
    /// The time in which one token comes, in nanoseconds.
    token: u64,
    /// The time in which a whole bucket but for one token comes.
    depth: u64,
    hasher: RandomState,
    sets: Box<[Mutex<Set>]>,
}

const WAYS: usize = 8;

type Set = [Slot; WAYS];

#[derive(Clone, Copy, Default)]
struct Slot {
    /// A hash of the address; two that agree by chance share a bucket.
    client: u64,
    /// When the bucket is full again, in nanoseconds.
    full_at: u64,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate.fmt(f)
    }
}

impl RateLimit {
    /// All buckets full.
    pub fn new(rate: Rate) -> Self {
        let token = nanos(rate.per) / u64::from(rate.requests.max(1));
        let sets = rate.clients.div_ceil(WAYS).max(1);
        Self {
            rate,
            token: token.max(1),
            depth: token
                .max(1)
                .saturating_mul(rate.burst.saturating_sub(1).into()),
            hasher: RandomState::new(),
            sets: (0..sets).map(|_| Mutex::default()).collect(),
        }
    }

    /// What it was made of.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes a token of `client`; `now` never goes back.
    ///
    /// # Errors
    /// There is none: how long it takes until there is one.
    pub fn take(&self, client: IpAddr, now: Duration) -> Result<(), Duration> {
        let client = self.hasher.hash_one(party(client));
        let now = nanos(now);
        let sets = u64::try_from(self.sets.len()).unwrap_or(1);
        let index = usize::try_from(client % sets).unwrap_or(0);
        let Some(set) = self.sets.get(index) else {
            return Ok(());
        };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter().position(|slot| slot.client == client);
        let nearest_to_full = || {
            let slots = set.iter().enumerate();
            slots.min_by_key(|(_, slot)| slot.full_at)
        };
        let slot = match known {
            Some(index) => Some(index),
            None => nearest_to_full().map(|(index, _)| index),
        };
        let Some(slot) = slot.and_then(|index| set.get_mut(index)) else {
            return Ok(());
        };
        if known.is_none() {
            *slot = Slot { client, full_at: 0 };
        }
        let from = slot.full_at.max(now);
        let missing = from - now;
        if missing > self.depth {
            return Err(Duration::from_nanos(missing - self.depth));
        }
        slot.full_at = from.saturating_add(self.token);
        Ok(())
    }
}

/// Whom an address stands for: an IPv6 subscriber has a whole /64, and could use another address for
/// each request.
fn party(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
