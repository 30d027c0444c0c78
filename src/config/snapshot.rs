//! The compiled, validated, immutable configuration that everything else reads.

mod fields;
mod neighbours;
mod pool;
mod quic;
mod servers;
mod variables;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::admission::Admission;
use crate::certs::ocsp::{Settings, Stapled};
use crate::certs::transparency::LogList;
use crate::config::names::{NameIndex, SiteName};
use crate::config::site_tls::SiteTls;
use crate::early::EarlyDataPolicy;
use crate::forwarded::Fields;
use crate::handler::Handler;
use crate::proxy_protocol::Version;
use crate::route::Routes;
use crate::telemetry::connections::ConnectionLog;

pub use self::fields::{Field, FieldEdits, Message, is_dropped_from_requests, is_hop_by_hop};
pub use self::neighbours::{ProxyProtocol, TrustedProxies};
pub use self::pool::{
    Balance, EjectionSpec, HashKey, HealthSpec, PoolLimits, PoolSpec, PoolTimeouts, RetrySpec,
    StatusRange, StatusSet,
};
pub use self::quic::{Quic, QuicRetry};
pub use self::servers::{OriginHost, OriginProtocol, OriginServer, OriginTls};
pub use self::variables::{FieldValue, Part, Variable};

/// Everything that one configuration says. Requests load it once; a reload swaps it whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts reloads; 1 at start.
    pub generation: u64,
    /// `[server]`.
    pub server: Server,
    /// `[limits]`.
    pub limits: Limits,
    /// `[log]`.
    pub log: Log,
    /// `[[listen]]`.
    pub listeners: Vec<Listener>,
    /// `[admin]`.
    pub admin: Option<AdminAddress>,
    /// `[sessions]`.
    pub sessions: Sessions,
    /// `[ocsp]`.
    pub ocsp: Settings,
    /// `[resolver]`.
    pub resolver: Resolver,
    /// The logs of `[certificate_transparency]`, if it names some.
    pub logs: Option<Arc<LogList>>,
    /// Every site, in the file's order. An unchanged site is the same `Arc` as in the snapshot
    /// before.
    pub sites: Vec<Arc<Site>>,
}

impl Snapshot {
    /// The origin of every route that has one.
    pub fn origins(&self) -> impl Iterator<Item = &Arc<OriginSpec>> {
        let routes = self.sites.iter().flat_map(|site| site.routes.iter());
        routes.filter_map(|route| match &route.target {
            Target::Origin(origin) => Some(origin),
            _ => None,
        })
    }

    /// The certificates of every site, with what is known of their staples.
    pub fn staples(&self) -> impl Iterator<Item = &Arc<Stapled>> {
        let sides = self.sites.iter().filter_map(|site| site.tls.as_ref());
        sides.flat_map(|tls| tls.certificates.staples())
    }

    /// A renewed certificate that needs a staple has none before its responder has answered: until
    /// then its site goes on with that of `former`.
    pub fn stand_in<'s>(&'s self, former: &Self) -> StoodInFor<'s> {
        let now = SystemTime::now();
        let may_lack = |tls: &Arc<SiteTls>| tls.certificates.may_lack_staple();
        let mut all = Vec::new();
        if !self
            .sites
            .iter()
            .filter_map(|site| site.tls.as_ref())
            .any(may_lack)
        {
            return StoodInFor(all);
        }
        let before = former.sites.iter().map(|site| (&site.name, site));
        let before: HashMap<_, _> = before.collect();
        for site in &self.sites {
            let before = before
                .get(&site.name)
                .and_then(|before| before.tls.as_ref());
            let (Some(before), Some(tls)) = (before, &site.tls) else {
                continue;
            };
            let certificates = &before.certificates;
            let stood_in_for = tls.certificates.stand_in(certificates, &site.names, now);
            all.extend(stood_in_for.into_iter().map(|one| (&*site.name, one)));
        }
        StoodInFor(all)
    }
}

/// Certificates that others stand in for, with the names of their sites.
#[must_use]
pub struct StoodInFor<'s>(Vec<(&'s str, Arc<Stapled>)>);

