//! The command line.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::cases::absent::ABSENT;
use crate::cases::{self, Direction};
use crate::conformance::{self, Tools};
use crate::expected::Expected;
use crate::ground::Ground;
use crate::ground::docker::Docker;
use crate::ground::local::Local;
use crate::peers::{self, Peer};
use crate::plan::{Plan, said};
use crate::results::Run;
use crate::stop::{self, Temporary};
use crate::{broken, images, origin, quic, relay, report, run};

/// Puts Cutwater between the TLS stacks of the world and shows, cell by cell, that they agree.
#[derive(Parser)]
#[command(version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Asked,
}

#[derive(Subcommand)]
enum Asked {
    /// Play cells and report them. Exit 1 if anything is not as expected.
    Run(RunArguments),
    /// Play the cases of quic-interop-runner and report them. Exit 1 if anything is not as expected.
    Quic(quic::command::Arguments),
    /// Try broken servers: each has to be caught by the cell that should catch it.
    Broken {
        /// The program under test. Default: this machine's release build.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// Build no images: they are there.
        #[arg(long)]
        no_build: bool,
    },
    /// Run conformance tools against the edge: testssl.sh and sslyze always, others by path.
    Conformance {
        /// testssl.sh. Default: as installed.
        #[arg(long, value_name = "FILE")]
        testssl: Option<PathBuf>,
        /// sslyze. Default: as installed.
        #[arg(long, value_name = "FILE")]
        sslyze: Option<PathBuf>,
        /// h2spec.
        #[arg(long, value_name = "FILE")]
        h2spec: Option<PathBuf>,
        /// The directory of tlsfuzzer.
        #[arg(long, value_name = "DIRECTORY")]
        tlsfuzzer: Option<PathBuf>,
        /// Without Docker, with this machine's build.
        #[arg(long)]
        local: bool,
        /// The program under test. Default: this machine's release build.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// Where results go.
        #[arg(long, value_name = "DIRECTORY")]
        output: Option<PathBuf>,
    },
    /// Show peers and cases.
    List,
    /// Write the report of the last run again, and its table into docs/INTEROP.md.
    Report {
        /// Instead look at it in a browser without a window (the image of the peer chromium): contrast
        /// in light and dark, and that every cell shows its log.
        #[arg(long)]
        check: bool,
        /// Where the run's results are.
        #[arg(long, value_name = "DIRECTORY")]
        output: Option<PathBuf>,
    },
    /// Build the images.
    Images {
        /// Only these peers.
        #[arg(long = "peer", value_name = "PEER")]
        peers: Vec<String>,
        /// Only the peers of the core.
        #[arg(long)]
        core: bool,
        /// The program for the edge's image. Default: this machine's release build.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// The production image too: a static program on an empty base.
        #[arg(long = "static")]
        production: bool,
    },
    /// The relay of a run, driven by lines of JSON.
    #[command(hide = true)]
    Relay {
        /// Where relays listen.
        address: IpAddr,
    },
    /// The line of a cell of `quic`.
    #[command(hide = true)]
    Line(quic::line::Line),
    /// The origin of a run.
    #[command(hide = true)]
    Origin {
        /// Where it listens.
        address: SocketAddr,
        /// The directory of the run's certificates.
        pki: PathBuf,
    },
}

#[derive(clap::Args)]
struct RunArguments {
    /// Only these peers.
    #[arg(long = "peer", value_name = "PEER")]
    peers: Vec<String>,
    /// Only these cases; `early-*` stands for all that begin so.
    #[arg(long = "case", value_name = "CASE")]
    cases: Vec<String>,
    /// Whether peers are clients, servers, or both.
    #[arg(long, default_value = "both")]
    direction: Directions,
    /// With what is installed on this machine, without Docker: for a quick look.
    #[arg(long)]
    local: bool,
    /// The program under test. Default: this machine's release build.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Only the peers of the core.
    #[arg(long)]
    core: bool,
    /// Build no images: they are there.
    #[arg(long)]
    no_build: bool,
    /// With the production image, which is built if need be.
    #[arg(long = "static", conflicts_with_all = ["local", "binary"])]
    production: bool,
    /// Where results go.
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
}

/// Who the peers are.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Directions {
    /// Clients.
    Clients,
    /// Servers.
    Servers,
    /// First clients, then servers.
    Both,
}

impl Directions {
    /// Them, one by one.
    pub fn list(self) -> Vec<Direction> {
        match self {
            Self::Clients => vec![Direction::Clients],
            Self::Servers => vec![Direction::Servers],
            Self::Both => vec![Direction::Clients, Direction::Servers],
        }
    }
}

