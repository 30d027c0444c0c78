//! What a run of the load generator does: typed, with its defaults and its contradictions.

mod sni;
mod target;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, NamedGroup};

pub use sni::Sni;
pub use target::Target;

use super::stats::Stats;

/// The two forms of the PROXY protocol.
pub use crate::proxy_protocol::Version as ProxyVersion;

/// A run. [`Plan::new`] has the defaults; [`check`](Self::check) finds what contradicts itself.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is asked for, and of whom.
    pub target: Target,
    /// Where connections go, in turn. Never empty.
    pub connect: Vec<SocketAddr>,
    /// The names that connections ask for, in turn. They are also the requests' authority, unless
    /// the headers have a `host`. Default: the target's host.
    pub sni: Sni,
    /// How connections begin. Default: full.
    pub mode: Mode,
    /// What connections are used for. Default: one request.
    pub usage: Usage,
    /// What is spoken behind TLS. Default: HTTP/1.1.
    pub protocol: Protocol,
    /// The ALPN names that are offered, if not the protocol's own.
    pub alpn: Option<Vec<Vec<u8>>>,
    /// Connections open at once, over all threads. Default: 1.
    pub connections: usize,
    /// HTTP/2 and 3: requests at once on each connection. Default: 1.
    pub streams: usize,
    /// Threads, each with a runtime of its own; never more than connections. Default: 1.
    pub threads: usize,
    /// Whether each thread stays on a core of its own, of those the process may use.
    /// Default: false, because another program's threads may be pinned there too.
    pub pinned: bool,
    /// When the run ends. Default: after ten seconds.
    pub amount: Amount,
    /// Open loop: operations a second, begun at that rate whatever the answers do; their times
    /// count from the moment they were meant to begin. `None`: each slot begins its next operation
    /// when the last has ended.
    pub rate: Option<f64>,
    /// The request.
    pub request: RequestPlan,
    /// TLS.
    pub tls: TlsPlan,
    /// A PROXY protocol header in front of everything. Default: none.
    pub proxy: Option<ProxyHeader>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What must hold at the end.
    pub expect: Expectations,
}

/// How connections begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A full handshake, with certificates.
    #[default]
    Full,
    /// A resumed handshake: PSK with fresh key exchange. Each ticket is used once.
    Resumed,
    /// A resumed handshake whose first flight carries the request as early data.
    Early,
}

/// What connections are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// No request: an operation is a handshake.
    Handshake,
    /// This many requests on each connection, one after the other (HTTP/2 and 3: `streams` at a time).
    Requests(NonZeroU64),
    /// Requests as long as the run lasts and the server keeps the connection.
    KeepAlive,
}

impl Usage {
    /// One request on each connection.
    pub const ONE: Self = Self::Requests(NonZeroU64::MIN);
}

/// What is spoken behind TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3, over QUIC.
    Http3,
}

impl Protocol {
    /// As it stands in reports: `h1`, `h2`, `h3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "h1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }

    /// The ALPN protocol name.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
            Self::Http3 => b"h3",
        }
    }
}

impl Mode {
    /// As it stands in reports: `full`, `resumed`, `early`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Early => "early",
        }
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// After this many operations, failed ones included.
    Operations(u64),
    /// After this time. Operations under way get [`Timeouts::request`] to end.
    Time(Duration),
}

/// The request that is sent again and again.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// Default: GET.
    pub method: Method,
    /// Sent as they are, after those that are needed.
    pub headers: HeaderMap,
    /// Default: empty.
    pub body: Bytes,
}

/// The client's side of TLS 1.3.
#[derive(Clone, Debug)]
pub struct TlsPlan {
    /// Default: nobody.
    pub trust: Trust,
    /// The client's certificate. Default: none.
    pub identity: Option<Identity>,
    /// Cipher suites in order of preference. Empty: all of TLS 1.3's, AES-128-GCM first.
    pub suites: Vec<CipherSuite>,
    /// Groups in order of preference; the first one's share goes out. Empty: X25519, P-256,
    /// X25519MLKEM768.
    pub groups: Vec<NamedGroup>,
    /// Whether compressed certificates are asked for (RFC 8879), brotli first. Default: false.
    pub certificate_compression: bool,
}

/// Which servers are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those whose certificate leads to one of these authorities and has the name.
    Roots(Vec<CertificateDer<'static>>),
    /// Any: neither certificates nor signatures are verified, which saves their cost.
    Anyone,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: Arc<PrivateKeyDer<'static>>,
}

