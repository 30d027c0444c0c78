//! What was asked for, by a file or by a program: typed, with its places, not yet compiled.
//!
//! Files and the library's builder both end here, so that both are held to the same rules by
//! [`compile`](super::compile::compile).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use rustls::sign::CertifiedKey;

use super::diagnostics::{At, Place};
use super::names::SiteName;
use super::snapshot::{
    AdminAddress, FieldEdits, HostHeader, Limits, Log, LogTarget, OriginServer, PathMatch,
    PoolSpec, QuicRetry, Redirect, Resolver, RouteLimits, RouteTimeouts, Server, Sessions,
    SiteTimeouts,
};
use crate::admission::{Network, Rate};
use crate::certs::compression::Algorithm;
use crate::certs::ocsp::{OcspMode, Settings};
use crate::early::EarlyDataPolicy;
use crate::forwarded::{Fields, TrustedHeader};
use crate::handler::Handler;
use crate::proxy_protocol::{Accepts, Version};
use crate::telemetry::connections::ConnectionLog;

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// `[server]`.
    pub server: Server,
    /// `[limits]`.
    pub limits: Limits,
    /// `[log]`.
    pub log: Log,
    /// `[admin]`.
    pub admin: Option<At<AdminAddress>>,
    /// `[sessions]`.
    pub sessions: Sessions,
    /// `certificate_directory`, as a path that can be opened.
    pub certificate_directory: Option<At<PathBuf>>,
    /// `[ocsp]`.
    pub ocsp: Settings,
    /// `[resolver]`.
    pub resolver: Resolver,
    /// `log_list` of `[certificate_transparency]`.
    pub log_list: Option<At<PathBuf>>,
    /// `[[listen]]`.
    pub listeners: Vec<ListenSpec>,
    /// `[origin.NAME]`.
    pub origins: BTreeMap<String, OriginTable>,
    /// `[error_pages]`, of all sites that have none of their own.
    pub error_pages: Vec<RespondSpec>,
    /// The variables that the files name, and what they say.
    pub environment: Environment,
    /// `[[site]]`, in the order of the files.
    pub sites: Vec<SiteSpec>,
}

/// Variables by name. Their values may be secrets: they are shown nowhere.
#[derive(Clone, Default)]
pub struct Environment(pub BTreeMap<String, String>);

/// What is shorter is hardly a secret, and stands in every other word.
const SHORTEST_SECRET: usize = 4;

impl Environment {
    /// `text` with the variable's name wherever it says what one says, quoted or not.
    pub fn conceal(&self, text: &str) -> String {
        let mut secrets: Vec<(String, &str)> = self
            .0
            .iter()
            .filter(|(_, value)| value.len() >= SHORTEST_SECRET)
            .flat_map(|(name, value)| {
                let quoted = format!("{value:?}");
                let escaped = quoted[1..quoted.len() - 1].to_owned();
                [(value.clone(), name.as_str()), (escaped, name.as_str())]
            })
            .collect();
        // The longest first: one may be part of another.
        secrets.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        secrets.iter().fold(text.to_owned(), |text, (value, name)| {
            text.replace(value, &format!("${{{name}}}"))
        })
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// One `[[listen]]`.
#[derive(Clone, Debug)]
pub struct ListenSpec {
    /// Where it listens.
    pub address: At<SocketAddr>,
    /// What sites call it. Default is the address.
    pub name: At<String>,
    /// Default is true.
    pub tls: bool,
    /// Whether HTTP/3 is spoken on the UDP port too. Default is false.
    pub quic: At<bool>,
    /// How long clients are told to remember that; `None` tells them nothing. Default is 24 h.
    pub alt_svc: Option<Duration>,
    /// When a client must prove its address first. Default is under load.
    pub quic_retry: QuicRetry,
    /// Whether a client may change its address. Default is true.
    pub quic_migration: bool,
    /// Default is 1024.
    pub backlog: u32,
    /// Default is 5 s.
    pub client_hello_timeout: Duration,
    /// Which PROXY protocol headers it takes. Default is off.
    pub proxy_protocol: Option<Accepts>,
    /// Who may connect then.
    pub proxy_from: Vec<Network>,
    /// Default is 3 s.
    pub proxy_header_timeout: Duration,
    /// The proxies whose word on clients is taken. Default is none.
    pub trusted_proxies: Vec<Network>,
    /// Default is X-Forwarded-For.
    pub trusted_header: TrustedHeader,
}

impl ListenSpec {
    /// A TLS listener with the defaults.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address: address.into(),
            name: address.to_string().into(),
            tls: true,
            quic: false.into(),
            alt_svc: Some(Duration::from_secs(24 * 3600)),
            quic_retry: QuicRetry::Auto,
            quic_migration: true,
            backlog: 1024,
            client_hello_timeout: Duration::from_secs(5),
            proxy_protocol: None,
            proxy_from: Vec::new(),
            proxy_header_timeout: Duration::from_secs(3),
            trusted_proxies: Vec::new(),
            trusted_header: TrustedHeader::default(),
        }
    }
}

