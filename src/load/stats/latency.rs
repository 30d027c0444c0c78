//! A distribution of times.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Times from a microsecond to an hour, each to a thousandth of itself. Empty costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    histogram: Option<Histogram<u64>>,
}

impl Latency {
    /// Counts one. Times below a microsecond count as one, those above an hour as that.
    pub fn record(&mut self, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(LONGEST);
        let histogram = self.histogram.get_or_insert_with(|| empty(3));
        histogram.saturating_record(microseconds.clamp(1, LONGEST));
    }

    /// One to a hundredth, in an eighth of the memory: for each second of a run.
    pub(crate) fn coarse() -> Self {
        Self {
            histogram: Some(empty(2)),
        }
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.histogram, &other.histogram) {
            // Equal bounds: it cannot fail.
            (Some(ours), Some(theirs)) => drop(ours.add(theirs)),
            (None, Some(theirs)) => self.histogram = Some(theirs.clone()),
            (_, None) => {}
        }
    }

    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        if let Some(histogram) = &mut self.histogram {
            histogram.reset();
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The shortest; zero if there is none.
    pub fn min(&self) -> Duration {
        self.of(Histogram::min)
    }

    /// The longest; zero if there is none.
    pub fn max(&self) -> Duration {
        self.of(Histogram::max)
    }

    /// The mean; zero if there is none.
    pub fn mean(&self) -> Duration {
        let mean = self.histogram.as_ref().map_or(0.0, Histogram::mean);
        Duration::from_secs_f64(mean / 1e6)
    }

    /// The standard deviation; zero if there is none.
    pub fn deviation(&self) -> Duration {
        let deviation = self.histogram.as_ref().map_or(0.0, Histogram::stdev);
        Duration::from_secs_f64(deviation / 1e6)
    }

    /// The time that this share of all did not exceed: 0.5 is the median. Zero if there is none.
    pub fn quantile(&self, share: f64) -> Duration {
        self.of(|histogram| histogram.value_at_quantile(share))
    }

    fn of(&self, value: impl Fn(&Histogram<u64>) -> u64) -> Duration {
        match &self.histogram {
            Some(histogram) if !histogram.is_empty() => Duration::from_micros(value(histogram)),
            _ => Duration::ZERO,
        }
    }
}

fn empty(digits: u8) -> Histogram<u64> {
    // Bounds that it takes: the highest at least twice the lowest, and at most 5 digits.
    Histogram::new_with_bounds(1, LONGEST, digits).expect("constant bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut latency = Latency::default();
        for micros in 1..=10_000 {
            latency.record(Duration::from_micros(micros));
        }
        let near = |time: Duration, micros: u64| time.as_micros().abs_diff(micros.into()) <= 10;
        assert!(near(latency.quantile(0.5), 5_000));
        assert!(near(latency.quantile(0.99), 9_900));
        assert!(near(latency.mean(), 5_000));
        assert_eq!(latency.min(), Duration::from_micros(1));
        assert!(near(latency.max(), 10_000));
    }

    #[test]
    fn times_beyond_the_bounds_count_as_the_bounds() {
        let mut latency = Latency::default();
        assert!(latency.is_empty());
        assert_eq!(latency.quantile(0.99), Duration::ZERO);
        latency.record(Duration::ZERO);
        latency.record(Duration::from_secs(1_000_000));
        assert_eq!(latency.count(), 2);
        assert_eq!(latency.min(), Duration::from_micros(1));
        let max = latency.max().as_secs();
        assert!((3600..3610).contains(&max), "{max}");
        latency.clear();
        assert!(latency.is_empty());
    }
}
