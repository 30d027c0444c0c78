//! The table as one self-contained page: bars for each row, readable in light and dark.

use crate::figures::number;
use crate::text::{Findings, cell};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d0d7de; --bar: #8c959f; --ours: #0a6cbd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --bar: #6e7681; --ours: #58a6ff; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(21rem, 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
rect { fill: var(--bar); } rect.ours { fill: var(--ours); }
";
/// Of a chart, in its own units.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 70.0;
const STEP: usize = 22;

/// The page.
pub fn page(findings: &Findings) -> String {
    let table = &findings.table;
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Side by side</title><style>{STYLE}</style></head><body>\n<h1>Side by side</h1>\n<p>"
    );
    for (name, value) in &findings.facts {
        html.push_str(&format!("{}: {}<br>\n", escape(name), escape(value)));
    }
    html.push_str("Median of the rounds, ± half their range, × cutwater's.</p>\n");
    html.push_str("<div class=\"scroll\"><table><thead><tr><th></th>");
    for column in &table.columns {
        html.push_str(&format!("<th>{}</th>", escape(column)));
    }
    html.push_str("</tr></thead><tbody>\n");
    for (index, line) in table.lines.iter().enumerate() {
        let title = format!("{}, {}", line.row.title(), line.row.unit().as_str());
        html.push_str(&format!("<tr><td>{}</td>", escape(&title)));
        for column in 0..table.columns.len() {
            html.push_str(&format!("<td>{}</td>", escape(&cell(table, index, column))));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n<h2>Goals</h2><ul>\n");
    for (row, reached, text) in findings.goals() {
        let mark = if reached { "✓" } else { "✗" };
        html.push_str(&format!(
            "<li>{mark} {}: {}</li>\n",
            escape(row),
            escape(&text)
        ));
    }
    html.push_str("</ul>\n<div class=\"charts\">\n");
    for index in 0..table.lines.len() {
        html.push_str(&chart(findings, index));
    }
    html.push_str("</div>\n");
    let missing: Vec<_> = findings
        .missing
        .iter()
        .cloned()
        .chain(findings.problems())
        .collect();
    if !missing.is_empty() {
        html.push_str("<h2>Missing</h2><ul>\n");
        for one in &missing {
            html.push_str(&format!("<li>{}</li>\n", escape(one)));
        }
        html.push_str("</ul>\n");
    }
    html.push_str("</body></html>\n");
    html
}

/// A row's bars.
fn chart(findings: &Findings, index: usize) -> String {
    let table = &findings.table;
    let Some(line) = table.lines.get(index) else {
        return String::new();
    };
    let bars: Vec<(&str, f64)> = table
        .columns
        .iter()
        .zip(&line.cells)
        .filter_map(|(name, cell)| Some((name.as_str(), cell.as_ref()?.figure(line.row.unit())?)))
        .collect();
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let title = format!("{}, {}", line.row.title(), line.row.unit().as_str());
    let mut svg = format!(
        "<figure><figcaption>{0}</figcaption><svg viewBox=\"0 0 {WIDTH} {1}\" role=\"img\" aria-label=\"{0}\">\n",
        escape(&title),
        bars.len() * STEP
    );
    for (place, (name, value)) in bars.iter().enumerate() {
        let top = place * STEP;
        let length = value / most * (WIDTH - LEFT - RIGHT);
        let class = if name.starts_with(crate::figures::OURS) {
            " class=\"ours\""
        } else {
            ""
        };
        svg.push_str(&format!(
            "<text x=\"0\" y=\"{}\">{}</text><rect{class} x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"16\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}</text>\n",
            top + 14,
            escape(name),
            top + 2,
            LEFT + length + 6.0,
            top + 14,
            number(*value),
        ));
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Cell, Line, Table};
    use crate::rows::Row;

    #[test]
    fn the_page_has_a_bar_for_each_figure_and_loads_nothing() {
        let cell = |value: f64| {
            Some(Cell {
                values: vec![value],
                problems: Vec::new(),
            })
        };
        let findings = Findings {
            table: Table {
                columns: vec!["cutwater".into(), "a<b".into(), "none".into()],
                lines: vec![Line {
                    row: Row::Full,
                    cells: vec![cell(2.0), cell(4.0), None],
                }],
            },
            facts: Vec::new(),
            missing: vec!["c: \"gone\"".into()],
        };
        let page = page(&findings);
        assert_eq!(page.matches("<rect").count(), 2);
        assert!(page.contains("a&lt;b") && !page.contains("a<b"));
        assert!(page.contains("c: &quot;gone&quot;"));
        assert!(!page.contains("http") && !page.contains("<script"));
    }
}
