//! What a client may do that costs us more than it costs the client, or brings it nothing.
//!
//! quinn bounds what is kept for a client. It does not bound how often frames come that are cheap to
//! send and dear to take: so there are budgets, and past one the connection ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::FrameStats;

use crate::telemetry::labels::Limit;

/// So much at once, and what is spent comes back by and by. For tasks of one worker only.
#[derive(Debug)]
pub(super) struct Budget {
    most: u64,
    /// How long it takes until one is forgotten, in milliseconds.
    each: u64,
    /// When all is forgotten, in milliseconds on the worker's clock.
    forgotten: AtomicU64,
}

impl Budget {
    /// Requests that a client gives up before they are answered (the "rapid reset" of HTTP/2,
    /// CVE-2023-44487), or makes us give up by what is wrong with them (CVE-2025-8671). More at once
    /// than a person does, fewer than an attack wants; 32 in a second.
    pub(super) fn given_up() -> Self {
        Self::new(512, 31)
    }

    /// Frames and streams that are no part of a request: priorities, GOAWAY, what nobody knows. A
    /// browser says a few in a second; 125 in a second.
    pub(super) fn control() -> Self {
        Self::new(1024, 8)
    }

    fn new(most: u64, each: u64) -> Self {
        Self {
            most,
            each,
            forgotten: AtomicU64::new(0),
        }
    }

    /// Spends `count` at this time. Whether there was so much.
    pub(super) fn spend(&self, count: u64, now: Duration) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        // All tasks of a connection are its worker's: none comes between.
        let forgotten = self.forgotten.load(Ordering::Relaxed).max(now);
        let forgotten = forgotten.saturating_add(count.saturating_mul(self.each));
        let enough = forgotten - now <= self.most * self.each;
        if enough {
            self.forgotten.store(forgotten, Ordering::Relaxed);
        }
        enough
    }

    /// Gives `count` back.
    pub(super) fn earn(&self, count: u64) {
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        let less = forgotten.saturating_sub(count * self.each);
        self.forgotten.store(less, Ordering::Relaxed);
    }
}

/// Frames for each packet, on the average: most have two or three, and one that is full of small
/// ones costs as much to take as fifty others.
const FRAMES: u64 = 16;

/// How many more a connection may have, over its life: bursts of small requests, windows of many
/// streams at once.
const MORE_FRAMES: u64 = 4096;

/// Ids that a client gives back: for each quinn makes a new one, and keeps it until the client lets
/// us send it. So many, and one for each second.
const RETIRED: u64 = 256;

/// Questions whether a path works: each is answered with 1200 bytes, wherever it came from (RFC 9000
/// §8.2.2), so whoever forges its address has us send them to somebody else. So many, and one for
/// each second.
const CHALLENGES: u64 = 64;

/// Proofs that are asked for of addresses that a connection moves to, with 1200 bytes each, for packets of
/// thirty and to whomever these seem to come from (quinn-rs/quinn#1082). quinn asks with each packet until
/// the proof is there: of one honest move that is what is under way in a round trip, of which there is at
/// most a megabyte. So many, and so many for each second.
const PROOFS: u64 = 2048;
const PROOFS_EACH_SECOND: u64 = 32;

/// Frames for each request, beside those for its packet: one that is all from the static table needs
/// some twenty bytes, so that a packet of a client with a hundred under way holds fifty.
const FRAMES_OF_REQUEST: u64 = 4;

/// What a connection of this age has had more of, among the frames of QUIC, than a client needs: in
/// so many packets and for so many requests. `proofs` are those of its addresses that were asked for.
pub(super) fn too_much(
    frames: &FrameStats,
    proofs: u64,
    packets: u64,
    requests: u64,
    age: Duration,
) -> Option<Limit> {
    let due = packets.saturating_mul(FRAMES);
    let asked = requests.saturating_mul(FRAMES_OF_REQUEST);
    if frames.retire_connection_id > RETIRED + age.as_secs() {
        Some(Limit::ConnectionIds)
    } else if frames.path_challenge > CHALLENGES + age.as_secs() {
        Some(Limit::PathChallenges)
    } else if proofs > PROOFS + PROOFS_EACH_SECOND * age.as_secs() {
        Some(Limit::Moves)
    } else if all(frames) > MORE_FRAMES.saturating_add(due).saturating_add(asked) {
        Some(Limit::Frames)
    } else {
        None
    }
}

fn all(frames: &FrameStats) -> u64 {
    [
        frames.acks,
        frames.ack_frequency,
        frames.crypto,
        frames.data_blocked,
        frames.datagram,
        frames.immediate_ack,
        frames.max_data,
        frames.max_stream_data,
        frames.max_streams_bidi,
        frames.max_streams_uni,
        frames.new_connection_id,
        frames.path_challenge,
        frames.path_response,
        frames.ping,
        frames.reset_stream,
        frames.retire_connection_id,
        frames.stop_sending,
        frames.stream,
        frames.stream_data_blocked,
        frames.streams_blocked_bidi,
        frames.streams_blocked_uni,
    ]
    .iter()
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_spent_is_forgotten_by_and_by() {
        let budget = Budget::new(3, 10);
        let at = Duration::from_millis;
        assert!((0..3).all(|_| budget.spend(1, at(1000))));
        assert!(!budget.spend(1, at(1000)));
        assert!(!budget.spend(1, at(1009)));
        assert!(budget.spend(1, at(1010)));
        assert!(!budget.spend(1, at(1010)));
        budget.earn(2);
        assert!(budget.spend(2, at(1010)));
        assert!(!budget.spend(1, at(1010)));
        // After a rest all is, and no more than that.
        assert!(!budget.spend(4, at(100_000)));
        assert!(budget.spend(3, at(100_000)));
        assert!(!budget.spend(u64::MAX, at(100_000)));
    }

    #[test]
    fn small_frames_may_come_in_a_burst_but_not_for_ever() {
        let mut frames = FrameStats::default();
        frames.stream = MORE_FRAMES;
        frames.ping = 3 * FRAMES;
        let limit = Some(Limit::Frames);
        assert_eq!(too_much(&frames, 0, 3, 0, SECOND), None);
        assert_eq!(too_much(&frames, 0, 2, 0, SECOND), limit);
        assert_eq!(too_much(&frames, 0, 2, 0, 1000 * SECOND), limit);
        assert_eq!(too_much(&frames, 0, 2, 4, SECOND), None);
    }

    #[test]
    fn what_makes_us_keep_or_send_more_is_counted_for_itself() {
        let mut ids = FrameStats::default();
        ids.retire_connection_id = RETIRED + 10;
        let mut paths = FrameStats::default();
        paths.path_challenge = CHALLENGES + 10;
        for (frames, limit) in [(ids, Limit::ConnectionIds), (paths, Limit::PathChallenges)] {
            assert_eq!(too_much(&frames, 0, 1000, 0, 10 * SECOND), None);
            assert_eq!(too_much(&frames, 0, 1000, 0, 9 * SECOND), Some(limit));
        }
    }

    #[test]
    fn a_connection_moves_often_but_not_for_ever() {
        let frames = FrameStats::default();
        let most = PROOFS + 10 * PROOFS_EACH_SECOND;
        assert_eq!(too_much(&frames, most, 1000, 0, 10 * SECOND), None);
        let limit = Some(Limit::Moves);
        assert_eq!(too_much(&frames, most + 1, 1000, 0, 10 * SECOND), limit);
    }
}
