//! One cell: a peer and a case. Calls the peer, gathers what both sides say, and keeps it all.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::cases::Over;
use crate::cases::arguments::Arguments;
use crate::evidence::{self, Logged, Metrics};
use crate::expected::Outcome;
use crate::lab::Lab;
use crate::line::{self, Line, Told};
use crate::notes::Notes;
pub use crate::notes::Trouble;
use crate::peers::Peer;
use crate::relay::{Ask, Plan, Reply};

/// The bound of a client's call, in seconds: its own, and that of force.
const CALL: u64 = 15;
/// That of a browser's call with two connections: the second one waits for the first one's end.
const BROWSER: u64 = 30;
/// That of a call over QUIC: some stacks are in Python, and move packets by themselves.
const QUIC: u64 = 30;
/// How much later force comes.
const FORCE: u64 = 5;
/// How long the edge's lines may take after the client's end.
const LOGGED: Duration = Duration::from_secs(5);

/// A cell that is being played.
pub struct Cell<'a, 'b> {
    /// The programs of the run.
    pub lab: &'a mut Lab<'b>,
    /// The peer.
    pub peer: &'a Peer,
    /// What its requests carry in their query.
    pub mark: String,
    /// What its connections go over.
    pub over: Over,
    /// The stack's name and version, once it has said it.
    pub stack: Option<String>,
    notes: Notes,
    from: usize,
    before: Metrics,
    relays: Vec<u32>,
}

/// A call of a client under way.
pub struct Call(Child);

/// What both sides say.
pub struct Talk {
    /// The peer's connections.
    pub peer: Vec<line::Connection>,
    /// Whether the peer did all that was asked.
    pub complete: bool,
    /// The edge's.
    pub edge: Logged,
    /// What the edge's counters grew by.
    pub counted: Metrics,
}

impl<'a, 'b> Cell<'a, 'b> {
    /// Begins, once the edge is quiet.
    ///
    /// # Errors
    /// The edge does not answer.
    pub fn begin(
        lab: &'a mut Lab<'b>,
        peer: &'a Peer,
        mark: String,
        over: Over,
    ) -> Result<Self, String> {
        let mut notes = Notes::default();
        if !lab.quiet(LOGGED) {
            // What they log and count would be taken for this cell's.
            notes.check(
                "no connection of an earlier cell is left on the edge",
                false,
            );
        }
        let (from, before) = (lab.mark(), lab.metrics()?);
        Ok(Self {
            lab,
            peer,
            mark,
            over,
            stack: None,
            notes,
            from,
            before,
            relays: Vec::new(),
        })
    }

    /// The end: the outcome, by what the case returned and what was found wrong.
    pub fn end(mut self, played: Result<(), Trouble>) -> (Outcome, String, Option<String>) {
        for id in std::mem::take(&mut self.relays) {
            // It closes with the run at the latest.
            let _ = self.lab.ask(&Ask::Close { id });
        }
        let (outcome, log) = self.notes.end(played);
        (outcome, log, self.stack)
    }

    /// See [`Notes::note`].
    pub fn note(&mut self, heading: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        self.notes.note(heading, lines);
    }

    /// See [`Notes::check`].
    pub fn check(&mut self, what: &str, holds: bool) {
        self.notes.check(what, holds);
    }

    /// See [`Notes::is`].
    pub fn is<T: PartialEq + Debug>(&mut self, what: &str, found: T, wanted: T) {
        self.notes.is(what, found, wanted);
    }

