//! The library's front door: an edge inside another program.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::Registry;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::compile::compile;
use crate::config::diagnostics::Diagnostic;
use crate::config::names::SiteName;
use crate::config::snapshot::{LogTarget, Snapshot};
use crate::config::spec::{Certificates, ListenSpec, RouteSpec, SiteSpec, Spec, TargetSpec};
use crate::early::EarlyDataPolicy;
use crate::handler::Handler;
use crate::server::{Bound, Handle, Server, Surroundings};
use crate::telemetry::admin::Readiness;
use crate::telemetry::labels::Log;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::{DEFAULT_CAPACITY, Destination, LineSink};
use crate::tls::selector::Selector;

/// Why an edge could not be built or governed.
#[derive(Debug)]
pub enum EdgeError {
    /// What was asked for cannot work: every reason.
    Configuration(Vec<Diagnostic>),
    /// A site was given something it cannot use: its first name, and what.
    Site(String, String),
    /// The system refused.
    Io(io::Error),
    /// The registry has families of the same names already.
    Registry(prometheus::Error),
}

impl std::fmt::Display for EdgeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Configuration(errors) => {
                for (index, error) in errors.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    error.fmt(f)?;
                }
                Ok(())
            }
            Self::Site(name, error) => write!(f, "site {name}: {error}"),
            Self::Io(error) => error.fmt(f),
            Self::Registry(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EdgeError {}

impl From<io::Error> for EdgeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One site of an [`Edge`].
///
/// Without a policy of its own a site with early data treats every route as
/// [`EarlyDataPolicy::Wait`].
#[derive(Debug)]
pub struct Site {
    name: String,
    names: Vec<String>,
    keys: Vec<Arc<CertifiedKey>>,
    early_data: bool,
    policy: EarlyDataPolicy,
    default: bool,
    tls12: bool,
    handshake_timeout: Option<Duration>,
    keep_alive: Option<Duration>,
    routes: Vec<RouteSpec>,
    error: Option<String>,
}

impl Site {
    /// A site of this name: exact, or `*.` and a name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            names: vec![name.to_owned()],
            keys: Vec::new(),
            early_data: false,
            policy: EarlyDataPolicy::Wait,
            default: false,
            tls12: false,
            handshake_timeout: None,
            keep_alive: None,
            routes: Vec::new(),
            error: None,
        }
    }

    /// Answers to another name too.
    #[must_use]
    pub fn also(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// Adds a certificate from PEM: the chain, leaf first, and its private key. Several of
    /// different kinds are chosen from by what the client can verify.
    #[must_use]
    pub fn certificate(mut self, chain: &[u8], key: &[u8]) -> Self {
        match certified(chain, key) {
            Ok(key) => self.keys.push(Arc::new(key)),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Adds a certificate from PEM files.
    #[must_use]
    pub fn certificate_files(mut self, chain: &Path, key: &Path) -> Self {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        match (read(chain), read(key)) {
            (Ok(chain), Ok(key)) => self.certificate(&chain, &key),
            (Err(error), _) | (_, Err(error)) => {
                self.error.get_or_insert(error);
                self
            }
        }
    }

    /// Adds a certificate and key that rustls can use, wherever the key is.
    #[must_use]
    pub fn certified_key(mut self, key: Arc<CertifiedKey>) -> Self {
        self.keys.push(key);
        self
    }

    /// Accepts early data (EARLY-DATA R1). Default is false.
    #[must_use]
    pub fn early_data(mut self, accepted: bool) -> Self {
        self.early_data = accepted;
        self
    }

    /// The upper bound for routes that are added after this (EARLY-DATA R13). Default is
    /// [`EarlyDataPolicy::Wait`].
    #[must_use]
    pub fn early_data_policy(mut self, policy: EarlyDataPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Also answers unknown and absent server names. Default is false.
    #[must_use]
    pub fn default_site(mut self) -> Self {
        self.default = true;
        self
    }

    /// Accepts TLS 1.2 too. Default is false.
    #[must_use]
    pub fn tls12(mut self, accepted: bool) -> Self {
        self.tls12 = accepted;
        self
    }

    /// From accept to the client's Finished. Default is 10 s.
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = Some(limit);
        self
    }

    /// From the end of an answer to the next request. Default is 75 s.
    #[must_use]
    pub fn keep_alive(mut self, limit: Duration) -> Self {
        self.keep_alive = Some(limit);
        self
    }

    /// Answers everything that no other route does. Make handlers with
    /// [`plain`](crate::handler::plain) and [`early`](crate::handler::early).
    #[must_use]
    pub fn handler(self, handler: impl Handler) -> Self {
        self.handle("/", handler)
    }

    /// Answers everything below `prefix`.
    #[must_use]
    pub fn handle(self, prefix: &str, handler: impl Handler) -> Self {
        let target = TargetSpec::Handler(Arc::new(handler));
        self.route(RouteSpec::new(prefix, target))
    }

    /// Adds a route; its own policy is replaced by this site's if it is the default one.
    #[must_use]
    pub fn route(mut self, mut route: RouteSpec) -> Self {
        if route.early_data.value == EarlyDataPolicy::default() {
            route.early_data = self.policy.into();
        }
        self.routes.push(route);
        self
    }

    fn into_spec(self) -> Result<SiteSpec, EdgeError> {
        let wrong = |error: String| EdgeError::Site(self.name.clone(), error);
        if let Some(error) = self.error {
            return Err(wrong(error));
        }
        let names = self
            .names
            .iter()
            .map(|name| SiteName::parse(name).map_err(|error| wrong(format!("{name}: {error}"))))
            .collect::<Result<Vec<_>, _>>()?;
        let mut spec = SiteSpec::new(names, Certificates::Keys(self.keys));
        spec.default = self.default.into();
        spec.early_data = self.early_data.into();
        spec.tls12 = self.tls12;
        if let Some(limit) = self.handshake_timeout {
            spec.timeouts.handshake = limit;
        }
        if let Some(limit) = self.keep_alive {
            spec.timeouts.keep_alive = limit;
        }
        spec.routes = self.routes;
        Ok(spec)
    }
}

fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the certificate chain is not PEM: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("the private key is not PEM: {error}"))?;
    let key = any_supported_type(&key).map_err(|error| format!("the private key: {error}"))?;
    Ok(CertifiedKey::new(chain, key))
}

