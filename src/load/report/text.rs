//! The report in the terminal.

use std::fmt::Write as _;

use super::units::{bytes, grouped, percent, rate, several, time};
use super::{COLUMNS, Report, Setup};
use crate::load::plan::Protocol;

/// The whole report, with a line break at its end.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {:<13} {}", "target", report.plan.url);
    let _ = writeln!(text, "  {:<13} {}", "plan", plan(&report.plan));
    for (name, value) in facts(report) {
        let _ = writeln!(text, "  {name:<13} {value}");
    }
    latencies(report, &mut text);
    for warning in warnings(report) {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    for unmet in &report.unmet {
        let _ = writeln!(text, "\nfailed: {unmet}");
    }
    text
}

/// What happened, each thing with its name.
pub(super) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let stopped = if report.stopped { ", stopped" } else { "" };
    let operations = format!(
        "{} in {:.2} s{stopped}: {} a second",
        grouped(report.counts.operations),
        report.seconds,
        rate(report.operations_per_second)
    );
    let mut facts = vec![
        ("operations", operations),
        ("handshakes", handshakes(report)),
    ];
    if report.plan.handshake == "early" {
        facts.push(("early data", early(report)));
    }
    if !report.statuses.is_empty() {
        facts.push(("statuses", statuses(report)));
    }
    facts.push(("traffic", traffic(report)));
    facts.push(("errors", errors(report)));
    facts.extend(not_done(report).map(|text| ("not done", text)));
    facts.push(("generator", generator(report)));
    if let Some(server) = &report.server {
        let each = per_operation(server.cpu_us_per_operation);
        let processes = several(server.processes, "process", "processes");
        let text = format!("{each}; process {}, {processes}", server.pid);
        facts.push(("server", text));
    }
    facts
}

/// What was asked for, in a line.
pub(super) fn plan(plan: &Setup) -> String {
    let handshake = &plan.handshake;
    let usage = match plan.per_connection {
        Some(0) => format!("{handshake} handshakes"),
        Some(1) => format!("{handshake} handshakes with a request each"),
        Some(count) => format!(
            "{handshake} handshakes with {} requests each",
            grouped(count)
        ),
        None => "requests on kept connections".into(),
    };
    let mut parts = vec![usage, plan.protocol.clone()];
    parts.push(several(plan.connections, "connection", "connections"));
    if plan.streams > 1 {
        parts.push(format!("{} streams on each", plan.streams));
    }
    let pinned = if plan.pin { ", pinned" } else { "" };
    parts.push(several(plan.threads, "thread", "threads") + pinned);
    if let Some(per_second) = plan.rate {
        parts.push(format!("open loop of {} a second", rate(per_second)));
    }
    if plan.names > 1 {
        parts.push(several(plan.names, "server name", "server names"));
    }
    parts.extend(plan.suites.iter().cloned());
    parts.extend(plan.groups.iter().cloned());
    if !plan.verified {
        parts.push("nothing verified".into());
    }
    parts.join(", ")
}

/// Full and resumed handshakes.
fn handshakes(report: &Report) -> String {
    let counts = &report.counts;
    let mut text = format!(
        "{} full, {} resumed",
        grouped(counts.full),
        grouped(counts.resumed)
    );
    if counts.collecting > 0 {
        let _ = write!(
            text,
            "; {} more only to collect tickets",
            grouped(counts.collecting)
        );
    }
    text
}

/// What became of early data.
fn early(report: &Report) -> String {
    let counts = &report.counts;
    let mut text = format!(
        "{} accepted, {} refused",
        grouped(counts.early_accepted),
        grouped(counts.early_refused)
    );
    // Over QUIC a client cannot tell.
    if report.plan.protocol != Protocol::Http3.as_str() {
        let early = grouped(counts.answered_early);
        text += &format!(", {early} answered before the handshake's end");
    }
    text
}

/// Bytes both ways.
fn traffic(report: &Report) -> String {
    let counts = &report.counts;
    format!(
        "{} sent, {} received, {} of it bodies",
        bytes(counts.sent),
        bytes(counts.received),
        bytes(counts.body)
    )
}

/// Errors, by kind.
fn errors(report: &Report) -> String {
    if report.errors_total == 0 {
        return "none".into();
    }
    let kinds = report.errors_by_count();
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{} {kind}", grouped(*count)))
        .collect();
    let most = time(report.latency.failed.max_us);
    format!(
        "{}: {} (after {most} at most)",
        grouped(report.errors_total),
        kinds.join(", ")
    )
}

