//! What `run` and `quic` have in common: what is to be played, and the book that is kept of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::cases::{self, Direction};
use crate::expected::{Expected, Outcome};
use crate::peers::Peer;
use crate::results::{CellResult, PeerVersion, Run};
use crate::{service, stop};

/// What is to be played.
pub struct Plan {
    /// Where results go.
    pub output: PathBuf,
    /// The peers.
    pub peers: Vec<Peer>,
    /// Peers whose image could not be built, and why.
    pub failed: Vec<(String, String)>,
    /// Their cases; all if none is named.
    pub cases: Vec<String>,
    /// Who the peers are.
    pub directions: Vec<Direction>,
    /// What is not expected to pass.
    pub expected: Expected,
    /// Whether expectations that fit no cell are worth a remark.
    pub whole: bool,
    /// The commit under test.
    pub commit: Option<String>,
}

/// A run under way: what was found so far, on standard error and in files, too.
pub struct Book<'a> {
    plan: &'a Plan,
    /// The directory of the cells' logs, below that of results.
    logs: &'static str,
    begun: Instant,
    /// What was found.
    pub run: Run,
}

impl Plan {
    /// Whether this case was asked for.
    pub fn chosen(&self, case: &str) -> bool {
        cases::chosen(case, &self.cases)
    }

    /// Begins a run of this edge, there; `logs` is the directory of the cells' logs.
    ///
    /// # Errors
    /// That directory cannot be made.
    pub fn begin(
        &self,
        logs: &'static str,
        edge: String,
        ground: String,
    ) -> Result<Book<'_>, String> {
        let directory = self.output.join(logs);
        fs::create_dir_all(&directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let run = Run {
            date: date(),
            seconds: 0,
            cutwater: env!("CARGO_PKG_VERSION").into(),
            commit: self.commit.clone(),
            edge,
            ground,
            system: said(Command::new("uname").args(["-sm"])).unwrap_or_default(),
            peers: Vec::new(),
            cases: BTreeMap::new(),
            cells: Vec::new(),
            remarks: Vec::new(),
            good: true,
            whole: self.whole,
        };
        Ok(Book {
            plan: self,
            logs,
            begun: Instant::now(),
            run,
        })
    }
}

impl Book<'_> {
    /// The rows of a direction: names and titles of the cases that were asked for.
    pub fn rows<'c>(
        &mut self,
        direction: Direction,
        cases: impl Iterator<Item = (&'c str, &'c str)>,
    ) {
        let chosen = cases.filter(|(name, _)| self.plan.chosen(name));
        let owned = chosen.map(|(name, title)| (name.to_owned(), title.to_owned()));
        self.run.cases.insert(direction, owned.collect());
    }

    /// Whether a peer can be tried: it has its image, and is `usable`. If not, that is told; an image
    /// that could not be built is never in order, anything else if `in_order` says so.
    pub fn tries(&mut self, peer: &Peer, usable: Result<(), String>, in_order: bool) -> bool {
        let unbuilt = self.plan.failed.iter().find(|(name, _)| *name == peer.name);
        let (said, remark, in_order) = match (unbuilt, usable) {
            (None, Ok(())) => return true,
            (None, Err(why)) => (why.clone(), why, in_order),
            (Some((_, why)), _) => {
                let remark = "its image could not be built.".to_owned();
                (format!("no image: {why}"), remark, false)
            }
        };
        eprintln!("{}: {said}", peer.name);
        let remark = format!("{} was not tried: {remark}", peer.title);
        self.run.remarks.push(remark);
        self.run.good &= in_order;
        self.run.whole = false;
        false
    }

    /// A peer's cells begin.
    pub fn peer(&mut self, peer: &Peer, stack: Option<String>) {
        self.run.peers.push(PeerVersion {
            name: peer.name.clone(),
            title: peer.title.clone(),
            stack,
        });
    }

    /// A cell, which began then, has come to its end.
    ///
    /// # Errors
    /// Its log cannot be written.
    pub fn cell(
        &mut self,
        (direction, peer, case): (Direction, &Peer, &str),
        begun: Instant,
        outcome: Outcome,
        log: &str,
    ) -> Result<(), String> {
        let peer = peer.name.as_str();
        let verdict = self.plan.expected.verdict(direction, peer, case, &outcome);
        let shown = match &outcome {
            Outcome::Pass => String::new(),
            Outcome::Fail(why) => format!(": {why}"),
            Outcome::Unsupported(why) => format!(": unsupported: {why}"),
        };
        let milliseconds = begun.elapsed().as_millis() as u64;
        eprintln!("{verdict:10} {milliseconds:6} ms  {direction} {peer} {case}{shown}");
        let name = format!("{}/{direction}-{peer}-{case}.log", self.logs);
        let file = self.plan.output.join(&name);
        fs::write(&file, log).map_err(|error| format!("{}: {error}", file.display()))?;
        self.run.cells.push(CellResult {
            direction,
            peer: peer.into(),
            case: case.into(),
            outcome,
            verdict,
            milliseconds,
            log: name,
        });
        Ok(())
    }

    /// The end: whether all of it was good.
    pub fn end(self) -> Run {
        let mut run = self.run;
        if stop::came() {
            run.remarks
                .push("The run was stopped before its end.".into());
            (run.good, run.whole) = (false, false);
        } else if run.whole {
            let unused = self.plan.expected.unused();
            let remarks = unused.map(|entry| format!("An expectation fits no cell: {entry}"));
            run.remarks.extend(remarks);
        }
        run.good &= run.cells.iter().all(|cell| cell.verdict.is_good());
        run.seconds = self.begun.elapsed().as_secs();
        run
    }
}

/// Now, by the system's own calendar.
pub fn date() -> String {
    said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_default()
}

/// What a program prints; nothing if it is not there.
pub fn said(command: &mut Command) -> Option<String> {
    service::run(command).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers;

    #[test]
    fn a_peer_that_cannot_be_tried_is_told_of_and_a_broken_image_is_not_in_order() {
        let output = tempfile::tempdir().unwrap();
        let peer = "[[peer]]\nname = 'a'\ntitle = 'A'\ncan = ['client']\n";
        let peer = &peers::parse(peer).unwrap()[0];
        let tried = |failed: &[(String, String)], usable: Result<(), String>, in_order| {
            let plan = Plan {
                output: output.path().to_owned(),
                peers: vec![peer.clone()],
                failed: failed.to_vec(),
                cases: Vec::new(),
                directions: Vec::new(),
                expected: Expected::parse("", &[], &[]).unwrap(),
                whole: true,
                commit: None,
            };
            let mut book = plan.begin("logs", String::new(), String::new()).unwrap();
            let tries = book.tries(peer, usable, in_order);
            let run = book.end();
            (tries, run.good, run.whole, run.remarks.concat())
        };
        let broken = [("a".into(), "apt is gone".into())];
        let missing = || Err("b is not installed".to_owned());
        let unbuilt = "A was not tried: its image could not be built.";
        let told = "A was not tried: b is not installed";
        for (failed, usable, in_order, wanted) in [
            (&[][..], Ok(()), false, (true, true, true, "")),
            (&broken, Ok(()), true, (false, false, false, unbuilt)),
            (&broken, missing(), true, (false, false, false, unbuilt)),
            (&[], missing(), true, (false, true, false, told)),
            (&[], missing(), false, (false, false, false, told)),
        ] {
            let (tries, good, whole, remark) = tried(failed, usable, in_order);
            assert_eq!((tries, good, whole, remark.as_str()), wanted);
        }
    }
}
