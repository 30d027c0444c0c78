//! Wires the stages: binds sockets, runs a worker per core, swaps snapshots, drains.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::Instrument;

use crate::certs::ocsp::keeper::Keeper;
use crate::config::reload::Current;
use crate::config::snapshot::Snapshot;
use crate::confirm::Confirmation;
use crate::connection::context::{Process, Worker};
use crate::connection::proxied::Awaited;
use crate::connection::quic::{Port, Prepared, Secrets};
use crate::connection::{Accepted, Connection, redirect};
use crate::deadline::{TICK, Ticker, within};
use crate::listen::{self, udp};
use crate::origin::{Origins, Resolver, Upstreams};
use crate::telemetry::admin::Readiness;
use crate::telemetry::labels::{Label, ProxyHeaderError, ReloadResult, TimeoutKind};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::LineSink;
use crate::tls::selector::Selector;
use crate::tls::session::Sessions;

/// How often figures of the session store are copied into the metrics and old keys are forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Where a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Not ready any more, but still accepting.
    Leaving,
    /// Listeners are closed, connections end.
    Draining,
    /// What is left is cut.
    Cut,
}

/// What a server reports to, and who decides for it.
pub struct Surroundings {
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Told when the server is ready and when it drains.
    pub readiness: Arc<Readiness>,
    /// The access log; `None` is off.
    pub access: Option<Arc<LineSink>>,
    /// The connection log; `None` is off.
    pub connections: Option<Arc<LineSink>>,
    /// Replaces site selection.
    pub selector: Option<Arc<dyn Selector>>,
}

/// The sockets of a server that does not run yet.
pub struct Bound {
    snapshot: Snapshot,
    surroundings: Surroundings,
    addresses: Vec<(Arc<str>, SocketAddr)>,
    /// For each worker, its listeners with their place in the snapshot.
    sockets: Vec<Sockets>,
}

/// The sockets of one worker, each with its listener's place in the snapshot.
#[derive(Default)]
struct Sockets {
    tcp: Vec<(usize, std::net::TcpListener)>,
    udp: Vec<(usize, udp::Bound)>,
}

impl Bound {
    /// Binds all listeners of a snapshot, a socket for each worker.
    ///
    /// # Errors
    /// The system's, with the address named.
    pub fn new(mut snapshot: Snapshot, surroundings: Surroundings) -> io::Result<Self> {
        let workers = snapshot.server.workers.max(1);
        let mut addresses = Vec::new();
        let mut sockets: Vec<Sockets> = (0..workers).map(|_| Sockets::default()).collect();
        for listener in &snapshot.listeners {
            listen::claim(listener.address)?;
            if listener.quic.is_some() {
                udp::claim(listener.address)?;
            }
        }
        for (index, listener) in snapshot.listeners.iter_mut().enumerate() {
            let (address, bound) = listen::bind(listener.address, listener.backlog, workers)?;
            // A redirect names the port; 0 becomes the one that was given.
            listener.address = address;
            addresses.push((Arc::clone(&listener.name), address));
            for (sockets, socket) in sockets.iter_mut().zip(bound) {
                sockets.tcp.push((index, socket));
            }
            if let Some(quic) = &mut listener.quic {
                quic.at(address);
                let bound = udp::bind(address, workers)?;
                for (sockets, socket) in sockets.iter_mut().zip(bound) {
                    sockets.udp.push((index, socket));
                }
            }
        }
        Ok(Self {
            snapshot,
            surroundings,
            addresses,
            sockets,
        })
    }

    /// The names and addresses of the listeners.
    pub fn addresses(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.addresses
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// The system's, if a thread cannot be made.
    pub fn start(self) -> io::Result<Server> {
        let Self {
            snapshot,
            surroundings,
            addresses,
            sockets,
        } = self;
        let metrics = &surroundings.metrics;
        let resolver = Resolver::new(Arc::clone(metrics), snapshot.resolver.clone());
        let upstreams = Upstreams::new(metrics, &resolver);
        let keeper = Keeper::new(Arc::clone(metrics));
        keeper.follow(snapshot.staples(), &snapshot.ocsp);
        let process = Arc::new(Process {
            sessions: Sessions::new(snapshot.sessions.capacity),
            upstreams,
            keeper,
            resolver,
            metrics: surroundings.metrics,
            access: surroundings.access,
            connections: surroundings.connections,
            connection_log: snapshot.log.connections,
            current: Current::new(snapshot),
            selector: surroundings.selector,
            draining: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            reported: Mutex::default(),
            waiting: sockets.iter().map(|_| Mutex::default()).collect(),
        });
        process.report_snapshot();
        let (phase, watched) = watch::channel(Phase::Serving);
        let mut workers = Vec::new();
        let secrets = Secrets::new(&process.metrics.quic.tokens_refused)?;
        for (index, sockets) in sockets.into_iter().enumerate() {
            let process = Arc::clone(&process);
            let watched = watched.clone();
            let secrets = secrets.clone();
            workers.push(
                std::thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(move || work(index, process, sockets, &secrets, watched))?,
            );
        }
        surroundings.readiness.set_ready();
        Ok(Server {
            handle: Handle(Arc::new(Inside {
                process,
                phase,
                readiness: surroundings.readiness,
            })),
            addresses,
            workers,
        })
    }
}

/// A running server. Dropped, it is cut: its threads end by themselves.
pub struct Server {
    handle: Handle,
    addresses: Vec<(Arc<str>, SocketAddr)>,
    workers: Vec<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// A handle for whoever governs the server.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The names and addresses of the listeners.
    pub fn addresses(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.addresses
    }

