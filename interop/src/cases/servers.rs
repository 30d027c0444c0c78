//! Our client, `cutwater load`, against peers' servers.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;

use crate::expected::Outcome;
use crate::ground::Ground;
use crate::lab::poll;
use crate::line;
use crate::notes::{Notes, Trouble};
use crate::peers::Peer;
use crate::service::Service;
use crate::sites::SERVER;

/// A case of peers' servers.
pub struct Case {
    /// Its name in kebab case.
    pub name: &'static str,
    /// What passes, in words.
    pub title: &'static str,
    /// What the server is started with.
    server: &'static [&'static str],
    /// What our client is asked for.
    client: &'static [&'static str],
    /// What the server is to say, by the name of `server_says`.
    says: &'static str,
    /// Whether the report is that which it should be.
    holds: fn(&mut Notes, &Counts),
}

/// The cases, in the order of the report.
pub const CASES: &[Case] = &[
    Case {
        name: "full",
        title: "full handshake",
        server: &[],
        client: &[],
        says: "full",
        holds: full,
    },
    Case {
        name: "resumption",
        title: "resumption",
        server: &[],
        client: &["--handshake", "resumed"],
        says: "resumed",
        holds: resumed,
    },
    Case {
        name: "early-accepted",
        title: "0-RTT accepted",
        server: &["--early"],
        client: &["--handshake", "early", "--groups", "X25519"],
        says: "early",
        holds: early,
    },
    Case {
        name: "early-replayed",
        title: "0-RTT flight replayed: accepted once",
        server: &["--early"],
        client: &[
            "--handshake",
            "early",
            "--groups",
            "X25519",
            "--replay",
            "4",
        ],
        says: "early",
        holds: |_, _| {},
    },
    Case {
        name: "hello-retry-request",
        title: "HelloRetryRequest",
        server: &["--groups", "P-256"],
        client: &["--groups", "X25519,P-256"],
        says: "hrr",
        holds: retried,
    },
    Case {
        name: "x25519mlkem768",
        title: "X25519MLKEM768",
        server: &[],
        client: &["--groups", "X25519MLKEM768"],
        says: "X25519MLKEM768",
        holds: full,
    },
    Case {
        name: "p-256",
        title: "P-256 key share",
        server: &[],
        client: &["--groups", "P-256"],
        says: "P-256",
        holds: full,
    },
    Case {
        name: "chacha20",
        title: "ChaCha20-Poly1305",
        server: &[],
        client: &["--suites", "TLS_CHACHA20_POLY1305_SHA256"],
        says: "TLS_CHACHA20_POLY1305_SHA256",
        holds: full,
    },
    Case {
        name: "aes-256-gcm",
        title: "AES-256-GCM",
        server: &[],
        client: &["--suites", "TLS_AES_256_GCM_SHA384"],
        says: "TLS_AES_256_GCM_SHA384",
        holds: full,
    },
    Case {
        name: "alpn-h2",
        title: "HTTP/2",
        server: &[],
        client: &["--protocol", "h2"],
        says: "h2",
        holds: full,
    },
];

// With early data a group is named that every server has: where one prefers another that is only
// offered, it asks for it by a HelloRetryRequest, and that ends early data.

/// Operations of a cell.
const OPERATIONS: u64 = 3;
const PORT: u16 = 8443;
/// How long what a server says may take after our client's end.
const SAYS: Duration = Duration::from_secs(3);
/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(20);

/// What `cutwater load --json` counts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    operations: u64,
    full: u64,
    resumed: u64,
    early_accepted: u64,
    hello_retry_requests: u64,
    requests: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    counts: Counts,
    errors_total: u64,
    rounds: Vec<Round>,
}

/// A round of `--replay`: how many of the copies were accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Round {
    accepted: u64,
}

/// A server of a peer that may serve several cells: those that ask for the same.
#[derive(Default)]
pub struct Running(Option<(&'static [&'static str], Service)>);

impl Running {
    /// Ends it.
    pub fn end(&mut self, ground: &dyn Ground) {
        if self.0.take().is_some() {
            ground.end("server");
        }
    }
}

/// Plays a case.
pub fn play(
    ground: &dyn Ground,
    peer: &Peer,
    case: &Case,
    running: &mut Running,
) -> (Outcome, String) {
    let mut notes = Notes::default();
    let played = try_play(ground, peer, case, running, &mut notes);
    notes.end(played)
}

