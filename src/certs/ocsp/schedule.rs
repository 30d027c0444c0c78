//! When a responder is asked again. `chance` is a number from 0 to 1, different each time, so that
//! certificates that were alike do not stay so.

use std::time::{Duration, SystemTime};

use super::Staple;

/// The least between two attempts for one certificate.
pub const LEAST: Duration = Duration::from_secs(30);

/// The most between two attempts for a certificate that has no valid staple.
pub const MOST_WITHOUT: Duration = Duration::from_secs(300);

/// The most between two attempts for one that has.
pub const MOST_WITH: Duration = Duration::from_secs(3600);

/// The most between two attempts for a certificate that is not shown for want of a staple.
pub const MOST_WANTED: Duration = Duration::from_secs(60);

/// The most that a responder which fails is left alone: one certificate tries it, for all.
pub const MOST_PAUSE: Duration = Duration::from_secs(300);

/// The same for one that answers, but wrongly: it may have a right answer for the next certificate.
pub const MOST_WRONG: Duration = Duration::from_secs(5);

/// The most until a staple is renewed, however long it is valid: how soon authorities of public
/// certificates have to tell anew (CA/Browser Forum, Baseline Requirements §4.9.10).
pub const MOST_REST: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// How often a file that somebody else keeps fresh is looked at.
pub const LOOK: Duration = Duration::from_secs(5);

/// Half of a staple's validity, and up to a tenth of it more; no later than [`MOST_REST`] from now.
fn half(staple: &Staple, now: SystemTime, chance: f64) -> SystemTime {
    let whole = length(staple.next_update, staple.this_update);
    let half = staple.this_update + whole / 2 + whole.mul_f64(chance / 10.0);
    half.min(now + MOST_REST.mul_f64(0.9 + chance / 10.0))
}

/// When a staple that has just come is renewed. Of one that is past its half already, because its
/// responder signs anew later than that, ever shorter parts of the rest are waited.
pub fn after_answer(staple: &Staple, now: SystemTime, chance: f64) -> SystemTime {
    let half = half(staple, now, chance);
    match half > now {
        true => half,
        false => {
            let part = length(staple.next_update, now) / 4;
            now + part.max(LEAST).mul_f64(0.75 + chance / 2.0)
        }
    }
}

/// When a staple that was kept over a restart is renewed: as always, or if that time has passed,
/// soon, but not all at once.
pub fn after_start(staple: &Staple, now: SystemTime, chance: f64) -> SystemTime {
    let half = half(staple, now, chance);
    match half > now {
        true => half,
        false => {
            let part = length(staple.next_update, now) / 4;
            now + part.min(MOST_WITH).mul_f64(chance)
        }
    }
}

/// When an attempt is made again after so many failures in a row: later each time, but so that
/// what is left of a valid staple holds several more.
pub fn after_failure(
    failures: u32,
    staple: Option<&Staple>,
    now: SystemTime,
    chance: f64,
) -> SystemTime {
    let doubled = doubled(LEAST, failures);
    let wait = match staple.filter(|staple| staple.is_valid(now)) {
        None => doubled.min(MOST_WITHOUT),
        Some(staple) => {
            let part = length(staple.next_update, now) / 4;
            doubled.min(MOST_WITH).min(part.max(LEAST))
        }
    };
    now + wait.mul_f64(0.75 + chance / 2.0)
}

/// The same for a certificate that is not shown without a staple, and has none: each moment counts.
pub fn after_want(failures: u32, now: SystemTime, chance: f64) -> SystemTime {
    let wait = doubled(Duration::from_secs(1), failures).min(MOST_WANTED);
    now + wait.mul_f64(0.75 + chance / 2.0)
}

/// How long a responder that failed so many times in a row is left alone.
pub fn pause(failures: u32, chance: f64) -> Duration {
    doubled(Duration::from_secs(1), failures)
        .min(MOST_PAUSE)
        .mul_f64(0.75 + chance / 2.0)
}

fn doubled(first: Duration, times: u32) -> Duration {
    first * (1 << times.saturating_sub(1).min(16))
}

fn length(end: SystemTime, start: SystemTime) -> Duration {
    end.duration_since(start).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use super::super::StapleStatus;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn staple(hours: u32) -> Staple {
        Staple {
            der: Arc::from([]),
            this_update: UNIX_EPOCH,
            next_update: UNIX_EPOCH + HOUR * hours,
            status: StapleStatus::Good,
        }
    }

    #[test]
    fn a_staple_is_renewed_between_half_and_six_tenths_of_its_life() {
        let staple = staple(100);
        let fetched = UNIX_EPOCH + HOUR;
        assert_eq!(after_answer(&staple, fetched, 0.0), UNIX_EPOCH + HOUR * 50);
        assert_eq!(after_answer(&staple, fetched, 1.0), UNIX_EPOCH + HOUR * 60);
        assert_eq!(after_start(&staple, fetched, 0.5), UNIX_EPOCH + HOUR * 55);
    }

    #[test]
    fn an_answer_that_is_old_already_is_asked_for_again_ever_sooner_but_not_at_once() {
        let staple = staple(100);
        let mut now = UNIX_EPOCH + HOUR * 61;
        let mut asked = 0;
        while now < staple.next_update {
            let next = after_answer(&staple, now, 0.5);
            assert!(next >= now + LEAST.mul_f64(0.75));
            now = next;
            asked += 1;
        }
        assert!((10..50).contains(&asked), "{asked}");
    }

    #[test]
    fn a_staple_that_claims_to_hold_for_years_is_renewed_within_days() {
        let staple = staple(24 * 365 * 70);
        let now = UNIX_EPOCH + HOUR;
        for chance in [0.0, 1.0] {
            for next in [
                after_answer(&staple, now, chance),
                after_start(&staple, now, chance),
            ] {
                let days = length(next, now).as_secs() / 86_400;
                assert!((3..=4).contains(&days), "{days}");
            }
        }
    }

    #[test]
    fn failures_are_followed_by_ever_longer_waits_that_fit_into_what_is_left() {
        let now = UNIX_EPOCH + HOUR;
        let wait = |failures, staple: Option<&Staple>| {
            length(after_failure(failures, staple, now, 0.5), now)
        };
        assert_eq!(wait(1, None), LEAST);
        assert_eq!(wait(3, None), LEAST * 4);
        assert_eq!(wait(40, None), MOST_WITHOUT);
        assert_eq!(wait(40, Some(&staple(100))), MOST_WITH);
        assert_eq!(wait(40, Some(&staple(2))), HOUR / 4);
        let wanted = |failures| length(after_want(failures, now, 0.5), now);
        assert_eq!(wanted(1), Duration::from_secs(1));
        assert_eq!(wanted(3), Duration::from_secs(4));
        assert_eq!(wanted(40), MOST_WANTED);
        // An ended one is none.
        assert_eq!(wait(40, Some(&staple(1))), MOST_WITHOUT);
        assert_eq!(pause(1, 0.5), Duration::from_secs(1));
        assert_eq!(pause(u32::MAX, 0.5), MOST_PAUSE);
    }
}