    /// Drains: not ready at once, accepting for `delay`, then listeners close and connections
    /// end; what is left after `timeout` is cut. Returns when all is over.
    ///
    /// # Errors
    /// The first error of a worker.
    pub async fn drain(mut self) -> io::Result<()> {
        let workers = std::mem::take(&mut self.workers);
        let inside = &self.handle.0;
        inside.readiness.set_draining();
        let drain = inside.process.current.peek().server.clone();
        let mut phase = inside.phase.subscribe();
        advance(&inside.phase, Phase::Leaving);
        let cut = |phase: &Phase| *phase == Phase::Cut;
        // An early return means that the drain was cut short.
        let _ = tokio::time::timeout(drain.drain_delay, phase.wait_for(cut)).await;
        inside.process.draining.store(true, Ordering::Relaxed);
        advance(&inside.phase, Phase::Draining);
        let mut joined = tokio::task::spawn_blocking(move || join(workers));
        if let Ok(result) = tokio::time::timeout(drain.drain_timeout, &mut joined).await {
            return result.map_err(io::Error::other)?;
        }
        let open = inside.process.open.load(Ordering::Relaxed) as u64;
        inside
            .process
            .metrics
            .timeouts
            .add(TimeoutKind::Drain, open);
        tracing::warn!(connections = open, "drain timeout: cutting what is left");
        advance(&inside.phase, Phase::Cut);
        joined.await.map_err(io::Error::other)?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.0.readiness.set_draining();
        self.handle.cut();
    }
}

fn join(workers: Vec<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let mut outcome = Ok(());
    for worker in workers {
        let result = worker
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
        outcome = outcome.and(result);
    }
    outcome
}

fn advance(phase: &watch::Sender<Phase>, to: Phase) {
    phase.send_if_modified(|phase| {
        let later = *phase < to;
        if later {
            *phase = to;
        }
        later
    });
}

struct Inside {
    process: Arc<Process>,
    phase: watch::Sender<Phase>,
    readiness: Arc<Readiness>,
}

/// Governs a running server from anywhere.
#[derive(Clone)]
pub struct Handle(Arc<Inside>);

impl Handle {
    /// The snapshot in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.process.current.load()
    }

    /// Puts another snapshot in force: handshakes and requests that begin from now on see it.
    pub fn reload(&self, snapshot: Snapshot) {
        let keeper = &self.0.process.keeper;
        let current = self.current();
        let stood_in_for = snapshot.stand_in(&current);
        // Before it is in force: what is known is shown from the first handshake on.
        keeper.follow(snapshot.staples(), &snapshot.ocsp);
        stood_in_for.tell();
        self.0.process.resolver.configure(&snapshot.resolver);
        // Before a request asks for one: only here is it known which origin comes instead of which.
        self.0.process.upstreams.reconcile(snapshot.origins());
        self.0.process.current.store(snapshot);
        self.0.process.metrics.config.reloads.inc(ReloadResult::Ok);
        self.0.process.report_snapshot();
    }

    /// A reload was refused: counts it.
    pub fn reload_failed(&self) {
        let reloads = &self.0.process.metrics.config.reloads;
        reloads.inc(ReloadResult::Failed);
    }

    /// Cuts what a drain has not ended.
    pub fn cut(&self) {
        advance(&self.0.phase, Phase::Cut);
    }

    /// Figures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.process.metrics
    }

    /// Opens log files again, after somebody moved them.
    pub fn reopen_logs(&self) {
        let process = &self.0.process;
        for sink in [&process.access, &process.connections]
            .into_iter()
            .flatten()
        {
            sink.reopen();
        }
    }
}