impl StoodInFor<'_> {
    /// Says so in the log, unless a staple of theirs was found meanwhile.
    pub fn tell(self) {
        for (site, stapled) in self.0 {
            let former = stapled.former(SystemTime::now());
            let Some(subject) = former.and_then(|_| stapled.subject()) else {
                continue;
            };
            tracing::warn!(
                site,
                certificate = subject.name,
                serial = subject.serial_hex(),
                "the former certificate is shown until the new one has its first staple"
            );
        }
    }
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads.
    pub workers: usize,
    /// How long accepting goes on after a drain began.
    pub drain_delay: Duration,
    /// When a drain cuts what is left.
    pub drain_timeout: Duration,
}

/// `[limits]`, of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Unfinished handshakes.
    pub handshakes: usize,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter for diagnostics: error, warn, info, debug, trace.
    pub level: String,
    /// Where access lines go.
    pub access: LogTarget,
    /// Which connections get a line.
    pub connections: ConnectionLog,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket, made with mode 0600.
    Unix(PathBuf),
}

/// `[sessions]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Single-use sessions kept in memory, over all sites.
    pub capacity: usize,
    /// Tickets per full handshake.
    pub tickets: usize,
}

/// `[resolver]`: who is asked for the addresses of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Its servers; empty for those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one of them is waited for.
    pub timeout: Duration,
    /// The least and the most time that an answer is taken for good.
    pub ttl: (Duration, Duration),
}

/// One `[[listen]]`.
#[derive(Debug)]
pub struct Listener {
    /// The name that sites refer to.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS; otherwise it redirects to https.
    pub tls: bool,
    /// How it speaks HTTP/3 on the UDP port of the same number; `None` is not at all.
    pub quic: Option<Quic>,
    /// The listen backlog.
    pub backlog: u32,
    /// From accept to the whole ClientHello.
    pub client_hello_timeout: Duration,
    /// What its connections begin with; `None` is off.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whose word on clients is taken; `None` is nobody's.
    pub trusted_proxies: Option<Arc<TrustedProxies>>,
    /// The sites by name.
    pub names: NameIndex<Arc<Site>>,
    /// The site for unknown and absent server names.
    pub default: Option<Arc<Site>>,
}

impl Listener {
    /// The site of this name, which is one of its names as the file has it.
    pub fn site(&self, name: &str) -> Option<&Arc<Site>> {
        self.names.get_name(&SiteName::parse(name).ok()?)
    }
}

/// One `[[site]]`.
#[derive(Debug)]
pub struct Site {
    /// Its first name; stands for the site in logs.
    pub name: Arc<str>,
    /// All of them.
    pub names: Vec<SiteName>,
    /// A hash over everything that the file and its certificates said: equal means unchanged.
    pub digest: crate::tags::Tag,
    /// The TLS side; `None` if its certificate could not be read at start: such a site is refused
    /// with `internal_error` while the others serve.
    pub tls: Option<Arc<SiteTls>>,
    /// A hash over its certificates.
    pub certificates: crate::tags::Tag,
    /// Its timeouts.
    pub timeouts: SiteTimeouts,
    /// The edge's own answers that have a body here.
    pub error_pages: Vec<FixedResponse>,
    /// Its routes, ordered for matching.
    pub routes: Routes,
    /// The largest `limits.header_bytes` of its routes: what a head may have before its route is known.
    pub max_header_bytes: usize,
    /// The largest `limits.headers` of its routes.
    pub max_headers: usize,
    /// The largest `limits.uri` of its routes.
    pub max_uri: usize,
}

/// The timeouts of a site's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTimeouts {
    /// From accept to the client's Finished.
    pub handshake: Duration,
    /// From the first byte of a request to its whole head.
    pub request_headers: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub keep_alive: Duration,
}

/// One `[[site.route]]`.
#[derive(Debug)]
pub struct Route {
    /// What it matches, as logs show it: `host path-prefix*` or `=exact`.
    pub name: Arc<str>,
    /// Exact or wildcard host; `None` matches all of the site's.
    pub host: Option<SiteName>,
    /// The path.
    pub path: PathMatch,
    /// The methods; empty matches all.
    pub methods: Vec<Method>,
    /// How early requests are treated.
    pub early_data: EarlyDataPolicy,
    /// What answers.
    pub target: Target,
    /// Whose requests it takes; `None` is everybody's.
    pub admission: Option<Admission>,
    /// What an origin sees in place of the route's path.
    pub prefix_rewrite: Option<Box<str>>,
    /// What becomes of the fields of requests on their way to an origin.
    pub request_headers: Option<Arc<FieldEdits>>,
    /// What becomes of the fields of answers.
    pub response_headers: Option<Arc<FieldEdits>>,
    /// Its timeouts.
    pub timeouts: RouteTimeouts,
    /// Its limits.
    pub limits: RouteLimits,
}

