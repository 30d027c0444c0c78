//! A run: every chosen cell, one after the other.
//!
//! One after the other, because then whatever the edge logs and counts during a cell is that
//! cell's, and can be held against what the peer says.

use std::path::Path;
use std::time::Instant;

use crate::cases::{self, Case, Direction, Over, servers};
use crate::cell::Cell;
use crate::expected::Outcome;
use crate::ground::Ground;
use crate::lab::Lab;
use crate::peers::{Peer, Role};
use crate::plan::{Book, Plan};
use crate::results::Run;
use crate::stop;

#[cfg(test)]
mod tests;

/// Runs it there, and tells of each cell on standard error. `directory` is this run's, of
/// certificates and configuration.
///
/// # Errors
/// The programs of the run do not start, or results cannot be written.
pub fn run(plan: &Plan, ground: &dyn Ground, directory: &Path) -> Result<Run, String> {
    let mut book = plan.begin("cells", ground.describe_edge(), ground.describe())?;
    for &direction in &plan.directions {
        book.rows(direction, cases::names(direction).into_iter());
    }
    let mut lab = Lab::start(ground, directory, None)?;
    let plays = |peer: &&Peer| peer.can(Role::Client) || peer.can(Role::Server);
    'peers: for peer in plan.peers.iter().filter(plays) {
        if stop::came() {
            break;
        }
        // On this machine a peer may be missing; in Docker it may not.
        let may_miss = peer.local.is_some() && ground.describe() == "this machine";
        if !book.tries(peer, ground.usable(peer), may_miss) {
            continue;
        }
        book.peer(peer, ground.packaged(peer));
        for &direction in &plan.directions {
            match direction {
                Direction::Clients if peer.can(Role::Client) => {
                    let has_edge = clients(plan, &mut lab, peer, &mut book)?;
                    if !has_edge {
                        break 'peers;
                    }
                }
                Direction::Servers if peer.can(Role::Server) => {
                    servers(plan, &mut lab, peer, &mut book)?;
                }
                _ => {}
            }
        }
    }
    Ok(book.end())
}

/// Plays a peer's clients. Whether there is an edge for more.
///
/// # Errors
/// The peer does not start, or results cannot be written.
fn clients(
    plan: &Plan,
    lab: &mut Lab<'_>,
    peer: &Peer,
    book: &mut Book<'_>,
) -> Result<bool, String> {
    lab.ground.ready_client(peer)?;
    let chosen = |name| plan.chosen(name) && peer.speaks(Over::of(name));
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
            tell_stack(&mut book.run, &peer.name, stack);
        }
        book.cell((Direction::Clients, peer, case.name), begun, outcome, &log)?;
        if let Some(complaint) = lab.edge_has_ended() {
            let place = format!("during {} {}", peer.name, case.name);
            eprintln!("the edge ended {place}\n{complaint}");
            let remark = format!("The edge ended {place}: {complaint}");
            book.run.remarks.push(remark);
            book.run.good = false;
            if let Err(why) = lab.restart_edge() {
                let remark = format!("The run ended there: {why}");
                book.run.remarks.push(remark);
                book.run.whole = false;
                return Ok(false);
            }
        }
    }
    lab.ground.end(&peer.name);
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

fn servers(plan: &Plan, lab: &mut Lab<'_>, peer: &Peer, book: &mut Book<'_>) -> Result<(), String> {
    let mut running = servers::Running::default();
    let chosen = |name| plan.chosen(name) && peer.speaks(Over::of(name));
    for case in servers::all().filter(|case| chosen(case.name)) {
        if stop::came() {
            break;
        }
        let begun = Instant::now();
        let (outcome, log) = servers::play(lab, peer, case, &mut running);
        book.cell((Direction::Servers, peer, case.name), begun, outcome, &log)?;
    }
    running.end(lab.ground);
    Ok(())
}

fn tell_stack(run: &mut Run, name: &str, stack: String) {
    if let Some(peer) = run.peers.iter_mut().find(|peer| peer.name == name) {
        peer.stack.get_or_insert(stack);
    }
}
