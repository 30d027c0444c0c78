//! Our client, `cutwater load`, against peers' servers: what is tried.

mod h3;
mod play;
mod shown;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use play::{Running, play};

use crate::notes::{Notes, Trouble};
use crate::sites::LARGE;

/// A case of peers' servers.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name in kebab case.
    pub name: &'static str,
    /// What passes, in words.
    pub title: &'static str,
    /// The files of the server's certificate and key, without their ends.
    certificate: &'static str,
    /// What the server is started with besides; `{origin}` is the run's origin.
    server: &'static [&'static str],
    /// Whom our client trusts.
    ca: &'static str,
    /// The path that it asks for.
    path: &'static str,
    /// What it is asked for besides; `{pki}` is the directory of certificates.
    client: &'static [&'static str],
    /// How it connects.
    way: Way,
    /// What the server is to say for each operation, by the name of `server_says`.
    says: &'static str,
    /// What it may not say at all, likewise.
    never: Option<&'static str>,
    /// Whether the report is that which it should be.
    holds: Holds,
}

/// How our client connects to a server.
#[derive(Clone, Copy)]
enum Way {
    /// Through a relay that reads ServerHellos.
    Relay,
    /// Through one that delays, too: Finished comes well behind early data, as it does on any line
    /// but this machine's. nginx tells of early data only while there is no Finished.
    Line,
    /// Directly. A replay test has a relay of its own.
    V4,
    /// Directly, over IPv6.
    V6,
}

/// How our client is to end.
#[derive(Clone, Copy)]
enum Holds {
    /// Every operation is well, and these counts are right.
    Well(fn(&mut Notes, &Counts)),
    /// Every operation is well, and has got its certificate compressed.
    Compressed,
    /// Every operation fails for this one reason.
    Fails(&'static str),
    /// It is a replay test, which finds that no flight is accepted twice.
    Replays,
}

const FULL: Case = Case {
    name: "full",
    title: "full handshake",
    certificate: "server-ecdsa",
    server: &[],
    ca: "ca.pem",
    path: "/",
    client: &[],
    way: Way::Relay,
    says: "full",
    never: None,
    holds: Holds::Well(full),
};

// With early data a group is named that every server has: where one prefers another that is only
// offered, it asks for it by a HelloRetryRequest, and that ends early data.
const EARLY: Case = Case {
    name: "early-accepted",
    title: "0-RTT accepted",
    server: &["--early"],
    client: &["--handshake", "early", "--groups", "X25519"],
    way: Way::Line,
    says: "early",
    holds: Holds::Well(early),
    ..FULL
};

/// The cases, in the order of the report.
pub const CASES: &[Case] = &[
    FULL,
    Case {
        name: "full-ipv6",
        title: "full handshake over IPv6",
        way: Way::V6,
        ..FULL
    },
    Case {
        name: "resumption",
        title: "resumption",
        client: &["--handshake", "resumed"],
        says: "resumed",
        holds: Holds::Well(resumed),
        ..FULL
    },
    EARLY,
    Case {
        name: "early-replayed",
        title: "0-RTT flight replayed: accepted once",
        client: &[
            "--handshake",
            "early",
            "--groups",
            "X25519",
            "--replay",
            "4",
        ],
        way: Way::V4,
        holds: Holds::Replays,
        ..EARLY
    },
    Case {
        name: "early-refused",
        title: "0-RTT refused, goes on",
        server: &["--refuse-early"],
        client: &["--handshake", "early", "--groups", "X25519,P-256"],
        says: "refused",
        never: Some("early"),
        holds: Holds::Well(early_refused),
        ..EARLY
    },
    Case {
        name: "early-refused-large",
        title: "0-RTT refused with a large flight, goes on",
        server: &["--refuse-early"],
        client: &[
            "--handshake",
            "early",
            "--groups",
            "X25519,P-256",
            "--method",
            "POST",
            "--body",
            "@{pki}/answer",
        ],
        says: "refused",
        never: Some("early"),
        holds: Holds::Well(early_refused),
        ..EARLY
    },
    Case {
        name: "hello-retry-request",
        title: "HelloRetryRequest",
        server: &["--groups", "P-256"],
        client: &["--groups", "X25519,P-256"],
        says: "hrr",
        holds: Holds::Well(retried),
        ..FULL
    },
    Case {
        name: "x25519mlkem768",
        title: "X25519MLKEM768",
        client: &["--groups", "X25519MLKEM768"],
        says: "X25519MLKEM768",
        ..FULL
    },
    Case {
        name: "p-256",
        title: "P-256 key share",
        client: &["--groups", "P-256"],
        says: "P-256",
        ..FULL
    },
    Case {
        name: "chacha20",
        title: "ChaCha20-Poly1305",
        client: &["--suites", "TLS_CHACHA20_POLY1305_SHA256"],
        says: "TLS_CHACHA20_POLY1305_SHA256",
        ..FULL
    },
    Case {
        name: "aes-256-gcm",
        title: "AES-256-GCM",
        client: &["--suites", "TLS_AES_256_GCM_SHA384"],
        says: "TLS_AES_256_GCM_SHA384",
        ..FULL
    },
    // Each kind has an authority of its own, and our client trusts no other one.
    Case {
        name: "certificate-ecdsa",
        title: "ECDSA certificate",
        ca: "ca-ecdsa.pem",
        ..FULL
    },
    Case {
        name: "certificate-rsa",
        title: "RSA certificate",
        certificate: "server-rsa",
        ca: "ca-rsa.pem",
        ..FULL
    },
    // A server compresses for who asks for it.
    Case {
        name: "certificate-compressed",
        title: "compressed certificate",
        client: &["--certificate-compression"],
        says: "certificate_compressed",
        holds: Holds::Compressed,
        ..FULL
    },
    Case {
        name: "wrong-authority",
        // It has the trusted one's name, too.
        title: "certificate of a wrong authority is refused",
        certificate: "stranger-ecdsa",
        says: "alert",
        never: Some("full"),
        holds: Holds::Fails("certificate: bad signature"),
        ..FULL
    },
    Case {
        name: "wrong-name",
        title: "certificate for another name is refused",
        certificate: "misnamed-ecdsa",
        says: "alert",
        never: Some("full"),
        holds: Holds::Fails("certificate: not valid for the name"),
        ..FULL
    },
    Case {
        name: "alpn-h2",
        title: "HTTP/2",
        client: &["--protocol", "h2"],
        says: "h2",
        ..FULL
    },
    // One connection: the server updates its key between answers, and asks our client for the same,
    // which the third request carries at the latest.
    Case {
        name: "key-update",
        title: "key update, both ways",
        server: &["--key-update"],
        client: &["--per-connection", "3"],
        says: "key_update",
        holds: Holds::Well(one_connection),
        ..FULL
    },
    Case {
        name: "download-10mb",
        title: "10 MB answer",
        server: &["--origin", "{origin}"],
        path: "/large",
        says: "download",
        holds: Holds::Well(downloaded),
        ..FULL
    },
    Case {
        name: "upload-10mb",
        title: "10 MB request body",
        server: &["--origin", "{origin}"],
        path: "/upload",
        client: &["--method", "POST", "--body", "@{pki}/large"],
        says: "upload",
        holds: Holds::Well(uploaded),
        ..FULL
    },
    Case {
        name: "alpn-mismatch",
        title: "ALPN: no common protocol is refused",
        client: &["--alpn", "spdy/3.1"],
        says: "mismatch",
        never: Some("full"),
        holds: Holds::Fails("alert: no_application_protocol"),
        ..FULL
    },
];

/// The cases of both.
pub fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(h3::CASES)
}

