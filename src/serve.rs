//! `cutwater serve`: configuration file, logs, admin, signals.

pub mod health;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::diagnostics::Diagnostic;
use crate::config::reload::fixed_at_start;
use crate::config::snapshot::{AdminAddress, LogTarget, Snapshot};
use crate::config::{self, Loaded};
use crate::server::{Bound, Handle, Server, Surroundings};
use crate::telemetry::admin::{Admin, Readiness};
use crate::telemetry::connections::ConnectionLog;
use crate::telemetry::labels::Log;
use crate::telemetry::logging::{self, Format};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::{DEFAULT_CAPACITY, Destination, LineSink};

/// How long the last log lines may take.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Runs the program until it is told to stop.
///
/// SIGHUP reloads the file and opens the logs again, SIGTERM and SIGINT drain, a second one ends
/// at once. `strict` refuses to start while any site is refused.
pub fn serve(path: &Path, strict: bool) -> ExitCode {
    let Loaded { compiled, .. } = config::load(path, None);
    for diagnostic in compiled.warnings.iter().chain(&compiled.broken) {
        eprintln!("{diagnostic}");
    }
    let snapshot = match compiled.result {
        Ok(snapshot) => snapshot,
        Err(errors) => {
            for error in &errors {
                eprintln!("{error}");
            }
            eprintln!("error: {} has errors, not started", path.display());
            return ExitCode::FAILURE;
        }
    };
    if strict && !compiled.broken.is_empty() {
        eprintln!("error: --strict: a site cannot be served, not started");
        return ExitCode::FAILURE;
    }
    match run(path, snapshot) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path, snapshot: Snapshot) -> io::Result<()> {
    let registry = Registry::new();
    let metrics = Arc::new(Metrics::new(&registry).map_err(io::Error::other)?);
    let dropped = &metrics.log_lines_dropped;
    let program = logging::init(
        &snapshot.log.level,
        Format::Compact,
        dropped.child(Log::Program).clone(),
    )
    .map_err(io::Error::other)?;
    let (access, connections) = open_logs(&snapshot, &metrics)?;
    let readiness = Arc::new(Readiness::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let admin = snapshot.admin.clone();
        let bound = Bound::new(
            snapshot,
            Surroundings {
                metrics: Arc::clone(&metrics),
                readiness: Arc::clone(&readiness),
                access: access.clone(),
                connections: connections.clone(),
                selector: None,
            },
        )?;
        let signals = Signals::new()?;
        if let Some(address) = admin {
            let address = admin_address(&address);
            let admin = Admin::bind(&address)
                .await
                .map_err(|error| named(error, format!("cannot listen on {address} (admin)")))?;
            tracing::info!(admin = %admin.address(), "listening");
            tokio::spawn(admin.run(registry, readiness, std::future::pending::<()>()));
        }
        let server = bound.start()?;
        for (name, address) in server.addresses() {
            tracing::info!(%address, listener = %name, "listening");
        }
        govern(path, server, signals, &program).await
    });
    // Often they are one sink, and closing waits for whoever reads it.
    let one = |(a, b): (&Arc<LineSink>, &Arc<LineSink>)| Arc::ptr_eq(a, b);
    let shared = access.as_ref().zip(connections.as_ref()).is_some_and(one);
    for sink in access.iter().chain(connections.iter().filter(|_| !shared)) {
        sink.close(LAST_LINES);
    }
    program.close(LAST_LINES);
    outcome
}

fn admin_address(address: &AdminAddress) -> String {
    match address {
        AdminAddress::Tcp(address) => address.to_string(),
        AdminAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

type Sink = Option<Arc<LineSink>>;

/// Opens the access log and the connection log. They share a destination; connection lines go to
/// standard output where the access log is off.
fn open_logs(snapshot: &Snapshot, metrics: &Metrics) -> io::Result<(Sink, Sink)> {
    let destination = match &snapshot.log.access {
        LogTarget::Off | LogTarget::Stdout => Destination::Stdout,
        LogTarget::File(path) => Destination::File(path.clone()),
    };
    let wanted = snapshot.log.connections != ConnectionLog::Off;
    let open = |log| {
        let dropped = metrics.log_lines_dropped.child(log).clone();
        LineSink::open(destination.clone(), DEFAULT_CAPACITY, dropped)
            .map(Arc::new)
            .map_err(|error| match &destination {
                Destination::File(path) => {
                    named(error, format!("cannot open the log {}", path.display()))
                }
                _ => error,
            })
    };
    match (snapshot.log.access != LogTarget::Off, wanted) {
        // One sink: two would tear each other's lines.
        (true, true) => open(Log::Access).map(|sink| (Some(Arc::clone(&sink)), Some(sink))),
        (true, false) => Ok((Some(open(Log::Access)?), None)),
        (false, true) => Ok((None, Some(open(Log::Connections)?))),
        (false, false) => Ok((None, None)),
    }
}

/// The same error, with what it was about.
fn named(error: io::Error, what: String) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn govern(
    path: &Path,
    server: Server,
    mut signals: Signals,
    program: &LineSink,
) -> io::Result<()> {
    loop {
        tokio::select! {
            _ = signals.reload.recv() => {
                program.reopen();
                server.handle().reopen_logs();
                reload(path, server.handle()).await;
            }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    tracing::info!("draining");
    let handle = server.handle().clone();
    let drain = server.drain();
    tokio::pin!(drain);
    tokio::select! {
        outcome = &mut drain => return outcome,
        () = signals.stop() => {}
    }
    tracing::info!("told to stop again: ending now");
    handle.cut();
    drain.await
}

/// Reads the file again. Errors in its text refuse the whole reload; a certificate that cannot be
/// read keeps its site's former one.
async fn reload(path: &Path, handle: &Handle) {
    let current = handle.current();
    let file = path.to_owned();
    let before = Arc::clone(&current);
    let loaded =
        tokio::task::spawn_blocking(move || config::load(&file, Some(&before)).compiled).await;
    let Ok(compiled) = loaded else {
        tracing::error!("reload failed: the running configuration serves on");
        handle.reload_failed();
        return;
    };
    warn(&compiled.warnings);
    match compiled.result {
        Ok(mut snapshot) => {
            for diagnostic in &compiled.broken {
                tracing::error!("{diagnostic}");
            }
            // Port 0 stays what it was given.
            for listener in &mut snapshot.listeners {
                let old = current
                    .listeners
                    .iter()
                    .find(|old| old.name == listener.name);
                if let Some(old) = old.filter(|_| listener.address.port() == 0) {
                    listener.address = old.address;
                }
            }
            for what in fixed_at_start(&current, &snapshot) {
                tracing::warn!("{what} is read at start only: the change takes a restart");
            }
            handle.reload(snapshot);
            tracing::info!(generation = handle.current().generation, "reloaded");
        }
        Err(errors) => {
            for error in &errors {
                tracing::error!("{error}");
            }
            tracing::error!("reload refused: the running configuration serves on");
            handle.reload_failed();
        }
    }
}

fn warn(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        tracing::warn!("{diagnostic}");
    }
}
