//! What Wireshark reads in a capture, with the client's keys.

use std::path::Path;
use std::process::Command;

use super::files::PORT;
use crate::stop;

/// Its image.
pub const IMAGE: &str = "cutwater-interop/tshark";

/// What is asked of each datagram, in this order.
const FIELDS: [&str; 7] = [
    "frame.number",
    "quic.frame_type",
    "quic.key_phase",
    "quic.path_challenge.data",
    "quic.path_response.data",
    "tls.handshake.type",
    "tls.handshake.ciphersuite",
];

/// What is in a datagram.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Types of QUIC frames.
    pub types: Vec<u64>,
    /// Of its packet with a short header.
    pub key_phase: Option<bool>,
    /// Data of PATH_CHALLENGE frames, in hexadecimal digits.
    pub challenges: Vec<String>,
    /// Data of PATH_RESPONSE frames.
    pub responses: Vec<String>,
    /// Types of handshake messages that begin in it.
    pub handshakes: Vec<u64>,
    /// Cipher suites offered or chosen.
    pub suites: Vec<u64>,
}

/// Reads `file` of this directory, with `keys` of it (NSS's format).
///
/// # Errors
/// Wireshark cannot.
pub fn read(
    directory: &Path,
    file: &str,
    keys: &str,
    label: &str,
) -> Result<Vec<(usize, Frame)>, String> {
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--pull", "never", "--network", "none"]);
    command.args(["--user", "1000:1000", "--cap-drop", "ALL", "--read-only"]);
    command.args([
        "--tmpfs",
        "/tmp:mode=1777",
        "-e",
        "HOME=/tmp",
        "--label",
        label,
    ]);
    command
        .arg("-v")
        .arg(format!("{}:/cell:ro", directory.display()));
    command
        .args([IMAGE, "tshark", "-r"])
        .arg(format!("/cell/{file}"));
    command
        .arg("-o")
        .arg(format!("tls.keylog_file:/cell/{keys}"));
    for port in ["443", &PORT.to_string()] {
        command.arg("-d").arg(format!("udp.port=={port},quic"));
    }
    command.args(["--disable-protocol", "http3"]);
    command.args([
        "-Y",
        "quic",
        "-T",
        "fields",
        "-E",
        "separator=;",
        "-E",
        "aggregator=,",
    ]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    stop::run(&mut command).map(|text| parse(&text))
}

fn parse(text: &str) -> Vec<(usize, Frame)> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(usize, Frame)> {
    let mut fields = line.split(';');
    let mut next = || fields.next().unwrap_or_default();
    let number = next().parse().ok()?;
    let frame = Frame {
        types: numbers(next()),
        key_phase: next().split(',').next_back().and_then(phase),
        challenges: texts(next()),
        responses: texts(next()),
        handshakes: numbers(next()),
        suites: numbers(next()),
    };
    Some((number, frame))
}

/// Versions of Wireshark differ in how they say so.
fn phase(text: &str) -> Option<bool> {
    match text {
        "1" | "True" => Some(true),
        "0" | "False" => Some(false),
        _ => None,
    }
}

fn texts(text: &str) -> Vec<String> {
    let some = text.split(',').filter(|one| !one.is_empty());
    some.map(str::to_owned).collect()
}

fn numbers(text: &str) -> Vec<u64> {
    let number = |one: &str| match one.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => one.parse().ok(),
    };
    text.split(',').filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_datagram() {
        let frame = Frame {
            types: vec![2, 26],
            key_phase: Some(true),
            challenges: vec!["0a0b".into()],
            responses: Vec::new(),
            handshakes: vec![1],
            suites: vec![0x1303],
        };
        assert_eq!(parse("12;2,26;True;0a0b;;1;0x1303\n"), [(12, frame)]);
        assert_eq!(parse("7;;;;;;\n"), [(7, Frame::default())]);
        assert!(parse("\nno number;1").is_empty());
    }
}
