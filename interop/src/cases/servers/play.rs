//! How a case of peers' servers is played, and judged by both sides' words.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use super::shown::shows;
use super::{Case, Holds, OPERATIONS, Report, Way, compressed};
use crate::cases::Over;
use crate::expected::Outcome;
use crate::ground::Ground;
use crate::lab::{Lab, poll};
use crate::line;
use crate::notes::{Notes, Trouble};
use crate::peers::Peer;
use crate::relay::{Ask, Plan};
use crate::service::Service;
use crate::sites::{LARGE, SERVER};
use crate::wire::Wire;

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

/// How many lines a server had said, and complained of.
type Mark = (usize, usize);

/// What a server was started with: its certificate, and options.
type Started = (&'static str, &'static [&'static str]);

impl Running {
    /// Ends it.
    pub fn end(&mut self, ground: &dyn Ground) {
        if self.0.take().is_some() {
            ground.end("server");
        }
    }

    fn server(&self) -> Result<&Service, Trouble> {
        match &self.0 {
            Some((_, server)) => Ok(server),
            None => Err(Trouble::Failed("no server".into())),
        }
    }

    /// Ends the server in an orderly way, and counts this in all that it said since the mark. Its
    /// lines stay until [`end`](Self::end).
    fn last_words(
        &mut self,
        ground: &dyn Ground,
        pattern: &str,
        mark: Mark,
    ) -> Result<u64, Trouble> {
        let Some((started, server)) = &mut self.0 else {
            return Err(Trouble::Failed("no server".into()));
        };
        ground.terminate("server", server.id());
        if !server.ended_within(READY) {
            return Err(Trouble::Failed("the server does not end".into()));
        }
        // No further cell is served.
        *started = ENDED;
        Ok(count(server, mark, pattern))
    }
}

/// Of a server that has ended: no case asks for this.
const ENDED: Started = ("", &[]);

/// What a server said since the mark.
fn lines(server: &Service, mark: Mark) -> Vec<String> {
    [server.said.since(mark.0), server.complained.since(mark.1)].concat()
}

/// How many of these lines contain this.
fn count(server: &Service, mark: Mark, pattern: &str) -> u64 {
    let lines = lines(server, mark);
    lines.iter().filter(|line| line.contains(pattern)).count() as u64
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
    let played = try_play(lab, peer, case, running, &mut notes);
    let (outcome, log) = notes.end(played);
    if outcome != Outcome::Pass {
        // What it may still say of this cell is not to be taken for the next one's.
        running.end(ground);
    }
    (outcome, log)
}

fn try_play(
    lab: &mut Lab<'_>,
    peer: &Peer,
    case: &Case,
    running: &mut Running,
    notes: &mut Notes,
) -> Result<(), Trouble> {
    serve(lab.ground, peer, case, running, notes)?;
    let server = lab.ground.server(PORT);
    // What it would read of QUIC's ServerHellos is sealed.
    let udp = Over::of(case.name) == Over::Quic;
    let relayed = |delay_ms| Plan {
        keep: !udp,
        udp,
        delay_ms,
        ..Plan::to(server)
    };
    let (relay, to) = match case.way {
        Way::Relay => lab.open_relay(relayed(0)).map(|(id, at)| (Some(id), at))?,
        Way::Line => lab
            .open_relay(relayed(LINE))
            .map(|(id, at)| (Some(id), at))?,
        Way::V4 => (None, server),
        Way::V6 => (None, lab.ground.server_v6(PORT)),
    };
    let mark = lab.origin_said().len();
    let asked = ask(lab.ground, case, to, running, notes);
    let wires = relay.map(|id| {
        let wires = lab.ask(&Ask::Wires { id }).map(|reply| reply.wires);
        // It closes with the run at the latest.
        let _ = lab.ask(&Ask::Close { id });
        wires
    });
    let mut asked = asked?;
    asked.wires = wires.transpose()?.unwrap_or_default();
    asked.passed_on = lab.origin_said().split_off(mark);
    hear(lab.ground, peer, case, &asked, running, notes)
}

/// What our client came to.
struct Asked {
    code: Option<i32>,
    report: Report,
    /// The lines of the server before it was asked.
    mark: Mark,
    /// What the wire showed meanwhile, where a relay stood.
    wires: Vec<Wire>,
    /// What the origin said meanwhile, if the server is a proxy.
    passed_on: Vec<String>,
}

/// Calls our client.
fn ask(
    ground: &dyn Ground,
    case: &Case,
    to: SocketAddr,
    running: &Running,
    notes: &mut Notes,
) -> Result<Asked, Trouble> {
    let server = running.server()?;
    let mark = (server.said.count(), server.complained.count());
    let pki = ground.pki();
    let mut arguments = vec![format!("https://{SERVER}:{PORT}{}", case.path)];
    let fixed = [
        "--ca",
        &format!("{pki}/{}", case.ca),
        "--connect",
        &to.to_string(),
    ]
    .map(str::to_owned);
    arguments.extend(fixed);
    if !matches!(case.holds, Holds::Replays) {
        let count = OPERATIONS.to_string();
        arguments.extend(["-n", &count, "-c", "1"].map(str::to_owned));
    }
    let timeout = match Over::of(case.name) {
        Over::Tcp => "8s",
        // Some stacks are in Python, and move packets by themselves.
        Over::Quic => "30s",
    };
    arguments.extend(["--timeout", timeout, "--json", "-"].map(str::to_owned));
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
    let report =
        serde_json::from_str(&text).map_err(|error| format!("our client's report: {error}"))?;
    Ok(Asked {
        code,
        report,
        mark,
        wires: Vec::new(),
        passed_on: Vec::new(),
    })
}

/// Holds our client's word against the server's: its log, and its ServerHellos where the relay saw
/// them.
fn hear(
    ground: &dyn Ground,
    peer: &Peer,
    case: &Case,
    asked: &Asked,
    running: &mut Running,
    notes: &mut Notes,
) -> Result<(), Trouble> {
    let Asked {
        code,
        report,
        mark,
        wires,
        passed_on,
    } = asked;
    let replay = matches!(case.holds, Holds::Replays);
    let pattern = peer.server_says.get(case.says);
    let wanted = match case.says {
        "early" if replay => report.rounds.iter().map(|round| round.accepted).sum(),
        // The first one may be refused: see `early`. As many as our client says, no fewer.
        "early" => report.counts.early_accepted.max(OPERATIONS - 1),
        // On the one connection.
        "key_update" => 1,
        _ => OPERATIONS,
    };
    let as_it_should = *code == Some(i32::from(matches!(case.holds, Holds::Fails(_))));
    let server = running.server()?;
    if let Some(pattern) = pattern.filter(|_| as_it_should) {
        // What a server says of a connection may come after its answer.
        poll(SAYS, || count(server, *mark, pattern) >= wanted);
    }
    let never = case.never.map(|never| peer.server_says.get(never));
    let mut seen = None;
    if let Some(Some(never)) = never {
        // What never comes cannot be awaited, and a server may keep its log back: with its end all
        // of it is out.
        seen = Some((never, running.last_words(ground, never, *mark)?));
    }
    let server = running.server()?;
    notes.note("the server said", lines(server, *mark).iter().take(200));
    notes.note(
        "its ServerHellos",
        wires.iter().map(|one| format!("{one:?}")),
    );
    notes.note("found", [] as [&str; 0]);
    judge(notes, case, *code, report)?;

    let shown: Option<Vec<bool>> = wires.iter().map(|one| shows(case.says, one)).collect();
    let shown = shown.filter(|all| !all.is_empty());
    if let Some(shown) = &shown {
        let found = shown.iter().filter(|is| **is).count() as u64;
        let what = format!("the wire shows {}: {found} times of {wanted}", case.says);
        notes.check(&what, found >= wanted);
    }
    // What a proxy passed on, it has decrypted.
    let passed_on = passed_on.iter();
    let passed_on = (case.says == "upload" && passed_on.len() > 0).then(|| {
        let whole = format!("200 received {LARGE}");
        passed_on.filter(|line| **line == whole).count() as u64
    });
    if let Some(count) = passed_on {
        notes.is("bodies that came whole to the origin", count, wanted);
    }
    let untold = |what: &str| Trouble::Unsupported(format!("the server does not tell: {what}"));
    match pattern {
        Some(pattern) if replay => {
            let said = count(server, *mark, pattern);
            notes.is(&format!("the server says: {pattern}"), said, wanted);
        }
        Some(pattern) => {
            let said = count(server, *mark, pattern);
            let what = format!("the server says: {pattern}: {said} times of {wanted}");
            notes.check(&what, said >= wanted);
        }
        // Its log is silent; others saw what it did.
        None if shown.is_some() || passed_on.is_some() => {}
        None => return Err(untold(case.says)),
    }
    match (case.never, seen) {
        (None, _) => {}
        (Some(_), Some((pattern, count))) => {
            notes.is(&format!("the server says: {pattern}"), count, 0);
        }
        (Some(never), None) => return Err(untold(never)),
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
    let errors = report.errors.iter();
    let errors: Vec<_> = errors.map(|(why, count)| (why.as_str(), *count)).collect();
    match case.holds {
        Holds::Replays => match code {
            Some(3) => notes.check(
                "early data was accepted: else the replay test proves nothing",
                false,
            ),
            Some(1) => return Err(Trouble::Failed("a flight was accepted twice".into())),
            _ => notes.is("our client's exit code", code, Some(0)),
        },
        Holds::Well(_) | Holds::Compressed => {
            notes.is("our client's exit code", code, Some(0));
            notes.is("errors", errors, Vec::new());
            notes.is("operations", report.counts.operations, OPERATIONS);
            notes.is("answers", report.counts.requests, OPERATIONS);
            match case.holds {
                Holds::Well(holds) => holds(notes, &report.counts),
                _ => compressed(notes, &report.counts)?,
            }
        }
        Holds::Fails(why) => {
            notes.is("our client's exit code", code, Some(1));
            notes.is("operations", report.counts.operations, 0);
            notes.is("answers", report.counts.requests, 0);
            notes.is("errors", errors, vec![(why, OPERATIONS)]);
        }
    }
    Ok(())
}

/// Has the server that the case asks for run.
fn serve(
    ground: &dyn Ground,
    peer: &Peer,
    case: &Case,
    running: &mut Running,
    notes: &mut Notes,
) -> Result<(), Trouble> {
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
        let origin = ground.places().origin;
        let own = case.server.iter();
        arguments.extend(own.map(|one| one.replace("{origin}", &origin)));
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::CASES;
    use super::*;

    #[test]
    fn a_failure_names_what_our_client_saw() {
        let case = CASES.iter().find(|case| case.name == "full").unwrap();
        let text = r#"{"counts": {}, "errors": {"alert: handshake_failure": 3}, "rounds": []}"#;
        let mut notes = Notes::default();
        let judged = judge(
            &mut notes,
            case,
            Some(1),
            &serde_json::from_str(text).unwrap(),
        );
        let (outcome, _) = notes.end(judged);
        let Outcome::Fail(why) = outcome else {
            panic!("{outcome:?}");
        };
        let says = "errors: [(\"alert: handshake_failure\", 3)], should be []";
        assert!(why.contains(says), "{why}");
    }
}
