//! Deadlines without a timer each: one ticker per worker wakes whoever is due.
//!
//! A tokio timer per connection costs about 4 µs of CPU per handshake; storing a number costs
//! nothing. The price is a resolution of one [`TICK`]: a deadline fires between its time and two
//! ticks later, never before it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use slab::Slab;
use tokio::time::{Instant, MissedTickBehavior};

/// The resolution of every deadline.
pub const TICK: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    /// Milliseconds since the ticker's start; [`NEVER`] if unset.
    due: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

/// The clock of one worker: knows the time to one [`TICK`] and wakes what is due.
#[derive(Debug)]
pub struct Ticker {
    start: Instant,
    /// Milliseconds since `start`, as of the last tick.
    now: AtomicU64,
    entries: Mutex<Slab<Arc<Entry>>>,
}

impl Ticker {
    /// A ticker that starts now. Somebody must [`run`](Self::run) it.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            now: AtomicU64::new(0),
            entries: Mutex::new(Slab::new()),
        })
    }

    /// Ticks for ever; `each` is called after every tick with the time since the start.
    pub async fn run(&self, mut each: impl FnMut(Duration)) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = Vec::new();
        loop {
            interval.tick().await;
            let now = self.start.elapsed();
            self.advance(now, &mut due);
            each(now);
        }
    }

    /// The time of the last tick, since the ticker's start.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::Relaxed))
    }

    fn advance(&self, now: Duration, due: &mut Vec<Waker>) {
        let now = millis(now);
        self.now.store(now, Ordering::Relaxed);
        {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, entry) in entries.iter() {
                if entry.due.load(Ordering::Relaxed) <= now {
                    let waker = entry
                        .waker
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    due.extend(waker);
                }
            }
        }
        // Woken outside the lock: a waker may drop a task, and with it an alarm.
        for waker in due.drain(..) {
            waker.wake();
        }
    }

    /// When a deadline `after` from now is due, on this ticker's clock.
    pub fn due(&self, after: Duration) -> Duration {
        Duration::from_millis(self.due_in(after))
    }

    /// Wakes every task that watches an alarm: something changed for all of them.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> = self
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(|(_, entry)| {
                entry
                    .waker
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take()
            })
            .collect();
        for waker in wakers {
            waker.wake();
        }
    }

    fn due_in(&self, after: Duration) -> u64 {
        // `now` may be up to one tick old: one more keeps a deadline from firing early.
        self.now
            .load(Ordering::Relaxed)
            .saturating_add(millis(after))
            .saturating_add(millis(TICK))
    }

    /// An alarm that is not set.
    pub fn alarm(self: &Arc<Self>) -> Alarm {
        let entry = Arc::new(Entry {
            due: AtomicU64::new(NEVER),
            waker: Mutex::new(None),
        });
        let key = self
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(&entry));
        Alarm {
            ticker: Arc::clone(self),
            entry,
            key,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

/// One deadline that can be set, moved and cleared as often as one likes, each for the price of
/// one atomic store.
#[derive(Debug)]
pub struct Alarm {
    ticker: Arc<Ticker>,
    entry: Arc<Entry>,
    key: usize,
}

impl Alarm {
    /// Due after `after` from now; `None` clears it.
    pub fn set(&self, after: Option<Duration>) {
        let due = after.map_or(NEVER, |after| self.ticker.due_in(after));
        self.entry.due.store(due, Ordering::Relaxed);
    }

    /// Due at `due` on the ticker's clock; `None` clears it.
    pub fn set_at(&self, due: Option<Duration>) {
        self.entry
            .due
            .store(due.map_or(NEVER, millis), Ordering::Relaxed);
    }

    /// Clears the deadline.
    pub fn clear(&self) {
        self.entry.due.store(NEVER, Ordering::Relaxed);
    }

    /// Whether the deadline has passed.
    pub fn is_due(&self) -> bool {
        self.entry.due.load(Ordering::Relaxed) <= self.ticker.now.load(Ordering::Relaxed)
    }

    /// Ready once the deadline has passed; otherwise the task is woken when it does.
    pub fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_due() {
            return Poll::Ready(());
        }
        let mut waker = self
            .entry
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Wakes the task that watches this alarm, from wherever.
    pub fn waker(&self) -> Nudge {
        Nudge(Arc::clone(&self.entry))
    }
}

/// Wakes the task that watches an [`Alarm`].
#[derive(Clone, Debug)]
pub struct Nudge(Arc<Entry>);

impl Nudge {
    /// Wakes the task, once for each time that it watched the alarm.
    pub fn nudge(&self) {
        let waker = self
            .0
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.ticker
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_remove(self.key);
    }
}

/// The total deadline of a request, which its handler may extend or shorten while it runs.
///
/// Clones move the same deadline. The clock of `total` starts when the gate lets the request go
/// and ends when the answer is sent.
#[derive(Clone, Debug)]
pub struct Deadline {
    ticker: Arc<Ticker>,
    entry: Arc<Entry>,
}

impl Deadline {
    /// A deadline `after` from now; `None` means none.
    pub fn new(ticker: &Arc<Ticker>, after: Option<Duration>) -> Self {
        let due = after.map_or(NEVER, |after| ticker.due_in(after));
        Self {
            ticker: Arc::clone(ticker),
            entry: Arc::new(Entry {
                due: AtomicU64::new(due),
                waker: Mutex::new(None),
            }),
        }
    }

    /// Moves the deadline to `after` from now; `None` removes it.
    pub fn set(&self, after: Option<Duration>) {
        let due = after.map_or(NEVER, |after| self.ticker.due_in(after));
        self.entry.due.store(due, Ordering::Relaxed);
    }

    /// The time left, to the tick; `None` if there is no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        match self.entry.due.load(Ordering::Relaxed) {
            NEVER => None,
            due => Some(Duration::from_millis(
                due.saturating_sub(self.ticker.now.load(Ordering::Relaxed)),
            )),
        }
    }

    /// Whether the deadline has passed.
    pub fn is_due(&self) -> bool {
        self.entry.due.load(Ordering::Relaxed) <= self.ticker.now.load(Ordering::Relaxed)
    }

    /// Begins to watch the deadline: the returned alarm is due when this is.
    ///
    /// Made only once something really waits, so that an answer at once costs no registration.
    pub fn watch(&self) -> Alarm {
        let key = self
            .ticker
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(&self.entry));
        Alarm {
            ticker: Arc::clone(&self.ticker),
            entry: Arc::clone(&self.entry),
            key,
        }
    }
}

