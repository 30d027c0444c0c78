//! How many requests may be sent again: a share of those that came, and a few besides.
//!
//! Without a bound, retries multiply the load of an origin at the moment when it can bear least.

use std::time::Duration;

use crate::config::snapshot::RetrySpec;

/// A hundredth of a retry: what one percent of one request brings in.
const RETRY: u64 = 100;

/// So many requests' retries can be saved up.
const SAVED: u64 = 1000;

/// The retries of one pool.
#[derive(Debug)]
pub(super) struct Budget {
    /// What each request brings in.
    share: u64,
    /// What each second brings in.
    min: u64,
    /// What requests brought in, in hundredths of a retry.
    earned: u64,
    /// What time brought in.
    granted: u64,
    granted_at: Duration,
}

impl Budget {
    pub(super) fn new(spec: &RetrySpec) -> Self {
        let min = u64::from(spec.min) * RETRY;
        Self {
            share: u64::from(spec.budget),
            min,
            earned: 0,
            granted: min,
            granted_at: Duration::ZERO,
        }
    }

    /// A request came.
    pub(super) fn earn(&mut self) {
        // At least one, or a low share would never bring one together.
        let most = (self.share * SAVED).max(RETRY);
        self.earned = (self.earned + self.share).min(most);
    }

    /// Takes one retry, if there is one left.
    pub(super) fn spend(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.granted_at);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let more = self.min.saturating_mul(passed) / 1000;
        if more > 0 {
            self.granted_at = now;
            // No more than a second's: it is for pools that are hardly asked.
            self.granted = (self.granted + more).min(self.min);
        }
        for purse in [&mut self.earned, &mut self.granted] {
            if let Some(left) = purse.checked_sub(RETRY) {
                *purse = left;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(budget: u32, min: u32) -> Budget {
        Budget::new(&RetrySpec {
            budget,
            min,
            ..RetrySpec::default()
        })
    }

    fn spend_all(budget: &mut Budget, now: Duration) -> usize {
        (0..10_000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn requests_bring_in_their_share_and_no_more_is_saved_than_a_thousand_bring() {
        let mut budget = budget(20, 0);
        assert!(!budget.spend(Duration::ZERO));
        for _ in 0..100 {
            budget.earn();
        }
        assert_eq!(spend_all(&mut budget, Duration::ZERO), 20);
        for _ in 0..100_000 {
            budget.earn();
        }
        assert_eq!(spend_all(&mut budget, Duration::ZERO), 200);
    }

    #[test]
    fn every_second_grants_a_few_that_are_not_saved_up() {
        let mut budget = budget(0, 10);
        let seconds = Duration::from_secs;
        assert_eq!(spend_all(&mut budget, seconds(0)), 10);
        assert_eq!(spend_all(&mut budget, seconds(1)), 10);
        assert_eq!(spend_all(&mut budget, Duration::from_millis(1500)), 5);
        assert_eq!(spend_all(&mut budget, seconds(3600)), 10);
    }

    #[test]
    fn without_share_and_minimum_nothing_is_sent_again() {
        let mut budget = budget(0, 0);
        budget.earn();
        assert!(!budget.spend(Duration::from_secs(3600)));
    }
}
