//! The addresses of origins that are known by name: asked for again as they expire.
//!
//! One for the process, with a thread of its own once there is a name. A name is kept fresh for as
//! long as a pool holds it, so that no request waits for DNS but the first; and what DNS said last
//! is used on if it cannot be asked.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::config::snapshot;
use crate::telemetry::labels::Resolution;
use crate::telemetry::metrics::Metrics;

/// When a failed resolution is tried again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Addresses of a name that are used.
const ADDRESSES: usize = 64;

/// Knows the addresses of names.
#[derive(Debug)]
pub struct Resolver {
    metrics: Arc<Metrics>,
    settings: watch::Sender<snapshot::Resolver>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    names: HashMap<String, Weak<Entry>>,
    /// `None` until it is needed.
    thread: Option<Thread>,
}

/// The thread that asks. It ends when this is dropped.
#[derive(Debug)]
struct Thread {
    runtime: Handle,
    _running: oneshot::Sender<()>,
}

/// A name that is kept fresh while this is held.
#[derive(Clone, Debug)]
pub(super) struct Name(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    name: String,
    known: watch::Sender<Known>,
    /// Counts the answers that were other addresses than the one before.
    generation: AtomicU64,
    /// Whether there are several addresses.
    several: AtomicBool,
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The last answer.
    addresses: Option<Arc<[IpAddr]>>,
    /// Why there is none that is newer.
    error: Option<String>,
}

impl Resolver {
    /// Knows nothing yet, and runs no thread.
    pub fn new(metrics: Arc<Metrics>, settings: snapshot::Resolver) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            settings: watch::Sender::new(settings),
            inside: Mutex::default(),
        })
    }

    /// Asks as `settings` say from now on, for all names at once if that is a change.
    pub fn configure(&self, settings: &snapshot::Resolver) {
        self.settings.send_if_modified(|current| {
            let changed = current != settings;
            current.clone_from(settings);
            changed
        });
    }

    /// Begins to resolve a name, or shares what is known of it.
    pub(super) fn name(&self, name: &str) -> Name {
        let mut inside = self.lock();
        if let Some(entry) = inside.names.get(name).and_then(Weak::upgrade) {
            return Name(entry);
        }
        inside.names.retain(|_, entry| entry.strong_count() > 0);
        let entry = Arc::new(Entry {
            name: name.to_owned(),
            known: watch::Sender::default(),
            generation: AtomicU64::new(0),
            several: AtomicBool::new(false),
        });
        let thread = match inside.thread.take() {
            Some(thread) => Ok(thread),
            None => Thread::start(),
        };
        match thread {
            Ok(thread) => {
                let weak = Arc::downgrade(&entry);
                let (metrics, settings) = (Arc::clone(&self.metrics), self.settings.subscribe());
                thread
                    .runtime
                    .spawn(keep(Weak::clone(&weak), metrics, settings));
                inside.names.insert(name.to_owned(), weak);
                inside.thread = Some(thread);
            }
            // The next pool tries again.
            Err(error) => entry
                .known
                .send_modify(|known| known.error = Some(error.to_string())),
        }
        Name(entry)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    /// The addresses: at once, unless DNS was not asked before.
    ///
    /// # Errors
    /// There never was an answer.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[IpAddr]>> {
        let mut known = self.0.known.subscribe();
        let asked = |known: &Known| known.addresses.is_some() || known.error.is_some();
        let known = known.wait_for(asked).await;
        // The sender is held here.
        let known = known.map_err(io::Error::other)?;
        match (&known.addresses, &known.error) {
            (Some(addresses), _) => Ok(Arc::clone(addresses)),
            (None, error) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                error.clone().unwrap_or_default(),
            )),
        }
    }

    /// The addresses, if there ever was an answer.
    pub(super) fn known(&self) -> Option<Arc<[IpAddr]>> {
        self.0.known.borrow().addresses.clone()
    }

    /// Another number once the addresses are others; 0 before they are known. To be read before
    /// they are.
    pub(super) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Whether there are several addresses.
    pub(super) fn has_several(&self) -> bool {
        self.0.several.load(Ordering::Relaxed)
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                // It says nothing but that its other half was dropped.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Self {
            runtime: handle,
            _running: running,
        })
    }
}

/// Keeps a name fresh until nobody holds it.
async fn keep(
    entry: Weak<Entry>,
    metrics: Arc<Metrics>,
    mut settings: watch::Receiver<snapshot::Resolver>,
) {
    let mut again = AGAIN.0;
    loop {
        let current = settings.borrow_and_update().clone();
        let Some(name) = entry.upgrade().map(|entry| entry.name.clone()) else {
            return;
        };
        let found = resolve(&name, &current).await;
        let Some(entry) = entry.upgrade() else { return };
        let wait = match found {
            Ok((addresses, ttl)) => {
                metrics.origins.resolutions.inc(Resolution::Ok);
                entry.learn(addresses);
                again = AGAIN.0;
                ttl.clamp(current.ttl.0, current.ttl.1)
            }
            Err(error) => {
                metrics.origins.resolutions.inc(Resolution::Failed);
                entry.fail(error);
                let wait = again;
                again = (again * 2).min(AGAIN.1);
                wait
            }
        };
        drop(entry);
        #[expect(
            clippy::disallowed_methods,
            reason = "a timer for each name, in a thread where nothing else runs"
        )]
        let sleep = tokio::time::sleep(wait);
        tokio::select! {
            () = sleep => {}
            changed = settings.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

impl Entry {
    fn learn(&self, addresses: Arc<[IpAddr]>) {
        self.known.send_modify(|known| {
            if known.error.take().is_some() {
                tracing::info!(name = %self.name, "the name of an origin is resolved again");
            }
            // Servers of DNS like to answer in another order each time.
            let before = known.addresses.as_deref().unwrap_or_default();
            let same = before.len() == addresses.len()
                && addresses.iter().all(|address| before.contains(address));
            let several = addresses.len() > 1;
            known.addresses = Some(addresses);
            self.several.store(several, Ordering::Relaxed);
            if !same {
                self.generation.fetch_add(1, Ordering::Release);
            }
        });
    }

    fn fail(&self, error: String) {
        self.known.send_modify(|known| {
            if known.error.is_none() {
                let kept = known.addresses.is_some();
                tracing::warn!(name = %self.name, %error, kept, "an origin cannot be resolved");
            }
            known.error = Some(error);
        });
    }
}

/// Asks once: the hosts file, then DNS. The system's files are read anew each time, as they are by
/// the C library.
async fn resolve(
    name: &str,
    settings: &snapshot::Resolver,
) -> Result<(Arc<[IpAddr]>, Duration), String> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match &settings.servers[..] {
        [] => TokioResolver::builder_tokio().unwrap_or_else(|_| {
            // resolv.conf(5): without the file, or without a server in it, the local machine.
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            let config = ResolverConfig::from_name_servers(vec![local]);
            TokioResolver::builder_with_config(config, provider)
        }),
        servers => {
            let servers = servers.iter().map(|address| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                server
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, provider)
                .with_options(ResolverOpts::default())
        }
    };
    let options = builder.options_mut();
    options.timeout = settings.timeout;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // What is cached is ours to say.
    options.cache_size = 0;
    let resolver = builder.build().map_err(|error| error.to_string())?;
    let found = resolver.lookup_ip(name).await;
    let found = found.map_err(|error| error.to_string())?;
    let ttl = found
        .valid_until()
        .saturating_duration_since(Instant::now());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.iter().take(ADDRESSES) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err("the name has no address".to_owned()),
        false => Ok((addresses.into(), ttl)),
    }
}
