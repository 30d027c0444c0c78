//! How often the packets of a connection may come from another address.
//!
//! Whoever moves a QUIC connection is asked whether it can be reached there, with a datagram of 1200
//! bytes (RFC 9000 §8.2.1), and quinn sends one for a packet of thirty (quinn-rs/quinn#1082). So who has
//! a connection could forge one address after another in its packets, and have us flood them with many
//! times what it sends. Clients move seldom: a datagram of one that moves more often than that is as good
//! as lost.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::steer;

/// How many connection ids are remembered: about two megabytes. The last one that came to a place has it.
/// Whose place is whose nobody can know, so to have one forgotten takes as many packets as there are.
const PLACES: usize = 16 * 1024;

/// So many moves at once, and one more for each [`EACH`].
const MOVES: u32 = 8;
const EACH: Duration = Duration::from_secs(1);

/// After so long at another address a connection is at home there.
const SETTLED: Duration = Duration::from_secs(10);

/// As much of a connection id as is looked at: all of ours.
const ID: usize = 8;

/// The addresses that connection ids came from last.
#[derive(Debug)]
pub(super) struct Moves {
    places: Vec<Option<Place>>,
    hashing: RandomState,
}

#[derive(Clone, Debug)]
struct Place {
    id: [u8; ID],
    /// Where it may come from at any time. Nobody knows here whether a datagram is authentic: whoever saw
    /// an id must not be able to lock its client out by forged ones.
    home: SocketAddr,
    away: Option<Away>,
    /// When all moves are forgotten; none was made if there is no such time.
    forgotten: Option<Instant>,
}

/// Where the last datagram came from that did not come from home, if it was the last of all.
#[derive(Clone, Debug)]
struct Away {
    from: SocketAddr,
    since: Instant,
}

impl Default for Moves {
    fn default() -> Self {
        Self {
            places: vec![None; PLACES],
            hashing: RandomState::new(),
        }
    }
}

impl Moves {
    /// Whether a datagram may come from this address, at the time that `now` tells.
    pub(super) fn may_come(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        // Whatever has no id belongs to no connection.
        let Some(id) = id_of(datagram) else {
            return true;
        };
        let place = self.hashing.hash_one(id) as usize % PLACES;
        let Some(place) = self.places.get_mut(place) else {
            return true;
        };
        match place {
            Some(place) if place.id == id => match place.is_at_home(from) {
                true => true,
                false => place.may_come(from, now()),
            },
            _ => {
                *place = Some(Place {
                    id,
                    home: from,
                    away: None,
                    forgotten: None,
                });
                true
            }
        }
    }
}

impl Place {
    /// Whether it comes from home, and did so before.
    fn is_at_home(&self, from: SocketAddr) -> bool {
        self.away.is_none() && self.home == from
    }

    fn may_come(&mut self, from: SocketAddr, now: Instant) -> bool {
        if let Some(away) = &self.away {
            if now.saturating_duration_since(away.since) >= SETTLED {
                self.home = away.from;
                self.away = None;
            } else if away.from == from {
                return true;
            }
        }
        if from == self.home {
            self.away = None;
            return true;
        }
        let forgotten = self.forgotten.map_or(now, |forgotten| forgotten.max(now)) + EACH;
        if forgotten > now + EACH * MOVES {
            return false;
        }
        self.forgotten = Some(forgotten);
        self.away = Some(Away { from, since: now });
        true
    }
}

/// The beginning of the connection id that a datagram is for.
fn id_of(datagram: &[u8]) -> Option<[u8; ID]> {
    let first = datagram.first()?;
    let place = match first & 0x80 {
        0 => steer::SHORT,
        _ => steer::LONG,
    };
    datagram.get(place as usize..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn short(id: u8) -> Vec<u8> {
        [&[0x40][..], &[id; ID], b"sealed"].concat()
    }

    #[test]
    fn a_connection_moves_now_and_then_and_not_with_each_packet() {
        let mut moves = Moves::default();
        let start = Instant::now();
        let mut may_come = |port, after| moves.may_come(&short(1), from(port), || start + after);
        let mut many = |ports: [u16; 2], after| {
            let turns = (0..50).flat_map(|_| ports);
            turns.filter(|port| may_come(*port, after)).count()
        };
        let most = MOVES as usize;
        assert_eq!(many([1, 1], Duration::ZERO), 100);
        // So often it moves, and stays where it is then.
        assert_eq!(many([2, 3], Duration::ZERO), most + (100 - most) / 2);
        // Home it may always come.
        assert_eq!(many([1, 1], Duration::ZERO), 100);
        assert_eq!(many([2, 2], EACH - Duration::from_millis(1)), 0);
        assert_eq!(many([2, 2], EACH), 100);
        assert_eq!(many([1, 2], EACH), 50);
        let rested = EACH * (2 * MOVES);
        assert_eq!(many([1, 2], rested), 50 + most);
    }

    #[test]
    fn where_a_connection_has_settled_it_is_at_home() {
        let mut moves = Moves::default();
        let start = Instant::now();
        let mut may_come = |port, after| moves.may_come(&short(1), from(port), || start + after);
        assert!(may_come(1, Duration::ZERO));
        assert!(may_come(2, Duration::ZERO));
        assert!(may_come(2, SETTLED));
        // Forged ones do not lock it out.
        for port in 10..100 {
            may_come(port, SETTLED);
            assert!(may_come(2, SETTLED));
        }
        assert!(!may_come(1, SETTLED));
    }

    #[test]
    fn connections_move_each_for_itself_and_what_has_no_id_comes() {
        let mut moves = Moves::default();
        let now = Instant::now();
        for port in 1..100 {
            moves.may_come(&short(1), from(port), || now);
            let long = [&[0xc0, 0, 0, 0, 1, 8][..], &[2; ID]].concat();
            assert!(moves.may_come(&long, from(1), || now));
            assert!(moves.may_come(&[0x40; ID], from(port), || now));
            assert!(moves.may_come(&[], from(port), || now));
        }
        assert!(!moves.may_come(&short(1), from(100), || now));
        assert!(moves.may_come(&short(3), from(100), || now));
    }
}
