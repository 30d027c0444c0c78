//! How each tool is called, and how its findings are read.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::{Failure, ToolResult};
use crate::ground::Ground;
use crate::sites::EDGE;

/// The longest that a tool may take, in seconds.
const BOUND: &str = "600";
/// What is said of a tool that hits it.
const LATE: &str = "it did not end in time";

/// testssl.sh: whatever it calls more than information.
pub(super) fn testssl(ground: &dyn Ground, program: Option<&Path>, logs: &Path) -> ToolResult {
    let edge = ground.edge(false);
    let json = logs.join("testssl.json");
    // It refuses to write over what is there.
    let _ = fs::remove_file(&json);
    let program = program.unwrap_or(Path::new("testssl"));
    let mut command = bounded(program);
    command.args([
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "batch",
        "-p",
        "-s",
        "-U",
    ]);
    command
        .args(["--ip", &edge.ip().to_string(), "--jsonfile"])
        .arg(&json);
    command.arg(format!("https://{EDGE}:{}/", edge.port()));
    let text = said(command, &logs.join("testssl.log")).and_then(|_| {
        fs::read_to_string(&json).map_err(|error| format!("it wrote no report: {error}"))
    });
    let said = text_of(Command::new(program).arg("--version"));
    let version = said.as_deref().and_then(|text| after(text, "testssl"));
    result(
        "testssl.sh",
        version,
        text.and_then(|text| read_testssl(&text)),
    )
}

fn read_testssl(text: &str) -> Result<(usize, Vec<Failure>), String> {
    #[derive(Deserialize)]
    struct Finding {
        id: String,
        severity: String,
        finding: String,
    }
    let findings: Vec<Finding> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (good, bad): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|one| matches!(one.severity.as_str(), "OK" | "INFO" | "DEBUG"));
    let failures = bad
        .into_iter()
        .map(|one| Failure::new(&one.id, &one.finding));
    Ok((good.len(), failures.collect()))
}

/// sslyze: facts of its report.
pub(super) fn sslyze(ground: &dyn Ground, program: Option<&Path>, logs: &Path) -> ToolResult {
    let json = logs.join("sslyze.json");
    let mut command = bounded(program.unwrap_or(Path::new("sslyze")));
    let mut out = std::ffi::OsString::from("--json_out=");
    out.push(&json);
    command.arg(out);
    let scans = "--sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --early_data --heartbleed \
                 --openssl_ccs --compression --robot --reneg --mozilla_config=disable";
    command.args(scans.split_whitespace());
    command.args(["--sni", EDGE, &ground.edge(false).to_string()]);
    // What it exits with depends on a profile of Mozilla's, which wants TLS 1.2.
    let text = said(command, &logs.join("sslyze.log")).and_then(|_| {
        fs::read_to_string(&json).map_err(|error| format!("it wrote no report: {error}"))
    });
    let told = text.as_deref().ok().map(serde_json::from_str::<Value>);
    let version =
        told.and_then(|report| Some(report.ok()?.get("sslyze_version")?.as_str()?.into()));
    result("sslyze", version, text.and_then(|text| read_sslyze(&text)))
}

