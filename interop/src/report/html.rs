//! The report as one page that needs nothing else.

use std::fmt::Write;

use super::markdown::{commit, edge, tool_lines, tools_ran, why, word};
use super::{ABSENT, QUIC};
use crate::cases::Direction;
use crate::conformance::Found;
use crate::results::{Run, Table};

/// What the ids of cells of quic-interop-runner begin with: both kinds may have the same names.
const OVER_QUIC: &str = "quic-";

/// The page; `log` gives a cell's log by its name.
pub(super) fn render(
    run: &Run,
    tools: &Found,
    quic: Option<&Run>,
    log: impl Fn(&str) -> String,
) -> String {
    let [pass, expected, stale, unexpected] = run.counts();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Cutwater interop, {date}</title>\n\
         <style>\n{css}</style>\n<h1>Cutwater and other TLS stacks</h1>\n\
         <p>{date}. Cutwater {version}{commit}{edge} in {ground}, {system}, {seconds} s.\n\
         <p class=\"counts\"><b class=\"pass\">{pass} pass</b> <b class=\"known\">{expected} as expected</b> \
         <b class=\"stale\">{stale} stale</b> <b class=\"fail\">{unexpected} unexpected</b>\n",
        css = include_str!("page.css"),
        date = escape(&run.date),
        version = escape(&run.cutwater),
        commit = escape(&commit(run.commit.as_deref())),
        edge = escape(&edge(run)),
        ground = escape(&run.ground),
        system = escape(&run.system),
        seconds = run.seconds,
    );
    for found in run.tables() {
        table(&mut page, run, &found, "");
    }
    page.push_str(
        "<p>pass: both sides say so. n/a: the stack cannot do it or cannot tell. \
         known: fails for a reason that is known. Click a cell for what was looked at.\n<h2>Versions</h2>\n<ul>\n",
    );
    for peer in &run.peers {
        let stack = peer.stack.as_deref().unwrap_or("did not say");
        let _ = writeln!(page, "<li>{}: {}", escape(&peer.title), escape(stack));
    }
    page.push_str("</ul>\n");
    for remark in run.remarks.iter().map(String::as_str).chain([ABSENT]) {
        let _ = writeln!(page, "<p>{}", escape(remark));
    }
    if let Some(quic) = quic {
        let commit = escape(&commit(quic.commit.as_deref()));
        let _ = writeln!(
            page,
            "<h2>{QUIC}</h2>\n<p>{}: Cutwater{commit}.",
            escape(&quic.date)
        );
        for found in quic.tables() {
            table(&mut page, quic, &found, OVER_QUIC);
        }
    }
    if !tools.tools.is_empty() {
        let ran = escape(&tools_ran(tools));
        let _ = writeln!(page, "<h2>Conformance tools</h2>\n<p>{ran}\n<ul>");
        for (line, items) in tool_lines(tools) {
            let _ = writeln!(page, "<li>{}\n<ul>", escape(&line));
            for item in items {
                let _ = writeln!(page, "<li>{}", escape(&item));
            }
            page.push_str("</ul>\n");
        }
        page.push_str("</ul>\n");
    }
    page.push_str("<h2>Cells</h2>\n<p class=\"hint\">A cell that was clicked is shown here.\n");
    let cells = run.cells.iter().map(|cell| ("", cell));
    let further = quic
        .iter()
        .flat_map(|quic| &quic.cells)
        .map(|cell| (OVER_QUIC, cell));
    for (of, cell) in cells.chain(further) {
        let id = id(of, cell.direction, &cell.peer, &cell.case);
        let _ = writeln!(
            page,
            "<section id=\"{id}\">\n<h3>{}: {}, {} <a href=\"#top\">close</a></h3>\n<p>{} ({} ms)\n<pre>{}</pre>\n</section>",
            cell.direction,
            escape(&cell.peer),
            escape(&cell.case),
            escape(&why(cell)),
            cell.milliseconds,
            escape(&log(&cell.log)),
        );
    }
    page
}

fn table(page: &mut String, run: &Run, table: &Table<'_>, of: &str) {
    let _ = writeln!(
        page,
        "<h2>{}</h2>\n<div class=\"wide\"><table>\n<tr><th>",
        table.heading()
    );
    for peer in &table.peers {
        let stack = peer.stack.as_deref().unwrap_or(&peer.title);
        let _ = write!(
            page,
            "<th scope=\"col\" title=\"{}\">{}",
            escape(stack),
            escape(&peer.title)
        );
    }
    for (case, title) in &table.cases {
        let _ = write!(
            page,
            "\n<tr><th scope=\"row\" title=\"{}\">{}",
            escape(case),
            escape(title)
        );
        for peer in &table.peers {
            let cell = run.cell(table.direction, &peer.name, case);
            let word = word(cell);
            let class = match word {
                "pass" | "known" => word,
                "n/a" => "na",
                "STALE" => "stale",
                "" => "",
                _ => "fail",
            };
            let Some(cell) = cell else {
                page.push_str("<td>");
                continue;
            };
            let _ = write!(
                page,
                "<td class=\"{class}\"><a href=\"#{}\" title=\"{}\">{word}</a>",
                id(of, table.direction, &peer.name, case),
                escape(&why(cell)),
            );
        }
    }
    page.push_str("\n</table></div>\n");
}

