//! When operations begin.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::load::plan::{Amount, Plan};

/// Gives out the operations of a run, to all threads.
#[derive(Debug)]
pub(super) struct Arrivals {
    taken: AtomicU64,
    amount: Amount,
    rate: Option<f64>,
}

/// One operation that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// As soon as its slot is free.
    Now,
    /// This long after the run's start, and if that has passed, as if it were then.
    At(Duration),
}

impl Arrivals {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            taken: AtomicU64::new(0),
            amount: plan.amount,
            rate: plan.rate,
        }
    }

    /// The next one, `elapsed` after the run's start; `None` when there are no more.
    pub(super) fn take(&self, elapsed: Duration) -> Option<Arrival> {
        if let Amount::Time(end) = self.amount
            && elapsed >= end
        {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.all() {
            return None;
        }
        Some(match self.rate {
            Some(rate) => Arrival::At(Duration::from_secs_f64(number as f64 / rate)),
            None => Arrival::Now,
        })
    }

    /// How many there are to give out, if that is known from the start.
    fn all(&self) -> u64 {
        match (self.amount, self.rate) {
            (Amount::Operations(all), _) => all,
            (Amount::Time(end), Some(rate)) => (end.as_secs_f64() * rate).ceil() as u64,
            (Amount::Time(_), None) => u64::MAX,
        }
    }

    /// Open loop: those that were meant to begin before the end, and could not.
    pub(super) fn unsent(&self) -> u64 {
        let taken = self.taken.load(Ordering::Relaxed);
        match self.rate {
            Some(_) => self.all().saturating_sub(taken),
            None => 0,
        }
    }

    /// How much of the run is done, 0 to 1, when `ended` operations have ended.
    pub(super) fn done(&self, elapsed: Duration, ended: u64) -> f64 {
        let share = match self.amount {
            Amount::Operations(all) => ended as f64 / all as f64,
            Amount::Time(end) => elapsed.as_secs_f64() / end.as_secs_f64(),
        };
        share.clamp(0.0, 1.0)
    }
}

/// A clock of the kernel's: tokio's timers wake to the millisecond, which would stand in every
/// latency of an open loop.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor: what the unsafe `register` has promised"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer })
    }

    /// Sets the clock. False: the moment has passed already.
    pub(super) fn set(&self, moment: Instant) -> io::Result<bool> {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let time = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time)?;
        Ok(true)
    }

    /// Ready once the moment has come.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.timer.poll_read_ready(cx))?;
            let mut expirations = [0; 8];
            match guard.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                Ok(result) => return Poll::Ready(result.map(drop)),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Target;

    fn arrivals(amount: Amount, rate: Option<f64>) -> Arrivals {
        let target = Target::parse("https://a.test").unwrap();
        let mut plan = Plan::new(target, ([127, 0, 0, 1], 443).into()).unwrap();
        plan.amount = amount;
        plan.rate = rate;
        Arrivals::new(&plan)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_number_of_operations_ends_with_the_last() {
        let arrivals = arrivals(Amount::Operations(2), None);
        assert_eq!(arrivals.take(SECOND), Some(Arrival::Now));
        assert_eq!(arrivals.take(SECOND), Some(Arrival::Now));
        assert_eq!(arrivals.take(SECOND), None);
        assert_eq!(arrivals.unsent(), 0);
    }

    #[test]
    fn an_open_loop_has_its_moments_and_counts_what_it_missed() {
        let arrivals = arrivals(Amount::Time(SECOND), Some(4.0));
        let at = |millis| Some(Arrival::At(Duration::from_millis(millis)));
        assert_eq!(arrivals.take(Duration::ZERO), at(0));
        // Late, but meant for its moment all the same.
        assert_eq!(arrivals.take(Duration::from_millis(900)), at(250));
        assert_eq!(arrivals.take(SECOND), None);
        assert_eq!(arrivals.unsent(), 2);
        assert!((arrivals.done(SECOND / 4, 0) - 0.25).abs() < 1e-9);
    }

    #[tokio::test]
    async fn the_pacer_keeps_its_moment() {
        let pacer = Pacer::new().unwrap();
        let moment = Instant::now() + Duration::from_micros(1500);
        assert!(pacer.set(moment).unwrap());
        std::future::poll_fn(|cx| pacer.poll(cx)).await.unwrap();
        assert!(Instant::now() >= moment);
        assert!(!pacer.set(moment).unwrap());
    }
}
