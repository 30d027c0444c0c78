//! The cases of quic-interop-runner: `interop quic`. Cutwater's image for that runner against endpoints of
//! other stacks, which have the same interface.

mod cases;
pub mod command;
mod files;
pub mod line;
mod packets;
mod pcap;
mod play;
mod trace;
mod tshark;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use self::cases::{CASES, Case};
use self::play::Stage;
use crate::cases::{self as all_cases, Direction};
use crate::expected::{Expected, Outcome};
use crate::images;
use crate::peers::{Peer, Role};
use crate::results::{CellResult, PeerVersion, Run};
use crate::{run, stop};

/// The file of results, beside the report.
pub const FILE: &str = "quic.json";

/// What is to be played.
pub struct Plan<'a> {
    /// Where results go.
    pub output: &'a Path,
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
    /// Only the cases of the core.
    pub core: bool,
    /// The commit under test.
    pub commit: Option<String>,
}

/// Names and titles of all cases.
pub fn names() -> Vec<(&'static str, &'static str)> {
    CASES.iter().map(|case| (case.name, case.title)).collect()
}

/// Whether any of these cases needs the image of Wireshark.
pub fn needs_tshark(cases: &[String], core: bool) -> bool {
    !core
        && CASES
            .iter()
            .any(|case| case.deep && all_cases::chosen(case.name, cases))
}

/// Makes the image of Wireshark.
///
/// # Errors
/// It could not be built.
pub fn tshark_image(interop: &Path) -> Result<(), String> {
    images::of_tool(tshark::IMAGE, &interop.join("tshark"))
}

/// Whether a peer plays any part.
pub fn plays(peer: &Peer, direction: Direction) -> bool {
    peer.can(match direction {
        Direction::Clients => Role::QuicClient,
        Direction::Servers => Role::QuicServer,
    })
}

/// Plays all cells, and tells of each on standard error.
///
/// # Errors
/// Results cannot be written.
pub fn run(plan: &Plan<'_>) -> Result<Run, String> {
    let begun = Instant::now();
    let logs = plan.output.join("quic");
    fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    let stage = Stage::new()?;
    stop::removes(stage.label().to_owned());
    let chosen =
        |case: &&Case| all_cases::chosen(case.name, &plan.cases) && (!plan.core || case.core);
    let mut found = Run {
        date: run::date(),
        seconds: 0,
        cutwater: env!("CARGO_PKG_VERSION").into(),
        commit: plan.commit.clone(),
        edge: format!("image {}", images::QUIC),
        ground: "Docker".into(),
        system: run::said(std::process::Command::new("uname").args(["-sm"])).unwrap_or_default(),
        peers: Vec::new(),
        cases: BTreeMap::new(),
        cells: Vec::new(),
        remarks: Vec::new(),
        good: true,
        whole: plan.whole,
    };
    for peer in &plan.peers {
        if let Some((_, why)) = plan.failed.iter().find(|(name, _)| *name == peer.name) {
            eprintln!("{}: no image: {why}", peer.name);
            let remark = format!(
                "{} was not tried: its image could not be built.",
                peer.title
            );
            found.remarks.push(remark);
            (found.good, found.whole) = (false, false);
            continue;
        }
        found.peers.push(PeerVersion {
            name: peer.name.clone(),
            title: peer.title.clone(),
            stack: None,
        });
        for &direction in plan.directions.iter().filter(|it| plays(peer, **it)) {
            for case in CASES.iter().filter(chosen) {
                if stop::came() {
                    break;
                }
                let begun = Instant::now();
                let (outcome, log) = stage.play(direction, peer, case);
                record(
                    plan,
                    &mut found,
                    (direction, peer, case),
                    outcome,
                    &log,
                    begun,
                )?;
            }
        }
    }
    for &direction in &plan.directions {
        let names = CASES.iter().filter(chosen);
        let names = names.map(|case| (case.name.to_owned(), case.title.to_owned()));
        found.cases.insert(direction, names.collect());
    }
    if stop::came() {
        found
            .remarks
            .push("The run was stopped before its end.".into());
        (found.good, found.whole) = (false, false);
    } else if found.whole {
        let unused = plan.expected.unused();
        let unused = unused.map(|entry| format!("An expectation fits no cell: {entry}"));
        found.remarks.extend(unused);
    }
    found.good &= found.cells.iter().all(|cell| cell.verdict.is_good());
    found.seconds = begun.elapsed().as_secs();
    let json = serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?;
    let file = plan.output.join(FILE);
    fs::write(&file, json).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(found)
}

fn record(
    plan: &Plan<'_>,
    found: &mut Run,
    (direction, peer, case): (Direction, &Peer, &Case),
    outcome: Outcome,
    log: &str,
    begun: Instant,
) -> Result<(), String> {
    let verdict = plan
        .expected
        .verdict(direction, &peer.name, case.name, &outcome);
    let shown = match &outcome {
        Outcome::Pass => String::new(),
        Outcome::Fail(why) => format!(": {why}"),
        Outcome::Unsupported(why) => format!(": unsupported: {why}"),
    };
    let milliseconds = begun.elapsed().as_millis() as u64;
    let cell = format!("{direction} {} {}", peer.name, case.name);
    eprintln!("{verdict:10} {milliseconds:6} ms  {cell}{shown}");
    let name = format!("quic/{direction}-{}-{}.log", peer.name, case.name);
    let file = plan.output.join(&name);
    fs::write(&file, log).map_err(|error| format!("{}: {error}", file.display()))?;
    found.cells.push(CellResult {
        direction,
        peer: peer.name.clone(),
        case: case.name.into(),
        outcome,
        verdict,
        milliseconds,
        log: name,
    });
    Ok(())
}

/// What was found last, as it stands beside the report.
pub fn read(output: &Path) -> Option<Run> {
    let text = fs::read_to_string(output.join(FILE)).ok()?;
    serde_json::from_str(&text).ok()
}
