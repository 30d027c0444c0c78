//! The edge, the relay and the origin of a run, ready for cells.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::evidence::Metrics;
use crate::ground::Ground;
use crate::relay::{Ask, Plan, Reply};
use crate::service::Service;
use crate::sites::stapled::NEVER_STAPLED;
use crate::sites::{self, Mistake};

/// How long a program may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// How long an exchange with the admin endpoint may take.
const ADMIN: Duration = Duration::from_secs(2);
/// How long the relay may take beyond what it waits for.
const RELAY: Duration = Duration::from_secs(30);

/// The programs of a run.
pub struct Lab<'a> {
    /// Where it takes place.
    pub ground: &'a dyn Ground,
    edge: Service,
    relay: Service,
    origin: Service,
}

impl<'a> Lab<'a> {
    /// Writes what the programs read into `directory` (in its `pki` and `etc`) and starts them.
    ///
    /// # Errors
    /// What could not be written or started.
    pub fn start(
        ground: &'a dyn Ground,
        directory: &std::path::Path,
        mistake: Option<Mistake>,
    ) -> Result<Self, String> {
        let text = sites::prepare(&directory.join("pki"), &ground.places(), mistake)?;
        let file = directory.join("etc/cutwater.toml");
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;

        let origin = ground.tool_command("origin", &[ground.origin(), ground.pki()]);
        let origin = ready(origin, "origin")?;
        let (_, listen) = ground.relay();
        let relay = ready(ground.tool_command("relay", &[listen.to_string()]), "relay")?;
        let edge = start_edge(ground)?;
        ground.check_health()?;
        Ok(Self {
            ground,
            edge,
            relay,
            origin,
        })
    }

    /// What the origin has said: a line for each request.
    pub fn origin_said(&self) -> Vec<String> {
        self.origin.said.all()
    }

    /// How many lines the edge has logged.
    pub fn mark(&self) -> usize {
        self.edge.said.count()
    }

    /// What the edge has logged since then.
    pub fn logged(&self, mark: usize) -> Vec<String> {
        self.edge.said.since(mark)
    }

    /// Waits until `enough` is content with the lines since the mark.
    pub fn logged_until(
        &self,
        mark: usize,
        bound: Duration,
        enough: impl Fn(&[String]) -> bool,
    ) -> bool {
        let since = |lines: &[String], _| {
            let lines = lines.get(mark..).unwrap_or_default();
            enough(lines).then_some(())
        };
        self.edge.said.wait(bound, since).is_some()
    }

    /// The edge's metrics.
    ///
    /// # Errors
    /// It does not answer.
    pub fn metrics(&self) -> Result<Metrics, String> {
        get(self.ground.admin(), "/metrics").map(|text| Metrics::parse(&text))
    }

    /// Waits until no connection is open, for a bounded time: a cell begins with a quiet edge.
    pub fn quiet(&self, bound: Duration) -> bool {
        let open = |metrics: Metrics| metrics.sum("cutwater_connections_open", "");
        poll(bound, || {
            self.metrics().is_ok_and(|metrics| open(metrics) == 0.0)
        })
    }

    /// What the edge complained of last, if it has ended by itself.
    pub fn edge_has_ended(&mut self) -> Option<String> {
        let ended = self.edge.has_ended();
        ended.then(|| self.edge.complaint())
    }

    /// Ends the edge with SIGTERM, if it has not ended yet, and starts it again, with the same configuration.
    ///
    /// # Errors
    /// It does not end, or does not start.
    pub fn restart_edge(&mut self) -> Result<(), String> {
        if !self.edge.has_ended() {
            self.ground.terminate("edge", self.edge.id());
            if !self.edge.ended_within(READY) {
                return Err("the edge did not end after SIGTERM".into());
            }
        }
        self.ground.end("edge");
        self.edge = start_edge(self.ground)?;
        Ok(())
    }

    /// Asks the relay.
    ///
    /// # Errors
    /// It cannot do it, or is gone.
    pub fn ask(&mut self, ask: &Ask) -> Result<Reply, String> {
        let line = serde_json::to_string(ask).map_err(|error| error.to_string())?;
        let mark = self.relay.said.count();
        self.relay
            .tell(&line)
            .map_err(|error| format!("the relay is gone: {error}"))?;
        let answered = |lines: &[String], _| lines.get(mark).cloned();
        let line = self.relay.said.wait(RELAY, answered);
        let line = line.ok_or_else(|| format!("the relay is gone\n{}", self.relay.complaint()))?;
        let reply: Reply = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        match reply.error {
            Some(error) => Err(format!("relay: {error}")),
            None => Ok(reply),
        }
    }

    /// Opens a relay; its number, and where clients find it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_relay(&mut self, plan: Plan) -> Result<(u32, SocketAddr), String> {
        let reply = self.ask(&Ask::Open(plan))?;
        let (address, _) = self.ground.relay();
        Ok((reply.id, SocketAddr::new(address, reply.port)))
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        for name in ["edge", "relay", "origin"] {
            self.ground.end(name);
        }
    }
}

fn ready(command: std::process::Command, what: &str) -> Result<Service, String> {
    let mut service = Service::start(command)?;
    let ready = |lines: &[String], _| {
        lines
            .iter()
            .any(|line| line.starts_with("ready"))
            .then_some(())
    };
    match service.said.wait(READY, ready) {
        Some(()) => Ok(service),
        None => Err(format!(
            "the {what} does not start\n{}",
            service.complaint()
        )),
    }
}

fn start_edge(ground: &dyn Ground) -> Result<Service, String> {
    let mut edge = Service::start(ground.edge_command())?;
    let mut is_ready = false;
    poll(READY, || {
        is_ready = get(ground.admin(), "/readyz").is_ok();
        is_ready || edge.output_has_ended()
    });
    if !is_ready {
        return Err(format!("the edge does not start\n{}", edge.complaint()));
    }
    // Staples come while it serves already.
    let mut missing = None;
    let stapled = poll(READY, || {
        let metrics = get(ground.admin(), "/metrics");
        let metrics = metrics.map(|text| Metrics::parse(&text));
        missing = metrics
            .map(|metrics| metrics.sum("cutwater_ocsp_certificates", "state=\"missing\""))
            .ok();
        missing == Some(NEVER_STAPLED)
    });
    match stapled {
        true => Ok(edge),
        false => Err(format!(
            "{missing:?} certificates lack their staple, should be {}\n{}",
            NEVER_STAPLED,
            edge.complaint()
        )),
    }
}

/// Asks the admin endpoint.
fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, ADMIN)?;
        stream.set_read_timeout(Some(ADMIN))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().map_err(|error| format!("the edge's admin endpoint: {error}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(format!(
            "the edge's admin endpoint: {}",
            answer.lines().next().unwrap_or_default()
        )),
    }
}

/// Asks again and again: what another process does cannot be awaited over HTTP.
#[expect(
    clippy::disallowed_methods,
    reason = "another process is asked, which cannot wake us"
)]
pub fn poll(bound: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + bound;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
