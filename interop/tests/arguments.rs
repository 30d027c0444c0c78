//! A run that cannot be made ends with 2 and says why, before anything is built.

use std::process::{Command, Output};

fn interop(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_interop"))
        .args(arguments)
        // No image can be built, and no run begun, by mistake.
        .env("DOCKER_HOST", "unix:///nowhere")
        .output()
        .expect("it starts")
}

/// Exit code 2, and this on standard error.
fn refused(arguments: &[&str], why: &[&str]) {
    let output = interop(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for part in why {
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[test]
fn names_that_there_are_not_are_told_with_a_hint() {
    let list = "hint: cargo run -p interop -- list";
    refused(
        &["run", "--peer", "openssl", "--peer", "opensssl"],
        &["error: no peer is named opensssl", "hint: openssl, gnutls"],
    );
    refused(
        &["run", "--case", "full", "--case", "ful"],
        &["error: no case is named ful\n", list],
    );
    refused(
        &["run", "--case", "later-*"],
        &["no case is named later-*", list],
    );
    refused(
        &["quic", "--case", "full"],
        &["no case is named full", list],
    );
    refused(&["quic", "--peer", "none"], &["no peer is named none"]);
    refused(&["images", "--peer", "none"], &["no peer is named none"]);
}

#[test]
fn arguments_that_cannot_be_read_or_together_are_refused() {
    refused(&["run", "--direction", "up"], &["clients, servers, both"]);
    refused(&["run", "--static", "--local"], &["cannot be used with"]);
    refused(&["walk"], &["walk"]);
    refused(&[], &["Usage: interop"]);
}

#[test]
fn a_program_that_is_not_there_or_serves_nobody_is_no_edge() {
    let run = |binary| ["run", "--local", "--peer", "python", "--binary", binary];
    refused(
        &run("/nowhere/cutwater"),
        &["no program /nowhere/cutwater", "hint: cargo build"],
    );
    // A shell that is asked to run a script `serve`.
    refused(&run("/bin/sh"), &["the edge does not start\n", "serve"]);
}

#[test]
fn what_there_is_is_listed_without_docker() {
    let output = interop(&["list"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    let beginnings = [
        "peer     openssl ",
        "clients  full ",
        "servers  full ",
        "quic ",
    ];
    for part in beginnings {
        assert!(said.lines().any(|line| line.starts_with(part)), "{part}");
    }
}
