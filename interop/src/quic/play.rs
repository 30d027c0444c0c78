//! The playing of a cell: a line, a server and a client, each in a container, in one network of their own.
//!
//! That network is nothing but loopback, and belongs to the line's container: addresses of clients can be
//! had there as many as are wanted, without privileges, and nobody else's packets pass.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::cases::Case;
use super::files::{Files, NAME, PORT};
use super::line::SIDES;
use super::trace::{Side, Trace};
use super::{pcap, tshark};
use crate::cases::Direction;
use crate::expected::Outcome;
use crate::ground::docker::{docker, unique};
use crate::images;
use crate::notes::{Notes, Trouble};
use crate::peers::Peer;
use crate::service::Service;

const SERVER: &str = "127.0.0.1:443";
const LINE: &str = "127.0.0.2";
/// Where clients come from unless a case says.
const FROM: &str = "127.0.0.3";
/// How long a program may take to be ready, and to end.
const READY: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(10);
const UNSUPPORTED: i32 = 127;
/// How many files are named that are wrong.
const SHOWN: usize = 3;

/// A run: what its containers carry, and this program, which is the line.
pub struct Stage {
    label: String,
    program: std::path::PathBuf,
}

/// One of the three.
struct Actor {
    name: String,
    service: Service,
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Mostly it is gone already.
        let _ = docker(&["rm", "-f", &self.name]);
    }
}

