//! `expected.toml`: what is not expected to pass, and why; and the verdict on a cell.

use std::cell::Cell as Used;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cases::Direction;

/// Stands between the things that are wrong in a cell, in [`Outcome::Fail`].
pub const BETWEEN: &str = "; ";

/// What a cell came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "result", content = "why")]
pub enum Outcome {
    /// Both sides say what the case is about.
    Pass,
    /// They do not: why.
    Fail(String),
    /// The stack cannot do it, or cannot tell: why.
    Unsupported(String),
}

/// An outcome beside its expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// It passes, as it should.
    Pass,
    /// It does not, and that is expected: the reason.
    Expected(String),
    /// It passes, or fails in another way, though something else is expected: that reason.
    Stale(String),
    /// It does not pass, and nobody expects that.
    Unexpected,
}

impl Verdict {
    /// Whether a run with such a cell is in order.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Pass | Self::Expected(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Expected(_) => "expected",
            Self::Stale(_) => "stale",
            Self::Unexpected => "unexpected",
        })
    }
}

/// How a cell is expected not to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Fail,
    Unsupported,
}

/// What a failure says: one text, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Says {
    One(String),
    More(Vec<String>),
}

impl Says {
    fn list(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(all) => all,
        }
    }

    /// Whether there is a text, and none that fits everything.
    fn is_there(&self) -> bool {
        let list = self.list();
        !list.is_empty() && list.iter().all(|one| !one.trim().is_empty())
    }

    /// Whether a failure is the known one: its first text occurs, and each thing that is wrong fits
    /// one of them. What else goes wrong in such a cell is not hidden, then.
    fn fits(&self, why: &str) -> bool {
        let list = self.list();
        let known = |part: &str| list.iter().any(|one| part.contains(one.as_str()));
        let first = list
            .first()
            .is_some_and(|first| why.contains(first.as_str()));
        first && why.split(BETWEEN).all(known)
    }
}

/// An entry of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    direction: Direction,
    peers: Vec<String>,
    cases: Vec<String>,
    result: Kind,
    /// What the failure has to say, and all that it may say.
    says: Option<Says>,
    /// Whether chance decides, so that passing is as good.
    #[serde(default)]
    sometimes: bool,
    reason: String,
    #[serde(skip)]
    used: Used<bool>,
}

/// All of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    #[serde(default)]
    expected: Vec<Entry>,
    /// Of the cases of quic-interop-runner.
    #[serde(default)]
    quic: Vec<Entry>,
}

impl Expected {
    /// Reads the file's text. `peers` and `cases` are the names that there are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, peers: &[String], cases: &[&str]) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        file.check(peers, cases)?;
        Ok(file)
    }

    /// Reads `[[quic]]` of the file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_quic(text: &str, peers: &[String], cases: &[&str]) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let file = Self {
            expected: file.quic,
            quic: Vec::new(),
        };
        file.check(peers, cases)?;
        Ok(file)
    }

    fn check(&self, peers: &[String], cases: &[&str]) -> Result<(), String> {
        for entry in &self.expected {
            if entry.reason.trim().is_empty() {
                return Err(format!("{:?} {:?}: no reason", entry.peers, entry.cases));
            }
            let says = entry.says.as_ref().is_some_and(Says::is_there);
            if entry.result == Kind::Fail && !says {
                return Err(format!("{:?} {:?}: no says", entry.peers, entry.cases));
            }
            for name in &entry.peers {
                if !peers.iter().any(|peer| matches(name, peer)) {
                    return Err(format!("no peer is named {name}"));
                }
            }
            for name in &entry.cases {
                if !cases.iter().any(|case| matches(name, case)) {
                    return Err(format!("no case is named {name}"));
                }
            }
        }
        Ok(())
    }

    /// Reads `expected.toml` in this directory.
    ///
    /// # Errors
    /// It cannot be read, or what is wrong with it.
    pub fn read(directory: &Path, peers: &[String], cases: &[&str]) -> Result<Self, String> {
        from(directory, |text| Self::parse(text, peers, cases))
    }

    /// The same for [`parse_quic`](Self::parse_quic).
    ///
    /// # Errors
    /// It cannot be read, or what is wrong with it.
    pub fn read_quic(directory: &Path, peers: &[String], cases: &[&str]) -> Result<Self, String> {
        from(directory, |text| Self::parse_quic(text, peers, cases))
    }

    /// What to make of this outcome. The first entry that fits a cell is its expectation.
    pub fn verdict(
        &self,
        direction: Direction,
        peer: &str,
        case: &str,
        outcome: &Outcome,
    ) -> Verdict {
        let entry = self.expected.iter().find(|entry| {
            entry.direction == direction
                && entry.peers.iter().any(|name| matches(name, peer))
                && entry.cases.iter().any(|name| matches(name, case))
        });
        let Some(entry) = entry else {
            return match outcome {
                Outcome::Pass => Verdict::Pass,
                _ => Verdict::Unexpected,
            };
        };
        entry.used.set(true);
        match (outcome, entry.result) {
            (Outcome::Fail(why), Kind::Fail) | (Outcome::Unsupported(why), Kind::Unsupported) => {
                match entry.says.as_ref().is_none_or(|says| says.fits(why)) {
                    true => Verdict::Expected(entry.reason.clone()),
                    // It fails, but in a way that nobody knows of.
                    false => Verdict::Unexpected,
                }
            }
            (Outcome::Pass, _) if entry.sometimes => Verdict::Pass,
            _ => Verdict::Stale(entry.reason.clone()),
        }
    }

    /// Entries that fitted no cell so far: after a full run nobody needs them.
    pub fn unused(&self) -> impl Iterator<Item = String> + '_ {
        let unused = self.expected.iter().filter(|entry| !entry.used.get());
        unused.map(|entry| format!("{}: {}", entry.peers.join(", "), entry.cases.join(", ")))
    }
}

