//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
        #[arg(long, default_value = "cutwater.toml")]
        config: PathBuf,
        /// Do not start while any site cannot be served.
        #[arg(long)]
        strict: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config, strict } => cutwater::serve::serve(&config, strict),
    }
}
