//! Conformance tools against the edge: testssl.sh, sslyze, and by path h2spec and tlsfuzzer. And
//! `cutwater inspect`, held against sslyze.

mod inspect;
mod settings;
mod tlsfuzzer;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::settings::Settings;
use crate::ground::Ground;
use crate::lab::Lab;
use crate::{plan, report, stop};

/// The file in which results are kept, beside the report.
pub const FILE: &str = "conformance.json";

/// Where the tools are; `None`: as installed, or not run.
#[derive(Debug, Default)]
pub struct Tools {
    /// testssl.sh.
    pub testssl: Option<PathBuf>,
    /// sslyze.
    pub sslyze: Option<PathBuf>,
    /// h2spec.
    pub h2spec: Option<PathBuf>,
    /// The directory of tlsfuzzer, with `scripts/`.
    pub tlsfuzzer: Option<PathBuf>,
}

/// What the tools found last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// When they ran: `2026-01-31 12:00 UTC`.
    pub date: String,
    /// The commit that they ran against, if that is known.
    pub commit: Option<String>,
    /// What the edge was.
    pub edge: String,
    /// What each came to.
    pub tools: Vec<ToolResult>,
}

/// What a tool came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolResult {
    /// Its name.
    pub name: String,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// Why it did not run.
    pub missing: Option<String>,
    /// Checks that passed; of tlsfuzzer: conversations.
    pub passed: usize,
    /// Those that did not.
    pub failures: Vec<Failure>,
    /// What is accepted, and did not occur.
    pub stale: Vec<String>,
    /// Of tlsfuzzer.
    pub scripts: Option<Scripts>,
}

/// What became of tlsfuzzer's scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripts {
    /// How many were run.
    pub run: usize,
    /// In how many of those every conversation passed.
    pub clean: usize,
    /// Those that were not run, and why.
    pub inapplicable: Vec<(Vec<String>, String)>,
}

/// A check that did not pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// What the tool calls it; of tlsfuzzer: the script.
    pub id: String,
    /// Of tlsfuzzer: the conversation, unless all of the script failed.
    pub conversation: Option<String>,
    /// What the tool says.
    pub what: String,
    /// Why that is accepted.
    pub accepted: Option<String>,
}

impl Failure {
    /// One that nobody has looked at.
    pub fn new(id: &str, what: &str) -> Self {
        Self {
            id: id.into(),
            what: what.into(),
            ..Self::default()
        }
    }
}

/// Runs them and writes what they found; whether every failure is accepted, and all that is accepted
/// occurred. testssl.sh and sslyze have to be there.
///
/// # Errors
/// The edge does not start, results cannot be written, or a signal came: then none are written.
pub fn run(
    ground: &dyn Ground,
    directory: &Path,
    interop: &Path,
    tools: &Tools,
    commit: Option<String>,
    output: &Path,
) -> Result<bool, String> {
    let file = interop.join("conformance.toml");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let settings =
        Settings::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let logs = output.join("conformance");
    fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;

    let _lab = Lab::start(ground, directory, None)?;
    let (date, edge) = (plan::date(), ground.describe_edge());
    let sslyze = tools.sslyze.as_deref();
    let each: [&dyn Fn() -> ToolResult; 5] = [
        &|| tools::testssl(ground, tools.testssl.as_deref(), &logs),
        &|| tools::sslyze(ground, sslyze, &logs),
        &|| inspect::run(ground, sslyze, &logs),
        &|| tools::h2spec(ground, tools.h2spec.as_deref(), &logs),
        &|| tlsfuzzer::run(ground, tools.tlsfuzzer.as_deref(), &settings, &logs),
    ];
    let mut results = one_by_one(&each, stop::check)?;
    let mut good = true;
    for result in &mut results {
        settings.judge(result);
        good &= told(result);
    }
    let found = Found {
        date,
        commit,
        edge,
        tools: results,
    };
    let json = serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?;
    let file = output.join(FILE);
    fs::write(&file, json).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(good)
}

/// What each tool comes to, unless a signal ends it all: what was found by then is no result.
fn one_by_one(
    tools: &[&dyn Fn() -> ToolResult],
    check: impl Fn() -> Result<(), String>,
) -> Result<Vec<ToolResult>, String> {
    let each = tools.iter().map(|tool| {
        let result = tool();
        check().map(|()| result)
    });
    each.collect()
}

/// Tells of a result on standard error; whether it is in order.
fn told(result: &ToolResult) -> bool {
    if let Some(why) = &result.missing {
        eprintln!("{:10} did not run: {why}", result.name);
        return !["testssl.sh", "sslyze", "inspect"].contains(&result.name.as_str());
    }
    let open: Vec<_> = result
        .failures
        .iter()
        .filter(|one| one.accepted.is_none())
        .collect();
    let accepted = result.failures.len() - open.len();
    eprintln!(
        "{:10} {} passed, {accepted} accepted, {} failed, {} stale",
        result.name,
        result.passed,
        open.len(),
        result.stale.len()
    );
    for failure in &open {
        let conversation = failure.conversation.as_deref();
        let conversation = conversation.map_or_else(String::new, |name| format!(", {name}"));
        eprintln!("           {}{conversation}: {}", failure.id, failure.what);
    }
    for stale in &result.stale {
        eprintln!("           stale: {stale}");
    }
    open.is_empty() && result.stale.is_empty()
}

/// What was found last, as it stands beside the report.
///
/// # Errors
/// It cannot be read.
pub fn read(output: &Path) -> Result<Option<Found>, String> {
    report::beside(output, FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accepted_failures_that_occur_are_in_order() {
        let accepted = Failure {
            accepted: Some("known".into()),
            ..Failure::new("x", "y")
        };
        let good = ToolResult {
            passed: 1,
            failures: vec![accepted],
            ..ToolResult::default()
        };
        assert!(told(&good));
        let mut open = good.clone();
        open.failures.push(Failure::new("z", "y"));
        assert!(!told(&open));
        let mut stale = good;
        stale.stale.push("w: y".into());
        assert!(!told(&stale), "what is accepted and does not occur");
    }

    #[test]
    fn a_signal_ends_it_behind_the_tool_under_way() {
        let ran = std::cell::Cell::new(0);
        let tool = || {
            ran.set(ran.get() + 1);
            ToolResult::default()
        };
        let tools: [&dyn Fn() -> ToolResult; 3] = [&tool, &tool, &tool];
        let stopped = || match ran.get() {
            2 => Err("stopped".into()),
            _ => Ok(()),
        };
        assert_eq!(one_by_one(&tools, stopped), Err("stopped".into()));
        assert_eq!(ran.get(), 2);
    }

    #[test]
    fn what_always_runs_has_to_be_there() {
        let missing = |name: &str| ToolResult {
            name: name.into(),
            missing: Some("not installed".into()),
            ..ToolResult::default()
        };
        assert!(!told(&missing("sslyze")) && told(&missing("h2spec")));
    }
}