fn from(
    directory: &Path,
    parse: impl Fn(&str) -> Result<Expected, String>,
) -> Result<Expected, String> {
    let file = directory.join("expected.toml");
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(&file).map_err(|error| wrong(&error))?;
    parse(&text).map_err(|error| wrong(&error))
}

/// Whether a name fits a pattern, in which `*` at the end stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
        [[expected]]
        direction = 'clients'
        peers = ['go']
        cases = ['early-*']
        result = 'unsupported'
        reason = 'no 0-RTT over TCP'
        [[expected]]
        direction = 'servers'
        peers = ['*']
        cases = ['replay']
        result = 'fail'
        says = 'twice'
        reason = 'accepts replays'
    ";
    const CASES: [&str; 3] = ["full", "early-accepted", "replay"];

    fn expected(text: &str) -> Result<Expected, String> {
        Expected::parse(text, &["go".into(), "nginx".into()], &CASES)
    }

    #[test]
    fn without_an_entry_a_cell_has_to_pass() {
        let expected = expected(FILE).unwrap();
        let verdict = |outcome| expected.verdict(Direction::Clients, "go", "full", &outcome);
        assert_eq!(verdict(Outcome::Pass), Verdict::Pass);
        assert_eq!(verdict(Outcome::Fail("x".into())), Verdict::Unexpected);
        assert_eq!(
            verdict(Outcome::Unsupported("x".into())),
            Verdict::Unexpected
        );
    }

    #[test]
    fn an_expected_failure_carries_its_reason() {
        let expected = expected(FILE).unwrap();
        let unsupported = Outcome::Unsupported("cannot".into());
        let verdict = expected.verdict(Direction::Clients, "go", "early-accepted", &unsupported);
        assert_eq!(verdict, Verdict::Expected("no 0-RTT over TCP".into()));
        assert!(verdict.is_good());
        assert_eq!(expected.unused().collect::<Vec<_>>(), ["*: replay"]);
    }

    #[test]
    fn what_passes_or_fails_otherwise_is_stale() {
        let expected = expected(FILE).unwrap();
        for outcome in [Outcome::Pass, Outcome::Fail("x".into())] {
            let verdict = expected.verdict(Direction::Clients, "go", "early-accepted", &outcome);
            assert!(matches!(verdict, Verdict::Stale(_)), "{outcome:?}");
            assert!(!verdict.is_good());
        }
    }

    #[test]
    fn where_chance_decides_passing_is_not_stale() {
        let text = FILE.replace("says =", "sometimes = true\nsays =");
        let expected = expected(&text).unwrap();
        let verdict = |outcome| expected.verdict(Direction::Servers, "nginx", "replay", &outcome);
        assert_eq!(verdict(Outcome::Pass), Verdict::Pass);
        assert!(verdict(Outcome::Fail("twice".into())).is_good());
        let other = verdict(Outcome::Fail("the server does not start".into()));
        assert_eq!(other, Verdict::Unexpected);
        let unsupported = verdict(Outcome::Unsupported("cannot".into()));
        assert!(!unsupported.is_good());
    }

    #[test]
    fn directions_are_told_apart() {
        let expected = expected(FILE).unwrap();
        let fail = Outcome::Fail("twice".into());
        let verdict = |direction| expected.verdict(direction, "nginx", "replay", &fail);
        assert!(verdict(Direction::Servers).is_good());
        assert_eq!(verdict(Direction::Clients), Verdict::Unexpected);
    }

    #[test]
    fn another_failure_than_the_known_one_is_unexpected() {
        let expected = expected(FILE).unwrap();
        let fail = Outcome::Fail("the server does not start".into());
        let verdict = expected.verdict(Direction::Servers, "nginx", "replay", &fail);
        assert_eq!(verdict, Verdict::Unexpected);
    }

    #[test]
    fn a_known_failure_hides_no_other_one() {
        let text = FILE.replace("'twice'", "['twice', 'status']");
        let expected = expected(&text).unwrap();
        let good = |why: &str| {
            let fail = Outcome::Fail(why.into());
            let verdict = expected.verdict(Direction::Servers, "nginx", "replay", &fail);
            verdict.is_good()
        };
        assert!(good("accepted twice"));
        assert!(good("status: 425, should be 200; accepted twice"));
        assert!(!good("accepted twice; the server does not end"));
        assert!(
            !good("status: 425, should be 200"),
            "the first has to occur"
        );
    }

    #[test]
    fn mistakes_of_the_file_are_named() {
        assert!(
            expected(&FILE.replace("no 0-RTT over TCP", " "))
                .unwrap_err()
                .contains("no reason")
        );
        assert!(
            expected(&FILE.replace("'go'", "'og'"))
                .unwrap_err()
                .contains("og")
        );
        assert!(
            expected(&FILE.replace("early-*", "late-*"))
                .unwrap_err()
                .contains("late-*")
        );
        assert!(expected(&FILE.replace("result", "resutl")).is_err());
        let without = expected(&FILE.replace("says = 'twice'", ""));
        assert!(without.unwrap_err().contains("no says"));
        for says in ["[]", "['twice', '']"] {
            let empty = expected(&FILE.replace("'twice'", says));
            assert!(empty.unwrap_err().contains("no says"));
        }
    }
}
