//! `interop quic` on the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cases::{self, Direction};
use crate::command::{Directions, commit, target, tell};
use crate::expected::Expected;
use crate::plan::Plan;
use crate::{images, peers, report, stop};

/// What is asked for.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only these peers.
    #[arg(long = "peer", value_name = "PEER")]
    peers: Vec<String>,
    /// Only these cases; `rebind-*` stands for all that begin so.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
    /// Whether peers are clients, servers, or both.
    #[arg(long, default_value = "both")]
    direction: Directions,
    /// The program under test, beside `quic-endpoint`. Default: this machine's release build.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Only the peers and cases of the core.
    #[arg(long)]
    core: bool,
    /// Build no images: they are there.
    #[arg(long)]
    no_build: bool,
    /// Where results go.
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Plays them. Exit 1 if anything is not as expected.
///
/// # Errors
/// Why they cannot be played.
pub fn play(interop: &Path, asked: Arguments) -> Result<ExitCode, String> {
    let directions = asked.direction.list();
    let whole =
        asked.peers.is_empty() && asked.cases.is_empty() && !asked.core && directions.len() == 2;
    let all = peers::read(interop)?;
    let names: Vec<String> = all.iter().map(|peer| peer.name.clone()).collect();
    let known: Vec<&str> = super::names().into_iter().map(|(name, _)| name).collect();
    cases::check(&asked.cases, &known)?;
    let expected = Expected::read_quic(interop, &names, &known)?;
    let mut chosen = peers::choose(all, &asked.peers, asked.core)?;
    chosen.retain(|peer| directions.iter().any(|it| super::plays(peer, *it)));
    let mut failed = Vec::new();
    if !asked.no_build {
        images::foundation(interop)?;
        failed = images::peers(interop, &chosen);
        let binary = asked.binary;
        let binary = binary.unwrap_or_else(|| target(interop).join("release/cutwater"));
        images::quic(interop, &binary, images::BASE)?;
        if super::needs_tshark(&asked.cases, asked.core) {
            super::tshark_image(interop)?;
        }
        stop::check()?;
    }
    let output = asked.output;
    let output = output.unwrap_or_else(|| target(interop).join("interop"));
    let plan = Plan {
        output,
        peers: chosen,
        failed,
        cases: asked.cases,
        directions,
        expected,
        whole,
        commit: commit(interop),
    };
    let found = super::run(&plan, asked.core)?;
    let code = tell(&found);
    report::refresh(&plan.output)?;
    Ok(code)
}

/// Names and titles of all cases, for `interop list`.
pub fn list() {
    for (name, title) in super::names() {
        for direction in [Direction::Clients, Direction::Servers] {
            println!("quic {direction:8} {name:19} {title}");
        }
    }
}
