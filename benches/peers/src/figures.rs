//! Figures: several rounds become one, with its spread and ratios; goals are held against them.

use serde::Serialize;

use crate::rows::{Row, Unit};

/// The title of the column that ratios refer to.
pub const OURS: &str = "cutwater";
/// The title of the column of the least that is possible.
pub const FLOOR: &str = "floor";
/// The same over QUIC.
const QUIC_FLOOR: &str = "floor, QUIC";
/// The title of the column of the nginx that HTTP/3 is compared with.
const NGINX_QUIC: &str = "nginx, sid";

/// What several rounds gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// In the order of the rounds, in the row's unit.
    pub values: Vec<f64>,
    /// Why there are none, or not all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl Cell {
    /// The quartile on the better side, if there is a value: three quarters of the rounds were no
    /// better. What disturbs a round on a shared machine makes it only worse, so this comes nearer
    /// to what the server costs than the median.
    pub fn figure(&self, unit: Unit) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        if unit.more_is_better() {
            sorted.reverse();
        }
        sorted.get(sorted.len() / 4).copied()
    }

    /// Half of what lies between the least and the largest, in percent of the figure. None of a
    /// single value.
    pub fn spread(&self, unit: Unit) -> Option<f64> {
        if self.values.len() < 2 {
            return None;
        }
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = self
            .values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let figure = self.figure(unit).filter(|figure| *figure > 0.0)?;
        Some((largest - least) / 2.0 / figure * 100.0)
    }
}

/// A row with its cells, in the order of the columns.
#[derive(Clone, Debug)]
pub struct Line {
    pub row: Row,
    /// None: the server does not have this row.
    pub cells: Vec<Option<Cell>>,
}

/// All that was measured.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The servers' names.
    pub columns: Vec<String>,
    pub lines: Vec<Line>,
}

impl Table {
    /// The figure of a row in the column of that name.
    pub fn figure(&self, row: Row, column: &str) -> Option<f64> {
        let column = self.columns.iter().position(|name| name == column)?;
        let line = self.lines.iter().find(|line| line.row == row)?;
        line.cells.get(column)?.as_ref()?.figure(row.unit())
    }

    /// What a column's figure is to ours.
    pub fn ratio(&self, row: Row, column: &str) -> Option<f64> {
        let ours = self.figure(row, OURS).filter(|ours| *ours > 0.0)?;
        Some(self.figure(row, column)? / ours)
    }
}