/// What the report is to say of a site that takes TLS 1.3 alone.
fn read_sslyze(text: &str) -> Result<(usize, Vec<Failure>), String> {
    let report: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let scan = report.pointer("/server_scan_results/0/scan_result");
    let scan = scan
        .filter(|scan| scan.is_object())
        .ok_or("it scanned nothing")?;
    let count = |version: &str| {
        let suites = scan.pointer(&format!(
            "/{version}_cipher_suites/result/accepted_cipher_suites"
        ));
        suites
            .and_then(Value::as_array)
            .map(|suites| Value::from(suites.len()))
    };
    let at = |path: &str| scan.pointer(path).cloned();
    let facts = [
        ("ssl_2_0", count("ssl_2_0"), Value::from(0)),
        ("ssl_3_0", count("ssl_3_0"), Value::from(0)),
        ("tls_1_0", count("tls_1_0"), Value::from(0)),
        ("tls_1_1", count("tls_1_1"), Value::from(0)),
        ("tls_1_2", count("tls_1_2"), Value::from(0)),
        ("tls_1_3", count("tls_1_3"), Value::from(3)),
        (
            "heartbleed",
            at("/heartbleed/result/is_vulnerable_to_heartbleed"),
            Value::from(false),
        ),
        (
            "ccs",
            at("/openssl_ccs_injection/result/is_vulnerable_to_ccs_injection"),
            Value::from(false),
        ),
        (
            "compression",
            at("/tls_compression/result/supports_compression"),
            Value::from(false),
        ),
        (
            "robot",
            at("/robot/result/robot_result"),
            Value::from("NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
        ),
        (
            "renegotiation",
            at("/session_renegotiation/result/is_vulnerable_to_client_renegotiation_dos"),
            Value::from(false),
        ),
        (
            "early_data",
            at("/tls_1_3_early_data/result/supports_early_data"),
            Value::from(true),
        ),
    ];
    let (good, bad): (Vec<_>, Vec<_>) = facts
        .into_iter()
        .partition(|(_, found, wanted)| found.as_ref() == Some(wanted));
    let failures = bad.into_iter().map(|(id, found, wanted)| {
        let found = found.map_or_else(|| "nothing".into(), |found| found.to_string());
        Failure::new(id, &format!("{found}, should be {wanted}"))
    });
    Ok((good.len(), failures.collect()))
}

/// h2spec: it knows no server names, so it goes to the listener with a default site.
pub(super) fn h2spec(ground: &dyn Ground, program: Option<&Path>, logs: &Path) -> ToolResult {
    let Some(program) = program else {
        return missing("h2spec", "packaged nowhere; --h2spec FILE");
    };
    let edge = ground.edge(true);
    let mut command = bounded(program);
    command.args([
        "-t",
        "-k",
        "-h",
        &edge.ip().to_string(),
        "-p",
        &edge.port().to_string(),
    ]);
    let text = said(command, &logs.join("h2spec.log"));
    let version = text_of(Command::new(program).arg("--version"));
    let version = version.as_deref().and_then(|text| after(text, "Version:"));
    result(
        "h2spec",
        version,
        text.and_then(|(good, text)| match read_h2spec(&text)? {
            (passed, failures) if !good && failures.is_empty() => {
                Err(format!("it failed behind {passed} checks that passed"))
            }
            read => Ok(read),
        }),
    )
}

/// `✔` and `×` stand before each check, the latter once more in a summary. A check is shown while
/// it lasts, and then overwritten behind a carriage return.
fn read_h2spec(text: &str) -> Result<(usize, Vec<Failure>), String> {
    let lines = || text.split(['\n', '\r']).map(str::trim_start);
    let passed = lines().filter(|line| line.starts_with('✔')).count();
    let mut failures: Vec<Failure> = Vec::new();
    for line in lines() {
        if let Some(what) = line.strip_prefix('×') {
            // `× 1: Sends a frame …`
            let id = what
                .trim()
                .split_once(": ")
                .map_or(what.trim(), |(_, words)| words);
            if !failures.iter().any(|one| one.id == id) {
                failures.push(Failure::new(id, "failed"));
            }
        }
    }
    match passed + failures.len() {
        0 => Err("it checked nothing".into()),
        _ => Ok((passed, failures)),
    }
}

/// What a program prints, if it runs.
pub(super) fn text_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// The first word with a digit at its beginning behind this word: a version.
fn after(text: &str, word: &str) -> Option<String> {
    let mut words = text.split_whitespace().skip_while(|it| *it != word);
    let version = words.find(|it| it.starts_with(|c: char| c.is_ascii_digit()));
    version.map(str::to_owned)
}

pub(super) fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", BOUND]).arg(program);
    command
}

