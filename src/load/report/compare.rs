//! `--compare A.json B.json`: two runs beside each other.

use std::fmt::Write as _;

use super::units::{grouped, rate, time};
use super::{COLUMNS, Report};

/// How a figure is shown.
#[derive(Clone, Copy)]
enum Unit {
    Rate,
    Count,
    Micros,
}

struct Row {
    name: String,
    unit: Unit,
    a: Option<f64>,
    b: Option<f64>,
}

/// A table of the figures that both have, with the ratio of the second to the first. What was
/// asked for stands above it; where that differs, it says so.
pub fn render(a: &Report, b: &Report) -> String {
    let mut text = String::new();
    for (letter, report) in [("A", a), ("B", b)] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{letter}  {}", report.plan.url);
        let _ = writeln!(text, "   {}", super::text::plan(&report.plan));
    }
    let _ = writeln!(text, "\n{:<34}{:>12}{:>12}{:>9}", "", "A", "B", "B / A");
    for row in rows(a, b) {
        let (Some(first), Some(second)) = (row.a, row.b) else {
            continue;
        };
        if first == 0.0 && second == 0.0 {
            continue;
        }
        let _ = writeln!(
            text,
            "{:<34}{:>12}{:>12}{:>9}",
            row.name,
            row.unit.show(first),
            row.unit.show(second),
            ratio(first, second)
        );
    }
    text
}

impl Unit {
    fn show(self, number: f64) -> String {
        match self {
            Self::Rate => rate(number),
            Self::Count => grouped(number as u64),
            Self::Micros => time(number),
        }
    }
}

fn ratio(a: f64, b: f64) -> String {
    if a == 0.0 {
        "–".into()
    } else {
        format!("{:.3}", b / a)
    }
}

fn rows(a: &Report, b: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: &str, unit: Unit, figure: &dyn Fn(&Report) -> Option<f64>| {
        rows.push(Row {
            name: name.into(),
            unit,
            a: figure(a),
            b: figure(b),
        });
    };
    row("operations per second", Unit::Rate, &|it| {
        Some(it.operations_per_second)
    });
    row("server CPU per operation", Unit::Micros, &|it| {
        it.server.as_ref()?.cpu_us_per_operation
    });
    row("generator CPU per operation", Unit::Micros, &|it| {
        it.generator.cpu_us_per_operation
    });
    row("operations", Unit::Count, &|it| {
        Some(it.counts.operations as f64)
    });
    row("full handshakes", Unit::Count, &|it| {
        Some(it.counts.full as f64)
    });
    row("resumed handshakes", Unit::Count, &|it| {
        Some(it.counts.resumed as f64)
    });
    row("early data accepted", Unit::Count, &|it| {
        Some(it.counts.early_accepted as f64)
    });
    row("errors", Unit::Count, &|it| Some(it.errors_total as f64));
    for (kind, (name, _)) in a.latency.named().iter().enumerate() {
        for (place, column) in COLUMNS.iter().enumerate() {
            row(&format!("{name} {column}"), Unit::Micros, &|it| {
                let named = it.latency.named();
                let (_, distribution) = named.get(kind)?;
                let measured = distribution.count > 0;
                let figure = *distribution.columns().get(place)?;
                measured.then_some(figure)
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::testing::report;

    #[test]
    fn ratios_are_of_the_second_to_the_first() {
        let a = report();
        let mut b = report();
        b.operations_per_second = 1_500.0;
        b.latency.total.p99_us *= 2.0;
        b.latency.connect.count = 0;
        let text = render(&a, &b);
        let line = |begin: &str| {
            let found = text.lines().find(|line| line.starts_with(begin));
            let words = found.unwrap_or_else(|| panic!("{begin} in:\n{text}"));
            words
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(line("operations per second").ends_with(&[
            "1,000".into(),
            "1,500".into(),
            "1.500".into()
        ]));
        assert_eq!(line("total p99 ").last().unwrap(), "2.000");
        assert_eq!(line("server CPU").last().unwrap(), "1.000");
        assert!(!text.contains("full handshakes "), "both are zero:\n{text}");
        assert!(!text.contains("TCP connect"), "one has none:\n{text}");
    }
}