/// Does what is asked.
///
/// # Errors
/// Why it cannot be done.
pub fn run(arguments: Arguments) -> Result<ExitCode, String> {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Those that serve end with their input.
    if !matches!(
        arguments.command,
        Asked::Relay { .. } | Asked::Origin { .. } | Asked::Line(_)
    ) {
        stop::on_signals()?;
    }
    match arguments.command {
        Asked::Run(asked) => play(interop, asked),
        Asked::Quic(asked) => quic::command::play(interop, asked),
        Asked::Broken { binary, no_build } => broken(interop, binary, no_build),
        Asked::Conformance {
            testssl,
            sslyze,
            h2spec,
            tlsfuzzer,
            local,
            binary,
            output,
        } => {
            let tools = Tools {
                testssl,
                sslyze,
                h2spec,
                tlsfuzzer,
            };
            let output = output.unwrap_or_else(|| target(interop).join("interop"));
            conform(interop, &tools, local, binary, &output)
        }
        Asked::List => list(interop).map(|()| ExitCode::SUCCESS),
        Asked::Report { check, output } => {
            let output = output.unwrap_or_else(|| target(interop).join("interop"));
            if check {
                println!("{}", report::browser::check(&output)?);
                return Ok(ExitCode::SUCCESS);
            }
            report::again(&output, &interop.join("../docs/INTEROP.md"))?;
            Ok(ExitCode::SUCCESS)
        }
        Asked::Images {
            peers: names,
            core,
            binary,
            production,
        } => {
            let chosen = peers::choose(peers::read(interop)?, &names, core)?;
            images::foundation(interop)?;
            all_built(images::peers(interop, &chosen))?;
            let binary = binary.unwrap_or_else(|| target(interop).join("release/cutwater"));
            images::edge(interop, &binary)?;
            match production {
                true => images::production(interop)?,
                false => images::quic(interop, &binary, images::BASE)?,
            }
            if quic::needs_tshark(&[], core) {
                quic::tshark_image(interop)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Asked::Relay { address } => serve(relay::serve(address)),
        Asked::Line(line) => serve(quic::line::serve(line)),
        Asked::Origin { address, pki } => serve(origin::serve(address, pki)),
    }
}

/// Where builds go.
pub fn target(interop: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| interop.join("../target"), Into::into)
}

/// What is checked out.
pub fn commit(interop: &Path) -> Option<String> {
    let mut git = Command::new("git");
    said(
        git.current_dir(interop)
            .args(["rev-parse", "--short", "HEAD"]),
    )
}

fn serve(service: impl Future<Output = std::io::Result<()>>) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = runtime.and_then(|runtime| runtime.block_on(service));
    served
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| error.to_string())
}

fn list(interop: &Path) -> Result<(), String> {
    for peer in peers::read(interop)? {
        let core = if peer.core { ", core" } else { "" };
        println!(
            "peer     {:24} {} ({:?}{core})",
            peer.name, peer.title, peer.can
        );
    }
    for direction in [Direction::Clients, Direction::Servers] {
        for (name, title) in cases::names(direction) {
            println!("{direction:8} {name:24} {title}");
        }
        for (_, name, why) in ABSENT.iter().filter(|one| one.0 == direction) {
            println!("{direction:8} {name:24} none: {why}");
        }
    }
    quic::command::list();
    Ok(())
}

fn play(interop: &Path, asked: RunArguments) -> Result<ExitCode, String> {
    let all = peers::read(interop)?;
    let names: Vec<String> = all.iter().map(|peer| peer.name.clone()).collect();
    let directions = asked.direction.list();
    let known: Vec<&str> = [Direction::Clients, Direction::Servers]
        .into_iter()
        .flat_map(|direction| cases::names(direction).into_iter().map(|(name, _)| name))
        .collect();
    cases::check(&asked.cases, &known)?;
    let expected = Expected::read(interop, &names, &known)?;
    let whole = asked.peers.is_empty()
        && asked.cases.is_empty()
        && !asked.core
        && !asked.local
        && directions.len() == 2;
    let mut chosen = peers::choose(all, &asked.peers, asked.core)?;
    if asked.local {
        chosen = peers::local(chosen, &asked.peers);
    }
    let binary = asked
        .binary
        .clone()
        .unwrap_or_else(|| target(interop).join("release/cutwater"));

    let scratch = scratch()?;
    let directory = scratch.path();
    let mut failed = Vec::new();
    let ground: Box<dyn Ground> = match asked.local {
        true => Box::new(Local::new(directory, &interop.join("peers"), &binary)?),
        false => {
            if !asked.no_build {
                failed = build(interop, &chosen, &binary, asked.production)?;
            }
            let image = if asked.production {
                images::STATIC
            } else {
                images::EDGE
            };
            Box::new(in_docker(image, directory)?)
        }
    };
    let plan = Plan {
        output: asked
            .output
            .unwrap_or_else(|| target(interop).join("interop")),
        peers: chosen,
        failed,
        cases: asked.cases,
        directions,
        expected,
        whole,
        commit: commit(interop),
    };
    let found = run::run(&plan, &*ground, directory)?;
    report::write(&found, &plan.output)?;
    let code = tell(&found);
    println!("{}", plan.output.join("report.html").display());
    Ok(code)
}

