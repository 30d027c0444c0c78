//! Which answers a client wants first, and which bit by bit (RFC 9218).
//!
//! quinn sends the stream with the highest number first, and streams of one number by turns. So the
//! answers of an urgency that are of use only as a whole get falling numbers in the order of their
//! requests, and those of which each piece is of use get one number, below (RFC 9218 §10).
//!
//! That orders what was written and not sent, which is bounded. Who may write when there is room
//! again is up to us: see [`Ranks::waits`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use crate::http::h3::Priority;

/// How many requests may have a rank before they are here.
const AHEAD: usize = 64;

/// The numbers of one urgency. Who has asked for more on one connection shares the last.
const PLACES: i32 = 1 << 27;

/// What the client of a connection has last said of its requests.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    said: Mutex<BTreeMap<u64, Arc<Said>>>,
    waiting: Mutex<Waiting>,
}

/// Those that wait for room.
#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they got something last.
    all: Vec<Place>,
    next: u64,
}

#[derive(Debug)]
struct Place {
    order: i32,
    /// What tells it from others.
    number: u64,
    /// What it was told when it last looked for room and found none.
    found_none: Option<Arc<Room>>,
}

impl Place {
    /// Whether it may find room: it has not looked yet, or was woken since.
    fn may_find_room(&self) -> bool {
        self.found_none.as_ref().is_none_or(|room| room.is_told())
    }
}

/// Whom quinn wakes when there may be room again, and that it has.
#[derive(Debug)]
pub(super) struct Room {
    told: AtomicBool,
    task: Mutex<Waker>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            told: AtomicBool::new(false),
            task: Mutex::new(Waker::noop().clone()),
        }
    }
}

impl Room {
    /// Somebody looks for it: the next time that there is some, this task is told.
    pub(super) fn look(&self, task: &Waker) {
        self.told.store(false, Ordering::Relaxed);
        self.task().clone_from(task);
    }

    fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    fn task(&self) -> MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Room {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.told.store(true, Ordering::Relaxed);
        self.task().wake_by_ref();
    }
}

/// A priority that may change.
#[derive(Debug)]
struct Said(AtomicU8);

impl Said {
    const INCREMENTAL: u8 = 8;

    fn new(priority: Priority) -> Self {
        Self(AtomicU8::new(Self::bits(priority)))
    }

    fn bits(priority: Priority) -> u8 {
        let Priority {
            urgency,
            incremental,
        } = priority;
        urgency | if incremental { Self::INCREMENTAL } else { 0 }
    }

    fn set(&self, priority: Priority) {
        self.0.store(Self::bits(priority), Ordering::Relaxed);
    }

    fn get(&self) -> Priority {
        let bits = self.0.load(Ordering::Relaxed);
        Priority {
            urgency: bits & !Self::INCREMENTAL,
            incremental: bits & Self::INCREMENTAL != 0,
        }
    }
}

/// The place of one request's answer.
#[derive(Clone, Debug)]
pub(super) struct Rank {
    stream: u64,
    said: Arc<Said>,
}

impl Rank {
    /// As quinn orders streams: the highest first. Between -2³⁰ and 2³⁰.
    pub(super) fn order(&self) -> i32 {
        order(self.stream, self.said.get())
    }
}

fn order(stream: u64, said: Priority) -> i32 {
    let Priority {
        urgency,
        incremental,
    } = said;
    let urgency = i32::from(Priority::default().urgency) - i32::from(urgency);
    let place = match incremental {
        true => 0,
        false => {
            let before = i32::try_from(stream / 4).unwrap_or(PLACES);
            (PLACES - 1 - before).max(1)
        }
    };
    urgency * PLACES + place
}

/// Whether others have the same number.
pub(super) fn shares(order: i32) -> bool {
    order.rem_euclid(PLACES) == 0
}

/// That an answer waits for room, as long as this lives.
pub(super) struct Waits<'a> {
    ranks: &'a Ranks,
    order: i32,
    /// Once it has a place: where nobody waits, who finds room at once needs none.
    number: Option<u64>,
}

impl Waits<'_> {
    /// Whether one that goes before may find room: one of a higher number, or of the same number that
    /// has waited longer.
    pub(super) fn is_preceded(&mut self) -> bool {
        let mut waiting = self.ranks.waiting();
        if waiting.all.is_empty() {
            return false;
        }
        let own = *self.number.get_or_insert_with(|| waiting.enter(self.order));
        let mut behind = false;
        waiting.all.iter().any(|other| {
            behind |= other.number == own;
            (other.order > self.order || other.order == self.order && !behind)
                && other.may_find_room()
        })
    }

    /// It got some room, and waits for more.
    pub(super) fn again(&mut self) {
        let mut waiting = self.ranks.waiting();
        waiting.leave(self.number);
        self.number = Some(waiting.enter(self.order));
    }

    /// It has looked and found none; it is told when there may be some.
    pub(super) fn found_none(&mut self, room: &Arc<Room>) {
        let mut waiting = self.ranks.waiting();
        let own = *self.number.get_or_insert_with(|| waiting.enter(self.order));
        if let Some(own) = waiting
            .all
            .iter_mut()
            .rev()
            .find(|place| place.number == own)
        {
            own.found_none = Some(Arc::clone(room));
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.number.is_some() {
            self.ranks.waiting().leave(self.number);
        }
    }
}

impl Waiting {
    /// The number of a new place behind all others.
    fn enter(&mut self, order: i32) -> u64 {
        let number = self.next;
        self.next += 1;
        self.all.push(Place {
            order,
            number,
            found_none: None,
        });
        number
    }

