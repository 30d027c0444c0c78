//! What stands in front of Cutwater where quic-interop-runner starts its image. The runner tells by
//! the environment what it wants: `ROLE` is `client` or `server`, `TESTCASE` names a case, and exit
//! 127 means "not supported". Without both of them this is Cutwater itself.
//!
//! There is no QUIC in Cutwater yet, so every case is answered so. What brings QUIC brings its
//! cases here: the files that the runner mounts (`/certs`, `/www`) turned into a configuration.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The product, in its image.
const CUTWATER: &str = "/cutwater";
/// The exit code of a case that is not supported.
const UNSUPPORTED: u8 = 127;
/// The exit code of a program that cannot be started, as shells have it.
const CANNOT_START: u8 = 126;

fn main() -> ExitCode {
    if let Some(case) = case(|name| env::var(name).ok()) {
        eprintln!("{case}: not supported");
        return ExitCode::from(UNSUPPORTED);
    }
    let error = Command::new(CUTWATER).args(env::args_os().skip(1)).exec();
    eprintln!("{CUTWATER}: {error}");
    ExitCode::from(CANNOT_START)
}

/// What the runner asks for, if it is the runner who asks.
fn case(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let given = |name| variable(name).filter(|value| !value.is_empty());
    Some(format!("{}, {}", given("ROLE")?, given("TESTCASE")?))
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
        assert_eq!(with("server", "handshake").unwrap(), "server, handshake");
        assert_eq!(with("server", ""), None);
        assert_eq!(case(|_| None), None);
    }
}
