//! `conformance.toml`: what tlsfuzzer is to run, and failures that are accepted.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Failure, ToolResult};

/// All of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What tlsfuzzer is to run.
    #[serde(default)]
    pub tlsfuzzer: Vec<Script>,
    /// What of it says nothing about the edge.
    #[serde(default)]
    pub inapplicable: Vec<Inapplicable>,
    #[serde(default)]
    accepted: Vec<Accepted>,
}

/// A script of tlsfuzzer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its file.
    pub script: String,
    /// What it is told beside host and port.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Where it goes.
    #[serde(default)]
    pub listener: Listener,
}

/// A listener of the edge that has a default site: the tools know no server names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listener {
    /// TLS 1.3, early data, an ECDSA and an RSA certificate.
    #[default]
    Strict,
    /// TLS 1.2 too.
    Old,
    /// An Ed25519 certificate alone.
    Ed25519,
}

/// Scripts that are not run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inapplicable {
    /// Their files.
    pub scripts: Vec<String>,
    /// Why.
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    tool: String,
    /// What the tool calls the checks; of tlsfuzzer: its scripts.
    ids: Vec<String>,
    /// Of tlsfuzzer: the conversations. In this and in `says`, `…` stands for anything.
    #[serde(default)]
    conversations: Vec<String>,
    /// What the failure says: another one is not accepted.
    says: String,
    reason: String,
    /// What occurred, as indices of `ids` and `conversations`.
    #[serde(skip)]
    used: RefCell<BTreeSet<(usize, usize)>>,
}

impl Settings {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut known = BTreeSet::new();
        for script in settings.scripts() {
            if !known.insert(script) {
                return Err(format!("{script} is there twice"));
            }
        }
        for one in &settings.inapplicable {
            if one.reason.trim().is_empty() {
                return Err(format!("{:?}: no reason", one.scripts));
            }
        }
        let run = |id: &String| settings.tlsfuzzer.iter().any(|it| it.script == *id);
        for one in &settings.accepted {
            let complaint = if one.reason.trim().is_empty() {
                "no reason"
            } else if one.says.trim().is_empty() {
                "no says"
            } else if (one.tool == "tlsfuzzer") == one.conversations.is_empty() {
                "conversations are for tlsfuzzer, which has to have them"
            } else if one.tool == "tlsfuzzer" && !one.ids.iter().all(run) {
                "not all of these scripts are run"
            } else {
                continue;
            };
            return Err(format!("{}: {:?}: {complaint}", one.tool, one.ids));
        }
        Ok(settings)
    }

    /// All scripts that the file knows of.
    pub fn scripts(&self) -> impl Iterator<Item = &str> {
        let run = self.tlsfuzzer.iter().map(|it| it.script.as_str());
        let not = self.inapplicable.iter().flat_map(|it| &it.scripts);
        run.chain(not.map(String::as_str))
    }

    /// Marks what is accepted, and tells what is accepted and did not occur.
    pub(super) fn judge(&self, result: &mut ToolResult) {
        let known = || self.accepted.iter().filter(|one| one.tool == result.name);
        for failure in &mut result.failures {
            let reason = known().find(|one| one.fits(failure));
            failure.accepted = reason.map(|one| one.reason.clone());
        }
        if result.missing.is_none() {
            let unused: Vec<String> = known().flat_map(Accepted::unused).collect();
            result.stale.extend(unused);
        }
    }
}

impl Accepted {
    /// Whether this is that failure. It has occurred, then.
    fn fits(&self, failure: &Failure) -> bool {
        let Some(id) = self.ids.iter().position(|id| *id == failure.id) else {
            return false;
        };
        let conversation = match &failure.conversation {
            None => self.conversations.is_empty().then_some(0),
            Some(name) => self.conversations.iter().position(|it| matches(it, name)),
        };
        let told = conversation.filter(|_| matches(&self.says, &failure.what));
        told.is_some_and(|conversation| {
            self.used.borrow_mut().insert((id, conversation));
            true
        })
    }

    fn unused(&self) -> impl Iterator<Item = String> + '_ {
        let conversations = 0..self.conversations.len().max(1);
        let all =
            (0..self.ids.len()).flat_map(move |id| conversations.clone().map(move |it| (id, it)));
        let unused = all.filter(|one| !self.used.borrow().contains(one));
        unused.map(|(id, conversation)| {
            let conversation = self.conversations.get(conversation);
            let conversation = conversation.map_or_else(String::new, |it| format!(", {it}"));
            format!("{}{conversation}: {}", self.ids[id], self.says)
        })
    }
}

