//! The identities taken last, so that a replay can be told from a ticket that was never ours.

use std::collections::HashMap;

use super::shard::Prehashed;

/// How many taken identities are remembered over all shards (EARLY-DATA P4).
pub const REMEMBERED: usize = 65_536;

/// A bounded memory of fingerprints: the oldest makes room for the newest.
///
/// It explains a miss and decides nothing: forgetting only turns `replay_suspected` into
/// `unknown_ticket`.
pub(super) struct Recent {
    ring: Vec<u64>,
    /// Where in the ring a fingerprint stands. A place whose fingerprint does not point back is a
    /// hole.
    places: HashMap<u64, u32, Prehashed>,
    next: usize,
    capacity: usize,
}

impl Recent {
    /// Remembers the last `capacity` fingerprints; memory is taken as they come.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, REMEMBERED);
        Self {
            ring: Vec::new(),
            places: HashMap::default(),
            next: 0,
            capacity,
        }
    }

    pub(super) fn insert(&mut self, fingerprint: u64) {
        let place = self.next;
        match self.ring.get_mut(place) {
            Some(slot) => {
                let forgotten = std::mem::replace(slot, fingerprint);
                if self.places.get(&forgotten) == Some(&(place as u32)) {
                    self.places.remove(&forgotten);
                }
            }
            None => self.ring.push(fingerprint),
        }
        self.places.insert(fingerprint, place as u32);
        self.next = (place + 1) % self.capacity;
    }

    pub(super) fn contains(&self, fingerprint: u64) -> bool {
        self.places.contains_key(&fingerprint)
    }

    /// Forgets a fingerprint: its session was put back.
    pub(super) fn remove(&mut self, fingerprint: u64) {
        self.places.remove(&fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let mut recent = Recent::new(3);
        for fingerprint in 1..=4 {
            recent.insert(fingerprint);
        }
        assert!(!recent.contains(1));
        assert!([2, 3, 4].iter().all(|known| recent.contains(*known)));
        assert_eq!(recent.places.len(), 3);
    }

    #[test]
    fn a_removed_one_is_forgotten_and_its_place_is_reused() {
        let mut recent = Recent::new(2);
        recent.insert(1);
        recent.remove(1);
        assert!(!recent.contains(1));
        recent.insert(1);
        recent.insert(2);
        assert!(recent.contains(1) && recent.contains(2));
        recent.insert(3);
        assert!(!recent.contains(1) && recent.contains(2) && recent.contains(3));
        assert_eq!(recent.ring.len(), 2);
    }
}