/// One `[[site]]`.
#[derive(Clone, Debug)]
pub struct SiteSpec {
    /// The table itself.
    pub place: Option<Place>,
    /// Its names.
    pub names: Vec<At<SiteName>>,
    /// The names of its listeners; empty for all.
    pub listen: Vec<At<String>>,
    /// Where its certificates come from.
    pub certificates: Certificates,
    /// Whether it answers to unknown and absent server names. Default is false.
    pub default: At<bool>,
    /// Default is HTTP/2 and HTTP/1.1.
    pub alpn: Vec<Vec<u8>>,
    /// Whether TLS 1.2 is accepted too. Default is false.
    pub tls12: bool,
    /// Default is false (EARLY-DATA R1).
    pub early_data: At<bool>,
    /// How its certificates may be compressed, in order of preference. Default is every way there
    /// is.
    pub certificate_compression: Vec<Algorithm>,
    /// Whether its certificates are stapled. Default is where they name a responder.
    pub ocsp: At<OcspMode>,
    /// Whether HTTP/0.9 is spoken over QUIC too, as `hq-interop`. Default is false; no file can say so.
    #[doc(hidden)]
    pub http09: bool,
    /// Its timeouts.
    pub timeouts: SiteTimeouts,
    /// Its own bodies of the edge's answers. Default are those of all sites.
    pub error_pages: Vec<RespondSpec>,
    /// Its routes, in the file's order.
    pub routes: Vec<RouteSpec>,
}

impl SiteSpec {
    /// A site with the defaults, and no routes yet.
    pub fn new(names: Vec<SiteName>, certificates: Certificates) -> Self {
        Self {
            place: None,
            names: names.into_iter().map(At::from).collect(),
            listen: Vec::new(),
            certificates,
            default: false.into(),
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            tls12: false,
            early_data: false.into(),
            certificate_compression: Algorithm::ALL.to_vec(),
            ocsp: OcspMode::default().into(),
            http09: false,
            timeouts: SiteTimeouts::default(),
            error_pages: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// What stands for the site in messages.
    pub(super) fn label(&self) -> String {
        match self.names.first() {
            Some(name) => name.value.to_string(),
            None => "without names".to_owned(),
        }
    }
}

/// Where a site's certificates come from.
#[derive(Clone, Debug)]
pub enum Certificates {
    /// Files of PEM, one pair for each kind of key.
    Files(Vec<CertificateFiles>),
    /// Whichever pair of `certificate_directory` covers the site's names.
    Directory,
    /// Made by a program.
    Keys(Vec<Arc<CertifiedKey>>),
    /// Typed, but wrongly; that has been reported.
    Unusable,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub chain: At<PathBuf>,
    /// The key.
    pub key: At<PathBuf>,
    /// What is said of its staples.
    pub ocsp: Box<StapleFiles>,
}

/// What a `certificate` table says of staples.
#[derive(Clone, Debug, Default)]
pub struct StapleFiles {
    /// The certificate of the issuer, if the chain does not have it.
    pub issuer: Option<At<PathBuf>>,
    /// Who is asked instead of the responder that the certificate names.
    pub responder: Option<At<Uri>>,
    /// A file with the staple, which somebody else keeps fresh: nobody is asked then.
    pub staple: Option<At<PathBuf>>,
}

/// One `[[site.route]]`.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// The table itself.
    pub place: Option<Place>,
    /// The path.
    pub path: PathMatch,
    /// Exact or wildcard host; `None` matches all of the site's.
    pub host: Option<At<SiteName>>,
    /// The methods; empty matches all.
    pub methods: Vec<Method>,
    /// Default is `wait` (EARLY-DATA R13).
    pub early_data: At<EarlyDataPolicy>,
    /// What answers. `None` if that was typed wrongly, which has been reported.
    pub target: Option<TargetSpec>,
    /// The networks whose requests it takes; empty is all.
    pub allow: Vec<Network>,
    /// The networks whose requests it does not take, though `allow` may cover them.
    pub deny: Vec<Network>,
    /// How often each client address may ask. Default is without a limit.
    pub rate_limit: Option<Rate>,
    /// What an origin sees in place of the route's path; `/` strips it. Default is the path itself.
    pub prefix_rewrite: Option<String>,
    /// What becomes of the fields of its requests on their way to an origin. Default is nothing.
    pub request_headers: FieldEdits,
    /// What becomes of the fields of its answers. Default is nothing.
    pub response_headers: FieldEdits,
    /// Its timeouts.
    pub timeouts: RouteTimeouts,
    /// Its limits.
    pub limits: RouteLimits,
}

impl RouteSpec {
    /// A route for everything below `prefix`, with the defaults.
    pub fn new(prefix: &str, target: TargetSpec) -> Self {
        Self {
            place: None,
            path: PathMatch::Prefix(prefix.to_owned()),
            host: None,
            methods: Vec::new(),
            early_data: EarlyDataPolicy::default().into(),
            target: Some(target),
            allow: Vec::new(),
            deny: Vec::new(),
            rate_limit: None,
            prefix_rewrite: None,
            request_headers: FieldEdits::default(),
            response_headers: FieldEdits::default(),
            timeouts: RouteTimeouts::default(),
            limits: RouteLimits::default(),
        }
    }
}

/// What answers a route's requests.
#[derive(Clone)]
pub enum TargetSpec {
    /// `respond = { … }`.
    Respond(RespondSpec),
    /// `redirect = { … }`.
    Redirect(Redirect),
    /// `origin = "NAME"`.
    Named(At<String>),
    /// `origin = [ … ]` or `origin = { … }`.
    Inline(OriginTable),
    /// A handler of the library's user.
    Handler(Arc<dyn Handler>),
}

impl std::fmt::Debug for TargetSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Respond(respond) => respond.fmt(f),
            Self::Redirect(redirect) => redirect.fmt(f),
            Self::Named(name) => write!(f, "Named({:?})", name.value),
            Self::Inline(table) => table.fmt(f),
            Self::Handler(_) => f.write_str("Handler"),
        }
    }
}