/// Prints what a run came to. Its exit code: 1 if anything is not as expected.
pub fn tell(found: &Run) -> ExitCode {
    let [pass, expected, stale, unexpected] = found.counts();
    println!(
        "{pass} pass, {expected} expected, {stale} stale, {unexpected} unexpected: {} s",
        found.seconds
    );
    for remark in &found.remarks {
        println!("{remark}");
    }
    ExitCode::from(u8::from(!found.good))
}

/// The client and the server of `broken`.
const CLIENT: &str = "openssl";
const REPLAYED: &str = "nginx";

fn broken(interop: &Path, binary: Option<PathBuf>, no_build: bool) -> Result<ExitCode, String> {
    let names = [CLIENT, REPLAYED].map(str::to_owned);
    let peers = peers::choose(peers::read(interop)?, &names, false)?;
    let named = |name| {
        let found = peers.iter().find(|peer| peer.name == name);
        found.ok_or_else(|| format!("no peer is named {name}"))
    };
    if !no_build {
        let binary = binary.unwrap_or_else(|| target(interop).join("release/cutwater"));
        all_built(build(interop, &peers, &binary, false)?)?;
    }
    let scratch = scratch()?;
    let directory = scratch.path();
    let docker = in_docker(images::EDGE, directory)?;
    let caught = broken::run(&docker, directory, named(CLIENT)?, named(REPLAYED)?)?;
    Ok(ExitCode::from(u8::from(!caught)))
}

fn conform(
    interop: &Path,
    tools: &Tools,
    local: bool,
    binary: Option<PathBuf>,
    output: &Path,
) -> Result<ExitCode, String> {
    let binary = binary.unwrap_or_else(|| target(interop).join("release/cutwater"));
    let scratch = scratch()?;
    let directory = scratch.path();
    let ground: Box<dyn Ground> = if local {
        Box::new(Local::new(directory, &interop.join("peers"), &binary)?)
    } else {
        build(interop, &[], &binary, false)?;
        Box::new(in_docker(images::EDGE, directory)?)
    };
    let commit = commit(interop);
    let good = conformance::run(&*ground, directory, interop, tools, commit, output)?;
    report::refresh(output)?;
    Ok(ExitCode::from(u8::from(!good)))
}

/// Builds all that a run needs. Returns peers whose image could not be built, and why: an older
/// image of theirs is not what is to be tried.
fn build(
    interop: &Path,
    peers: &[Peer],
    binary: &Path,
    production: bool,
) -> Result<Vec<(String, String)>, String> {
    images::foundation(interop)?;
    let failed = images::peers(interop, peers);
    match production {
        true => images::production(interop),
        false => images::edge(interop, binary),
    }?;
    stop::check()?;
    Ok(failed)
}

fn all_built(failed: Vec<(String, String)>) -> Result<(), String> {
    match failed.as_slice() {
        [] => Ok(()),
        all => Err(all
            .iter()
            .map(|(name, error)| format!("{name}: {error}"))
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

fn in_docker(image: &str, directory: &Path) -> Result<Docker, String> {
    let docker = Docker::new(directory, image)?;
    stop::removes(docker.label());
    Ok(docker)
}

/// This run's directory: what containers read, they may read as anybody.
fn scratch() -> Result<Temporary, String> {
    let directory = Temporary::new("cutwater-interop")?;
    for part in ["pki", "etc"] {
        let part = directory.path().join(part);
        fs::create_dir(&part).map_err(|error| format!("{}: {error}", part.display()))?;
    }
    Ok(directory)
}
