//! The report as Markdown.

use std::fmt::Write;

use super::{ABSENT, QUIC};
use crate::conformance::{Failure, Found, ToolResult};
use crate::expected::{Outcome, Verdict};
use crate::results::{CellResult, Run, Table};

/// All of it: tables, and a list of what did not pass.
pub(super) fn render(run: &Run, tools: &Found) -> String {
    format!(
        "# Interop report\n\n{}{}",
        render_tables(run, tools),
        render_lists(run)
    )
}

/// What did not pass.
pub(super) fn render_lists(run: &Run) -> String {
    let mut text = String::new();
    for (title, wanted) in [
        (
            "Not as expected",
            (|cell| !cell.verdict.is_good()) as fn(&CellResult) -> bool,
        ),
        ("Expected not to pass", |cell| {
            matches!(cell.verdict, Verdict::Expected(_))
        }),
    ] {
        let cells: Vec<_> = run.cells.iter().filter(|cell| wanted(cell)).collect();
        if cells.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n## {title}\n");
        for cell in cells {
            let CellResult {
                direction,
                peer,
                case,
                log,
                ..
            } = cell;
            let _ = writeln!(
                text,
                "- {direction}, {peer}, [{case}]({log}): {}",
                why(cell)
            );
        }
    }
    text
}

/// The cases of quic-interop-runner: what the run was, and a table for each direction.
pub(super) fn render_quic(run: &Run) -> String {
    let [pass, expected, stale, unexpected] = run.counts();
    let mut text = format!(
        "\n### {QUIC}\n\n{}: Cutwater{}, {}, {} s. {pass} pass, {expected} as expected, {stale} stale, {unexpected} unexpected.\n\n",
        run.date,
        commit(run.commit.as_deref()),
        run.edge,
        run.seconds,
    );
    for found in run.tables() {
        table(&mut text, run, &found, "####");
    }
    for remark in &run.remarks {
        let _ = writeln!(text, "{remark}\n");
    }
    text
}

/// Why a cell is what it is.
pub(super) fn why(cell: &CellResult) -> String {
    let found = match &cell.outcome {
        Outcome::Pass => "pass".to_owned(),
        Outcome::Fail(why) => format!("fail: {why}"),
        Outcome::Unsupported(why) => format!("unsupported: {why}"),
    };
    match &cell.verdict {
        Verdict::Pass | Verdict::Unexpected => found,
        Verdict::Expected(reason) => format!("{reason} ({found})"),
        Verdict::Stale(reason) => format!("stale: expected otherwise ({reason}), found: {found}"),
    }
}

/// The word of a cell in a table.
pub(super) fn word(cell: Option<&CellResult>) -> &'static str {
    let Some(cell) = cell else { return "" };
    match (&cell.verdict, &cell.outcome) {
        (Verdict::Pass, _) => "pass",
        (Verdict::Expected(_), Outcome::Unsupported(_)) => "n/a",
        (Verdict::Expected(_), _) => "known",
        (Verdict::Stale(_), _) => "STALE",
        (Verdict::Unexpected, Outcome::Unsupported(_)) => "UNSUPPORTED",
        (Verdict::Unexpected, _) => "FAIL",
    }
}

/// What the run was, and its tables.
pub(super) fn render_tables(run: &Run, tools: &Found) -> String {
    let [pass, expected, stale, unexpected] = run.counts();
    let mut text = format!(
        "{}: Cutwater {}{}{} in {} on {}, {} s. {pass} pass, {expected} as expected, {stale} stale, {unexpected} unexpected.\n\n",
        run.date,
        run.cutwater,
        commit(run.commit.as_deref()),
        edge(run),
        run.ground,
        run.system,
        run.seconds,
    );
    for found in run.tables() {
        table(&mut text, run, &found, "###");
    }
    text.push_str("pass: both sides say so. n/a: the stack cannot do it or cannot tell. known: fails for a reason that is known.\n");
    let stacks = run.peers.iter().filter_map(|peer| peer.stack.as_deref());
    let stacks: Vec<&str> = stacks.collect();
    if !stacks.is_empty() {
        let _ = writeln!(text, "\nVersions: {}.", stacks.join(", "));
    }
    for remark in run.remarks.iter().map(String::as_str).chain([ABSENT]) {
        let _ = writeln!(text, "\n{remark}");
    }
    if !tools.tools.is_empty() {
        let _ = writeln!(text, "\n### Conformance tools\n\n{}\n", tools_ran(tools));
        for (line, items) in tool_lines(tools) {
            let _ = writeln!(text, "- {line}");
            for item in items {
                let _ = writeln!(text, "  - {item}");
            }
        }
    }
    text
}