/// A PROXY protocol header (haproxy's `proxy-protocol.txt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Text or binary.
    pub version: ProxyVersion,
    /// The client's address that it tells. `None`: the connection's own.
    pub source: Option<SocketAddr>,
}

/// How long things may take, to a tenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connect. Default: 5 s.
    pub connect: Duration,
    /// Connected → handshake finished. Default: 10 s.
    pub handshake: Duration,
    /// Request sent → answer whole. Default: 30 s.
    pub request: Duration,
    /// How long a ticket, or the end of the connection that was asked for, is waited for once the
    /// answer is there. Default: 1 s.
    pub closing: Duration,
}

/// What must hold at the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// Every early request was accepted as early data, and there was one.
    pub early: bool,
    /// No more errors than these.
    pub max_errors: Option<u64>,
}

impl Expectations {
    /// What did not hold, a sentence each.
    pub fn unmet(&self, stats: &Stats) -> Vec<String> {
        let mut unmet = Vec::new();
        let counts = &stats.counts;
        if self.early && (counts.early_refused > 0 || counts.early_accepted == 0) {
            let (accepted, refused) = (counts.early_accepted, counts.early_refused);
            unmet.push(format!(
                "early data was to be accepted: {accepted} accepted, {refused} refused"
            ));
        }
        let errors = stats.errors.total();
        if let Some(most) = self.max_errors.filter(|most| errors > *most) {
            unmet.push(format!("{errors} errors, at most {most} were expected"));
        }
        unmet
    }
}

/// Two parts of a plan that contradict each other, or a value that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(String);

impl PlanError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// The defaults for a target behind this address.
    ///
    /// # Errors
    /// The target's host cannot be a server name.
    pub fn new(target: Target, connect: SocketAddr) -> Result<Self, PlanError> {
        Ok(Self {
            sni: Sni::parse(target.host())?,
            target,
            connect: vec![connect],
            mode: Mode::Full,
            usage: Usage::ONE,
            protocol: Protocol::Http1,
            alpn: None,
            connections: 1,
            streams: 1,
            threads: 1,
            pinned: false,
            amount: Amount::Time(Duration::from_secs(10)),
            rate: None,
            request: RequestPlan {
                method: Method::GET,
                headers: HeaderMap::new(),
                body: Bytes::new(),
            },
            tls: TlsPlan {
                trust: Trust::Roots(Vec::new()),
                identity: None,
                suites: Vec::new(),
                groups: Vec::new(),
                certificate_compression: false,
            },
            proxy: None,
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                handshake: Duration::from_secs(10),
                request: Duration::from_secs(30),
                closing: Duration::from_secs(1),
            },
            expect: Expectations::default(),
        })
    }

    /// Finds contradictions.
    ///
    /// # Errors
    /// The first one.
    pub fn check(&self) -> Result<(), PlanError> {
        let wrong = |text: &str| Err(PlanError::new(text));
        if self.connect.is_empty() {
            return wrong("there is no address to connect to");
        }
        if self.connections == 0 || self.streams == 0 || self.threads == 0 {
            return wrong("connections, streams and threads: at least one of each");
        }
        if self.threads > self.connections {
            return wrong("more threads than connections: some would have nothing to do");
        }
        if self.streams > 1 && (self.protocol == Protocol::Http1 || self.usage == Usage::ONE) {
            return wrong(
                "several streams need HTTP/2 or 3 and more than one request on a connection",
            );
        }
        if self.protocol == Protocol::Http3 && self.proxy.is_some() {
            return wrong("a PROXY protocol header goes before TCP's bytes: HTTP/3 has none");
        }
        if self.mode == Mode::Early && self.usage == Usage::Handshake {
            return wrong("early data is a request: it cannot be a handshake alone");
        }
        if self.mode != Mode::Full && self.usage == Usage::KeepAlive {
            return wrong("kept connections begin once: resumed and early need new ones");
        }
        if self
            .rate
            .is_some_and(|rate| !rate.is_normal() || rate < 0.0)
        {
            return wrong("the rate is more than zero a second");
        }
        match self.amount {
            Amount::Operations(0) => wrong("at least one operation"),
            Amount::Time(Duration::ZERO) => wrong("the duration is more than zero"),
            _ => Ok(()),
        }
    }

    /// The ALPN names that are offered.
    pub fn alpn(&self) -> Vec<Vec<u8>> {
        match &self.alpn {
            Some(names) => names.clone(),
            None => vec![self.protocol.alpn().to_vec()],
        }
    }
}
