//! `cutwater load`: what is typed, and what it means.

pub(crate) mod files;
pub(crate) mod values;

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rustls::{CipherSuite, NamedGroup};

use self::values::{body, duration, group, header, positive, suite};
use super::plan::{
    Amount, Expectations, Mode, Plan, PlanError, Protocol, ProxyHeader, ProxyVersion, Sni, Target,
    Trust, Usage,
};

/// How long a name's several addresses are each tried for.
const PROBE: Duration = Duration::from_secs(1);

/// A replay test has its own order of things: these would do nothing.
const NOT_IN_REPLAYS: [&str; 13] = [
    "keep_alive",
    "per_connection",
    "connections",
    "duration",
    "requests",
    "streams",
    "threads",
    "rate",
    "pin",
    "server_pid",
    "html",
    "expect_early",
    "max_errors",
];

/// What `cutwater load` is told. Short options are those of oha and h2load.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// What is asked for: https://host[:port][/path].
    #[arg(required_unless_present = "compare", value_name = "URL")]
    url: Option<String>,

    /// How connections begin.
    #[arg(long, value_enum, default_value = "full", value_name = "KIND")]
    handshake: Handshake,
    /// Requests on kept connections, as long as the run lasts.
    #[arg(long, conflicts_with = "per_connection")]
    keep_alive: bool,
    /// Requests on each connection; 0: handshakes alone.
    #[arg(long, default_value_t = 1, value_name = "N")]
    per_connection: u64,

    /// Connections open at once, over all threads.
    #[arg(short, long, default_value_t = 50, value_name = "N")]
    connections: usize,
    /// When to end: 10s, 500ms, 2m; a bare number is seconds.
    #[arg(short, long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    duration: Duration,
    /// End after so many operations instead.
    #[arg(short = 'n', long, conflicts_with = "duration", value_name = "N")]
    requests: Option<u64>,
    /// HTTP/2 and 3: requests at once on each connection.
    #[arg(short = 'm', long, default_value_t = 1, value_name = "N")]
    streams: usize,
    /// Threads, each with a runtime of its own.
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Open loop: so many operations a second, whatever the answers do; times count from the
    /// intended beginning.
    #[arg(short, long, value_parser = positive, value_name = "PER-SECOND")]
    rate: Option<f64>,
    /// Keep each thread on a core of its own.
    #[arg(long)]
    pin: bool,

    /// What is spoken behind TLS [default: h2 or h3 if --alpn begins with it, else h1].
    #[arg(long, value_enum, value_name = "NAME")]
    protocol: Option<Spoken>,
    /// The ALPN names to offer, if not the protocol's own.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    alpn: Option<Vec<String>>,
    /// Cipher suites in order of preference.
    #[arg(long, value_delimiter = ',', value_parser = suite, value_name = "SUITE,…")]
    suites: Vec<CipherSuite>,
    /// Key exchange groups in order of preference; the first one's share is sent.
    #[arg(long, value_delimiter = ',', value_parser = group, value_name = "GROUP,…")]
    groups: Vec<NamedGroup>,
    /// Ask for compressed certificates: brotli or zlib.
    #[arg(long)]
    certificate_compression: bool,
    /// Server names, in turn: a.test,b.test or site-{1..100}.test [default: the URL's host].
    #[arg(long, value_name = "NAME,…")]
    sni: Option<String>,

    /// The request's method.
    #[arg(short = 'X', long, default_value = "GET", value_name = "METHOD")]
    method: Method,
    /// A header of the request: 'name: value'. Repeatable.
    #[arg(short = 'H', long, value_parser = header, value_name = "HEADER")]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The request's body, or @FILE.
    #[arg(long, value_parser = body, value_name = "TEXT|@FILE")]
    body: Option<Bytes>,

    /// Authorities to trust, as PEM [default: the system's].
    #[arg(long, conflicts_with = "insecure", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Verify neither certificates nor signatures.
    #[arg(short = 'k', long)]
    insecure: bool,
    /// The client's certificate chain, as PEM.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its key [default: in the certificate's file].
    #[arg(long, requires = "cert", value_name = "FILE")]
    key: Option<PathBuf>,

    /// Where to connect instead of the URL's host; repeatable: in turn.
    #[arg(long, value_name = "ADDR:PORT")]
    connect: Vec<SocketAddr>,
    /// Send a PROXY protocol header first.
    #[arg(long, value_enum, value_name = "VERSION")]
    proxy_protocol: Option<ProxyForm>,
    /// The client address in it [default: the connection's own].
    #[arg(long, requires = "proxy_protocol", value_name = "ADDR:PORT")]
    proxy_source: Option<SocketAddr>,
    /// The bound of each of: TCP connect, handshake, answer [default: 5s, 10s, 30s].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    timeout: Option<Duration>,

    /// Report the CPU time per operation of this process, its threads and its children.
    #[arg(long, value_name = "PID")]
    pub(super) server_pid: Option<u32>,
    /// Write the report as JSON; its fields are in docs/LOAD.md.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the report as one self-contained page.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,

    /// Exit 1 unless every early request was accepted as early data.
    #[arg(long)]
    expect_early: bool,
    /// Exit 1 after more errors than these.
    #[arg(long, value_name = "N")]
    max_errors: Option<u64>,
    /// Record one 0-RTT flight and send it N times more: exit 1 if it is accepted twice, 3 if
    /// the original was not accepted.
    #[arg(long, conflicts_with_all = NOT_IN_REPLAYS, value_name = "N")]
    pub(super) replay: Option<usize>,
    /// Print the ratios of two reports written by --json.
    #[arg(long, num_args = 2, exclusive = true, value_names = ["A.json", "B.json"])]
    pub(super) compare: Option<Vec<PathBuf>>,
}

