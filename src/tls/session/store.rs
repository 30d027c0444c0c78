//! The single-use store: what is taken is gone, for everyone, at once.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::recent::REMEMBERED;
use super::shard::Shard;
use crate::tags::Tag;

/// How old a session may become, in seconds: 24 h (EARLY-DATA R5).
pub const MAX_AGE: u64 = 24 * 60 * 60;

/// A session's identity: 32 random bytes chosen by rustls.
pub type Id = [u8; 32];

const MAX_SHARDS: usize = 64;
/// A shard smaller than this would drop sessions for being unevenly filled.
const SMALLEST_SHARD: usize = 1024;
const CLEARED_PER_SHARD: usize = 1024;

/// The two tags a session is bound to (EARLY-DATA R6), 128 bits of each: who could look for a
/// collision is the operator, who has nothing to gain from it, and a store holds a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    trust: [u8; 16],
    early: [u8; 16],
}

impl Tags {
    /// `trust`: what a resumed connection inherits; a session of another trust is not resumed.
    /// `early`: the early-data policy; a session of another policy is resumed, its early data
    /// refused.
    pub fn new(trust: &Tag, early: &Tag) -> Self {
        let short = |tag: &Tag| {
            let mut short = [0; 16];
            short.copy_from_slice(&tag.0[..16]);
            short
        };
        Self {
            trust: short(trust),
            early: short(early),
        }
    }

    pub(super) fn same_trust(&self, other: &Self) -> bool {
        self.trust == other.trust
    }

    pub(super) fn same_policy(&self, other: &Self) -> bool {
        self == other
    }
}

/// A stored session.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// What rustls needs to resume. Secret: it holds the resumption key.
    pub value: Box<[u8]>,
    /// What the session is bound to.
    pub tags: Tags,
    /// When it was made, in seconds of the clock that `now` is read from.
    pub stamp: u32,
}

impl Session {
    /// Binds rustls's `value` to `tags`, made at `now`.
    pub fn new(value: Vec<u8>, tags: Tags, now: u64) -> Self {
        Self {
            value: value.into_boxed_slice(),
            tags,
            stamp: u32::try_from(now).unwrap_or(u32::MAX),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tags", &self.tags)
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

/// What a session is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To resume and perhaps to take early data: both tags must be equal.
    EarlyData,
    /// To resume only: the trust tag must be equal.
    Resumption,
}

/// Why an identity gives no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Never stored here, evicted, or taken long ago.
    Unknown,
    /// Among the last 65,536 taken.
    ReplaySuspected,
    /// 24 h old or older.
    Expired,
    /// Of another site or another TLS policy. It stays for its owner.
    OtherTrust,
    /// Of another early-data policy: good for [`Use::Resumption`] only. It stays.
    OtherPolicy,
}

/// Figures of a store since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions held now.
    pub held: u64,
    /// Sessions put, without those put back.
    pub stored: u64,
    /// Sessions taken.
    pub taken: u64,
    /// Takes that gave nothing.
    pub missed: u64,
    /// Sessions put back after a hello that was not accepted.
    pub returned: u64,
    /// Sessions dropped to make room.
    pub evicted: u64,
    /// Sessions dropped for their age.
    pub expired: u64,
}

/// One store per process, for all sites; every session carries its tags.
///
/// Holds at most `capacity` sessions in up to 64 shards, each behind its own lock. A shard that
/// is full drops its oldest session: its owner gets a full handshake. `now` is in seconds of any
/// clock that does not run backwards.
pub struct Store {
    shards: Box<[Padded]>,
    /// Keyed: identities in a hello are chosen by whoever sent it.
    hasher: RandomState,
}

/// Keeps neighbouring locks off each other's cache lines.
#[repr(align(128))]
struct Padded(Mutex<Shard>);

impl Store {
    /// An empty store for `capacity` sessions over all sites. Memory is taken as they come.
    /// EARLY-DATA R3: a store that starts empty accepts no ticket of an earlier process.
    pub fn new(capacity: usize) -> Self {
        let count = match capacity / SMALLEST_SHARD {
            0 => 1,
            many => (1 << many.ilog2()).min(MAX_SHARDS),
        };
        // Shards fill unevenly: a quarter more keeps the promise of the last 65,536 in each of
        // them.
        let remembered = if count == 1 {
            REMEMBERED
        } else {
            REMEMBERED / count * 5 / 4
        };
        let shards = (0..count)
            .map(|i| {
                let share = capacity / count + usize::from(i < capacity % count);
                Padded(Mutex::new(Shard::new(share, remembered)))
            })
            .collect();
        Self {
            shards,
            hasher: RandomState::new(),
        }
    }

    /// Stores a session; an identity that is not 32 bytes long is refused. Says whether it is
    /// stored.
    pub fn put(&self, id: &[u8], session: Session, now: u64) -> bool {
        let Ok(id) = Id::try_from(id) else {
            return false;
        };
        let (mut shard, fingerprint) = self.shard(&id);
        let stored = shard.put(id, fingerprint, session, now);
        shard.stats.stored += u64::from(stored);
        stored
    }

    /// What [`Store::take`] for [`Use::EarlyData`] would say now. Another connection may be
    /// faster: only `take` proves.
    pub fn classify(&self, id: &[u8], tags: &Tags, now: u64) -> Result<(), Miss> {
        let id = Id::try_from(id).map_err(|_| Miss::Unknown)?;
        let (shard, fingerprint) = self.shard(&id);
        shard.classify(&id, fingerprint, tags, now)
    }

    /// Takes a session out. EARLY-DATA R4: of any number of takes at once, one gets it. A take
    /// with another tag misses and removes nothing (R6).
    pub fn take(&self, id: &[u8], tags: &Tags, purpose: Use, now: u64) -> Result<Session, Miss> {
        let id = Id::try_from(id).map_err(|_| Miss::Unknown)?;
        let (mut shard, fingerprint) = self.shard(&id);
        shard.take(&id, fingerprint, tags, purpose, now)
    }

    /// Puts back a session that was taken for nothing, with its own age and tags (EARLY-DATA R9).
    ///
    /// The caller must know that nothing was accepted on its strength. It becomes the newest one:
    /// a forged hello must not bring it closer to eviction.
    pub fn put_back(&self, id: &Id, session: Session, now: u64) {
        let (mut shard, fingerprint) = self.shard(id);
        if shard.put(*id, fingerprint, session, now) {
            shard.stats.returned += 1;
        }
    }

    /// Drops expired sessions that nobody asks for: some per shard, so that no handshake waits long.
    pub fn clear_expired(&self, now: u64) {
        for shard in &self.shards {
            lock(shard).clear_expired(now, CLEARED_PER_SHARD);
        }
    }

    /// Sums up the shards. Each is consistent in itself.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            let shard = lock(shard);
            sum.held += shard.held() as u64;
            sum.stored += shard.stats.stored;
            sum.taken += shard.stats.taken;
            sum.missed += shard.stats.missed;
            sum.returned += shard.stats.returned;
            sum.evicted += shard.stats.evicted;
            sum.expired += shard.stats.expired;
        }
        sum
    }

    fn shard(&self, id: &Id) -> (MutexGuard<'_, Shard>, u64) {
        let fingerprint = self.hasher.hash_one(id);
        // The index inside a shard uses the lowest and the highest bits.
        let which = (fingerprint >> 40) as usize & (self.shards.len() - 1);
        (lock(&self.shards[which]), fingerprint)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

/// A poisoned shard is whole: nothing in it panics between two steps that belong together.
fn lock(shard: &Padded) -> MutexGuard<'_, Shard> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}
