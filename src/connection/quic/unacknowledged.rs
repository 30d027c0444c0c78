//! Answers that are with quinn whole, and that their clients have not acknowledged yet.
//!
//! Until its client has it, an answer is under way: the connection must not be closed on it, and who
//! takes nothing for `write_idle` gets no more of it. A task that waited for that would cost a small
//! answer a tenth of what it costs as a whole. So small ones are kept here, and looked at now and then.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::sending::Sending;
use crate::deadline::{Alarm, Ticker};

/// The most content of an answer that is kept here, in bytes. Whoever does not want a larger one any
/// more should be spared what is left of it at once.
pub(super) const SMALL: u64 = 16 * 1024;

/// How often answers are looked at while there are some.
const LOOK: Duration = Duration::from_secs(1);

/// How many there are before they are looked at sooner.
const FEW: usize = 64;

/// What a connection's clients have not acknowledged.
pub(super) struct Unacknowledged {
    kept: Mutex<Kept>,
    /// Due when they are to be looked at.
    alarm: Alarm,
    ticker: Arc<Ticker>,
}

struct Kept {
    answers: Vec<Sent>,
    /// How many there may be before they are looked at.
    room: usize,
}

/// An answer that is with quinn whole.
pub(super) struct Sent {
    pub(super) answer: Sending,
    /// How long its client may take nothing.
    pub(super) limit: Option<Duration>,
    /// When that is over, on the ticker's clock.
    due: Option<Duration>,
    patience: Patience,
}

/// How much longer a client is waited for that takes something, though perhaps of something else.
///
/// quinn does not tell what of a stream was acknowledged, only that something was on the connection. So a
/// client that acknowledges is at work, but not for ever: what quinn has of all answers is bounded, and
/// so is what is waited for.
#[derive(Debug)]
pub(super) struct Patience {
    /// Frames that acknowledge, when it was last looked at.
    seen: u64,
    /// How often it may still be looked at.
    left: u32,
}

impl Patience {
    /// How often `write_idle` may pass for the last of an answer, which has at most a megabyte.
    const TURNS: u32 = 10;

    pub(super) fn new(acknowledged: u64) -> Self {
        Self {
            seen: acknowledged,
            left: Self::TURNS,
        }
    }

    /// Whether to wait once more, where the client has acknowledged so often by now.
    pub(super) fn goes_on(&mut self, acknowledged: u64) -> bool {
        self.left = self.left.saturating_sub(1);
        let moved = std::mem::replace(&mut self.seen, acknowledged) != acknowledged;
        moved && self.left > 0
    }
}

impl Sent {
    /// Whether the client has neither all of it nor stopped it.
    fn is_under_way(&self) -> bool {
        if self.answer.is_acknowledged() {
            return false;
        }
        let mut over = std::pin::pin!(self.answer.over());
        let looked = over.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        looked.is_pending()
    }
}

impl Unacknowledged {
    pub(super) fn new(ticker: &Arc<Ticker>) -> Self {
        Self {
            kept: Mutex::new(Kept {
                answers: Vec::new(),
                room: FEW,
            }),
            alarm: ticker.alarm(),
            ticker: Arc::clone(ticker),
        }
    }

    /// Keeps an answer that is with quinn whole, until it is over or its client has taken nothing for
    /// `limit`.
    pub(super) fn keep(&self, answer: Sending, limit: Option<Duration>) {
        let due = limit.map(|limit| self.ticker.due(limit));
        let mut kept = self.kept();
        if kept.answers.is_empty() {
            self.alarm.set(Some(LOOK));
        }
        if kept.answers.len() >= kept.room {
            kept.look();
        }
        // Looked at only for those that take long: then it has changed at the first look.
        let patience = Patience::new(0);
        kept.answers.push(Sent {
            answer,
            limit,
            due,
            patience,
        });
    }

    /// Whether some are under way.
    pub(super) fn is_waiting(&self) -> bool {
        let mut kept = self.kept();
        kept.look();
        !kept.answers.is_empty()
    }

    /// All that are under way: somebody else waits for them from now on.
    pub(super) fn take(&self) -> Vec<Sent> {
        let mut kept = self.kept();
        kept.look();
        std::mem::take(&mut kept.answers)
    }

    /// Gives up those that have taken too long, and tells how many they were; `acknowledged` is how often
    /// the client has acknowledged something. The task is woken when it is time to look again.
    pub(super) fn poll_late(&self, cx: &mut Context<'_>, acknowledged: impl Fn() -> u64) -> usize {
        let mut late = 0;
        while let Poll::Ready(()) = self.alarm.poll_due(cx) {
            let mut kept = self.kept();
            kept.look();
            let now = self.ticker.now();
            let before = kept.answers.len();
            let is_late = |sent: &mut Sent| {
                let due = sent.due.is_some_and(|due| due <= now);
                let late = due && !sent.patience.goes_on(acknowledged());
                if due {
                    sent.due = sent.limit.map(|limit| self.ticker.due(limit));
                }
                late
            };
            for mut sent in kept.answers.extract_if(.., is_late) {
                sent.answer.give_up();
            }
            late += before - kept.answers.len();
            let again = !kept.answers.is_empty();
            if !again {
                kept.answers = Vec::new();
            }
            self.alarm.set(again.then_some(LOOK));
        }
        late
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Forgets those that are over. Looked at whenever there are twice as many as were left the last
    /// time, each costs as much as if it were looked at twice.
    fn look(&mut self) {
        self.answers.retain(Sent::is_under_way);
        self.room = FEW.max(2 * self.answers.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_something_is_waited_for_but_not_for_ever() {
        let mut patience = Patience::new(7);
        assert!(patience.goes_on(8) && patience.goes_on(9));
        assert!(!patience.goes_on(9));
        let mut patience = Patience::new(0);
        let turns = (1..100).take_while(|seen| patience.goes_on(*seen));
        assert_eq!(turns.count(), Patience::TURNS as usize - 1);
    }
}
