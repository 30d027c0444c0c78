//! A run: every chosen cell, one after the other.
//!
//! One after the other, because then whatever the edge logs and counts during a cell is that
//! cell's, and can be held against what the peer says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cases::{self, Case, Direction, Over, servers};
use crate::cell::Cell;
use crate::expected::{Expected, Outcome};
use crate::ground::Ground;
use crate::lab::Lab;
use crate::peers::{Peer, Role};
use crate::results::{CellResult, PeerVersion, Run};
use crate::stop;

#[cfg(test)]
mod tests;

/// What is to be run.
pub struct Plan<'a> {
    /// Where.
    pub ground: &'a dyn Ground,
    /// This run's directory of certificates and configuration.
    pub directory: &'a Path,
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
    /// The version under test.
    pub cutwater: String,
    /// Its commit.
    pub commit: Option<String>,
}

/// Runs it, and tells of each cell on standard error.
///
/// # Errors
/// The programs of the run do not start, or results cannot be written.
pub fn run(plan: &Plan<'_>) -> Result<Run, String> {
    let begun = Instant::now();
    let logs = plan.output.join("cells");
    fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    let mut run = Run {
        date: date(),
        seconds: 0,
        cutwater: plan.cutwater.clone(),
        commit: plan.commit.clone(),
        edge: plan.ground.describe_edge(),
        ground: plan.ground.describe(),
        system: said(Command::new("uname").args(["-sm"])).unwrap_or_default(),
        peers: Vec::new(),
        cases: BTreeMap::new(),
        cells: Vec::new(),
        remarks: Vec::new(),
        good: true,
        whole: plan.whole,
    };
    for &direction in &plan.directions {
        let names = cases::names(direction).into_iter();
        let chosen = names.filter(|(name, _)| cases::chosen(name, &plan.cases));
        let owned = chosen.map(|(name, title)| (name.to_owned(), title.to_owned()));
        run.cases.insert(direction, owned.collect());
    }

    let mut lab = Lab::start(plan.ground, plan.directory, None)?;
    let plays = |peer: &&Peer| peer.can(Role::Client) || peer.can(Role::Server);
    'peers: for peer in plan.peers.iter().filter(plays) {
        if stop::came() {
            break;
        }
        if let Some((_, why)) = plan.failed.iter().find(|(name, _)| *name == peer.name) {
            eprintln!("{}: no image: {why}", peer.name);
            let remark = format!(
                "{} was not tried: its image could not be built.",
                peer.title
            );
            run.remarks.push(remark);
            (run.good, run.whole) = (false, false);
            continue;
        }
        if let Err(why) = plan.ground.usable(peer) {
            eprintln!("{}: {why}", peer.name);
            run.remarks
                .push(format!("{} was not tried: {why}", peer.title));
            // On this machine a peer may be missing; in Docker it may not.
            run.good &= peer.local.is_some() && plan.ground.describe() == "this machine";
            run.whole = false;
            continue;
        }
        run.peers.push(PeerVersion {
            name: peer.name.clone(),
            title: peer.title.clone(),
            stack: plan.ground.packaged(peer),
        });
        for &direction in &plan.directions {
            match direction {
                Direction::Clients if peer.can(Role::Client) => {
                    let has_edge = clients(plan, &mut lab, peer, &mut run)?;
                    if !has_edge {
                        break 'peers;
                    }
                }
                Direction::Servers if peer.can(Role::Server) => {
                    servers(plan, &mut lab, peer, &mut run)?;
                }
                _ => {}
            }
        }
    }
    if stop::came() {
        run.remarks
            .push("The run was stopped before its end.".into());
        (run.good, run.whole) = (false, false);
    } else if run.whole {
        let unused = plan.expected.unused();
        run.remarks
            .extend(unused.map(|entry| format!("An expectation fits no cell: {entry}")));
    }
    run.good &= run.cells.iter().all(|cell| cell.verdict.is_good());
    run.seconds = begun.elapsed().as_secs();
    Ok(run)
}

