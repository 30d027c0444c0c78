//! Numbers for people.

/// Microseconds, to three digits: `812 µs`, `1.23 ms`, `2.01 s`.
pub(super) fn time(micros: f64) -> String {
    match micros {
        // Nothing finer than a microsecond was measured; only a mean has decimals.
        us if us < 999.5 && us == us.trunc() => format!("{us:.0} µs"),
        us if us < 999.5 => format!("{} µs", digits(us)),
        us if us < 999_500.0 => format!("{} ms", digits(us / 1e3)),
        us => format!("{} s", digits(us / 1e6)),
    }
}

/// Bytes, to three digits: `812 B`, `1.23 MB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < units.len() {
        size /= 1e3;
        unit += 1;
    }
    match units.get(unit) {
        Some(unit) if size >= 1e3 || *unit == "B" => format!("{size:.0} {unit}"),
        Some(unit) => format!("{} {unit}", digits(size)),
        None => format!("{count} B"),
    }
}

/// A rate: whole where it is large.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".into(),
        some if some >= 99.95 => grouped(some.round() as u64),
        few => format!("{few:.1}"),
    }
}

/// A count with its thousands apart: `1,234,567`.
pub(super) fn grouped(count: u64) -> String {
    let plain = count.to_string();
    let mut shown = String::with_capacity(plain.len() + plain.len() / 3);
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `1 thread`, `2 threads`.
pub(super) fn several(count: usize, one: &str, many: &str) -> String {
    let what = if count == 1 { one } else { many };
    format!("{} {what}", grouped(count as u64))
}

/// Three digits.
fn digits(number: f64) -> String {
    match number {
        n if n >= 99.95 => format!("{n:.0}"),
        n if n >= 9.995 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_their_unit() {
        let shown: Vec<String> = [0.0, 1.0, 12.34, 999.4, 999.6, 1_234.0, 999_600.0, 75e6]
            .into_iter()
            .map(time)
            .collect();
        let expected = [
            "0 µs", "1 µs", "12.3 µs", "999 µs", "1.00 ms", "1.23 ms", "1.00 s", "75.0 s",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn counts_and_sizes_can_be_read() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(1_234_000), "1.23 MB");
        assert_eq!(bytes(u64::MAX), "18446744 TB");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(rate(12_345.6), "12,346");
        assert_eq!(several(1, "thread", "threads"), "1 thread");
        assert_eq!(several(2, "thread", "threads"), "2 threads");
    }
}