/// Operations of a cell.
const OPERATIONS: u64 = 3;

/// What `cutwater load --json` counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    operations: u64,
    full: u64,
    resumed: u64,
    early_accepted: u64,
    early_refused: u64,
    hello_retry_requests: u64,
    compressed_certificates: u64,
    requests: u64,
    sent: u64,
    body: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    counts: Counts,
    errors: BTreeMap<String, u64>,
    rounds: Vec<Round>,
}

/// A round of `--replay`: how many of the copies were accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Round {
    accepted: u64,
}

fn full(notes: &mut Notes, counts: &Counts) {
    notes.is("full handshakes", counts.full, OPERATIONS);
}

fn resumed(notes: &mut Notes, counts: &Counts) {
    notes.is("resumed handshakes", counts.resumed, OPERATIONS);
}

fn early(notes: &mut Notes, counts: &Counts) {
    // The first ticket comes from a connection that asks nothing, and OpenSSL drops its session.
    let accepted = counts.early_accepted;
    let most = accepted >= OPERATIONS - 1;
    notes.check(
        &format!("all early requests accepted, or all but the first: {accepted}"),
        most,
    );
}

fn retried(notes: &mut Notes, counts: &Counts) {
    notes.is("full handshakes", counts.full, OPERATIONS);
    notes.is(
        "HelloRetryRequests",
        counts.hello_retry_requests,
        OPERATIONS,
    );
}

fn compressed(notes: &mut Notes, counts: &Counts) -> Result<(), Trouble> {
    full(notes, counts);
    let compressed = counts.compressed_certificates;
    if compressed == 0 {
        let none = "the server compresses no certificate, or with nothing that our client asks for";
        return Err(Trouble::Unsupported(none.into()));
    }
    notes.is("compressed certificates", compressed, OPERATIONS);
    Ok(())
}

fn one_connection(notes: &mut Notes, counts: &Counts) {
    notes.is("full handshakes", counts.full, 1);
}

fn downloaded(notes: &mut Notes, counts: &Counts) {
    full(notes, counts);
    notes.is("bytes of the answers", counts.body, OPERATIONS * LARGE);
}

fn uploaded(notes: &mut Notes, counts: &Counts) {
    full(notes, counts);
    let sent = counts.sent;
    let all = sent > OPERATIONS * LARGE;
    notes.check(&format!("bytes sent are more than the bodies: {sent}"), all);
}

fn early_refused(notes: &mut Notes, counts: &Counts) {
    notes.is("early requests refused", counts.early_refused, OPERATIONS);
    notes.is("early requests accepted", counts.early_accepted, 0);
}