/// Whether it exited with 0, and what it printed, which is kept.
pub(super) fn said(mut command: Command, log: &Path) -> Result<(bool, String), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    fs::write(log, &text).map_err(|error| format!("{}: {error}", log.display()))?;
    match output.status.code() {
        // What `timeout` says of a program that there is not.
        Some(126 | 127) => Err("not installed".into()),
        Some(124 | 137) | None => Err(LATE.into()),
        Some(code) => Ok((code == 0, text)),
    }
}

pub(super) fn result(
    name: &str,
    version: Option<String>,
    found: Result<(usize, Vec<Failure>), String>,
) -> ToolResult {
    let (passed, failures) = found.unwrap_or_else(|why| {
        let whole = format!("{name}, as a whole");
        (0, vec![Failure::new(&whole, &why)])
    });
    ToolResult {
        name: name.into(),
        version,
        passed,
        failures,
        ..ToolResult::default()
    }
}

/// One that was not asked for. One that was, and cannot be run or read, has failed.
pub(super) fn missing(name: &str, why: &str) -> ToolResult {
    ToolResult {
        name: name.into(),
        missing: Some(why.into()),
        ..ToolResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_asked_for_is_missing() {
        for why in ["not installed", "it checked nothing", LATE] {
            let failed = result("h2spec", None, Err(why.into()));
            assert_eq!(failed.missing, None);
            assert_eq!(failed.failures, [Failure::new("h2spec, as a whole", why)]);
        }
        assert!(missing("h2spec", "packaged nowhere").missing.is_some());
    }

    #[test]
    fn testssl_findings_are_failures_by_severity() {
        let text = r#"[{"id": "SSLv2", "severity": "OK", "finding": "not offered", "ip": "x"},
            {"id": "ALPN", "severity": "INFO", "finding": "h2"},
            {"id": "SWEET32", "severity": "LOW", "finding": "vulnerable"}]"#;
        let (passed, failures) = read_testssl(text).unwrap();
        assert_eq!(passed, 2);
        assert_eq!(failures, [Failure::new("SWEET32", "vulnerable")]);
        assert!(read_testssl("").is_err());
    }

    #[test]
    fn sslyze_facts_that_are_absent_are_failures() {
        let text = r#"{"server_scan_results": [{"scan_result": {
            "ssl_2_0_cipher_suites": {"result": {"accepted_cipher_suites": []}},
            "tls_1_3_cipher_suites": {"result": {"accepted_cipher_suites": [1, 2]}}}}]}"#;
        let (passed, failures) = read_sslyze(text).unwrap();
        assert_eq!(passed, 1);
        assert!(failures.contains(&Failure::new("tls_1_3", "2, should be 3")));
        assert!(failures.contains(&Failure::new("heartbleed", "nothing, should be false")));
        let nothing = r#"{"server_scan_results": [{"scan_result": null}]}"#;
        assert!(read_sslyze(nothing).is_err());
    }

    #[test]
    fn a_tool_that_hits_its_bound_fails() {
        let result = result("h2spec", None, Err(LATE.into()));
        assert_eq!(result.missing, None);
        assert_eq!(result.failures, [Failure::new("h2spec, as a whole", LATE)]);
    }

    #[test]
    fn versions_are_found_in_what_tools_print() {
        let banner = "####\n    testssl       3.0.8 from https://testssl.sh/\n";
        assert_eq!(after(banner, "testssl").as_deref(), Some("3.0.8"));
        let version = after("Version: 2.0.0 ((Unknown))", "Version:");
        assert_eq!(version.as_deref(), Some("2.0.0"));
        assert_eq!(after("none", "Version:"), None);
    }

    #[test]
    fn h2spec_failures_count_once() {
        let text = "  1: Sends a PING\r  ✔ 1: Sends a PING\n  × 2: Sends a frame: too large\n\nFailures:\n  × 2: Sends a frame: too large\n";
        let (passed, failures) = read_h2spec(text).unwrap();
        assert_eq!(passed, 1);
        assert_eq!(
            failures,
            [Failure::new("Sends a frame: too large", "failed")]
        );
        assert!(read_h2spec("no connection").is_err());
    }
}