/// `respond = { … }`.
#[derive(Clone, Debug)]
pub struct RespondSpec {
    /// Default is 200.
    pub status: StatusCode,
    /// Default is none.
    pub headers: HeaderMap,
    /// The body, read from its file if it has one.
    pub body: Bytes,
    /// Where the body was read from.
    pub body_file: Option<PathBuf>,
}

/// A named or inline origin.
#[derive(Clone, Debug)]
pub struct OriginTable {
    /// The servers, at least one.
    pub servers: Vec<OriginServer>,
    /// Default is false (EARLY-DATA R16).
    pub early_data_aware: bool,
    /// Default is the client's.
    pub host: HostHeader,
    /// How its servers are chosen, spared and watched.
    pub pool: Box<PoolSpec>,
    /// Default is `x`.
    pub forwarded: Fields,
    /// What its connections begin with. Default is nothing.
    pub proxy_protocol: Option<Version>,
    /// `tls = { … }`, of its `https` servers.
    pub tls: Option<OriginTlsSpec>,
}

/// The `tls` table of an origin.
#[derive(Clone, Debug)]
pub struct OriginTlsSpec {
    /// The table itself.
    pub place: Option<Place>,
    /// The authorities that are trusted. Default are the system's.
    pub ca: Option<At<PathBuf>>,
    /// The SNI, and the name that is verified. Default is the server's own host.
    pub server_name: Option<String>,
    /// The name that is verified. Default is the one above.
    pub verify_name: Option<String>,
    /// What the edge shows if it is asked for a certificate. Default is none.
    pub certificate: Option<CertificateFiles>,
    /// Default is HTTP/2 and HTTP/1.1.
    pub alpn: Vec<Vec<u8>>,
    /// Whether TLS 1.2 is spoken too. Default is true.
    pub tls12: bool,
}

impl Default for OriginTlsSpec {
    fn default() -> Self {
        Self {
            place: None,
            ca: None,
            server_name: None,
            verify_name: None,
            certificate: None,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            tls12: true,
        }
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            ttl: (Duration::from_secs(1), Duration::from_secs(300)),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            handshakes: 10_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            access: LogTarget::Stdout,
            connections: ConnectionLog::Errors,
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            capacity: 1_000_000,
            tickets: 1,
        }
    }
}

impl Default for SiteTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            request_headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
        }
    }
}