/// Which paths a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path alone.
    Exact(String),
    /// This path and everything below it, on a segment boundary.
    Prefix(String),
}

/// What answers a route's requests.
pub enum Target {
    /// A fixed response.
    Respond(FixedResponse),
    /// A redirect.
    Redirect(Redirect),
    /// Origin servers.
    Origin(Arc<OriginSpec>),
    /// A handler of the library's user.
    Handler(Arc<dyn Handler>),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Respond(respond) => respond.fmt(f),
            Self::Redirect(redirect) => redirect.fmt(f),
            Self::Origin(origin) => origin.fmt(f),
            Self::Handler(_) => f.write_str("Handler"),
        }
    }
}

/// A response that is the same for everybody.
#[derive(Clone, Debug)]
pub struct FixedResponse {
    /// The status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A redirect.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The status: 301, 302, 303, 307, 308.
    pub status: StatusCode,
    /// The value of Location, or what it begins with.
    pub to: http::HeaderValue,
    /// Whether what the request's path has behind the route's comes behind `to`. Default is false.
    pub keep_path: bool,
    /// Whether the request's query is kept. Default is false.
    pub keep_query: bool,
}

impl Redirect {
    /// A redirect to a fixed place.
    pub fn new(status: StatusCode, to: http::HeaderValue) -> Self {
        Self {
            status,
            to,
            keep_path: false,
            keep_query: false,
        }
    }
}

/// A pool of origin servers. Equal inline lists share one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OriginSpec {
    /// The name in the file, or the list of servers.
    pub name: Arc<str>,
    /// The servers.
    pub servers: Vec<OriginServer>,
    /// Whether the origin understands `Early-Data` and answers 425 (EARLY-DATA R16).
    pub early_data_aware: bool,
    /// What it gets as Host.
    pub host: HostHeader,
    /// In which fields it is told who the client is.
    pub forwarded: Fields,
    /// What its connections begin with; `None` is nothing.
    pub proxy_protocol: Option<Version>,
    /// How its `https` servers are spoken to; `None` if there are none.
    pub tls: Option<Arc<OriginTls>>,
    /// How its servers are chosen, spared and watched.
    pub pool: PoolSpec,
}

impl OriginSpec {
    /// Whether its servers are told the client's address, or chosen by it.
    pub fn goes_by_address(&self) -> bool {
        let hash = HashKey::Client;
        self.forwarded != Fields::Off
            || self.proxy_protocol.is_some()
            || matches!(&self.pool.balance, Balance::Hash { key, .. } if *key == hash)
    }
}

/// What an origin gets as Host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostHeader {
    /// The authority that the client asked for.
    #[default]
    Client,
    /// The authority of the origin's server.
    Origin,
}

/// The timeouts of a route; `None` is "off".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// Connecting to an origin.
    pub connect: Duration,
    /// The client silent in a request body.
    pub request_body_idle: Duration,
    /// Request sent → head of the origin's answer.
    pub response_headers: Duration,
    /// The origin silent in a body.
    pub response_idle: Option<Duration>,
    /// The client takes nothing.
    pub write_idle: Option<Duration>,
    /// Gate lets go → answer sent.
    pub total: Option<Duration>,
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request_body_idle: Duration::from_secs(30),
            response_headers: Duration::from_secs(30),
            response_idle: Some(Duration::from_secs(60)),
            write_idle: Some(Duration::from_secs(30)),
            total: None,
        }
    }
}

/// The limits of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// Bytes of a request head's fields: 431.
    pub header_bytes: usize,
    /// Fields of a request head: 431.
    pub headers: usize,
    /// Bytes of a request target: 414.
    pub uri: usize,
    /// Bytes of a request body: 413. `None` is "off".
    pub body: Option<u64>,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            headers: 100,
            uri: 8 * 1024,
            body: None,
        }
    }
}