/// What ours must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// No more than so many times another column's; no less, where more is better.
    Times(f64, &'static str),
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// The goals.
pub const GOALS: [(Row, Goal); 20] = [
    (Row::Full, Goal::Times(1.05, FLOOR)),
    (Row::Resumed, Goal::Times(1.05, FLOOR)),
    (Row::Early, Goal::Times(1.05, FLOOR)),
    (Row::H1, Goal::Times(1.20, FLOOR)),
    (Row::H2, Goal::AtMost(3.5)),
    (Row::ProxiedH1, Goal::Times(0.7, "nginx")),
    (Row::ProxiedH2, Goal::Times(0.8, "nginx")),
    (Row::Download, Goal::AtLeast(3.0)),
    (Row::ProxiedDownload, Goal::AtLeast(2.5)),
    (Row::ProxiedUpload, Goal::AtLeast(2.5)),
    (Row::Idle, Goal::AtMost(5.0)),
    (Row::H3Full, Goal::Times(1.1, QUIC_FLOOR)),
    (Row::H3Full, Goal::Times(1.0, NGINX_QUIC)),
    (Row::H3Resumed, Goal::Times(1.1, QUIC_FLOOR)),
    (Row::H3Resumed, Goal::Times(1.0, NGINX_QUIC)),
    (Row::H3Early, Goal::Times(1.1, QUIC_FLOOR)),
    (Row::H3Early, Goal::Times(1.0, NGINX_QUIC)),
    (Row::H3, Goal::Times(1.0, NGINX_QUIC)),
    (Row::H3Download, Goal::Times(1.3, NGINX_QUIC)),
    (Row::H3Idle, Goal::Times(1.0, NGINX_QUIC)),
];

impl Goal {
    /// Whether it is reached and by how much, in words; None if a figure is missing.
    pub fn check(self, row: Row, table: &Table) -> Option<(bool, String)> {
        let ours = table.figure(row, OURS)?;
        let unit = row.unit().as_str();
        let (reached, text) = match self {
            Self::Times(goal, column) => {
                let times = ours / table.figure(row, column).filter(|other| *other > 0.0)?;
                let (reached, bound) = match row.unit().more_is_better() {
                    true => (times >= goal, "least"),
                    false => (times <= goal, "most"),
                };
                let text = format!("{times:.2} × {column}, at {bound} {goal:.2} ×");
                (reached, text)
            }
            Self::AtMost(most) => (
                ours <= most,
                format!("{} {unit}, at most {most}", number(ours)),
            ),
            Self::AtLeast(least) => (
                ours >= least,
                format!("{} {unit}, at least {least}", number(ours)),
            ),
        };
        Some((reached, text))
    }
}

/// A figure with three digits or so.
pub fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The figure that a load gave: operations or bytes, and the server's CPU time for them.
///
/// # Errors
/// None that could be a figure.
pub fn from_load(unit: Unit, operations: f64, bytes: f64, cpu_seconds: f64) -> Result<f64, String> {
    if operations <= 0.0 {
        return Err("no operation succeeded".into());
    }
    if cpu_seconds <= 0.0 {
        return Err("no CPU time was seen".into());
    }
    Ok(match unit {
        Unit::GigabytesPerSecond => bytes / 1e9 / cpu_seconds,
        _ => cpu_seconds * 1e6 / operations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(values: &[f64]) -> Cell {
        Cell {
            values: values.to_vec(),
            problems: Vec::new(),
        }
    }

    fn table() -> Table {
        Table {
            columns: vec![OURS.into(), FLOOR.into(), "nginx".into()],
            lines: vec![
                Line {
                    row: Row::Full,
                    cells: vec![
                        Some(cell(&[110.0, 104.0, 106.0])),
                        Some(cell(&[100.0])),
                        None,
                    ],
                },
                Line {
                    row: Row::H2,
                    cells: vec![Some(cell(&[4.0, 5.0])), None, Some(cell(&[]))],
                },
                Line {
                    row: Row::Download,
                    cells: vec![Some(cell(&[3.0])), None, Some(cell(&[2.5]))],
                },
            ],
        }
    }

    #[test]
    fn the_figure_is_the_better_quartile() {
        let micros = |values: &[f64]| cell(values).figure(Unit::MicrosPerOperation);
        assert_eq!(micros(&[3.0, 1.0, 2.0]), Some(1.0));
        assert_eq!(micros(&[4.0, 1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(micros(&[]), None);
        let more = cell(&[4.0, 1.0, 2.0, 3.0]).figure(Unit::GigabytesPerSecond);
        assert_eq!(more, Some(3.0));
    }

    #[test]
    fn the_spread_is_half_the_range_in_percent() {
        let spread = |values: &[f64]| cell(values).spread(Unit::Milliseconds);
        assert_eq!(spread(&[100.0, 110.0, 120.0]), Some(10.0));
        assert_eq!(spread(&[1.0]), None);
    }

    #[test]
    fn ratios_are_to_ours() {
        let table = table();
        assert!((table.ratio(Row::Full, FLOOR).expect("a ratio") - 100.0 / 104.0).abs() < 1e-9);
        assert_eq!(table.ratio(Row::Full, "nginx"), None);
        assert_eq!(table.ratio(Row::H2, "nginx"), None);
        assert_eq!(table.ratio(Row::H1, FLOOR), None);
    }

    #[test]
    fn goals_are_held_against_the_figures() {
        let table = table();
        let full = Goal::Times(1.05, FLOOR)
            .check(Row::Full, &table)
            .expect("figures");
        assert_eq!(full, (true, "1.04 × floor, at most 1.05 ×".into()));
        let download = Goal::Times(1.3, "nginx").check(Row::Download, &table);
        assert_eq!(
            download,
            Some((false, "1.20 × nginx, at least 1.30 ×".into()))
        );
        assert!(!Goal::AtMost(3.5).check(Row::H2, &table).expect("figures").0);
        assert!(
            Goal::AtLeast(3.5)
                .check(Row::H2, &table)
                .expect("figures")
                .0
        );
        assert_eq!(Goal::Times(1.0, "nginx").check(Row::Full, &table), None);
    }

    #[test]
    fn a_load_gives_micros_or_gigabytes() {
        let micros = from_load(Unit::MicrosPerOperation, 1000.0, 0.0, 0.1);
        assert_eq!(micros, Ok(100.0));
        let gigabytes = from_load(Unit::GigabytesPerSecond, 300.0, 3e9, 1.0);
        assert_eq!(gigabytes, Ok(3.0));
        assert!(from_load(Unit::Megabytes, 0.0, 0.0, 1.0).is_err());
        assert!(from_load(Unit::Megabytes, 1.0, 0.0, 0.0).is_err());
    }
}
