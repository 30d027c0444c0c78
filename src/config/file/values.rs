//! Values with units and ranges: integers, durations, sizes.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::tree::Value;
use crate::admission::{BadNetwork, Network};

/// Longer durations are slips; and a clock plus this much cannot overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The most of anything that is counted: beyond every machine, far from overflow.
pub(super) const MANY: usize = 1 << 40;

impl Value<'_> {
    /// An integer in `range`.
    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (range.start(), range.end());
        let DeValue::Integer(integer) = self.raw() else {
            self.wrong_type("an integer", &low.to_string());
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                let message = format!("`{}` cannot be {integer}", self.name());
                let hint = match *high {
                    high if high >= MANY as u64 => format!("allowed is {low} or more"),
                    high => format!("allowed are {low} to {high}"),
                };
                self.error(message, hint);
                None
            }
        }
    }

    /// As [`integer`](Self::integer), for counts of what is in memory.
    pub(super) fn count(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let wide = u64::try_from(*range.start()).ok()?..=u64::try_from(*range.end()).ok()?;
        self.integer(wide)
            .and_then(|value| usize::try_from(value).ok())
    }

    /// A list of networks, at least one.
    pub(super) fn networks(&self, example: &str) -> Vec<Network> {
        let list = self.full_list("networks", example).unwrap_or_default();
        list.iter().filter_map(Value::network).collect()
    }

    fn network(&self) -> Option<Network> {
        let text = self.string("10.0.0.0/8")?;
        let error = match text.parse() {
            Ok(network) => return Some(network),
            Err(error) => error,
        };
        let hint = match error {
            BadNetwork::Syntax => {
                "write, for example, \"10.0.0.0/8\" or \"2001:db8::1\"".to_owned()
            }
            BadNetwork::Prefix => "allowed are 0 to 32, or to 128 of IPv6".to_owned(),
            BadNetwork::HostBits(network) => format!("write \"{network}\""),
        };
        self.error(format!("{text:?} is no network: {error}"), hint);
        None
    }

    /// A duration of at least 1 ms.
    pub(super) fn duration(&self) -> Option<Duration> {
        match self.duration_text("\"10s\"")? {
            "off" => {
                let message = format!("`{}` cannot be \"off\"", self.name());
                self.error(message, "it always has an end: write, for example, \"10s\"");
                None
            }
            text => self.parse_duration(text, Duration::from_millis(1)),
        }
    }

    /// A duration, or `"off"`: no limit.
    pub(super) fn duration_or_off(&self) -> Option<Option<Duration>> {
        match self.duration_text("\"10s\" or \"off\"")? {
            "off" => Some(None),
            text => self
                .parse_duration(text, Duration::from_millis(1))
                .map(Some),
        }
    }

    /// A duration that may be zero.
    pub(super) fn duration_or_zero(&self) -> Option<Duration> {
        let text = self.duration_text("\"0s\"")?;
        self.parse_duration(text, Duration::ZERO)
    }

    fn duration_text(&self, example: &str) -> Option<&str> {
        match self.raw() {
            DeValue::String(text) => Some(text),
            _ => {
                self.wrong_type("a duration with its unit", example);
                None
            }
        }
    }

    fn parse_duration(&self, text: &str, least: Duration) -> Option<Duration> {
        const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let name = self.name();
        let Some(millis) = with_unit(text, &UNITS) else {
            let message = format!("`{name}` cannot be {text:?}");
            let hint = "write a number and ms, s, m or h, such as \"500ms\", \"10s\", \"5m\"";
            self.error(message, hint);
            return None;
        };
        let duration = Duration::from_millis(millis);
        if duration < least || duration > LONGEST {
            let message = format!("`{name}` cannot be {text:?}");
            self.error(
                message,
                format!("allowed are {}ms to 8760h", least.as_millis()),
            );
            return None;
        }
        Some(duration)
    }

    /// A size in bytes in `range`: an integer, or a string with a unit.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        const UNITS: [(&str, u64); 7] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1000),
            ("KB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
        ];
        let DeValue::String(text) = self.raw() else {
            return match self.raw() {
                DeValue::Integer(_) => self.integer(range),
                _ => {
                    self.wrong_type("a size", "\"32KiB\"");
                    None
                }
            };
        };
        let value = with_unit(text, &UNITS)
            .or_else(|| with_unit(text, &[("B", 1)]))
            .or_else(|| digits(text));
        match value {
            Some(value) if range.contains(&value) => Some(value),
            Some(_) => {
                let message = format!("`{}` cannot be {text:?}", self.name());
                let (low, high) = (range.start(), range.end());
                self.error(message, format!("allowed are {low} to {high} bytes"));
                None
            }
            None => {
                let message = format!("`{}` cannot be {text:?}", self.name());
                let hint = "write bytes, or a number and KiB, MiB, GiB, kB, MB or GB, such as \
                            \"32KiB\"";
                self.error(message, hint);
                None
            }
        }
    }

    /// A size, or `"off"`: no limit.
    pub(super) fn size_or_off(&self) -> Option<Option<u64>> {
        match self.raw() {
            DeValue::String(text) if text == "off" => Some(None),
            _ => self.size(0..=u64::MAX).map(Some),
        }
    }
}

/// Digits and one of `units`.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units
        .iter()
        .find(|(known, _)| *known == unit.trim_start())?;
    digits(number)?.checked_mul(*factor)
}

fn digits(text: &str) -> Option<u64> {
    let text = text.replace('_', "");
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_exactly_one_unit() {
        let units = [("ms", 1), ("s", 1000)];
        assert_eq!(with_unit("5s", &units), Some(5000));
        assert_eq!(with_unit("1_500 ms", &units), Some(1500));
        for wrong in [
            "",
            "s",
            "5",
            "5x",
            "-5s",
            "5s5s",
            "1.5s",
            "99999999999999999999s",
        ] {
            assert_eq!(with_unit(wrong, &units), None, "{wrong}");
        }
        assert_eq!(with_unit("18446744073709551615s", &units), None);
    }
}
