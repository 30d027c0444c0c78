//! The interop harness: Cutwater between the TLS stacks of the world. README.md

mod broken;
mod cases;
mod cell;
mod command;
mod conformance;
mod evidence;
mod expected;
mod ground;
mod images;
mod lab;
mod line;
mod notes;
mod origin;
mod peers;
mod pki;
mod plan;
mod quic;
mod relay;
mod report;
mod results;
mod run;
mod service;
mod sites;
mod staple;
mod stop;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match command::run(command::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
