//! What a cell looked at, and what of it was wrong.

use std::fmt::{Debug, Write};

use crate::expected::{BETWEEN, Outcome};

/// Why a cell is over before its end.
#[derive(Debug)]
pub enum Trouble {
    /// The stack cannot do it, or cannot tell.
    Unsupported(String),
    /// Something is wrong.
    Failed(String),
}

impl From<String> for Trouble {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}

/// The log of a cell.
#[derive(Debug, Default)]
pub struct Notes {
    log: String,
    wrong: Vec<String>,
}

impl Notes {
    /// Notes a heading and lines under it.
    pub fn note(&mut self, heading: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        let _ = writeln!(self.log, "\n-- {heading}");
        for line in lines {
            let _ = writeln!(self.log, "{}", line.as_ref());
        }
    }

    /// Notes whether something holds; what does not makes the cell fail.
    pub fn check(&mut self, what: &str, holds: bool) {
        let _ = writeln!(self.log, "{} {what}", if holds { "ok  " } else { "FAIL" });
        if !holds {
            self.wrong.push(format!("not so: {what}"));
        }
    }

    /// Notes whether something has the value that it should have.
    pub fn is<T: PartialEq + Debug>(&mut self, what: &str, found: T, wanted: T) {
        let holds = found == wanted;
        let _ = match holds {
            true => writeln!(self.log, "ok   {what}: {found:?}"),
            false => writeln!(self.log, "FAIL {what}: {found:?}, should be {wanted:?}"),
        };
        if !holds {
            self.wrong
                .push(format!("{what}: {found:?}, should be {wanted:?}"));
        }
    }

    /// The outcome, by what the case returned and what was found wrong; and the log.
    pub fn end(mut self, played: Result<(), Trouble>) -> (Outcome, String) {
        let outcome = match played {
            // A stack that cannot tell one thing may still be wrong about another.
            Err(Trouble::Unsupported(why)) if self.wrong.is_empty() => Outcome::Unsupported(why),
            Err(Trouble::Unsupported(why) | Trouble::Failed(why)) => {
                self.wrong.push(why);
                Outcome::Fail(self.wrong.join(BETWEEN))
            }
            Ok(()) if self.wrong.is_empty() => Outcome::Pass,
            Ok(()) => Outcome::Fail(self.wrong.join(BETWEEN)),
        };
        let _ = writeln!(self.log, "\n{outcome:?}");
        (outcome, self.log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_fails_the_cell_and_all_is_logged() {
        let mut notes = Notes::default();
        notes.note("asked", ["--mode full"]);
        notes.is("status", 200, 200);
        notes.is("suite", "A", "B");
        notes.check("the peer did it", false);
        let (outcome, log) = notes.end(Ok(()));
        let why = "suite: \"A\", should be \"B\"; not so: the peer did it";
        assert_eq!(outcome, Outcome::Fail(why.into()));
        for part in [
            "-- asked\n--mode full\n",
            "ok   status: 200",
            "FAIL suite",
            "FAIL the peer",
        ] {
            assert!(log.contains(part), "{log}");
        }
    }

    #[test]
    fn a_stack_that_cannot_is_unsupported_unless_something_is_wrong() {
        let cannot = || Err(Trouble::Unsupported("no 0-RTT".into()));
        let (outcome, _) = Notes::default().end(cannot());
        assert_eq!(outcome, Outcome::Unsupported("no 0-RTT".into()));
        let mut notes = Notes::default();
        notes.check("alive", false);
        assert!(matches!(notes.end(cannot()).0, Outcome::Fail(_)));
        assert_eq!(Notes::default().end(Ok(())).0, Outcome::Pass);
    }
}