    fn leave(&mut self, number: Option<u64>) {
        self.all.retain(|place| Some(place.number) != number);
    }
}

impl Ranks {
    /// A request is here; `said` is what its own field says. A frame that came before counts more
    /// (RFC 9218 §7).
    pub(super) fn begin(&self, stream: u64, said: Priority) -> Rank {
        let mut ranks = self.said();
        let said = ranks
            .entry(stream)
            .or_insert_with(|| Arc::new(Said::new(said)));
        Rank {
            stream,
            said: Arc::clone(said),
        }
    }

    /// The [`order`](Rank::order) of an answer that is written at once, so that no frame can change it.
    pub(super) fn at_once(&self, stream: u64, said: Priority) -> i32 {
        let said = self.said().get(&stream).map_or(said, |said| said.get());
        order(stream, said)
    }

    /// Whether answers wait for room.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting().all.is_empty()
    }

    /// A request is over.
    pub(super) fn end(&self, stream: u64) {
        self.said().remove(&stream);
    }

    /// A PRIORITY_UPDATE came. `next` is the first request that is not here yet.
    pub(super) fn update(&self, stream: u64, said: Priority, next: u64) {
        let mut ranks = self.said();
        if let Some(rank) = ranks.get(&stream) {
            rank.set(said);
            return;
        }
        let ahead = ranks.range(next..).count();
        if stream >= next && ahead < AHEAD {
            ranks.insert(stream, Arc::new(Said::new(said)));
        }
    }

    /// An answer with this number is about to be written, and may have to wait for room.
    ///
    /// When there is some, all that wait are woken, one after another. If each took of it what it
    /// could, every answer would get a share, whatever its place. So who is
    /// [preceded](Waits::is_preceded) stands back until those before it have looked, and takes what they
    /// leave. Who has looked and found none is not waited for: it may wait for something else, for its
    /// client to read it.
    pub(super) fn waits(&self, order: i32) -> Waits<'_> {
        Waits {
            ranks: self,
            order,
            number: None,
        }
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Said>>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(urgency: u8) -> Priority {
        Priority {
            urgency,
            incremental: false,
        }
    }

    #[test]
    fn a_frame_counts_more_than_a_field_and_the_last_one_most() {
        let ranks = Ranks::default();
        ranks.update(4, said(1), 0);
        let first = ranks.begin(0, Priority::default());
        let second = ranks.begin(4, said(7));
        assert!(second.order() > first.order());
        ranks.update(0, said(0), 8);
        assert!(first.order() > second.order());
        ranks.end(0);
        ranks.end(4);
        // What is over is not remembered, nor is more than a few ahead.
        ranks.update(0, said(1), 8);
        for stream in 0..1000 {
            ranks.update(8 + 4 * stream, said(1), 8);
        }
        assert_eq!(ranks.said().len(), AHEAD);
    }

    #[test]
    fn urgency_comes_first_then_the_order_of_requests_then_what_may_come_in_pieces() {
        let ranks = Ranks::default();
        let incremental = |urgency| Priority {
            urgency,
            incremental: true,
        };
        let last = (1 << 62) - 4;
        let order = |stream, said| ranks.begin(stream, said).order();
        let falling = [
            order(40, said(0)),
            order(44, incremental(0)),
            order(0, said(3)),
            order(4, said(3)),
            order(last, said(3)),
            order(8, incremental(3)),
            order(12, said(4)),
            order(16, incremental(7)),
        ];
        assert!(falling.is_sorted_by(|a, b| a > b), "{falling:?}");
        assert_eq!(order(20, incremental(3)), order(8, incremental(3)));
        // The control stream goes before all.
        assert!(falling[0] < i32::MAX);
    }

    #[test]
    fn who_waits_with_a_higher_number_or_longer_goes_before() {
        let ranks = Ranks::default();
        let mut first = ranks.waits(1);
        // Alone it needs no place; once it has looked and found no room it has one.
        assert!(!first.is_preceded());
        first.again();
        let mut second = ranks.waits(1);
        assert!(!first.is_preceded() && second.is_preceded());
        // Who got something is behind its equals.
        first.again();
        assert!(first.is_preceded() && !second.is_preceded());
        let mut high = ranks.waits(2);
        assert!(!high.is_preceded() && first.is_preceded() && second.is_preceded());
        high.again();
        assert!(second.is_preceded() && !high.is_preceded());
        drop(high);
        assert!(first.is_preceded() && !second.is_preceded());
        drop(second);
        assert!(!first.is_preceded());
    }

    #[test]
    fn who_found_no_room_holds_up_nobody_until_there_may_be_some() {
        let ranks = Ranks::default();
        let (mut high, mut low) = (ranks.waits(2), ranks.waits(1));
        high.again();
        let room = Arc::new(Room::default());
        assert!(low.is_preceded());
        room.look(Waker::noop());
        high.found_none(&room);
        assert!(!low.is_preceded());
        // What quinn does when some came.
        Waker::from(Arc::clone(&room)).wake();
        assert!(low.is_preceded());
        room.look(Waker::noop());
        assert!(!low.is_preceded());
        high.again();
        assert!(low.is_preceded());
    }

    #[test]
    fn incremental_answers_share_and_others_do_not() {
        let ranks = Ranks::default();
        for urgency in 0..8 {
            for incremental in [false, true] {
                let said = Priority {
                    urgency,
                    incremental,
                };
                let stream = u64::from(urgency) * 8;
                let rank = ranks.begin(stream + 4 * u64::from(incremental), said);
                assert_eq!(shares(rank.order()), incremental);
            }
        }
    }
}
