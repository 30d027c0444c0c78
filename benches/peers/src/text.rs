//! The table as text and as JSON.

use serde_json::{Value, json};

use crate::figures::{GOALS, OURS, Table, number};

/// What was measured, where, and what is missing.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub table: Table,
    /// Facts about the machine and the run: name, value.
    pub facts: Vec<(String, String)>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// A cell: its figure, spread and ratio to ours.
pub fn cell(table: &Table, line: usize, column: usize) -> String {
    let Some(line) = table.lines.get(line) else {
        return String::new();
    };
    let Some(cell) = line.cells.get(column).and_then(Option::as_ref) else {
        return "·".into();
    };
    let unit = line.row.unit();
    let Some(figure) = cell.figure(unit) else {
        return "failed".into();
    };
    let mut text = number(figure);
    if let Some(spread) = cell.spread(unit) {
        text.push_str(&format!(" ±{spread:.0}%"));
    }
    if let Some(name) = table.columns.get(column).filter(|name| *name != OURS)
        && let Some(ratio) = table.ratio(line.row, name)
    {
        text.push_str(&format!(" {ratio:.2}×"));
    }
    if !cell.problems.is_empty() {
        text.push('!');
    }
    text
}

impl Findings {
    /// What is printed.
    pub fn text(&self) -> String {
        let table = &self.table;
        let mut rows = vec![vec![String::new()]];
        if let Some(first) = rows.first_mut() {
            first.extend(table.columns.iter().cloned());
        }
        for (index, line) in table.lines.iter().enumerate() {
            let mut row = vec![format!(
                "{}, {}",
                line.row.title(),
                line.row.unit().as_str()
            )];
            row.extend((0..table.columns.len()).map(|column| cell(table, index, column)));
            rows.push(row);
        }
        let mut text = String::new();
        for (name, value) in &self.facts {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(
            "better quartile of the rounds, ± half their range, × cutwater's; ! see below\n\n",
        );
        text.push_str(&align(&rows));
        text.push('\n');
        for (row, reached, goal) in self.goals() {
            let mark = if reached { "reached" } else { "MISSED " };
            text.push_str(&format!("{mark}  {row}: {goal}\n"));
        }
        for missing in self.missing.iter().chain(&self.problems()) {
            text.push_str(&format!("missing  {missing}\n"));
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let table = &self.table;
        let rows = table.lines.iter().map(|line| {
            let servers = table.columns.iter().zip(&line.cells);
            let servers = servers.filter_map(|(name, cell)| {
                let cell = cell.as_ref()?;
                Some(json!({
                    "name": name, "values": cell.values, "figure": cell.figure(line.row.unit()),
                    "spread_percent": cell.spread(line.row.unit()), "ratio": table.ratio(line.row, name),
                    "problems": cell.problems,
                }))
            });
            json!({
                "row": line.row.key(), "title": line.row.title(),
                "unit": line.row.unit().as_str(), "servers": servers.collect::<Vec<_>>(),
            })
        });
        let goals = self
            .goals()
            .into_iter()
            .map(|(row, reached, text)| json!({"row": row, "reached": reached, "text": text}));
        json!({
            "facts": self.facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "rows": rows.collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
            "missing": self.missing,
        })
    }

    /// The goals for which there are figures: row, whether it is reached, in words.
    pub fn goals(&self) -> Vec<(&'static str, bool, String)> {
        let checked = GOALS.iter().filter_map(|(row, goal)| {
            let (reached, text) = goal.check(*row, &self.table)?;
            Some((row.title(), reached, text))
        });
        checked.collect()
    }

    /// What the cells say was wrong.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for line in &self.table.lines {
            for (name, cell) in self.table.columns.iter().zip(&line.cells) {
                for problem in cell.iter().flat_map(|cell| &cell.problems) {
                    problems.push(format!("{name}, {}: {problem}", line.row.title()));
                }
            }
        }
        problems.dedup();
        problems
    }
}

/// Columns of equal width: the first to the left, the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if index == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Cell, Line};
    use crate::rows::Row;

    fn findings() -> Findings {
        let cell = |values: &[f64], problem: &str| {
            Some(Cell {
                values: values.to_vec(),
                problems: Vec::from_iter((!problem.is_empty()).then(|| problem.to_owned())),
            })
        };
        Findings {
            table: Table {
                columns: vec!["cutwater".into(), "floor".into(), "other".into()],
                lines: vec![
                    Line {
                        row: Row::Full,
                        cells: vec![cell(&[100.0, 104.0], ""), cell(&[50.0], "two errors"), None],
                    },
                    Line {
                        row: Row::H2,
                        cells: vec![cell(&[4.0], ""), None, cell(&[], "it hangs")],
                    },
                ],
            },
            facts: vec![("machine".into(), "a box".into())],
            missing: vec!["nginx: not found".into()],
        }
    }

    #[test]
    fn a_cell_has_figure_spread_and_ratio() {
        let table = findings().table;
        assert_eq!(cell(&table, 0, 0), "100 ±2%");
        assert_eq!(cell(&table, 0, 1), "50.0 0.50×!");
        assert_eq!(cell(&table, 0, 2), "·");
        assert_eq!(cell(&table, 1, 2), "failed");
    }

    #[test]
    fn the_text_says_what_is_missed_and_missing() {
        let text = findings().text();
        assert!(text.contains("machine: a box"));
        assert!(text.contains("MISSED   full handshake, X25519: 2.00 × floor"));
        assert!(text.contains("missing  nginx: not found"));
        assert!(text.contains("missing  other, request, HTTP/2, 16 × 10 streams: it hangs"));
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("CPU µs "))
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].chars().count(), lines[1].chars().count());
    }

    #[test]
    fn the_json_has_every_value() {
        let json = findings().json();
        assert_eq!(json["rows"][0]["servers"][0]["values"][1], 104.0);
        assert_eq!(json["rows"][0]["servers"][1]["ratio"], 0.5);
        assert_eq!(json["rows"][1]["servers"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["goals"][0]["reached"], false);
    }
}
