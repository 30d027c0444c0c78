//! The cases, as quic-interop-runner has them: what is fetched, over what line, and what has to be seen.

use super::trace::{self, Check};

const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

/// Names are long there, so that requests do not fit into what comes behind the handshake.
const LONG_NAME: usize = 250;

/// A case.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in words.
    pub title: &'static str,
    /// What client and server are told that it is.
    pub told: [&'static str; 2],
    /// The sizes of the files.
    pub files: &'static [(usize, usize)],
    /// The length of their names.
    pub name_length: usize,
    /// Arguments of the line.
    pub line: &'static [&'static str],
    /// How many certificates the chain has.
    pub chain: usize,
    /// How long it may take, in seconds.
    pub seconds: u64,
    /// What has to be seen.
    pub check: Check,
    /// Whether Wireshark has to look at it.
    pub deep: bool,
    /// Whether it belongs to `--core`.
    pub core: bool,
}

const USUAL: Case = Case {
    name: "",
    title: "",
    told: ["", ""],
    files: &[(1, KB)],
    name_length: 8,
    line: &["--delay=15"],
    chain: 1,
    seconds: 60,
    check: trace::nothing_more,
    deep: false,
    core: false,
};

/// All of them, in the order of the report. `files` are numbers and sizes.
pub const CASES: &[Case] = &[
    Case {
        name: "handshake",
        title: "a handshake, and no Retry",
        told: ["handshake"; 2],
        check: trace::no_retry,
        core: true,
        ..USUAL
    },
    Case {
        name: "longrtt",
        title: "a handshake with 1.5 s there and back",
        told: ["handshake"; 2],
        line: &["--delay=750"],
        check: trace::repeated_hello,
        ..USUAL
    },
    Case {
        name: "transfer",
        title: "10 MB on three streams at once",
        told: ["transfer"; 2],
        files: &[(1, 2 * MB), (1, 3 * MB), (1, 5 * MB)],
        core: true,
        ..USUAL
    },
    Case {
        name: "multiplexing",
        title: "1999 files on one connection",
        told: ["transfer"; 2],
        files: &[(1999, 32)],
        ..USUAL
    },
    Case {
        name: "chacha20",
        title: "ChaCha20-Poly1305, the only suite offered",
        told: ["chacha20"; 2],
        files: &[(1, 3 * MB)],
        check: trace::only_chacha20,
        deep: true,
        ..USUAL
    },
    Case {
        name: "keyupdate",
        title: "a key update, answered",
        told: ["keyupdate", "transfer"],
        files: &[(1, 3 * MB)],
        check: trace::both_key_phases,
        deep: true,
        ..USUAL
    },
    Case {
        name: "retry",
        title: "a Retry, and its token used",
        told: ["retry"; 2],
        files: &[(1, 10 * KB)],
        check: trace::retried,
        core: true,
        ..USUAL
    },
    Case {
        name: "resumption",
        title: "a second handshake without certificate",
        told: ["resumption"; 2],
        files: &[(1, 5 * KB), (1, 10 * KB)],
        check: trace::resumed,
        deep: true,
        ..USUAL
    },
    Case {
        name: "zerortt",
        title: "39 requests, nearly all as early data",
        told: ["zerortt"; 2],
        files: &[(40, 32)],
        name_length: LONG_NAME,
        check: trace::early,
        core: true,
        ..USUAL
    },
    Case {
        name: "http3",
        title: "three files over HTTP/3",
        told: ["http3"; 2],
        files: &[(1, 5 * KB), (1, 10 * KB), (1, 500 * KB)],
        core: true,
        ..USUAL
    },
    Case {
        name: "multiconnect",
        title: "a connection for each of ten files",
        told: ["multiconnect"; 2],
        files: &[(10, KB)],
        check: trace::a_connection_each,
        ..USUAL
    },
    Case {
        name: "handshakeloss",
        title: "the same for 20 with 30 % of all datagrams lost",
        told: ["multiconnect"; 2],
        files: &[(20, KB)],
        line: &["--delay=15", "--loss=0.3"],
        seconds: 240,
        check: trace::a_connection_each,
        ..USUAL
    },
    Case {
        name: "transferloss",
        title: "2 MB with 2 % of all datagrams lost",
        told: ["transfer"; 2],
        files: &[(1, 2 * MB)],
        line: &["--delay=15", "--loss=0.02"],
        core: true,
        ..USUAL
    },
    Case {
        name: "amplificationlimit",
        title: "a long chain, within three times what the client has sent",
        told: ["transfer"; 2],
        files: &[(1, 5 * KB)],
        line: &["--delay=15", "--lose=2,3,4,5,6,7"],
        chain: 9,
        check: trace::within_the_limit,
        ..USUAL
    },
    Case {
        name: "ecn",
        title: "marks of congestion, both ways, and told back",
        told: ["ecn"; 2],
        files: &[(1, 100 * KB)],
        check: trace::marked,
        deep: true,
        ..USUAL
    },
    Case {
        name: "rebind-port",
        title: "10 MB while the client's port changes twice",
        told: ["transfer"; 2],
        files: &[(1, 10 * MB)],
        line: &["--delay=15", "--rebind=200,3000", "--from=127.0.0.3"],
        check: trace::ports_validated,
        deep: true,
        ..USUAL
    },
    Case {
        name: "rebind-addr",
        title: "10 MB while the client's address changes twice",
        told: ["transfer"; 2],
        files: &[(1, 10 * MB)],
        line: &[
            "--delay=15",
            "--rebind=200,3000",
            "--from=127.0.0.3,127.0.0.4,127.0.0.5",
        ],
        check: trace::addresses_validated,
        deep: true,
        ..USUAL
    },
    Case {
        name: "connectionmigration",
        title: "the client goes to the address that the server prefers",
        told: ["transfer", "connectionmigration"],
        files: &[(1, 2 * MB)],
        check: trace::migrated,
        deep: true,
        ..USUAL
    },
    Case {
        name: "v2",
        title: "QUIC version 2",
        told: ["v2"; 2],
        check: trace::version_2,
        ..USUAL
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        for (index, case) in CASES.iter().enumerate() {
            assert!(!case.name.is_empty() && !case.title.is_empty());
            let others = &CASES[..index];
            assert!(others.iter().all(|other| other.name != case.name));
            // Wireshark is not in the image that the core has.
            assert!(!(case.core && case.deep), "{}", case.name);
        }
    }
}
