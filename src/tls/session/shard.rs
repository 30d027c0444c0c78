//! One shard of the store: sessions in the order they came, found by fingerprint.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::recent::Recent;
use super::store::{Id, MAX_AGE, Miss, Session, Stats, Tags, Use};

/// Builds the hasher for keys that already are keyed hashes.
pub(super) type Prehashed = BuildHasherDefault<Same>;

/// Hands a `u64` through. Fit for keys that come out of a keyed hash only: nobody outside can
/// choose them.
#[derive(Default)]
pub(super) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// The end of a list of slots.
const NONE: u32 = u32::MAX;
/// How many expired sessions one insertion clears away, so that no insertion is slow.
const CLEARED_AT_ONCE: usize = 2;

struct Slot {
    id: Id,
    fingerprint: u64,
    /// None in a free slot.
    session: Option<Session>,
    older: u32,
    /// The next newer one; in the free list, the next free one.
    newer: u32,
}

/// Sessions as slots of a slab, linked from oldest to newest: taking one leaves no hole.
pub(super) struct Shard {
    /// Fingerprint → slot. Two identities with one fingerprint (2^-64) push each other out; the
    /// identity in the slot decides.
    index: HashMap<u64, u32, Prehashed>,
    slots: Vec<Slot>,
    free: u32,
    oldest: u32,
    newest: u32,
    capacity: usize,
    recent: Recent,
    pub(super) stats: Stats,
}

impl Shard {
    pub(super) fn new(capacity: usize, remembered: usize) -> Self {
        Self {
            index: HashMap::default(),
            slots: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            capacity: capacity.min(NONE as usize - 1),
            recent: Recent::new(remembered),
            stats: Stats::default(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.index.len()
    }

    /// Stores a session as the newest one; a full shard drops its oldest (EARLY-DATA R4).
    pub(super) fn put(&mut self, id: Id, fingerprint: u64, session: Session, now: u64) -> bool {
        if self.capacity == 0 {
            return false;
        }
        self.clear_expired(now, CLEARED_AT_ONCE);
        if let Some(&place) = self.index.get(&fingerprint) {
            self.remove(place);
            self.stats.evicted += 1;
        } else if self.index.len() >= self.capacity {
            self.remove(self.oldest);
            self.stats.evicted += 1;
        }
        self.recent.remove(fingerprint);
        self.insert(id, fingerprint, session);
        true
    }

    /// Drops up to `most` expired sessions, oldest first.
    pub(super) fn clear_expired(&mut self, now: u64, most: usize) {
        for _ in 0..most {
            let oldest = self.slots.get(self.oldest as usize);
            let session = oldest.and_then(|slot| slot.session.as_ref());
            if !session.is_some_and(|session| session.expired(now)) {
                return;
            }
            self.remove(self.oldest);
            self.stats.expired += 1;
        }
    }

    /// Says what a `take` would give, and removes nothing.
    pub(super) fn classify(
        &self,
        id: &Id,
        fingerprint: u64,
        tags: &Tags,
        now: u64,
    ) -> Result<(), Miss> {
        self.find(id, fingerprint, tags, Use::EarlyData, now)
            .map(|_| ())
    }

    /// Takes a session out, or leaves everything as it is (EARLY-DATA R6); only an expired one
    /// goes without being had.
    pub(super) fn take(
        &mut self,
        id: &Id,
        fingerprint: u64,
        tags: &Tags,
        purpose: Use,
        now: u64,
    ) -> Result<Session, Miss> {
        match self.find(id, fingerprint, tags, purpose, now) {
            Ok(place) => {
                self.recent.insert(fingerprint);
                self.stats.taken += 1;
                self.remove(place).ok_or(Miss::Unknown)
            }
            Err(miss) => {
                if let (Miss::Expired, Some(&place)) = (miss, self.index.get(&fingerprint)) {
                    self.remove(place);
                    self.stats.expired += 1;
                }
                self.stats.missed += 1;
                Err(miss)
            }
        }
    }

    fn find(
        &self,
        id: &Id,
        fingerprint: u64,
        tags: &Tags,
        purpose: Use,
        now: u64,
    ) -> Result<u32, Miss> {
        let found = self.index.get(&fingerprint).and_then(|place| {
            let slot = self.slots.get(*place as usize)?;
            let session = slot.session.as_ref()?;
            (slot.id == *id).then_some((*place, session))
        });
        let Some((place, session)) = found else {
            return Err(match self.recent.contains(fingerprint) {
                true => Miss::ReplaySuspected,
                false => Miss::Unknown,
            });
        };
        // Trust first: another site's connection must not be able to make a session expire.
        if !session.tags.same_trust(tags) {
            return Err(Miss::OtherTrust);
        }
        // EARLY-DATA R5: rustls checks no age of its own.
        if session.expired(now) {
            return Err(Miss::Expired);
        }
        if purpose == Use::EarlyData && !session.tags.same_policy(tags) {
            return Err(Miss::OtherPolicy);
        }
        Ok(place)
    }

    fn insert(&mut self, id: Id, fingerprint: u64, session: Session) {
        let slot = Slot {
            id,
            fingerprint,
            session: Some(session),
            older: self.newest,
            newer: NONE,
        };
        let place = match self.slots.get_mut(self.free as usize) {
            Some(vacant) => {
                let place = self.free;
                self.free = vacant.newer;
                *vacant = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        match self.slots.get_mut(self.newest as usize) {
            Some(before) => before.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
        self.index.insert(fingerprint, place);
    }

    fn remove(&mut self, place: u32) -> Option<Session> {
        let slot = self.slots.get_mut(place as usize)?;
        let session = slot.session.take()?;
        let (older, newer, fingerprint) = (slot.older, slot.newer, slot.fingerprint);
        slot.newer = self.free;
        self.free = place;
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        self.index.remove(&fingerprint);
        Some(session)
    }
}

impl Session {
    fn expired(&self, now: u64) -> bool {
        now.saturating_sub(u64::from(self.stamp)) >= MAX_AGE
    }
}