/// [`Mode`], as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Handshake {
    /// With certificates
    Full,
    /// By ticket, with fresh key exchange; each ticket is used once
    Resumed,
    /// By ticket, with the request in the first flight
    Early,
}

/// [`Protocol`], as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spoken {
    /// HTTP/1.1
    H1,
    /// HTTP/2
    H2,
    /// HTTP/3, over QUIC
    H3,
}

/// [`ProxyVersion`], as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProxyForm {
    /// Text
    V1,
    /// Binary
    V2,
}

impl Arguments {
    /// What they mean. Reads the files they name and resolves the host.
    ///
    /// # Errors
    /// They contradict each other, a file cannot be used, or the host has no address.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let url = self.url.as_deref().unwrap_or_default();
        let target = Target::parse(url)?;
        let connect = match self.connect.first() {
            Some(first) => *first,
            None => resolve(&target)?,
        };
        let mut plan = Plan::new(target, connect)?;
        if !self.connect.is_empty() {
            plan.connect.clone_from(&self.connect);
        }
        if let Some(names) = &self.sni {
            plan.sni = Sni::parse(names)?;
        }
        plan.mode = match self.handshake {
            Handshake::Full => Mode::Full,
            Handshake::Resumed => Mode::Resumed,
            Handshake::Early => Mode::Early,
        };
        plan.usage = self.usage();
        plan.protocol = self.protocol();
        plan.alpn = self
            .alpn
            .as_ref()
            .map(|names| names.iter().map(|name| name.clone().into_bytes()).collect());
        plan.connections = self.connections;
        plan.streams = self.streams;
        plan.threads = self.threads;
        plan.pinned = self.pin;
        plan.rate = self.rate;
        plan.amount = match self.requests {
            Some(count) => Amount::Operations(count),
            None => Amount::Time(self.duration),
        };
        plan.request.method = self.method.clone();
        plan.request.headers = HeaderMap::from_iter([]);
        for (name, value) in &self.header {
            plan.request.headers.append(name, value.clone());
        }
        plan.request.body = self.body.clone().unwrap_or_default();
        plan.tls.trust = self.trust()?;
        plan.tls.identity = match &self.cert {
            Some(chain) => Some(files::identity(chain, self.key.as_ref().unwrap_or(chain))?),
            None => None,
        };
        plan.tls.suites.clone_from(&self.suites);
        plan.tls.groups.clone_from(&self.groups);
        plan.tls.certificate_compression = self.certificate_compression;
        plan.proxy = self.proxy_protocol.map(|form| ProxyHeader {
            version: match form {
                ProxyForm::V1 => ProxyVersion::V1,
                ProxyForm::V2 => ProxyVersion::V2,
            },
            source: self.proxy_source,
        });
        if let Some(bound) = self.timeout {
            plan.timeouts.connect = bound;
            plan.timeouts.handshake = bound;
            plan.timeouts.request = bound;
        }
        plan.expect = Expectations {
            early: self.expect_early,
            max_errors: self.max_errors,
        };
        self.check(&plan)?;
        Ok(plan)
    }

    fn check(&self, plan: &Plan) -> Result<(), PlanError> {
        if self.expect_early && plan.mode != Mode::Early {
            return Err(PlanError::new(
                "--expect-early without early data\nhint: add --handshake early",
            ));
        }
        plan.check()
    }

    fn usage(&self) -> Usage {
        match NonZeroU64::new(self.per_connection) {
            _ if self.keep_alive => Usage::KeepAlive,
            Some(count) => Usage::Requests(count),
            None => Usage::Handshake,
        }
    }

    fn protocol(&self) -> Protocol {
        let first = self.alpn.as_ref().and_then(|names| names.first());
        match self.protocol {
            Some(Spoken::H1) => Protocol::Http1,
            Some(Spoken::H2) => Protocol::Http2,
            Some(Spoken::H3) => Protocol::Http3,
            None if first.is_some_and(|name| name == "h2") => Protocol::Http2,
            None if first.is_some_and(|name| name == "h3") => Protocol::Http3,
            None => Protocol::Http1,
        }
    }

    fn trust(&self) -> Result<Trust, PlanError> {
        match &self.ca {
            _ if self.insecure => Ok(Trust::Anyone),
            Some(file) => files::authorities(file).map(Trust::Roots),
            None => files::system_authorities().map(Trust::Roots),
        }
    }
}

/// The host's address. Of several, the first that takes a connection: `localhost` is often two
/// addresses with a server on one of them.
fn resolve(target: &Target) -> Result<SocketAddr, PlanError> {
    let (host, port) = (target.host(), target.port());
    let hint = "hint: --connect ADDR:PORT says where to connect";
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| PlanError::new(format!("{host} has no address: {error}\n{hint}")))?
        .collect();
    let answers = |address: &SocketAddr| TcpStream::connect_timeout(address, PROBE).is_ok();
    let first = match found.as_slice() {
        [one] => Some(one),
        several => several.iter().find(|it| answers(it)).or(several.first()),
    };
    first
        .copied()
        .ok_or_else(|| PlanError::new(format!("{host} has no address\n{hint}")))
}

#[cfg(test)]
mod tests;
