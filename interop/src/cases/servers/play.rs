//! How a case of peers' servers is played, and judged by both sides' words.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use super::{Case, Holds, OPERATIONS, Report, Way};
use crate::expected::Outcome;
use crate::ground::Ground;
use crate::lab::{Lab, poll};
use crate::line;
use crate::notes::{Notes, Trouble};
use crate::peers::Peer;
use crate::relay::{Ask, Plan};
use crate::service::Service;
use crate::sites::SERVER;

const PORT: u16 = 8443;
/// One way of a line, in milliseconds.
const LINE: u64 = 20;
/// How long what a server says may take after our client's end: lighttpd writes its access log
/// every four seconds.
const SAYS: Duration = Duration::from_secs(8);
/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(20);

/// A server of a peer that may serve several cells: those that ask for the same.
#[derive(Default)]
pub struct Running(Option<(Started, Service)>);

/// What a server was started with: its certificate, and options.
type Started = (&'static str, &'static [&'static str]);

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
    lab: &mut Lab<'_>,
    peer: &Peer,
    case: &Case,
    running: &mut Running,
) -> (Outcome, String) {
    let ground = lab.ground;
    let mut notes = Notes::default();
    let mut line = None;
    let played = match case.way {
        Way::V4 => Ok(ground.server(PORT)),
        Way::V6 => Ok(ground.server_v6(PORT)),
        Way::Line => lab
            .open_relay(Plan {
                delay_ms: LINE,
                ..Plan::to(ground.server(PORT))
            })
            .map(|(id, address)| {
                line = Some(id);
                address
            }),
    };
    let played = played
        .map_err(Trouble::from)
        .and_then(|to| try_play(ground, peer, case, to, running, &mut notes));
    if let Some(id) = line {
        // It closes with the run at the latest.
        let _ = lab.ask(&Ask::Close { id });
    }
    let (outcome, log) = notes.end(played);
    if outcome != Outcome::Pass {
        // What it may still say of this cell is not to be taken for the next one's.
        running.end(ground);
    }
    (outcome, log)
}

fn try_play(
    ground: &dyn Ground,
    peer: &Peer,
    case: &Case,
    to: SocketAddr,
    running: &mut Running,
    notes: &mut Notes,
) -> Result<(), Trouble> {
    let server = serve(ground, peer, case, running, notes)?;
    let mark = (server.said.count(), server.complained.count());

    let (pki, replay) = (ground.pki(), matches!(case.holds, Holds::Replays));
    let mut arguments = vec![format!("https://{SERVER}:{PORT}/")];
    let fixed = [
        "--ca",
        &format!("{pki}/{}", case.ca),
        "--connect",
        &to.to_string(),
    ]
    .map(str::to_owned);
    arguments.extend(fixed);
    if !replay {
        let count = OPERATIONS.to_string();
        arguments.extend(["-n", &count, "-c", "1"].map(str::to_owned));
    }
    arguments.extend(["--timeout", "8s", "--json", "-"].map(str::to_owned));
    arguments.extend(case.client.iter().map(|one| one.replace("{pki}", &pki)));
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

    let report: Report =
        serde_json::from_str(&text).map_err(|error| format!("our client's report: {error}"))?;
    let pattern = peer.server_says.get(case.says);
    let wanted = match case.says {
        "early" if replay => report.rounds.iter().map(|round| round.accepted).sum(),
        // The first one may be refused: see `early`. As many as our client says, no fewer.
        "early" => report.counts.early_accepted.max(OPERATIONS - 1),
        _ => OPERATIONS,
    };
    let count = |pattern: &str| {
        let lines = [server.said.since(mark.0), server.complained.since(mark.1)].concat();
        lines.iter().filter(|line| line.contains(pattern)).count() as u64
    };
    let as_it_should = code == Some(i32::from(matches!(case.holds, Holds::Fails(_))));
    if let Some(pattern) = pattern.filter(|_| as_it_should) {
        // What a server says of a connection may come after its answer.
        poll(SAYS, || count(pattern) >= wanted);
    }
    show(notes, server, mark);
    judge(notes, case, code, &report)?;
    let untold = |what: &str| Trouble::Unsupported(format!("the server does not tell: {what}"));
    let pattern = pattern.ok_or_else(|| untold(case.says))?;
    let said = count(pattern);
    if replay {
        notes.is(&format!("the server says: {pattern}"), said, wanted);
    } else {
        let what = format!("the server says: {pattern}: {said} times of {wanted}");
        notes.check(&what, said >= wanted);
    }
    if let Some(never) = case.never {
        let pattern = peer.server_says.get(never).ok_or_else(|| untold(never))?;
        notes.is(&format!("the server says: {pattern}"), count(pattern), 0);
    }
    Ok(())
}

/// Our client's word.
fn judge(
    notes: &mut Notes,
    case: &Case,
    code: Option<i32>,
    report: &Report,
) -> Result<(), Trouble> {
    match case.holds {
        Holds::Replays => match code {
            Some(3) => notes.check(
                "early data was accepted: else the replay test proves nothing",
                false,
            ),
            Some(1) => return Err(Trouble::Failed("a flight was accepted twice".into())),
            _ => notes.is("our client's exit code", code, Some(0)),
        },
        Holds::Well(holds) => {
            notes.is("our client's exit code", code, Some(0));
            notes.is("errors", report.errors_total, 0);
            notes.is("operations", report.counts.operations, OPERATIONS);
            notes.is("answers", report.counts.requests, OPERATIONS);
            holds(notes, &report.counts);
        }
        Holds::Fails(why) => {
            notes.is("our client's exit code", code, Some(1));
            notes.is("operations", report.counts.operations, 0);
            notes.is("answers", report.counts.requests, 0);
            let errors = report.errors.iter();
            let errors: Vec<_> = errors.map(|(why, count)| (why.as_str(), *count)).collect();
            notes.is("errors", errors, vec![(why, OPERATIONS)]);
        }
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
        .is_some_and(|(started, _)| *started == (case.certificate, case.server));
    if !suits {
        running.end(ground);
        let pki = ground.pki();
        let mut arguments: Vec<String> = [
            "--port",
            &PORT.to_string(),
            "--chain",
            &format!("{pki}/{}.pem", case.certificate),
            "--key",
            &format!("{pki}/{}.key", case.certificate),
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
        running.0 = Some(((case.certificate, case.server), server));
    }
    match &running.0 {
        Some((_, server)) => Ok(server),
        None => Err(Trouble::Failed("no server".into())),
    }
}