    /// Opens a relay towards the edge for this cell.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn relay(&mut self, plan: Plan) -> Result<(u32, SocketAddr), String> {
        let udp = self.over == Over::Quic;
        let (id, address) = self.lab.open_relay(Plan { udp, ..plan })?;
        self.relays.push(id);
        Ok((id, address))
    }

    /// Asks the relay and notes what it said.
    ///
    /// # Errors
    /// It cannot do it.
    pub fn ask(&mut self, ask: &Ask) -> Result<Reply, String> {
        let reply = self.lab.ask(ask)?;
        self.note("relay", [format!("{ask:?}"), format!("{reply:?}")]);
        Ok(reply)
    }

    /// Begins a call of the peer's client.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn call(&mut self, arguments: &Arguments) -> Result<Call, String> {
        let seconds = match self.over {
            Over::Quic => QUIC,
            Over::Tcp if self.peer.browser && arguments.of_two_connections() => BROWSER,
            Over::Tcp => CALL,
        };
        let pki = self.lab.ground.pki();
        let list = arguments.list(&pki, &self.mark, seconds, self.over);
        self.note("asked", [list.join(" ")]);
        let mut command = self
            .lab
            .ground
            .client_command(self.peer, &list, seconds + FORCE);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the client: {error}"))?;
        Ok(Call(child))
    }

    /// Waits for something to come through the relay, as long as the call lasts.
    ///
    /// # Errors
    /// The relay cannot do it.
    pub fn comes(&mut self, call: &mut Call, until: &Ask) -> Result<bool, String> {
        loop {
            let ended = !matches!(call.0.try_wait(), Ok(None));
            let reply = self.lab.ask(until)?;
            if reply.came || ended {
                self.note("relay", [format!("{until:?}"), format!("{reply:?}")]);
                return Ok(reply.came);
            }
        }
    }

    /// Awaits the call's end.
    ///
    /// # Errors
    /// The stack cannot do it, or broke the protocol.
    pub fn told(&mut self, call: Call) -> Result<(Line, bool), Trouble> {
        let output = call.0.wait_with_output();
        let output = output.map_err(|error| Trouble::Failed(error.to_string()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        self.note(&format!("the peer said, exit {code:?}"), stdout.lines());
        if !stderr.trim().is_empty() {
            self.note("its standard error", stderr.lines());
        }
        match line::read(code, &stdout)? {
            Told::Line { line, complete } => {
                self.stack = Some(line.stack.clone());
                Ok((line, complete))
            }
            Told::Unsupported(why) => Err(Trouble::Unsupported(why)),
        }
    }

    /// A whole call: begins it, awaits it, and gathers what the edge says.
    ///
    /// # Errors
    /// The stack cannot do it, or broke the protocol.
    pub fn talk(&mut self, arguments: &Arguments) -> Result<Talk, Trouble> {
        let call = self.call(arguments)?;
        self.gather(call, 0)
    }

    /// Awaits the end of a call and gathers what the edge says: of as many connections as the peer
    /// tells of, and `more`.
    ///
    /// # Errors
    /// The stack cannot do it, or broke the protocol.
    pub fn gather(&mut self, call: Call, more: usize) -> Result<Talk, Trouble> {
        let (line, complete) = self.told(call)?;
        if self.peer.browser && line.connections.is_empty() {
            return Err(Trouble::Unsupported(
                "the browser's log does not tell of a connection that failed".into(),
            ));
        }
        let mut edge = self.edge(line.connections.len() + more);
        if self.peer.browser {
            edge.of_the_last_connection();
        }
        let counted = self.counted()?;
        self.note("found", [] as [&str; 0]);
        Ok(Talk {
            peer: line.connections,
            complete,
            edge,
            counted,
        })
    }

    /// What the edge logged since the cell began, once so many connections are in.
    pub fn edge(&mut self, connections: usize) -> Logged {
        let (from, mark) = (self.from, self.mark.clone());
        let whole = |lines: &[String]| Logged::of(lines, &mark).is_whole(connections);
        let came = self.lab.logged_until(from, LOGGED, whole);
        let lines = self.lab.logged(from);
        self.note("the edge logged", lines.iter());
        if !came {
            self.check(&format!("the edge logged {connections} connections"), false);
        }
        let logged = Logged::of(&lines, &mark);
        if came {
            let found = logged.connections.len();
            self.is("edge, connections in all", found, connections);
        }
        logged
    }

    /// What the edge has logged so far.
    pub fn edge_now(&self) -> Logged {
        Logged::of(&self.lab.logged(self.from), &self.mark)
    }

    /// What the edge's counters have grown by since the cell began.
    ///
    /// # Errors
    /// It does not answer.
    pub fn counted(&mut self) -> Result<Metrics, String> {
        let counted = self.lab.metrics()?.since(&self.before);
        self.note("the edge counted", counted.lines());
        Ok(counted)
    }

    /// The edge has been restarted: logs and counters begin anew.
    pub fn restarted(&mut self) {
        self.from = 0;
        self.before = Metrics::default();
    }

    /// Both sides are to say the same of a connection, and `wanted` of these facts. Where the peer
    /// cannot tell a fact, the edge's word and the handshake itself are all there is; for those in
    /// `needed` that is not enough.
    ///
    /// # Errors
    /// The peer cannot tell what it has to.
    pub fn both(
        &mut self,
        talk: &Talk,
        index: usize,
        wanted: &[(&str, &str)],
        needed: &[&str],
    ) -> Result<(), Trouble> {
        let (Some(peer), Some(edge)) = (talk.peer.get(index), talk.edge.connections.get(index))
        else {
            self.check(&format!("both sides have a connection {index}"), false);
            return Ok(());
        };
        let (peer, edge) = (Facts::of_peer(peer), Facts::of_edge(edge));
        let mut untold = None;
        for (name, edge) in &edge.0 {
            let told = peer.get(name);
            let wanted = wanted
                .iter()
                .find(|(fact, _)| fact == name)
                .map(|(_, value)| *value);
            if let Some(wanted) = wanted {
                self.is(
                    &format!("edge, connection {index}, {name}"),
                    edge.as_deref(),
                    Some(wanted),
                );
            }
            match told {
                Some(told) => {
                    let should = wanted.or(edge.as_deref());
                    // A side that knows no more than the edge is not contradicted.
                    if should.is_some() {
                        let what = format!("peer, connection {index}, {name}");
                        self.is(&what, Some(told), should);
                    }
                }
                None if wanted.is_some() && needed.contains(name) => untold = Some(*name),
                None => {}
            }
        }
        match untold {
            Some(name) => Err(Trouble::Unsupported(format!(
                "the stack does not tell: {name}"
            ))),
            None => Ok(()),
        }
    }
}

/// What a side says of a connection.
struct Facts(Vec<(&'static str, Option<String>)>);

impl Facts {
    fn of_peer(it: &line::Connection) -> Self {
        let done = |value: Option<String>| value.filter(|_| it.handshake);
        Self(vec![
            ("handshake", Some(it.handshake.to_string())),
            ("version", done(it.version.clone())),
            ("resumed", done(it.resumed.map(|is| is.to_string()))),
            ("early", it.early.clone()),
            ("hrr", it.hrr.map(|is| is.to_string())),
            ("group", done(it.group.clone())),
            ("suite", done(it.suite.clone())),
            ("alpn", done(it.alpn.clone())),
            ("certificate", done(it.certificate.clone())),
            // It may be why a handshake was not finished.
            ("staple", it.staple.clone()),
        ])
    }

    fn of_edge(it: &evidence::Connection) -> Self {
        let done = it.handshake_ms.is_some();
        let early = match it.early.as_str() {
            refused if refused.starts_with("refused_") => Some("refused".to_owned()),
            // Of a handshake that failed, a client may think otherwise.
            "offered" => None,
            other => Some(other.to_owned()),
        };
        let done_only = |value: Option<String>| value.filter(|_| done);
        Self(vec![
            ("handshake", Some(done.to_string())),
            ("version", done_only(it.version.clone())),
            ("resumed", done_only(Some(it.resumed.to_string()))),
            ("early", early),
            ("hrr", Some((it.client_hellos == 2).to_string())),
            ("group", done_only(it.group.as_deref().map(group))),
            ("suite", done_only(it.suite.as_deref().map(suite))),
            ("alpn", done_only(it.alpn.clone())),
            // The log tells curves and the like apart.
            (
                "certificate",
                done_only(it.certificate.as_deref().map(kind_of_key)),
            ),
            ("staple", it.certificate.as_ref().map(|_| staple(it))),
        ])
    }

    fn get(&self, name: &str) -> Option<&str> {
        let fact = self.0.iter().find(|(fact, _)| *fact == name);
        fact.and_then(|(_, value)| value.as_deref())
    }
}

/// What the staple said that a certificate was shown with.
fn staple(it: &evidence::Connection) -> String {
    it.staple.clone().unwrap_or_else(|| "none".into())
}

/// The kind of a key: `ecdsa` of `ecdsa_p256`.
fn kind_of_key(name: &str) -> String {
    name.split('_').next().unwrap_or(name).to_owned()
}

/// The protocol's name of a group, by that of the edge's log.
fn group(name: &str) -> String {
    match name {
        "secp256r1" => "P-256".into(),
        "secp384r1" => "P-384".into(),
        "secp521r1" => "P-521".into(),
        other => other.into(),
    }
}

/// RFC 9846's name of a suite, by that of the edge's log.
fn suite(name: &str) -> String {
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.into(),
    }
}
