//! Cutwater beside other servers: CPU time of the server for each operation.
//!
//! CPU time, because it holds on a machine where others run too, while rates do not. Each server
//! has the same certificate, suite and group, and one core; `cutwater load` has another. `run`
//! beside this crate builds what is needed and starts this.

mod client;
mod config;
mod drive;
mod figures;
mod lab;
mod page;
mod pki;
mod process;
mod quic;
mod rounds;
mod rows;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use self::config::{Config, Server};
use self::drive::Generator;
use self::lab::{Lab, Names, Place};
use self::rounds::{Extent, Rounds};
use self::rows::Row;
use self::text::Findings;

/// Measures servers side by side.
#[derive(Parser)]
struct Arguments {
    /// The servers.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The program `cutwater`.
    #[arg(long, value_name = "FILE")]
    cutwater: PathBuf,
    /// The `cutwater` that makes the load, if it is to be another one.
    #[arg(long, value_name = "FILE")]
    generator: Option<PathBuf>,
    /// The program `floor`.
    #[arg(long, value_name = "FILE")]
    floor: PathBuf,
    /// Where everything is written; in the root of each Debian if there is one.
    #[arg(long, value_name = "DIRECTORY")]
    directory: PathBuf,
    /// A Debian with other servers, by its suite.
    #[arg(long, value_name = "SUITE=DIRECTORY", value_parser = chroot)]
    chroot: Vec<(String, PathBuf)>,
    /// Where peers.json and peers.html go.
    #[arg(long, value_name = "DIRECTORY")]
    output: PathBuf,
    /// Only these servers; their names may have commas.
    #[arg(long, value_delimiter = ';', value_name = "NAME;…")]
    servers: Vec<String>,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', value_name = "ROW,…")]
    rows: Vec<String>,
    /// How often each row is measured.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long one load lasts.
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// Connections that are kept idle; a fifth of them do not read.
    #[arg(long, default_value_t = 5000, value_name = "N")]
    idle: usize,
    /// Further names.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    names: usize,
    /// The servers' core [default: the first that may be used].
    #[arg(long, value_name = "N")]
    server_core: Option<usize>,
    /// The core of the generator and of the origin [default: the second].
    #[arg(long, value_name = "N")]
    load_core: Option<usize>,
    /// Our own servers and six rows, for a minute; exits 1 if a figure is missing.
    #[arg(long)]
    quick: bool,
}

/// What `--quick` measures.
const QUICK: [Row; 6] = [
    Row::Full,
    Row::Resumed,
    Row::Early,
    Row::H1,
    Row::H3Early,
    Row::H3,
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let text = fs::read_to_string(&arguments.config)?;
    let config = Config::parse(&text)
        .map_err(|error| io::Error::other(format!("{}: {error}", arguments.config.display())))?;
    let extent = extent(arguments)?;
    let duration = arguments.duration.clone().unwrap_or_else(|| {
        let default = if arguments.quick { "2s" } else { "5s" };
        default.to_owned()
    });
    let cores = process::cores();
    let first = cores.first().copied().unwrap_or(0);
    let second = cores.get(1).copied().unwrap_or(first);
    let place = Place {
        cutwater: absolute(&arguments.cutwater)?,
        floor: absolute(&arguments.floor)?,
        templates: arguments.config.with_file_name("templates"),
        chroots: arguments.chroot.iter().cloned().collect(),
        directory: absolute(&arguments.directory)?,
        server_core: arguments.server_core.unwrap_or(first),
        load_core: arguments.load_core.unwrap_or(second),
    };
    let generator = Generator {
        program: absolute(arguments.generator.as_ref().unwrap_or(&arguments.cutwater))?,
        core: place.load_core,
        directory: place.directory.clone(),
        duration: duration.clone(),
        large: place.directory.join("root/large"),
    };
    let suites: Vec<String> = place.chroots.keys().cloned().collect();
    let lab = Lab::new(place)?;
    let mut findings = Findings {
        facts: machine(),
        ..Findings::default()
    };
    let loads = format!("{} rounds of {duration}", extent.rounds);
    findings.facts.push(("rounds".into(), loads));
    let servers = present(arguments, config, &lab, &mut findings);
    let from = servers.iter().filter_map(|server| server.chroot.as_ref());
    for suite in from.filter(|suite| !suites.contains(suite)) {
        let missing = format!("Debian {suite} for its servers: these are the machine's");
        if !findings.missing.contains(&missing) {
            findings.missing.push(missing);
        }
    }
    findings.table = Rounds::new(&lab, &generator, extent, servers).run();
    println!("{}", findings.text());
    fs::create_dir_all(&arguments.output)?;
    let (json, html) = (
        arguments.output.join("peers.json"),
        arguments.output.join("peers.html"),
    );
    fs::write(&json, format!("{:#}\n", findings.json()))?;
    fs::write(&html, page::page(&findings))?;
    println!("written: {} and {}", json.display(), html.display());
    let wrong = !findings.problems().is_empty() || !findings.missing.is_empty();
    Ok(ExitCode::from(u8::from(arguments.quick && wrong)))
}

fn extent(arguments: &Arguments) -> io::Result<Extent> {
    let mut rows: Vec<Row> = if arguments.quick {
        QUICK.to_vec()
    } else {
        Row::ALL.to_vec()
    };
    if !arguments.rows.is_empty() {
        if let Some(key) = arguments
            .rows
            .iter()
            .find(|key| Row::from_key(key).is_none())
        {
            let error = format!("there is no row {key:?}; there are {}", Row::keys());
            return Err(io::Error::other(error));
        }
        rows = Row::ALL.to_vec();
        rows.retain(|row| arguments.rows.iter().any(|key| key == row.key()));
    }
    Ok(Extent {
        rows,
        rounds: arguments
            .rounds
            .unwrap_or(if arguments.quick { 2 } else { 5 })
            .max(1),
        idle: arguments.idle,
        names: arguments.names,
    })
}

/// The servers that are wanted and start; the others are named as missing.
fn present(
    arguments: &Arguments,
    config: Config,
    lab: &Lab,
    findings: &mut Findings,
) -> Vec<Server> {
    let wanted = |server: &Server| {
        let named = arguments.servers.contains(&server.name);
        // One that has to be brought along is missed only by who asks for it.
        let there = lab::program(server).is_some() || server.environment.is_none();
        (named || arguments.servers.is_empty() && there) && (server.quick || !arguments.quick)
    };
    let mut servers = Vec::new();
    for server in config.server.into_iter().filter(wanted) {
        match lab.start(&server, &Names::default(), "hello") {
            Ok(_) => {
                if let Some(version) = lab.version(&server) {
                    findings.facts.push((server.name.clone(), version));
                }
                servers.push(server);
            }
            Err(error) => {
                let missing = format!("{}: {error}", server.name);
                eprintln!("{missing}");
                findings.missing.push(missing);
            }
        }
    }
    servers
}

/// What the machine is.
fn machine() -> Vec<(String, String)> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let cores = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let machine = format!("{model}, {cores} cores, Linux {}", kernel.trim());
    vec![("machine".into(), machine)]
}

/// A suite and its directory, as it is typed.
fn chroot(typed: &str) -> Result<(String, PathBuf), String> {
    let parts = typed.split_once('=');
    let (suite, directory) = parts.ok_or("a suite, `=` and its directory are wanted")?;
    let directory = absolute(Path::new(directory)).map_err(|error| error.to_string())?;
    Ok((suite.to_owned(), directory))
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}
