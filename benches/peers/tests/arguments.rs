//! What is wrong with the arguments is said before anything is started.

use std::process::{Command, Output};

fn peers(further: &[&str]) -> Output {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/peers.toml");
    Command::new(env!("CARGO_BIN_EXE_peers"))
        .args([
            "--config",
            config,
            "--cutwater",
            "/none",
            "--floor",
            "/none",
        ])
        .args(["--directory", "/none", "--output", "/none"])
        .args(further)
        .output()
        .expect("it starts")
}

#[test]
fn a_row_that_there_is_not_is_named_with_those_that_there_are() {
    let output = peers(&["--rows", "h3,h4"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no row \"h4\""), "{said}");
    assert!(said.contains("h3-0rtt, h3, h3-download"), "{said}");
}

#[test]
fn a_debian_has_a_suite() {
    let output = peers(&["--chroot", "/srv/sid"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("a suite"), "{said}");
}
