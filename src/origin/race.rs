//! Which of a name's addresses is connected to: none that is silent holds up the others (RFC 8305).

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::address::Address;
use crate::deadline::{TICK, Ticker};

/// How long an address is waited for before the next one is tried beside it. RFC 8305 §5 recommends
/// 250 ms for this Connection Attempt Delay, and it comes to that, since the ticker adds up to a tick.
pub(super) const DELAY: Duration = Duration::from_millis(200);
/// What it is where there is not time enough for all addresses: the least that RFC 8305 §5 recommends.
const LEAST_DELAY: Duration = Duration::from_millis(100);

/// The address that is waited for: what is said of a connection that did not come in time.
#[derive(Debug, Default)]
pub(super) struct Awaited(Mutex<Option<Address>>);

impl Awaited {
    /// It is this one from now on.
    pub(super) fn set(&self, address: impl Into<Address>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(address.into());
    }

    /// No address is known.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The last one; `None` if no address was known.
    pub(super) fn get(&self) -> Option<Address> {
        let awaited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.clone()
    }
}

/// RFC 8305 §4: the families of addresses take turns, the one that is first begins. If there is no
/// way for one of them, the first address of the other is the second in all.
pub(super) fn interleave(addresses: &mut [SocketAddr]) {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv4) else {
        return;
    };
    let all = addresses.iter().copied();
    let (own, other): (Vec<_>, Vec<_>) = all.partition(|address| address.is_ipv4() == first);
    let turns = (0..addresses.len()).flat_map(|turn| [own.get(turn), other.get(turn)]);
    for (place, address) in addresses.iter_mut().zip(turns.flatten()) {
        *place = *address;
    }
}

/// What a race goes by, and what it tells.
#[derive(Clone, Copy)]
pub(super) struct Course<'c> {
    pub(super) ticker: &'c Arc<Ticker>,
    /// How long its caller will wait.
    pub(super) timeout: Duration,
    pub(super) awaited: &'c Awaited,
    /// Told of each address that fails, or is too slow.
    pub(super) avoid: &'c (dyn Fn(SocketAddr) + Sync),
}

/// Set once an address has taken its connection and has more to do: by who connects.
pub(super) type Answered = Arc<AtomicBool>;

/// What `connect` brings about for the first address that it does so for. The next address is tried
/// as soon as one has failed, or those before were waited for long enough; the others are dropped.
/// An address is avoided if it failed, or if it was waited for long enough in vain.
///
/// # Errors
/// All addresses failed: the last failure. `None` if there are no addresses.
pub(super) async fn first<T, E, F: Future<Output = Result<T, E>>>(
    addresses: Vec<SocketAddr>,
    course: Course<'_>,
    connect: impl Fn(SocketAddr, Answered) -> F,
) -> Result<T, Option<(E, SocketAddr)>> {
    let begin = Instant::now();
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let delay = match course.timeout / count < DELAY + TICK {
        true => LEAST_DELAY,
        false => DELAY,
    };
    let mut waiting = addresses.into_iter();
    let mut race = Race {
        running: Vec::new(),
        course,
        delay,
    };
    let alarm = course.ticker.alarm();
    let mut failure = None;
    poll_fn(|cx| {
        loop {
            let failed = match race.poll(cx) {
                Poll::Ready(Ok(winner)) => return Poll::Ready(Ok(winner)),
                Poll::Ready(Err(failed)) => {
                    failure = Some(failed);
                    true
                }
                Poll::Pending => false,
            };
            // If an address is there: a handshake is longer than a round trip, so it may take its
            // share of the time; if it hangs, there is time left for the others.
            let left = course.timeout.saturating_sub(begin.elapsed());
            let sharers = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
            let share = left / sharers.saturating_add(1);
            if race.answered(share) {
                alarm.set(Some(share));
            }
            if !failed && !race.running.is_empty() && alarm.poll_due(cx).is_pending() {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(address) => {
                    let answered = Answered::default();
                    race.begin(address, Arc::clone(&answered), connect(address, answered));
                    alarm.set(Some(delay));
                }
                None if race.running.is_empty() => return Poll::Ready(Err(failure.take())),
                // All that can be done is to wait.
                None if !failed => return Poll::Pending,
                None => alarm.clear(),
            }
        }
    })
    .await
}

struct Race<'c, F> {
    /// In the order in which they began.
    running: Vec<Runner<F>>,
    course: Course<'c>,
    delay: Duration,
}

struct Runner<F> {
    address: SocketAddr,
    began: Instant,
    /// How long it has before it is avoided.
    patience: Duration,
    /// `None` once that was seen.
    answered: Option<Answered>,
    connects: Pin<Box<F>>,
}

impl<F> Runner<F> {
    fn is_slow(&self) -> bool {
        self.began.elapsed() >= self.patience
    }
}

impl<T, E, F: Future<Output = Result<T, E>>> Race<'_, F> {
    fn begin(&mut self, address: SocketAddr, answered: Answered, connects: F) {
        self.course.awaited.set(address);
        self.running.push(Runner {
            address,
            began: Instant::now(),
            patience: self.delay,
            answered: Some(answered),
            connects: Box::pin(connects),
        });
    }

    /// Whether an address has answered since this was asked last. It has so much more time then.
    fn answered(&mut self, share: Duration) -> bool {
        let mut any = false;
        for runner in &mut self.running {
            let seen = |answered: &mut Answered| answered.load(Ordering::Relaxed);
            if runner.answered.take_if(seen).is_some() {
                runner.patience = runner.began.elapsed() + share;
                any = true;
            }
        }
        any
    }

    /// Ready with the winner, or with one that failed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, (E, SocketAddr)>> {
        for index in 0..self.running.len() {
            let Some(runner) = self.running.get_mut(index) else {
                break;
            };
            let Poll::Ready(result) = runner.connects.as_mut().poll(cx) else {
                continue;
            };
            let address = self.running.remove(index).address;
            return Poll::Ready(match result {
                Ok(winner) => {
                    // Of those that began before it.
                    for overtaken in self.running.drain(..index) {
                        if overtaken.is_slow() {
                            (self.course.avoid)(overtaken.address);
                        }
                    }
                    // Those that began later may be just as good.
                    self.running.clear();
                    Ok(winner)
                }
                Err(error) => {
                    (self.course.avoid)(address);
                    if let Some(left) = self.running.last() {
                        self.course.awaited.set(left.address);
                    }
                    Err((error, address))
                }
            });
        }
        Poll::Pending
    }
}

impl<F> Drop for Race<'_, F> {
    fn drop(&mut self) {
        // Nobody waits any longer.
        for runner in &self.running {
            if runner.is_slow() {
                (self.course.avoid)(runner.address);
            }
        }
    }
}

#[cfg(test)]
mod tests;