/// Plays a peer's clients. Whether there is an edge for more.
///
/// # Errors
/// The peer does not start, or results cannot be written.
fn clients(plan: &Plan<'_>, lab: &mut Lab<'_>, peer: &Peer, run: &mut Run) -> Result<bool, String> {
    plan.ground.ready_client(peer)?;
    let chosen = |name| cases::chosen(name, &plan.cases) && peer.speaks(Over::of(name));
    for case in cases::of_clients().filter(|case| chosen(case.name)) {
        if stop::came() {
            break;
        }
        let begun = Instant::now();
        // An edge that does not answer is that cell's failure; the others are to have theirs.
        let played = play(lab, peer, case);
        let (outcome, log, stack) =
            played.unwrap_or_else(|why| (Outcome::Fail(why.clone()), why, None));
        if let Some(stack) = stack {
            tell_stack(run, &peer.name, stack);
        }
        record(
            plan,
            run,
            (Direction::Clients, &peer.name, case.name),
            outcome,
            &log,
            begun,
        )?;
        if let Some(complaint) = lab.edge_has_ended() {
            let place = format!("during {} {}", peer.name, case.name);
            eprintln!("the edge ended {place}\n{complaint}");
            run.remarks
                .push(format!("The edge ended {place}: {complaint}"));
            run.good = false;
            if let Err(why) = lab.restart_edge() {
                run.remarks.push(format!("The run ended there: {why}"));
                run.whole = false;
                return Ok(false);
            }
        }
    }
    plan.ground.end(&peer.name);
    Ok(true)
}

/// Plays one cell; what it came to, its log, and what the stack calls itself.
///
/// # Errors
/// The edge does not answer.
pub fn play(
    lab: &mut Lab<'_>,
    peer: &Peer,
    case: &Case,
) -> Result<(Outcome, String, Option<String>), String> {
    let mark = format!("cell={}.{}", peer.name, case.name);
    let mut cell = Cell::begin(lab, peer, mark, Over::of(case.name))?;
    let played = (case.play)(&mut cell);
    Ok(cell.end(played))
}

fn servers(plan: &Plan<'_>, lab: &mut Lab<'_>, peer: &Peer, run: &mut Run) -> Result<(), String> {
    let mut running = servers::Running::default();
    let chosen = |name| cases::chosen(name, &plan.cases) && peer.speaks(Over::of(name));
    for case in servers::all().filter(|case| chosen(case.name)) {
        if stop::came() {
            break;
        }
        let begun = Instant::now();
        let (outcome, log) = servers::play(lab, peer, case, &mut running);
        record(
            plan,
            run,
            (Direction::Servers, &peer.name, case.name),
            outcome,
            &log,
            begun,
        )?;
    }
    running.end(plan.ground);
    Ok(())
}

fn tell_stack(run: &mut Run, name: &str, stack: String) {
    if let Some(peer) = run.peers.iter_mut().find(|peer| peer.name == name) {
        peer.stack.get_or_insert(stack);
    }
}

fn record(
    plan: &Plan<'_>,
    run: &mut Run,
    (direction, peer, case): (Direction, &str, &str),
    outcome: Outcome,
    log: &str,
    begun: Instant,
) -> Result<(), String> {
    let verdict = plan.expected.verdict(direction, peer, case, &outcome);
    let shown = match &outcome {
        Outcome::Pass => String::new(),
        Outcome::Fail(why) => format!(": {why}"),
        Outcome::Unsupported(why) => format!(": unsupported: {why}"),
    };
    let milliseconds = begun.elapsed().as_millis() as u64;
    eprintln!("{verdict:10} {milliseconds:6} ms  {direction} {peer} {case}{shown}");
    let name = format!("cells/{direction}-{peer}-{case}.log");
    let file = plan.output.join(&name);
    fs::write(&file, log).map_err(|error| format!("{}: {error}", file.display()))?;
    run.cells.push(CellResult {
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

/// Now, by the system's own calendar.
pub fn date() -> String {
    said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])).unwrap_or_default()
}

/// What a program prints; nothing if it is not there.
pub fn said(command: &mut Command) -> Option<String> {
    crate::service::run(command)
        .ok()
        .filter(|text| !text.is_empty())
}