/// Builds an [`Edge`].
#[derive(Default)]
pub struct Builder {
    listeners: Vec<ListenSpec>,
    sites: Vec<Site>,
    spec: Spec,
    registry: Option<Registry>,
    selector: Option<Arc<dyn Selector>>,
    access: Option<Arc<LineSink>>,
}

impl Builder {
    /// Listens for TLS on an address. Port 0 takes a free one: see [`Edge::addresses`].
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listeners.push(ListenSpec::new(address));
        self
    }

    /// Adds a listener with settings of its own.
    #[must_use]
    pub fn listener(mut self, listener: ListenSpec) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Adds a site.
    #[must_use]
    pub fn site(mut self, site: Site) -> Self {
        self.sites.push(site);
        self
    }

    /// Worker threads. Default is one per core.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.spec.server.workers = count.max(1);
        self
    }

    /// When a drain cuts what is left. Default is 30 s.
    #[must_use]
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.spec.server.drain_timeout = limit;
        self
    }

    /// Registers the metrics here. Default is a registry of the edge's own.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Replaces site selection by server name.
    #[must_use]
    pub fn selector(mut self, selector: impl Selector) -> Self {
        self.selector = Some(Arc::new(selector));
        self
    }

    /// Writes access and connection lines to this sink. Default is no log.
    #[must_use]
    pub fn access_log(mut self, sink: Arc<LineSink>) -> Self {
        self.access = Some(sink);
        self
    }

    /// Checks everything and binds the sockets.
    ///
    /// # Errors
    /// [`EdgeError`], with every reason.
    pub fn build(self) -> Result<Edge, EdgeError> {
        let mut spec = self.spec;
        spec.listeners = self.listeners;
        spec.sites = self
            .sites
            .into_iter()
            .map(Site::into_spec)
            .collect::<Result<_, _>>()?;
        let snapshot = compiled(&spec, None)?;
        let registry = self.registry.unwrap_or_default();
        let metrics = Arc::new(Metrics::new(&registry).map_err(EdgeError::Registry)?);
        let readiness = Arc::new(Readiness::new());
        let bound = Bound::new(
            snapshot,
            Surroundings {
                metrics,
                readiness: Arc::clone(&readiness),
                access: self.access.clone(),
                connections: self.access,
                selector: self.selector,
            },
        )?;
        spec.sites.clear();
        Ok(Edge {
            server: bound.start()?,
            spec,
            registry,
            readiness,
        })
    }
}