/// Whether a text is what a pattern says, in which `…` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = "
        [[tlsfuzzer]]
        script = 'a.py'
        [[tlsfuzzer]]
        script = 'b.py'
        arguments = ['-n', '0']
        listener = 'old'
        [[inapplicable]]
        scripts = ['c.py']
        reason = 'client certificates'
        [[accepted]]
        tool = 'tlsfuzzer'
        ids = ['a.py', 'b.py']
        conversations = ['padding…1', 'empty']
        says = 'AssertionError: … \"decode_error\"'
        reason = 'a bug of theirs'
        [[accepted]]
        tool = 'testssl.sh'
        ids = ['OCSP']
        says = 'not offered'
        reason = 'not built yet'
    ";
    const SAYS: &str = "AssertionError: expected \"decode_error\"";

    fn result(tool: &str, failures: &[(&str, Option<&str>, &str)]) -> ToolResult {
        let failure = |&(id, conversation, what): &(&str, Option<&str>, &str)| Failure {
            conversation: conversation.map(str::to_owned),
            ..Failure::new(id, what)
        };
        ToolResult {
            name: tool.into(),
            failures: failures.iter().map(failure).collect(),
            ..ToolResult::default()
        }
    }

    fn judged(tool: &str, failures: &[(&str, Option<&str>, &str)]) -> ToolResult {
        let mut result = result(tool, failures);
        Settings::parse(TEXT).unwrap().judge(&mut result);
        result
    }

    fn accepted(result: &ToolResult) -> Vec<bool> {
        let failures = result.failures.iter();
        failures.map(|one| one.accepted.is_some()).collect()
    }

    #[test]
    fn a_failure_of_a_check_is_known_by_what_it_says() {
        let known = judged("testssl.sh", &[("OCSP", None, "not offered")]);
        assert_eq!(known.failures[0].accepted.as_deref(), Some("not built yet"));
        assert!(known.stale.is_empty());
        let other = [
            ("OCSP", None, "not offered at all"),
            ("x", None, "not offered"),
        ];
        let other = judged("testssl.sh", &other);
        assert_eq!(accepted(&other), [false, false]);
        assert_eq!(other.stale, ["OCSP: not offered"]);
        assert_eq!(
            accepted(&judged("sslyze", &[("OCSP", None, "not offered")])),
            [false]
        );
    }

    #[test]
    fn a_conversation_is_known_by_its_name_and_its_cause() {
        let cases = [
            ("a.py", Some("padding 1"), SAYS, true),
            ("b.py", Some("empty"), SAYS, true),
            ("a.py", Some("padding 2"), SAYS, false),
            ("a.py", Some("empty too"), SAYS, false),
            (
                "a.py",
                Some("empty"),
                "AssertionError: Timeout when waiting for peer message",
                false,
            ),
            ("c.py", Some("empty"), SAYS, false),
            ("a.py", None, SAYS, false),
        ];
        for (id, conversation, says, wanted) in cases {
            let result = judged("tlsfuzzer", &[(id, conversation, says)]);
            assert_eq!(accepted(&result), [wanted], "{id} {conversation:?} {says}");
        }
    }

    #[test]
    fn what_is_accepted_and_does_not_occur_is_stale() {
        let failures = [
            ("a.py", Some("padding 1"), SAYS),
            ("a.py", Some("empty"), SAYS),
            ("b.py", Some("empty"), "another cause"),
        ];
        let mut result = judged("tlsfuzzer", &failures);
        let says = "AssertionError: … \"decode_error\"";
        let stale = [
            format!("b.py, padding…1: {says}"),
            format!("b.py, empty: {says}"),
        ];
        assert_eq!(result.stale, stale);
        // Of a tool that did not run nothing is known.
        result.missing = Some("not installed".into());
        result.failures.clear();
        result.stale.clear();
        Settings::parse(TEXT).unwrap().judge(&mut result);
        assert!(result.stale.is_empty());
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        for (pattern, text, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a…", "ab", true),
            ("…b", "ab", true),
            ("a…b", "ab", true),
            ("ab…b", "ab", false),
            ("…x…", "axb", true),
            ("…x…", "ab", false),
            ("a…x…b", "a x y b", true),
            ("a…x…b", "a y b", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn mistakes_of_the_file_are_named() {
        for (from, to, complaint) in [
            ("'not built yet'", "''", "no reason"),
            ("'client certificates'", "' '", "no reason"),
            ("says = 'not offered'", "says = ''", "no says"),
            (
                "conversations = ['padding…1', 'empty']",
                "",
                "conversations",
            ),
            (
                "ids = ['OCSP']",
                "ids = ['OCSP']\nconversations = ['x']",
                "conversations",
            ),
            (
                "ids = ['a.py', 'b.py']",
                "ids = ['c.py']",
                "not all of these scripts are run",
            ),
            (
                "scripts = ['c.py']",
                "scripts = ['a.py']",
                "a.py is there twice",
            ),
            ("listener = 'old'", "listener = 'odl'", "odl"),
            ("reason = 'a bug of theirs'", "", "reason"),
        ] {
            let text = TEXT.replace(from, to);
            assert_ne!(text, TEXT);
            let error = Settings::parse(&text).unwrap_err();
            assert!(error.contains(complaint), "{complaint}: {error}");
        }
    }

    #[test]
    fn the_file_of_the_repository_is_proper() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance.toml");
        Settings::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    }
}