/// One worker: a thread, a runtime, its own sockets and origin connections.
fn work(
    index: usize,
    process: Arc<Process>,
    sockets: Sockets,
    secrets: &Secrets,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    // The first random bytes of a thread take some 20 ms, because seeds are gathered: they belong
    // to no client's handshake. Whether it fails is seen there.
    let _ = aws_lc_rs::rand::fill(&mut [0; 32]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let ticker = Ticker::new();
        let worker = Arc::new(Worker {
            index,
            origins: Origins::new(
                Arc::clone(&ticker),
                Arc::clone(&process.metrics),
                Arc::clone(&process.upstreams),
            ),
            process: Arc::clone(&process),
            ticker: Arc::clone(&ticker),
            confirmed: Confirmation::confirmed(),
            prepared: Prepared::default(),
        });
        tokio::spawn(tick(Arc::clone(&worker)));
        let mut accepting = Vec::new();
        for (place, socket) in sockets.tcp {
            let listener = TcpListener::from_std(socket)?;
            // Spawned: inside `block_on` each accept would cost a write to an eventfd.
            accepting.push(tokio::spawn(accept(Arc::clone(&worker), place, listener)));
        }
        let workers = process.waiting.len();
        let mut ports = Vec::new();
        for (place, socket) in sockets.udp {
            ports.extend(Port::open(&worker, place, socket, workers, secrets)?);
        }
        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
        for accepting in accepting {
            accepting.abort();
            let _ = accepting.await;
        }
        for port in &ports {
            port.leave();
        }
        ticker.wake_all();
        while process.open.load(Ordering::Relaxed) > 0 && *phase.borrow() < Phase::Cut {
            let cut = phase.wait_for(|phase| *phase == Phase::Cut);
            let _ = within(&ticker, Some(TICK), cut).await;
        }
        for port in &ports {
            port.cut();
        }
        if !ports.is_empty() {
            // What ends a connection of QUIC is said by tasks of this runtime, not by the kernel.
            let _ = within(&ticker, Some(TICK), std::future::pending::<()>()).await;
        }
        Ok(())
    })
}

async fn tick(worker: Arc<Worker>) {
    let mut next = HOUSEKEEPING;
    worker
        .ticker
        .run(|now| {
            worker.origins.sweep();
            if worker.index != 0 {
                return;
            }
            worker.process.upstreams.tick(&worker.ticker);
            if now >= next {
                next = now + HOUSEKEEPING;
                worker.process.keep_house();
            }
        })
        .await;
}

async fn accept(worker: Arc<Worker>, place: usize, listener: TcpListener) {
    let process = Arc::clone(&worker.process);
    let (name, tls) = {
        let snapshot = process.current.peek();
        match snapshot.listeners.get(place) {
            Some(listener) => (Arc::clone(&listener.name), listener.tls),
            None => return,
        }
    };
    // All its connections have the listener's own address, unless that stands for several.
    let local = listener.local_addr().ok();
    let local = local.filter(|address| !address.ip().is_unspecified());
    listen::accept(
        &listener,
        &worker.ticker,
        &process.metrics,
        |socket, client| {
            let local = local.or_else(|| socket.local_addr().ok()).unwrap_or(client);
            take(&worker, &name, tls, socket, (client, local));
        },
    )
    .await;
}

/// What a connection of `peer` begins with: a PROXY protocol header or not, and how long its
/// ClientHello may take. `None` if `peer` may not connect.
///
/// On a listener that takes headers a peer that is not known to send true ones is refused: what it
/// says of its client may be a lie, and whether it says anything is for it to choose.
fn beginning(
    worker: &Worker,
    name: &Arc<str>,
    peer: SocketAddr,
) -> Option<(Option<Awaited>, Duration)> {
    let snapshot = worker.process.current.peek();
    let Some(listener) = snapshot.listeners.iter().find(|l| l.name == *name) else {
        return Some((None, Duration::from_secs(5)));
    };
    let header = match &listener.proxy_protocol {
        Some(proxy) if !proxy.from.contains(peer.ip().to_canonical()) => return None,
        Some(proxy) => Some(Awaited {
            accepts: proxy.accepts,
            timeout: proxy.timeout,
        }),
        None => None,
    };
    Some((header, listener.client_hello_timeout))
}

/// Admits one connection and gives it a task. `addresses` are the client's and ours.
fn take(
    worker: &Arc<Worker>,
    name: &Arc<str>,
    tls: bool,
    socket: TcpStream,
    addresses: (SocketAddr, SocketAddr),
) {
    let (client, local) = addresses;
    let Some((header, client_hello)) = beginning(worker, name, client) else {
        let errors = &worker.process.metrics.connections.proxy_header_errors;
        errors.inc(ProxyHeaderError::NotAllowed);
        tracing::debug!(%client, "connection refused: the peer is not in proxy_from");
        return;
    };
    let alarm = worker.ticker.alarm();
    let permit = match worker.admit(alarm.waker()) {
        Ok(permit) => permit,
        Err(cap) => {
            worker.process.metrics.connections.refused.inc(cap);
            tracing::debug!(%client, cap = cap.as_str(), "connection refused at a cap");
            return;
        }
    };
    let accepted = Accepted {
        socket,
        listener: Arc::clone(name),
        peer: client,
        local,
        header,
        client_hello,
    };
    let worker = Arc::clone(worker);
    if tls {
        let span =
            tracing::debug_span!("connection", %client, listener = %name, worker = worker.index);
        let connection = Connection::new(worker, accepted, permit, alarm);
        // Costs nothing, nor room in every task, while nobody wants debug messages.
        match span.is_disabled() {
            true => tokio::spawn(connection),
            false => tokio::spawn(connection.instrument(span)),
        };
    } else {
        tokio::spawn(redirect::serve(worker, accepted, permit));
    }
}
