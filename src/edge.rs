//! The library's front door: an edge inside another program.

mod site;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::Registry;
use tokio::sync::Notify;

use crate::certs::ocsp::Settings;
use crate::config::compile::compile;
use crate::config::diagnostics::Diagnostic;
use crate::config::snapshot::{LogTarget, Snapshot};
use crate::config::spec::{ListenSpec, Spec};
use crate::server::{Bound, Handle, Server, Surroundings};
use crate::telemetry::admin::Readiness;
use crate::telemetry::connections::ConnectionLog;
use crate::telemetry::labels::Log;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::{DEFAULT_CAPACITY, LineSink};
use crate::tls::selector::Selector;

pub use self::site::{Origin, Site};
pub use crate::telemetry::sink::Destination;

/// How long the last log lines may take.
const LAST_LINES: Duration = Duration::from_secs(2);

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

/// Builds an [`Edge`].
#[derive(Default)]
pub struct Builder {
    listeners: Vec<ListenSpec>,
    sites: Vec<Site>,
    spec: Spec,
    registry: Option<Registry>,
    selector: Option<Arc<dyn Selector>>,
    log: Option<Destination>,
}

impl Builder {
    /// Listens for TLS on an address. Port 0 takes a free one: see [`Edge::addresses`].
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        let mut listener = ListenSpec::new(address);
        if address.port() == 0 {
            // Two free ports are two listeners, though they are asked for alike.
            listener.name = format!("{address} ({})", self.listeners.len()).into();
        }
        self.listeners.push(listener);
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

    /// How staples are come by, and where they are kept over a restart. Default is nowhere.
    #[must_use]
    pub fn ocsp(mut self, settings: Settings) -> Self {
        self.spec.ocsp = settings;
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

    /// Writes a line of JSON for each request here, and for connections as
    /// [`connection_log`](Self::connection_log) says. Default is no log.
    #[must_use]
    pub fn access_log(mut self, destination: Destination) -> Self {
        self.log = Some(destination);
        self
    }

    /// Which connections get a line in the log. Default is those that ended badly.
    #[must_use]
    pub fn connection_log(mut self, which: ConnectionLog) -> Self {
        self.spec.log.connections = which;
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
        let dropped = metrics.log_lines_dropped.child(Log::Access);
        let open = |to| LineSink::open(to, DEFAULT_CAPACITY, dropped.clone());
        let log = self.log.map(open).transpose()?.map(Arc::new);
        let readiness = Arc::new(Readiness::new());
        let bound = Bound::new(
            snapshot,
            Surroundings {
                metrics,
                readiness: Arc::clone(&readiness),
                access: log.clone(),
                connections: log.clone(),
                selector: self.selector,
            },
        )?;
        spec.sites.clear();
        Ok(Edge {
            server: bound.start()?,
            spec,
            registry,
            readiness,
            log,
            drain: Arc::new(Notify::new()),
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
    log: Option<Arc<LineSink>>,
    drain: Arc<Notify>,
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
            drain: Arc::clone(&self.drain),
        }
    }

    /// Serves until `shutdown` ends or [`EdgeHandle::drain`] is called, then drains: listeners
    /// close, requests under way are answered, and what is left after
    /// [`Builder::drain_timeout`] is cut. Runs inside any tokio runtime that has timers.
    ///
    /// # Errors
    /// The first error of a worker.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        tokio::select! {
            () = shutdown => {}
            () = self.drain.notified() => {}
        }
        let outcome = self.server.drain().await;
        if let Some(log) = self.log {
            // A program that ends now would lose the last lines.
            let close = move || log.close(LAST_LINES);
            let _ = tokio::task::spawn_blocking(close).await;
        }
        outcome
    }
}

/// Governs a running [`Edge`].
#[derive(Clone)]
pub struct EdgeHandle {
    handle: Handle,
    spec: Spec,
    registry: Registry,
    readiness: Arc<Readiness>,
    drain: Arc<Notify>,
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
            if let Some(quic) = &mut listener.quic {
                quic.at(old.address);
            }
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

    /// Ends [`Edge::run`] with a drain.
    pub fn drain(&self) {
        self.drain.notify_one();
    }

    /// Cuts what a drain has not ended.
    pub fn cut(&self) {
        self.handle.cut();
    }

    /// Opens the log's file again, after somebody moved it.
    pub fn reopen_log(&self) {
        self.handle.reopen_logs();
    }
}