fn compiled(spec: &Spec, previous: Option<&Snapshot>) -> Result<Snapshot, EdgeError> {
    let compiled = compile(spec, previous, SystemTime::now());
    for warning in &compiled.warnings {
        tracing::warn!("{warning}");
    }
    match compiled.result {
        Ok(_) if !compiled.broken.is_empty() => Err(EdgeError::Configuration(compiled.broken)),
        Ok(snapshot) => Ok(snapshot),
        Err(errors) => Err(EdgeError::Configuration(errors)),
    }
}

/// A TLS edge inside another program. It has worker threads of its own and installs neither a
/// logger nor a metrics registry.
///
/// It accepts connections from [`Builder::build`] on; [`run`](Self::run) waits for its end.
pub struct Edge {
    server: Server,
    spec: Spec,
    registry: Registry,
    readiness: Arc<Readiness>,
}

impl Edge {
    /// A builder with one worker per core, no listener and no site.
    pub fn builder() -> Builder {
        let mut builder = Builder::default();
        builder.spec.log.access = LogTarget::Off;
        builder
    }

    /// The addresses that the edge listens on, in the order of [`Builder::listen`].
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.server
            .addresses()
            .iter()
            .map(|(_, address)| *address)
            .collect()
    }

    /// A handle to govern the edge with while it runs.
    pub fn handle(&self) -> EdgeHandle {
        EdgeHandle {
            handle: self.server.handle().clone(),
            spec: self.spec.clone(),
            registry: self.registry.clone(),
            readiness: Arc::clone(&self.readiness),
        }
    }

    /// Serves until `shutdown` ends, then drains. Runs inside any tokio runtime.
    ///
    /// # Errors
    /// The first error of a worker.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        shutdown.await;
        self.server.drain().await
    }
}

/// Governs a running [`Edge`].
#[derive(Clone)]
pub struct EdgeHandle {
    handle: Handle,
    spec: Spec,
    registry: Registry,
    readiness: Arc<Readiness>,
}

impl EdgeHandle {
    /// Replaces all sites. Connections of sites that are gone, or trust otherwise, get 421 and
    /// are closed; those of unchanged names live on.
    ///
    /// # Errors
    /// [`EdgeError`], with every reason; the former sites serve on.
    pub fn replace_sites(&self, sites: Vec<Site>) -> Result<(), EdgeError> {
        let mut spec = self.spec.clone();
        spec.sites = sites
            .into_iter()
            .map(Site::into_spec)
            .collect::<Result<_, _>>()?;
        let current = self.handle.current();
        let mut snapshot = compiled(&spec, Some(&current))?;
        for (listener, old) in snapshot.listeners.iter_mut().zip(&current.listeners) {
            listener.address = old.address;
        }
        self.handle.reload(snapshot);
        Ok(())
    }

    /// The figures of the edge.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.handle.metrics()
    }

    /// Where the metrics are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether the edge serves and does not drain.
    pub fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// Cuts what a drain has not ended.
    pub fn cut(&self) {
        self.handle.cut();
    }
}

/// Opens a sink for [`Builder::access_log`]: lines go to a file, or to standard output.
///
/// # Errors
/// The system's, if the file cannot be opened.
pub fn open_log(path: Option<&Path>) -> io::Result<Arc<LineSink>> {
    let destination = match path {
        Some(path) => Destination::File(path.to_owned()),
        None => Destination::Stdout,
    };
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).map_err(io::Error::other)?;
    let dropped = metrics.log_lines_dropped.child(Log::Access).clone();
    LineSink::open(destination, DEFAULT_CAPACITY, dropped).map(Arc::new)
}
