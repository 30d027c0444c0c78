//! Runs `cutwater load` and reads what it says.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::figures::from_load;
use crate::lab::LARGE;
use crate::rows::{Load, Row};

/// The generator: where it is and where it runs.
#[derive(Clone, Debug)]
pub struct Generator {
    /// The program.
    pub program: PathBuf,
    /// The core that it stays on.
    pub core: usize,
    /// For its reports.
    pub directory: PathBuf,
    /// How long one load lasts, as it takes it.
    pub duration: String,
    /// What uploads carry.
    pub large: PathBuf,
}

/// What of its report is used.
#[derive(Debug, Deserialize)]
struct Report {
    counts: Counts,
    errors: serde_json::Value,
    server: Option<Server>,
}

#[derive(Debug, Deserialize)]
struct Counts {
    operations: u64,
    full: u64,
    resumed: u64,
    early_accepted: u64,
    body: u64,
}

#[derive(Debug, Deserialize)]
struct Server {
    cpu_seconds: f64,
}

/// One load's figure, and what else should be known.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub value: f64,
    pub problem: Option<String>,
}

impl Generator {
    /// One load of a server: its figure in the row's unit.
    ///
    /// # Errors
    /// What the generator says, if it cannot do it.
    pub fn run(
        &self,
        row: Row,
        load: Load,
        names: &str,
        address: SocketAddr,
        server: u32,
    ) -> io::Result<Outcome> {
        let report = self.directory.join("load.json");
        let _ = fs::remove_file(&report);
        let upload = format!("@{}", self.large.display());
        let upload = ["--method", "POST", "--body", &upload];
        let output = Command::new("taskset")
            .arg("-c")
            .arg(self.core.to_string())
            .arg(&self.program)
            .arg("load")
            .arg(format!(
                "https://bench.test:{}{}",
                address.port(),
                load.path
            ))
            .args([
                "--connect",
                &address.to_string(),
                "--sni",
                names,
                "--insecure",
            ])
            .args([
                "--suites",
                "TLS_AES_128_GCM_SHA256",
                "--duration",
                &self.duration,
            ])
            .args(["--server-pid", &server.to_string()])
            .arg("--json")
            .arg(&report)
            .args(load.arguments)
            .args(upload.iter().filter(|_| load.upload))
            .stdin(Stdio::null())
            .output()?;
        match fs::read_to_string(&report) {
            Ok(text) => outcome(row, &text).map_err(io::Error::other),
            Err(_) => Err(io::Error::other(reason(&output.stderr))),
        }
    }
}

/// The line that tells the error, else the last.
fn reason(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let told = text.lines().find(|line| line.starts_with("error"));
    let line = told.or_else(|| text.lines().rev().find(|line| !line.trim().is_empty()));
    line.unwrap_or("it says nothing").trim().to_owned()
}

/// Reads a report.
fn outcome(row: Row, report: &str) -> Result<Outcome, String> {
    let report: Report = serde_json::from_str(report).map_err(|error| error.to_string())?;
    let cpu = report
        .server
        .ok_or("the report has no CPU time of the server")?
        .cpu_seconds;
    let counts = &report.counts;
    let operations = counts.operations as f64;
    let bytes = match row {
        Row::ProxiedUpload => operations * LARGE as f64,
        _ => counts.body as f64,
    };
    let value = from_load(row.unit(), operations, bytes, cpu)?;
    Ok(Outcome {
        value,
        problem: problem(row, counts, total(&report.errors)),
    })
}

/// The sum of the errors, whatever their kinds.
fn total(errors: &serde_json::Value) -> u64 {
    match errors {
        serde_json::Value::Number(number) => number.as_u64().unwrap_or(0),
        serde_json::Value::Object(kinds) => kinds.values().map(total).sum(),
        _ => 0,
    }
}

/// Why the figure is not of what the row says.
fn problem(row: Row, counts: &Counts, errors: u64) -> Option<String> {
    let Counts {
        operations,
        full,
        resumed,
        early_accepted,
        ..
    } = counts;
    if errors > 0 {
        return Some(format!("{errors} errors beside {operations} operations"));
    }
    match row {
        Row::Resumed | Row::Early | Row::H3Resumed | Row::H3Early if full * 100 > *resumed => {
            Some(format!("{full} handshakes were full, {resumed} resumed"))
        }
        Row::Early | Row::H3Early if early_accepted * 100 < operations * 99 => Some(format!(
            "{early_accepted} of {operations} accepted as early data"
        )),
        Row::Download | Row::ProxiedDownload | Row::H3Download
            if counts.body < operations * LARGE =>
        {
            Some("the answers are not 10 MB".into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(operations: u64, full: u64, early: u64, errors: &str) -> String {
        format!(
            r#"{{"counts":{{"operations":{operations},"full":{full},"resumed":{operations},
            "early_accepted":{early},"body":0,"more":1}},"errors":{errors},"server":{{"cpu_seconds":0.5}}}}"#
        )
    }

    #[test]
    fn a_report_gives_micros_for_each_operation() {
        let outcome = outcome(Row::Resumed, &report(5000, 0, 0, "{}")).expect("a report");
        assert_eq!(outcome.value, 100.0);
        assert_eq!(outcome.problem, None);
    }

    #[test]
    fn an_upload_counts_what_was_sent() {
        let outcome = outcome(Row::ProxiedUpload, &report(100, 0, 0, "{}")).expect("a report");
        assert_eq!(outcome.value, 2.0);
        assert_eq!(outcome.problem, None);
    }

    #[test]
    fn figures_of_something_else_are_marked() {
        let full = outcome(Row::Resumed, &report(100, 50, 0, "{}")).expect("a report");
        assert!(
            full.problem
                .expect("a problem")
                .contains("50 handshakes were full")
        );
        let refused = outcome(Row::Early, &report(100, 0, 3, "{}")).expect("a report");
        assert!(refused.problem.expect("a problem").contains("3 of 100"));
        let errors = report(100, 0, 100, r#"{"reset":2,"status":{"503":1}}"#);
        let failed = outcome(Row::Early, &errors).expect("a report");
        assert!(failed.problem.expect("a problem").contains("3 errors"));
    }

    #[test]
    fn a_report_without_the_servers_time_is_an_error() {
        let text = r#"{"counts":{"operations":1,"full":0,"resumed":0,"early_accepted":0,"body":0},"errors":{}}"#;
        assert!(
            outcome(Row::Full, text)
                .unwrap_err()
                .contains("no CPU time")
        );
        assert!(outcome(Row::Full, "{").is_err());
    }
}