fn try_play(
    ground: &dyn Ground,
    peer: &Peer,
    case: &Case,
    running: &mut Running,
    notes: &mut Notes,
) -> Result<(), Trouble> {
    let server = serve(ground, peer, case, running, notes)?;
    let mark = (server.said.count(), server.complained.count());

    let mut arguments = vec![format!("https://{SERVER}:{PORT}/")];
    let fixed = [
        "--ca",
        &format!("{}/ca.pem", ground.pki()),
        "--connect",
        &ground.server(PORT).to_string(),
    ]
    .map(str::to_owned);
    arguments.extend(fixed);
    let count = OPERATIONS.to_string();
    if !case.client.contains(&"--replay") {
        arguments.extend(["-n", &count, "-c", "1"].map(str::to_owned));
    }
    arguments.extend(["--timeout", "8s", "--json", "-"].map(str::to_owned));
    arguments.extend(case.client.iter().map(|&one| one.to_owned()));
    notes.note("our client was asked", [arguments.join(" ")]);
    let output = ground
        .load_command(&arguments)
        .stdin(Stdio::null())
        .output();
    ground.end("load");
    let output = output.map_err(|error| format!("cannot start our client: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let code = output.status.code();
    notes.note(&format!("it said, exit {code:?}"), text.lines());
    notes.note(
        "its standard error",
        String::from_utf8_lossy(&output.stderr).lines(),
    );

    let replay = case.client.contains(&"--replay");
    let report: Report =
        serde_json::from_str(&text).map_err(|error| format!("our client's report: {error}"))?;
    let pattern = peer.server_says.get(case.says);
    let wanted = match case.says {
        "early" if replay => report.rounds.iter().map(|round| round.accepted).sum(),
        // The first one may be refused: see `early`.
        "early" => OPERATIONS - 1,
        _ => OPERATIONS,
    };
    let count = |pattern: &str| {
        let lines = [server.said.since(mark.0), server.complained.since(mark.1)].concat();
        lines.iter().filter(|line| line.contains(pattern)).count() as u64
    };
    if let Some(pattern) = pattern {
        // What a server says of a connection may come after its answer.
        poll(SAYS, || count(pattern) >= wanted);
    }
    show(notes, server, mark);
    if replay {
        match code {
            Some(3) => notes.check(
                "early data was accepted: else the replay test proves nothing",
                false,
            ),
            Some(1) => return Err(Trouble::Failed("a flight was accepted twice".into())),
            _ => notes.is("our client's exit code", code, Some(0)),
        }
    } else {
        notes.is("our client's exit code", code, Some(0));
        notes.is("errors", report.errors_total, 0);
        notes.is("operations", report.counts.operations, OPERATIONS);
        notes.is("answers", report.counts.requests, OPERATIONS);
        (case.holds)(notes, &report.counts);
    }
    let Some(pattern) = pattern else {
        return Err(Trouble::Unsupported(format!(
            "the server does not tell: {}",
            case.says
        )));
    };
    let said = count(pattern);
    if replay {
        notes.is(&format!("the server says: {pattern}"), said, wanted);
    } else {
        let what = format!("the server says: {pattern}: {said} times of {wanted}");
        notes.check(&what, said >= wanted);
    }
    Ok(())
}

fn show(notes: &mut Notes, server: &Service, mark: (usize, usize)) {
    let said = [server.said.since(mark.0), server.complained.since(mark.1)].concat();
    notes.note("the server said", said.iter().take(200));
    notes.note("found", [] as [&str; 0]);
}

/// The server that the case asks for, running.
fn serve<'a>(
    ground: &dyn Ground,
    peer: &Peer,
    case: &Case,
    running: &'a mut Running,
    notes: &mut Notes,
) -> Result<&'a Service, Trouble> {
    let suits = running
        .0
        .as_ref()
        .is_some_and(|(options, _)| *options == case.server);
    if !suits {
        running.end(ground);
        let pki = ground.pki();
        let mut arguments: Vec<String> = [
            "--port",
            &PORT.to_string(),
            "--chain",
            &format!("{pki}/server-ecdsa.pem"),
            "--key",
            &format!("{pki}/server-ecdsa.key"),
        ]
        .map(str::to_owned)
        .into();
        arguments.extend(case.server.iter().map(|&one| one.to_owned()));
        notes.note("the server was started with", [arguments.join(" ")]);
        let mut server = Service::start(ground.server_command(peer, &arguments))?;
        let ready = |lines: &[String], _| lines.iter().any(|line| line == "ready").then_some(());
        if server.said.wait(READY, ready).is_none() {
            let said = server.said.all();
            notes.note("it said", said.iter());
            notes.note("and complained", server.complained.all());
            let code = server.code();
            ground.end("server");
            return match line::read(code, &said.join("\n")) {
                Ok(line::Told::Unsupported(why)) => Err(Trouble::Unsupported(why)),
                _ => Err(Trouble::Failed("the server does not start".into())),
            };
        }
        running.0 = Some((case.server, server));
    }
    match &running.0 {
        Some((_, server)) => Ok(server),
        None => Err(Trouble::Failed("no server".into())),
    }
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
