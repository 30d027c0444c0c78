//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cutwater::config::check::Form;

/// Chosen by measurement: handshakes cost less than with the C library's, and an idle connection
/// keeps no holes where hyper was.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A TLS 1.3 edge terminator with replay-safe 0-RTT.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Terminate TLS. SIGHUP reloads, SIGTERM drains (again: ends now).
    Serve {
        /// The configuration file.
        #[arg(long, default_value = "cutwater.toml", value_name = "FILE")]
        config: PathBuf,
        /// Do not start while any site cannot be served.
        #[arg(long)]
        strict: bool,
    },
    /// Read a configuration: exit 0, or 1 with every error at its file, line and column. Tells of
    /// every certificate.
    Check {
        /// The configuration file.
        #[arg(long, default_value = "cutwater.toml", value_name = "FILE")]
        config: PathBuf,
        /// Print the merged result with its defaults.
        #[arg(long)]
        print: bool,
        /// Print errors, warnings and certificates as JSON.
        #[arg(long, conflicts_with = "print")]
        json: bool,
    },
    /// Ask a running edge whether it is ready: exit 0, or 1. For the health check of an image.
    Health {
        /// The configuration file that says where the admin endpoint is.
        #[arg(long, default_value = "cutwater.toml", value_name = "FILE")]
        config: PathBuf,
        /// Where the admin endpoint is, in place of the file: `IP:PORT` or `unix:PATH`.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
    },
    /// Nothing to set up: own authority, three sites, an origin; a full, a resumed and a 0-RTT
    /// request, and a replay that is refused.
    Demo {
        /// End after the steps: exit 0, or 1 if anything was not as it should be.
        #[arg(long)]
        once: bool,
    },
    /// Load a server with handshakes and requests, and say what they took. docs/LOAD.md
    Load(Box<cutwater::load::arguments::Arguments>),
    /// Tell what a server speaks and shows: versions, suites, groups, sessions, early data,
    /// certificates. docs/INSPECT.md
    Inspect(cutwater::inspect::arguments::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config, strict } => cutwater::serve::serve(&config, strict),
        Command::Check {
            config,
            print,
            json,
        } => {
            let form = match (print, json) {
                (true, _) => Form::Merged,
                (_, true) => Form::Json,
                _ => Form::Text,
            };
            let report = cutwater::config::check::check(&config, form);
            // A reader that went away wants no more.
            let _ = std::io::stderr().write_all(report.complaints.as_bytes());
            let _ = std::io::stdout().write_all(report.output.as_bytes());
            ExitCode::from(report.code)
        }
        Command::Health { config, address } => {
            cutwater::serve::health::health(&config, address.as_deref())
        }
        Command::Demo { once } => cutwater::demo::demo(once),
        Command::Load(arguments) => cutwater::load::command::load(&arguments),
        Command::Inspect(arguments) => cutwater::inspect::command::inspect(&arguments),
    }
}
