//! Conformance tools against the edge: testssl.sh, sslyze, and by path h2spec and tlsfuzzer.

mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ground::Ground;
use crate::lab::Lab;
use crate::run;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// Its name.
    pub name: String,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// Why it did not run.
    pub missing: Option<String>,
    /// Checks that passed.
    pub passed: usize,
    /// Those that did not.
    pub failures: Vec<Failure>,
}

/// A check that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the tool calls it.
    pub id: String,
    /// What the tool says.
    pub what: String,
    /// Of a script of tlsfuzzer: its conversations that failed.
    #[serde(default)]
    pub conversations: Vec<String>,
    /// Why that is accepted.
    pub accepted: Option<String>,
}

/// `conformance.toml`: failures that are accepted, and what tlsfuzzer is to run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Scripts of tlsfuzzer, with their arguments.
    #[serde(default)]
    pub tlsfuzzer: Vec<String>,
    #[serde(default)]
    accepted: Vec<Accepted>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    tool: String,
    id: String,
    /// What the failure begins with: another one is not accepted.
    #[serde(default)]
    says: String,
    /// In its place: what its failed conversations begin with, each of them with one of these, and,
    /// behind `…`, what they end with.
    #[serde(default)]
    conversations: Vec<String>,
    reason: String,
}

impl Accepted {
    fn fits(&self, tool: &str, failure: &Failure) -> bool {
        let named = |name: &String| {
            self.conversations.iter().any(|it| {
                let (begin, end) = it.split_once('…').unwrap_or((it, ""));
                name.starts_with(begin) && name.ends_with(end)
            })
        };
        let told = match self.conversations.as_slice() {
            [] => failure.what.starts_with(&self.says),
            _ => !failure.conversations.is_empty() && failure.conversations.iter().all(named),
        };
        told && self.tool == tool && self.id == failure.id
    }
}

impl Settings {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        match settings.accepted.iter().find(|one| {
            let says = one.says.trim().is_empty();
            one.reason.trim().is_empty() || says != !one.conversations.is_empty()
        }) {
            Some(one) => Err(format!(
                "{}: {}: no reason, or not one of says and conversations",
                one.tool, one.id
            )),
            None => Ok(settings),
        }
    }

    /// Marks what is accepted.
    fn judge(&self, result: &mut ToolResult) {
        for failure in &mut result.failures {
            let mut known = self.accepted.iter();
            let known = known.find(|one| one.fits(&result.name, failure));
            failure.accepted = known.map(|one| one.reason.clone());
        }
    }
}

/// Runs them and writes what they found; whether every failure is accepted. testssl.sh and sslyze
/// have to be there.
///
/// # Errors
/// The edge does not start, or results cannot be written.
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
    let (date, edge) = (run::date(), ground.describe_edge());
    let mut results = vec![
        tools::testssl(ground, tools.testssl.as_deref(), &logs),
        tools::sslyze(ground, tools.sslyze.as_deref(), &logs),
        tools::h2spec(ground, tools.h2spec.as_deref(), &logs),
        tools::tlsfuzzer(
            ground,
            tools.tlsfuzzer.as_deref(),
            &settings.tlsfuzzer,
            &logs,
        ),
    ];
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

/// Tells of a result on standard error; whether it is in order.
fn told(result: &ToolResult) -> bool {
    if let Some(why) = &result.missing {
        eprintln!("{:10} did not run: {why}", result.name);
        return !["testssl.sh", "sslyze"].contains(&result.name.as_str());
    }
    let open: Vec<_> = result
        .failures
        .iter()
        .filter(|one| one.accepted.is_none())
        .collect();
    let accepted = result.failures.len() - open.len();
    eprintln!(
        "{:10} {} passed, {accepted} accepted, {} failed",
        result.name,
        result.passed,
        open.len()
    );
    for failure in &open {
        eprintln!("           {}: {}", failure.id, failure.what);
    }
    open.is_empty()
}

/// What was found last, as it stands beside the report.
pub fn read(output: &Path) -> Found {
    let text = fs::read_to_string(output.join(FILE)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "
        tlsfuzzer = ['test-tls13-conversation.py']
        [[accepted]]
        tool = 'testssl.sh'
        id = 'OCSP'
        says = 'x'
        reason = 'not built yet'
    ";

    #[test]
    fn only_named_failures_of_a_tool_are_accepted() {
        let settings = Settings::parse(SETTINGS).unwrap();
        let failure = |id: &str| Failure {
            id: id.into(),
            what: "x".into(),
            conversations: Vec::new(),
            accepted: None,
        };
        let mut result = ToolResult {
            name: "testssl.sh".into(),
            version: None,
            missing: None,
            passed: 1,
            failures: vec![failure("OCSP")],
        };
        settings.judge(&mut result);
        assert_eq!(
            result.failures[0].accepted.as_deref(),
            Some("not built yet")
        );
        assert!(told(&result));
        result.failures[0].what = "y".into();
        settings.judge(&mut result);
        assert!(!told(&result), "it says something else");
        result.failures[0].what = "x".into();
        result.failures.push(failure("other"));
        settings.judge(&mut result);
        assert!(!told(&result));
    }

    #[test]
    fn of_a_script_every_failed_conversation_has_to_be_known() {
        let text = SETTINGS.replace("says = 'x'", "conversations = ['padding…1', 'empty']");
        let settings = Settings::parse(&text).unwrap();
        let accepted = |names: &[&str]| {
            let failure = Failure {
                id: "OCSP".into(),
                what: "2 of 9 failed".into(),
                conversations: names.iter().map(|&name| name.to_owned()).collect(),
                accepted: None,
            };
            settings.accepted[0].fits("testssl.sh", &failure)
        };
        assert!(accepted(&["padding 1", "empty"]) && accepted(&["empty"]));
        assert!(!accepted(&["padding 1", "sanity"]) && !accepted(&[]));
        assert!(!accepted(&["padding 2"]));
        assert!(
            Settings::parse(&text.replace("conversations", "says = 'x'\nconversations")).is_err()
        );
    }

    #[test]
    fn what_always_runs_has_to_be_there() {
        let missing = |name: &str| ToolResult {
            name: name.into(),
            version: None,
            missing: Some("not installed".into()),
            passed: 0,
            failures: Vec::new(),
        };
        assert!(!told(&missing("sslyze")) && told(&missing("h2spec")));
    }

    #[test]
    fn the_file_of_the_repository_is_proper() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance.toml");
        Settings::parse(&fs::read_to_string(file).unwrap()).unwrap();
        assert!(Settings::parse(&SETTINGS.replace("not built yet", "")).is_err());
    }
}
