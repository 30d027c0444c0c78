//! Where one thread's operations are counted, and what of that others see while it runs.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::load::stats::{Counts, ErrorKind, Latencies, Latency, Second, Stats};

/// What all threads have counted so far.
#[derive(Debug, Default)]
pub(super) struct Live {
    operations: AtomicU64,
    errors: AtomicU64,
    seconds: Mutex<Vec<Bucket>>,
}

/// One second while it is being counted.
#[derive(Clone, Debug, Default)]
struct Bucket {
    second: Second,
    /// Dropped once the percentiles are read from it.
    total: Option<Latency>,
}

impl Live {
    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The 99th percentile of the second with this number, as far as it is known.
    pub(super) fn p99(&self, second: u64) -> Option<Duration> {
        let seconds = self.lock();
        let bucket = seconds.get(usize::try_from(second).ok()?)?;
        match &bucket.total {
            Some(total) if !total.is_empty() => Some(total.quantile(0.99)),
            Some(_) => None,
            None => (bucket.second.operations > 0).then_some(bucket.second.p99),
        }
    }

    /// Reads the percentiles of all seconds before this one, and lets their memory go.
    pub(super) fn settle(&self, before: u64) {
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        for bucket in self.lock().iter_mut().take(before) {
            if let Some(total) = bucket.total.take() {
                bucket.second.p50 = total.quantile(0.5);
                bucket.second.p99 = total.quantile(0.99);
            }
        }
    }

    /// Every second, settled.
    pub(super) fn series(&self) -> Vec<Second> {
        self.settle(u64::MAX);
        self.lock().iter().map(|bucket| bucket.second).collect()
    }

    fn add(&self, number: u64, part: &mut Part) {
        let mut seconds = self.lock();
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        while seconds.len() <= number {
            seconds.push(Bucket {
                total: Some(Latency::coarse()),
                ..Bucket::default()
            });
        }
        if let Some(bucket) = seconds.get_mut(number) {
            bucket.second.operations += part.operations;
            bucket.second.errors += part.errors;
            if let Some(total) = &mut bucket.total {
                total.merge(&part.total);
            }
        }
        part.operations = 0;
        part.errors = 0;
        part.total.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Bucket>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's part of the second that is running.
#[derive(Debug)]
struct Part {
    number: u64,
    operations: u64,
    errors: u64,
    total: Latency,
}

/// One thread's record.
#[derive(Debug)]
pub(super) struct Recorder {
    live: Arc<Live>,
    start: Cell<Instant>,
    last: Cell<Instant>,
    stats: RefCell<Stats>,
    part: RefCell<Part>,
}

impl Recorder {
    pub(super) fn new(live: Arc<Live>) -> Self {
        let now = Instant::now();
        Self {
            live,
            start: Cell::new(now),
            last: Cell::new(now),
            stats: RefCell::default(),
            part: RefCell::new(Part {
                number: 0,
                operations: 0,
                errors: 0,
                total: Latency::coarse(),
            }),
        }
    }

    /// The measured part begins here.
    pub(super) fn begin(&self, start: Instant) {
        self.start.set(start);
        self.last.set(start);
    }

    /// Since the measured part began.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.get().elapsed()
    }

    pub(super) fn start(&self) -> Instant {
        self.start.get()
    }

    pub(super) fn counts(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.stats.borrow_mut().counts);
    }

    pub(super) fn latencies(&self, change: impl FnOnce(&mut Latencies)) {
        change(&mut self.stats.borrow_mut().latencies);
    }

    /// An operation ended well.
    pub(super) fn success(&self, begin: Instant, first_byte: Option<Instant>, end: Instant) {
        let total = end.saturating_duration_since(begin);
        {
            let mut stats = self.stats.borrow_mut();
            stats.counts.operations += 1;
            stats.latencies.total.record(total);
            if let Some(first) = first_byte {
                let first = first.saturating_duration_since(begin);
                stats.latencies.first_byte.record(first);
            }
        }
        self.live.operations.fetch_add(1, Ordering::Relaxed);
        let mut part = self.part(end);
        part.operations += 1;
        part.total.record(total);
    }

    /// An operation failed.
    pub(super) fn failure(&self, kind: ErrorKind, begin: Instant) {
        let end = Instant::now();
        {
            let mut stats = self.stats.borrow_mut();
            stats.errors.count(kind);
            let failed = &mut stats.latencies.failed;
            failed.record(end.saturating_duration_since(begin));
        }
        self.live.errors.fetch_add(1, Ordering::Relaxed);
        self.part(end).errors += 1;
    }

    /// Shows others what is counted, if a second has ended since the last time.
    pub(super) fn publish(&self) {
        drop(self.part(Instant::now()));
    }

    fn part(&self, now: Instant) -> std::cell::RefMut<'_, Part> {
        if now > self.last.get() {
            self.last.set(now);
        }
        let number = now.saturating_duration_since(self.start.get()).as_secs();
        let mut part = self.part.borrow_mut();
        if part.number < number {
            self.live.add(part.number, &mut part);
            part.number = number;
        }
        part
    }

    /// What was counted, and when the last operation ended.
    pub(super) fn end(&self) -> (Stats, Instant) {
        let mut part = self.part.borrow_mut();
        if part.operations + part.errors > 0 {
            self.live.add(part.number, &mut part);
        }
        (self.stats.take(), self.last.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_filled_by_all_threads() {
        let live = Arc::new(Live::default());
        let start = Instant::now();
        for _thread in 0..2 {
            let recorder = Recorder::new(Arc::clone(&live));
            recorder.begin(start);
            let at = |millis| start + Duration::from_millis(millis);
            recorder.success(at(0), None, at(10));
            recorder.success(at(2000), Some(at(2050)), at(2100));
            recorder.success(at(2000), Some(at(2050)), at(2900));
            let (stats, last) = recorder.end();
            assert_eq!(stats.counts.operations, 3);
            assert_eq!(stats.latencies.first_byte.count(), 2);
            assert_eq!(last, at(2900));
        }
        assert_eq!(live.operations(), 6);
        assert!(live.p99(0).unwrap() >= Duration::from_millis(10));
        assert_eq!(live.p99(1), None);
        let series = live.series();
        let operations: Vec<_> = series.iter().map(|second| second.operations).collect();
        assert_eq!(operations, [2, 0, 4]);
        assert!(series[2].p99 >= Duration::from_millis(890));
    }
}
