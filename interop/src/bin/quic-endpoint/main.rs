//! What stands in front of Cutwater where quic-interop-runner starts its image. The runner tells by
//! the environment what it wants: `ROLE` is `client` or `server`, `TESTCASE` names a case, and exit
//! 127 means "not supported". Without both of them this is Cutwater itself.
//!
//! The cases transfer files over HTTP/0.9, which no configuration of Cutwater speaks. So they are
//! answered by Cutwater as a library, with what it is made of: the server is an edge whose one site
//! speaks HTTP/0.9 beside HTTP/3, the client is that of the load generator.

mod client;
mod server;

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The product, in its image.
const CUTWATER: &str = "/cutwater";
/// The exit code of a case that is not supported.
const UNSUPPORTED: u8 = 127;
/// The exit code of a program that cannot be started, as shells have it.
const CANNOT_START: u8 = 126;

/// Where the runner mounts its files.
const CERTIFICATES: &str = "/certs";
const WWW: &str = "/www";
const DOWNLOADS: &str = "/downloads";

/// Of the base image of quic-network-simulator's endpoints: the first makes the way through its
/// simulator, the second waits until that is there.
const SETUP: &str = "/setup.sh";
const WAIT: (&str, [&str; 4]) = ("/wait-for-it.sh", ["sim:57832", "-s", "-t", "30"]);

fn main() -> ExitCode {
    let Some((role, case)) = case(|name| env::var(name).ok()) else {
        let error = Command::new(CUTWATER).args(env::args_os().skip(1)).exec();
        eprintln!("{CUTWATER}: {error}");
        return ExitCode::from(CANNOT_START);
    };
    if let Err(why) = supported(&role, &case) {
        eprintln!("{role}, {case}: not supported: {why}");
        return ExitCode::from(UNSUPPORTED);
    }
    let played = prepare(&role).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        match role.as_str() {
            "server" => runtime.block_on(server::serve(&case)),
            _ => runtime.block_on(client::fetch(&case)),
        }
    });
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}, {case}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Role and case, if it is the runner who asks.
fn case(variable: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let given = |name| variable(name).filter(|value| !value.is_empty());
    Some((given("ROLE")?, given("TESTCASE")?))
}

/// Whether a case is played in a role.
fn supported(role: &str, case: &str) -> Result<(), &'static str> {
    match (role, case) {
        (_, "v2") => Err("quinn speaks QUIC version 1 alone"),
        ("server", "connectionmigration") => {
            Err("an edge has one address, and no other one to prefer")
        }
        ("client" | "server", "handshake" | "transfer" | "chacha20" | "retry" | "resumption")
        | ("client" | "server", "zerortt" | "http3" | "multiconnect" | "ecn")
        | ("client", "keyupdate") => Ok(()),
        ("client" | "server", _) => Err("no such case is known"),
        _ => Err("no such role is known"),
    }
}

/// The way through the network simulator, where the image has programs for that.
fn prepare(role: &str) -> Result<(), String> {
    let (wait, arguments) = WAIT;
    let all: [(&str, &[&str]); 2] = [(SETUP, &[]), (wait, &arguments)];
    let wanted = if role == "client" {
        &all[..]
    } else {
        &all[..1]
    };
    for (program, arguments) in wanted
        .iter()
        .filter(|(program, _)| Path::new(program).exists())
    {
        let status = Command::new(program).args(*arguments).status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("{program}: {status}")),
            Err(error) => return Err(format!("{program}: {error}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_a_role_and_a_name() {
        let with = |role: &'static str, test: &'static str| {
            case(move |name| match name {
                "ROLE" => Some(role.to_owned()),
                "TESTCASE" => Some(test.to_owned()),
                _ => None,
            })
        };
        assert_eq!(with("server", "handshake").unwrap().1, "handshake");
        assert_eq!(with("server", ""), None);
        assert_eq!(case(|_| None), None);
    }

    #[test]
    fn what_is_not_supported_says_why() {
        assert_eq!(supported("server", "zerortt"), Ok(()));
        assert_eq!(supported("client", "keyupdate"), Ok(()));
        for (role, case) in [
            ("server", "v2"),
            ("client", "goodput"),
            ("sim", "handshake"),
        ] {
            assert!(supported(role, case).is_err());
        }
    }
}
