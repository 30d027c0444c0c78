//! Times and durations as they stand in log lines.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serializer;

/// Displays a time as RFC 3339 in UTC with milliseconds: `2026-11-21T20:31:45.123Z`.
///
/// Times before 1970 are shown as 1970-01-01.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = seconds % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60,
            since.subsec_millis(),
        )
    }
}

/// The Gregorian date of a number of days since 1970-01-01, by Howard Hinnant's
/// `civil_from_days`: years begin in March, so that the leap day is the last of its year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// For `#[serde(serialize_with)]`: a time as [`Rfc3339`].
pub(super) fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Rfc3339(*time))
}

/// For `#[serde(serialize_with)]`: milliseconds, to the microsecond.
pub(super) fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let micros = u32::try_from(duration.as_micros()).map_or(f64::MAX, f64::from);
    if micros == f64::MAX {
        // Above 71 minutes microseconds say nothing.
        return serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }
    serializer.serialize_f64(micros / 1_000.0)
}

/// For `#[serde(serialize_with)]`: [`millis`] or `null`.
pub(super) fn optional_millis<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => millis(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(millis: u64) -> String {
        Rfc3339(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
    }

    #[test]
    fn times_are_shown_as_rfc_3339_in_utc() {
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(shown(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(shown(1_709_164_800_007), "2024-02-29T00:00:00.007Z");
        assert_eq!(shown(1_735_689_599_000), "2024-12-31T23:59:59.000Z");
        assert_eq!(shown(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_time_before_1970_is_shown_as_its_start() {
        let early = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Rfc3339(early).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