/// `future` did not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the deadline passed")
    }
}

impl std::error::Error for Elapsed {}

/// Bounds a future by `after`; `None` bounds nothing. An alarm is only made if the future has to
/// wait.
pub fn within<F: Future>(ticker: &Arc<Ticker>, after: Option<Duration>, future: F) -> Within<F> {
    Within {
        ticker: after.map(|after| (Arc::clone(ticker), after)),
        alarm: None,
        future,
    }
}

pin_project! {
    /// The future of [`within`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Within<F> {
        ticker: Option<(Arc<Ticker>, Duration)>,
        alarm: Option<Alarm>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if let Some((ticker, after)) = this.ticker.take() {
            let alarm = ticker.alarm();
            alarm.set(Some(after));
            *this.alarm = Some(alarm);
        }
        match this.alarm {
            Some(alarm) => alarm.poll_due(cx).map(|()| Err(Elapsed)),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Arc<Ticker> {
        let ticker = Ticker::new();
        let runs = Arc::clone(&ticker);
        tokio::spawn(async move { runs.run(|_| ()).await });
        ticker
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_fires_within_two_ticks_and_never_early() {
        let ticker = running();
        for wanted in [50, 100, 333, 1000] {
            let wanted = Duration::from_millis(wanted);
            let start = Instant::now();
            let outcome = within(&ticker, Some(wanted), std::future::pending::<()>()).await;
            assert_eq!(outcome, Err(Elapsed));
            let took = start.elapsed();
            assert!(took >= wanted, "{took:?} for {wanted:?}");
            assert!(took <= wanted + 2 * TICK, "{took:?} for {wanted:?}");
        }
        assert!(ticker.entries.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_can_extend_and_remove_its_deadline() {
        let ticker = running();
        let deadline = Deadline::new(&ticker, Some(Duration::from_secs(1)));
        let alarm = deadline.watch();
        deadline.set(Some(Duration::from_secs(5)));
        let start = Instant::now();
        std::future::poll_fn(|cx| alarm.poll_due(cx)).await;
        assert!(start.elapsed() >= Duration::from_secs(5));
        deadline.set(None);
        assert!(!alarm.is_due());
        assert_eq!(deadline.remaining(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_at_once_registers_nothing() {
        let ticker = Ticker::new();
        assert_eq!(within(&ticker, Some(TICK), async { 7 }).await, Ok(7));
        assert!(ticker.entries.lock().unwrap().is_empty());
    }
}