/// What should have been done and was not.
fn not_done(report: &Report) -> Option<String> {
    let counts = &report.counts;
    let mut parts = Vec::new();
    if counts.unsent > 0 {
        let count = grouped(counts.unsent);
        parts.push(format!(
            "{count} were due, but no connection was free for them"
        ));
    }
    if counts.abandoned > 0 {
        let count = grouped(counts.abandoned);
        parts.push(format!("{count} under way when the run was stopped"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The generator's own cost.
fn generator(report: &Report) -> String {
    let each = per_operation(report.generator.cpu_us_per_operation);
    let busiest = percent(report.generator.busiest);
    format!("{each}; its busiest thread was on a CPU for {busiest} of the time")
}

/// What a reader of the figures has to know.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.generator.was_the_limit {
        warnings.push(
            "the generator was the limit: a thread of it had no time left, so the server may do \
             better (--threads, or another machine)"
                .into(),
        );
    }
    if report.counts.unsent > 0 {
        warnings.push(
            "the rate was not reached: operations that could not begin are in no latency \
             (more --connections)"
                .into(),
        );
    }
    warnings
}

/// CPU time for each operation.
fn per_operation(micros: Option<f64>) -> String {
    match micros {
        Some(micros) => format!("{} of CPU for each operation", time(micros)),
        None => "no operation to divide its CPU time by".into(),
    }
}

/// Answers by status.
fn statuses(report: &Report) -> String {
    let statuses = report.statuses.iter();
    let parts: Vec<String> = statuses
        .map(|(status, count)| format!("{status}: {}", grouped(*count)))
        .collect();
    parts.join("; ")
}

fn latencies(report: &Report, text: &mut String) {
    let named = report.latency.named();
    if named
        .iter()
        .all(|(_, distribution)| distribution.count == 0)
    {
        return;
    }
    let _ = write!(text, "\n  {:<13}", "latency");
    for column in COLUMNS {
        let _ = write!(text, "{column:>10}");
    }
    text.push('\n');
    for (name, distribution) in named {
        if distribution.count == 0 {
            continue;
        }
        let _ = write!(text, "  {name:<13}");
        for micros in distribution.columns() {
            let _ = write!(text, "{:>10}", time(micros));
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::testing::report;

    fn line(text: &str, begin: &str) -> String {
        let mut lines = text.lines().map(str::trim);
        let found = lines.find(|line| line.starts_with(begin));
        let words = found.unwrap_or_else(|| panic!("{begin} in:\n{text}"));
        let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        words.join(" ")
    }

    #[test]
    fn every_figure_has_its_line() {
        let text = render(&report());
        let shown = |begin: &str| line(&text, begin);
        assert_eq!(
            shown("operations"),
            "operations 3,000 in 3.00 s: 1,000 a second"
        );
        assert_eq!(
            shown("handshakes"),
            "handshakes 0 full, 3,001 resumed; 64 more only to collect tickets"
        );
        assert_eq!(
            shown("early data"),
            "early data 2,990 accepted, 10 refused, 2,980 answered before the handshake's end"
        );
        assert_eq!(shown("statuses"), "statuses 200: 3,000; 503: 1");
        assert_eq!(
            shown("errors"),
            "errors 3: 2 refused, 1 status 503 (after 5.00 ms at most)"
        );
        assert!(shown("generator").starts_with("generator 980 µs of CPU for each operation"));
        assert!(shown("server").starts_with("server 100 µs of CPU for each operation"));
        assert_eq!(shown("latency"), "latency min mean p50 p90 p99 p99.9 max");
        let connect = shown("TCP connect");
        assert!(connect.starts_with("TCP connect 50 µs "), "{connect}");
        assert!(connect.ends_with(" 150 µs"), "{connect}");
        assert!(shown("warning").contains("the generator was the limit"));
        assert!(shown("failed").contains("2990 accepted, 10 refused"));
    }

    #[test]
    fn what_a_client_of_quic_cannot_tell_is_not_shown() {
        let mut report = report();
        report.plan.protocol = "h3".into();
        let text = render(&report);
        let shown = line(&text, "early data");
        assert_eq!(shown, "early data 2,990 accepted, 10 refused");
    }

    #[test]
    fn what_did_not_happen_is_not_shown() {
        let mut report = report();
        report.plan.handshake = "full".into();
        report.statuses.clear();
        report.server = None;
        report.unmet.clear();
        report.generator.was_the_limit = false;
        report.latency.connect.count = 0;
        report.errors_total = 0;
        let text = render(&report);
        for absent in [
            "early data",
            "statuses",
            "server",
            "warning",
            "failed",
            "TCP connect",
        ] {
            assert!(!text.contains(absent), "{absent} in:\n{text}");
        }
        assert_eq!(line(&text, "errors"), "errors none");
    }
}
