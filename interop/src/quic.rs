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

use std::fs;
use std::path::Path;
use std::time::Instant;

use self::cases::CASES;
use self::play::Stage;
use crate::cases::{self as all_cases, Direction};
use crate::images;
use crate::peers::{Peer, Role};
use crate::plan::Plan;
use crate::results::Run;
use crate::{report, stop};

/// The file of results, beside the report.
pub const FILE: &str = "quic.json";

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

/// Plays all cells, or those of the core, and tells of each on standard error.
///
/// # Errors
/// Results cannot be written.
pub fn run(plan: &Plan, core: bool) -> Result<Run, String> {
    let mut book = plan.begin("quic", format!("image {}", images::QUIC), "Docker".into())?;
    let stage = Stage::new()?;
    stop::removes(stage.label().to_owned());
    let of_core = || CASES.iter().filter(|case| !core || case.core);
    for &direction in &plan.directions {
        book.rows(direction, of_core().map(|case| (case.name, case.title)));
    }
    for peer in &plan.peers {
        if !book.tries(peer, Ok(()), true) {
            continue;
        }
        book.peer(peer, None);
        for &direction in plan.directions.iter().filter(|it| plays(peer, **it)) {
            for case in of_core().filter(|case| plan.chosen(case.name)) {
                if stop::came() {
                    break;
                }
                let begun = Instant::now();
                let (outcome, log) = stage.play(direction, peer, case);
                book.cell((direction, peer, case.name), begun, outcome, &log)?;
            }
        }
    }
    let found = book.end();
    let json = serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?;
    let file = plan.output.join(FILE);
    fs::write(&file, json).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(found)
}

/// What was found last, as it stands beside the report.
///
/// # Errors
/// It cannot be read.
pub fn read(output: &Path) -> Result<Option<Run>, String> {
    report::beside(output, FILE)
}