impl Stage {
    /// Begins a run.
    ///
    /// # Errors
    /// This program cannot be found.
    pub fn new() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let label = format!("cutwater.interop={}", unique("cutwater-quic"));
        Ok(Self { label, program })
    }

    /// What removes all of it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Plays a cell.
    pub fn play(&self, direction: Direction, peer: &Peer, case: &Case) -> (Outcome, String) {
        let mut notes = Notes::default();
        let played = self.cell(direction, peer, case, &mut notes);
        notes.end(played)
    }

    fn cell(
        &self,
        direction: Direction,
        peer: &Peer,
        case: &Case,
        notes: &mut Notes,
    ) -> Result<(), Trouble> {
        let files = Files::new(case)?;
        let [client, server] = match direction {
            Direction::Clients => [peer.image(), images::QUIC.to_owned()],
            Direction::Servers => [images::QUIC.to_owned(), peer.image()],
        };
        let [told_client, told_server] = case.told;
        let cell = unique("cutwater-quic");
        let mut line = self.line(&cell, case, &files)?;
        let mut server = {
            let environment = environment("server", told_server, peer);
            self.endpoint(&cell, "server", &server, &files, &environment)?
        };
        ready(&mut server, "server")?;
        let mut client = {
            let mut environment = environment("client", told_client, peer);
            environment.push(format!("REQUESTS={}", files.requests()));
            self.endpoint(&cell, "client", &client, &files, &environment)?
        };
        let ended = client
            .service
            .ended_within(Duration::from_secs(case.seconds));
        let code = client.service.code();
        let _ = docker(&["kill", "-s", "TERM", &server.name]);
        server.service.ended_within(END);
        // Its captures are whole when it has ended.
        let _ = line.service.tell("end");
        let whole = line.service.ended_within(END);
        for (who, actor) in [("line", &line), ("server", &server), ("client", &client)] {
            notes.note(&format!("{who} said"), actor.service.said.all());
            notes.note(&format!("{who} complained"), actor.service.complained.all());
        }
        drop((client, server, line));
        match code {
            Some(UNSUPPORTED) => return Err(Trouble::Unsupported("the client answers 127".into())),
            _ if !ended => notes.check("the client ended in time", false),
            code => notes.is("the client's exit code", code, Some(0)),
        }
        let wrong = files.wrong();
        notes.note("files that are not as they were", &wrong);
        let shown = wrong.iter().take(SHOWN).cloned().collect();
        let count = wrong.len();
        notes.is(
            "files that are not as they were",
            (count, shown),
            (0, Vec::new()),
        );
        if !whole {
            return Err(Trouble::Failed("the line did not end".into()));
        }
        let trace = self.trace(case, &files, peer.http3_alone)?;
        (case.check)(&trace, notes);
        Ok(())
    }

    fn trace(&self, case: &Case, files: &Files, http3: bool) -> Result<Trace, String> {
        let [on_line, at_server] = [format!("{LINE}:{PORT}"), SERVER.to_owned()]
            .map(|address| address.parse().map_err(|error| format!("{error}")));
        let side = |name: &str, server| {
            let datagrams = pcap::read(&files.part("line").join(name))?;
            let mut side = Side::new(datagrams, server);
            if case.deep {
                let keys = files.keys().ok_or("neither side has written its keys")?;
                let file = format!("line/{name}");
                side.deepen(tshark::read(files.directory(), &file, keys, &self.label)?);
            }
            Ok::<_, String>(side)
        };
        let (count, names) = files.figures();
        Ok(Trace {
            client: side(SIDES[0], on_line?)?,
            server: side(SIDES[1], at_server?)?,
            files: count,
            names,
            http3,
        })
    }

    fn line(&self, cell: &str, case: &Case, files: &Files) -> Result<Actor, String> {
        let mut command = self.container(cell, "line");
        command.args(["-i", "--network", "none"]);
        // Whoever joins its network finds names and ports as they are here.
        command.args(["--sysctl", "net.ipv4.ip_unprivileged_port_start=0"]);
        for name in ["server", NAME, "server46"] {
            command.args(["--add-host", &format!("{name}:{LINE}")]);
        }
        mount(&mut command, &self.program, "/interop", "ro");
        mount(&mut command, &files.part("line"), "/line", "rw");
        command.args([images::BASE, "/interop", "line", "--listen"]);
        command.args([
            &format!("{LINE}:{PORT}"),
            "--to",
            SERVER,
            "--capture",
            "/line",
        ]);
        if !case
            .line
            .iter()
            .any(|argument| argument.starts_with("--from"))
        {
            command.args(["--from", FROM]);
        }
        command.args(case.line);
        let mut actor = start(cell, "line", command)?;
        ready(&mut actor, "line").map_err(|trouble| match trouble {
            Trouble::Unsupported(why) | Trouble::Failed(why) => why,
        })?;
        Ok(actor)
    }

    /// A client or a server, as quic-interop-runner starts them.
    fn endpoint(
        &self,
        cell: &str,
        role: &str,
        image: &str,
        files: &Files,
        environment: &[String],
    ) -> Result<Actor, String> {
        let mut command = self.container(cell, role);
        command.args(["--network", &format!("container:{cell}-line")]);
        command.arg("--no-healthcheck");
        mount(&mut command, &files.part("certs"), "/certs", "ro");
        mount(&mut command, &files.part(role), "/logs", "rw");
        match role {
            "server" => mount(&mut command, &files.part("www"), "/www", "ro"),
            _ => mount(&mut command, &files.part("downloads"), "/downloads", "rw"),
        }
        for variable in environment {
            command.args(["-e", variable]);
        }
        if image != images::QUIC {
            command.args(["--entrypoint", "/peer/quic"]);
        }
        command.arg(image);
        start(cell, role, command)
    }

    fn container(&self, cell: &str, role: &str) -> Command {
        let mut command = Command::new("docker");
        command.args([
            "run",
            "--rm",
            "--pull",
            "never",
            "--init",
            "--user",
            "1000:1000",
        ]);
        command.args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
        command.args([
            "--read-only",
            "--tmpfs",
            "/tmp:exec,mode=1777",
            "-e",
            "HOME=/tmp",
        ]);
        command.args(["--shm-size", "256m", "--label", &self.label]);
        command.args(["--name", &format!("{cell}-{role}")]);
        command
    }
}

fn environment(role: &str, case: &str, peer: &Peer) -> Vec<String> {
    let mut all = vec![
        format!("ROLE={role}"),
        format!("TESTCASE={case}"),
        "SSLKEYLOGFILE=/logs/keys.log".to_owned(),
    ];
    all.extend(peer.http3_alone.then(|| "PROTOCOL=h3".to_owned()));
    all
}

fn mount(command: &mut Command, from: &Path, to: &str, how: &str) {
    command
        .arg("-v")
        .arg(format!("{}:{to}:{how}", from.display()));
}

fn start(cell: &str, role: &str, command: Command) -> Result<Actor, String> {
    Ok(Actor {
        name: format!("{cell}-{role}"),
        service: Service::start(command)?,
    })
}

fn ready(actor: &mut Actor, what: &str) -> Result<(), Trouble> {
    let ready = |lines: &[String], _| lines.iter().any(|line| line == "ready").then_some(());
    if actor.service.said.wait(READY, ready).is_some() {
        return Ok(());
    }
    let complaint = actor.service.complaint();
    Err(match actor.service.code() {
        Some(UNSUPPORTED) => Trouble::Unsupported(format!("the {what} answers 127: {complaint}")),
        _ => Trouble::Failed(format!("the {what} does not start\n{complaint}")),
    })
}