fn table(text: &mut String, run: &Run, table: &Table<'_>, marks: &str) {
    let _ = writeln!(text, "{marks} {}\n", table.heading());
    let peers = &table.peers;
    let titles: Vec<&str> = peers.iter().map(|peer| peer.title.as_str()).collect();
    let _ = writeln!(
        text,
        "| | {} |\n|---|{}",
        titles.join(" | "),
        "---|".repeat(titles.len())
    );
    for (case, title) in &table.cases {
        let words = peers
            .iter()
            .map(|peer| word(run.cell(table.direction, &peer.name, case)));
        let _ = writeln!(
            text,
            "| {title} | {} |",
            words.collect::<Vec<_>>().join(" | ")
        );
    }
    text.push('\n');
}

/// When the conformance tools ran, and against what.
pub(super) fn tools_ran(found: &Found) -> String {
    let commit = commit(found.commit.as_deref());
    format!("{}: against Cutwater{commit}, {}.", found.date, found.edge)
}

/// What the conformance tools found: a line for each, and what there is to say of it.
pub(super) fn tool_lines(found: &Found) -> impl Iterator<Item = (String, Vec<String>)> + '_ {
    found.tools.iter().map(|tool| {
        let version = tool.version.as_deref();
        let version = version.map_or_else(String::new, |version| format!(" {version}"));
        if let Some(why) = &tool.missing {
            return (
                format!("{}{version}: did not run: {why}", tool.name),
                Vec::new(),
            );
        }
        let mut line = format!("{}{version}: {} passed", tool.name, tool.passed);
        let mut items = failures(tool);
        items.extend(
            tool.stale
                .iter()
                .map(|it| format!("STALE, accepted and did not occur: {it}")),
        );
        if let Some(scripts) = &tool.scripts {
            let _ = write!(
                line,
                " in {} scripts, of which {} are clean",
                scripts.run, scripts.clean
            );
            for (names, reason) in &scripts.inapplicable {
                items.push(format!("inapplicable: {}: {reason}", names.join(", ")));
            }
        }
        (line, items)
    })
}

/// Failures, those together that say the same and are accepted for the same reason.
fn failures(tool: &ToolResult) -> Vec<String> {
    let mut groups: Vec<(&Failure, Vec<(&str, usize)>)> = Vec::new();
    for failure in &tool.failures {
        let same = |it: &&mut (&Failure, Vec<_>)| {
            failure.conversation.is_some()
                && (&it.0.what, &it.0.accepted) == (&failure.what, &failure.accepted)
        };
        let Some((_, ids)) = groups.iter_mut().find(same) else {
            groups.push((failure, vec![(&failure.id, 1)]));
            continue;
        };
        match ids.iter_mut().find(|(id, _)| *id == failure.id) {
            Some((_, count)) => *count += 1,
            None => ids.push((&failure.id, 1)),
        }
    }
    let told = groups.into_iter().map(|(first, ids)| {
        let counted = |(id, count): (&str, usize)| match first.conversation {
            Some(_) => format!("{id} ({count})"),
            None => id.to_owned(),
        };
        let ids: Vec<String> = ids.into_iter().map(counted).collect();
        let reason = first.accepted.as_deref();
        let reason = reason.map_or_else(|| "NOT ACCEPTED".into(), |it| format!("accepted: {it}"));
        format!("{}: {} ({reason})", ids.join(", "), first.what)
    });
    told.collect()
}

pub(super) fn commit(commit: Option<&str>) -> String {
    commit.map_or_else(String::new, |commit| format!(" ({commit})"))
}

/// What the edge was, if the run tells.
pub(super) fn edge(run: &Run) -> String {
    match run.edge.as_str() {
        "" => String::new(),
        edge => format!(", {edge},"),
    }
}