fn id(of: &str, direction: Direction, peer: &str, case: &str) -> String {
    format!("{of}{direction}-{peer}-{case}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::conformance::{Failure, Scripts, ToolResult};
    use crate::expected::{Outcome, Verdict};
    use crate::report::markdown;
    use crate::results::{CellResult, PeerVersion};

    /// A run with one cell of each verdict.
    pub(in crate::report) fn run() -> Run {
        let cell = |case: &str, outcome, verdict| CellResult {
            direction: Direction::Clients,
            peer: "a".into(),
            case: case.into(),
            outcome,
            verdict,
            milliseconds: 5,
            log: format!("cells/{case}.log"),
        };
        let fail = || Outcome::Fail("status <404>".into());
        let cells = vec![
            cell("full", Outcome::Pass, Verdict::Pass),
            cell("h3-full", Outcome::Pass, Verdict::Pass),
            cell("tickets", fail(), Verdict::Unexpected),
            cell(
                "early",
                Outcome::Unsupported("none".into()),
                Verdict::Expected("no 0-RTT".into()),
            ),
            cell("close", Outcome::Pass, Verdict::Stale("a bug".into())),
            cell("known", fail(), Verdict::Expected("a bug of theirs".into())),
        ];
        let names = cells
            .iter()
            .map(|cell| (cell.case.clone(), format!("case {}", cell.case)));
        Run {
            date: "2026-01-31 12:00 UTC".into(),
            seconds: 9,
            cutwater: "0.1.0".into(),
            commit: Some("abc".into()),
            edge: "image e (sha256:1)".into(),
            ground: "Docker 1".into(),
            system: "Linux".into(),
            peers: vec![PeerVersion {
                name: "a".into(),
                title: "A & B".into(),
                stack: Some("A 1.2".into()),
            }],
            cases: BTreeMap::from([(Direction::Clients, names.collect())]),
            cells,
            remarks: vec!["C was not tried".into()],
            good: false,
            whole: true,
        }
    }

    pub(in crate::report) fn tools() -> Found {
        let failure = |id: &str, conversation: Option<&str>, accepted: Option<&str>| Failure {
            conversation: conversation.map(str::to_owned),
            accepted: accepted.map(str::to_owned),
            ..Failure::new(id, "bad")
        };
        let checks = vec![failure("x", None, Some("known")), failure("y", None, None)];
        let conversations = vec![
            failure("a.py", Some("one"), Some("known")),
            failure("a.py", Some("two"), Some("known")),
            failure("a.py", Some("three"), None),
            failure("b.py", Some("one"), Some("known")),
        ];
        let scripts = Scripts {
            run: 5,
            clean: 3,
            inapplicable: vec![(vec!["c.py".into(), "d.py".into()], "not built".into())],
        };
        Found {
            date: "2026-01-30 12:00 UTC".into(),
            commit: Some("abd".into()),
            edge: "image e".into(),
            tools: vec![
                ToolResult {
                    name: "t".into(),
                    version: Some("3.1".into()),
                    passed: 3,
                    failures: checks,
                    ..ToolResult::default()
                },
                ToolResult {
                    name: "u".into(),
                    passed: 90,
                    failures: conversations,
                    stale: vec!["b.py, four: bad".into()],
                    scripts: Some(scripts),
                    ..ToolResult::default()
                },
            ],
        }
    }

    #[test]
    fn every_cell_has_its_word_and_its_log() {
        let page = render(&run(), &Found::default(), None, |name| {
            format!("the log of {name} & more")
        });
        for part in [
            "<td class=\"pass\"><a href=\"#clients-a-full\" title=\"pass\">pass</a>",
            "<td class=\"fail\"><a href=\"#clients-a-tickets\" title=\"fail: status &lt;404&gt;\">FAIL</a>",
            ">n/a</a>",
            ">STALE</a>",
            ">known</a>",
            "<section id=\"clients-a-full\">",
            "the log of cells/full.log &amp; more",
            "A &amp; B",
            "A 1.2",
            "C was not tried",
            "prefers-color-scheme",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "needs nothing else"
        );
    }

    #[test]
    fn the_text_lists_what_did_not_pass_with_reasons() {
        let text = markdown::render(&run(), &tools());
        for part in [
            "### Their clients, our edge\n\n| | A & B |\n|---|---|\n| case full | pass |",
            "### Their clients, our edge: HTTP/3\n\n| | A & B |\n|---|---|\n| case h3-full | pass |\n",
            "| case tickets | FAIL |",
            "2 pass, 2 as expected, 1 stale, 1 unexpected",
            "- clients, a, [tickets](cells/tickets.log): fail: status <404>",
            "- clients, a, [early](cells/early.log): no 0-RTT (unsupported: none)",
            "stale: expected otherwise (a bug), found: pass",
            "Versions: A 1.2.",
            "Cutwater 0.1.0 (abc), image e (sha256:1), in Docker 1",
            "2026-01-30 12:00 UTC: against Cutwater (abd), image e.",
            "- t 3.1: 3 passed\n  - x: bad (accepted: known)\n  - y: bad (NOT ACCEPTED)\n",
            "- u: 90 passed in 5 scripts, of which 3 are clean\n",
            "  - a.py (2), b.py (1): bad (accepted: known)\n  - a.py (1): bad (NOT ACCEPTED)\n",
            "  - STALE, accepted and did not occur: b.py, four: bad\n",
            "  - inapplicable: c.py, d.py: not built\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let written = serde_json::to_string(&run()).unwrap();
        let read: Run = serde_json::from_str(&written).unwrap();
        assert_eq!(
            render(&read, &Found::default(), None, |_| String::new()),
            render(&run(), &Found::default(), None, |_| String::new())
        );
    }
}
