//! From a whole ClientHello to a started handshake.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::AlertDescription;

use crate::confirm::Confirmation;
use crate::connection::context::{Permit, Process, Vitals, Worker};
use crate::connection::handshake::{Chosen, Unserved, choose, prepare};
use crate::deadline::{Nudge, Ticker};
use crate::telemetry::labels::{HelloError, Label, Limit};
use crate::tls::hello::{self, ClientHello};
use crate::tls::quic::{Hellos, Start};
use crate::tls::selector::Selection;
use crate::tls::session::Prepared;

/// The choice of one connection, made when its session asks.
pub(super) struct Opening {
    process: Arc<Process>,
    listener: Arc<str>,
    client: SocketAddr,
    local: SocketAddr,
    /// Gone once the handshake is finished.
    vitals: Weak<Vitals>,
    ticker: Arc<Ticker>,
    /// Wakes the connection's task.
    nudge: Nudge,
    /// Known also where nobody serves it.
    hello: OnceLock<Arc<ClientHello>>,
    opened: OnceLock<Opened>,
    /// Why there is no handshake.
    failed: OnceLock<String>,
}

/// What the choice has come to.
pub(super) struct Opened {
    pub(super) chosen: Chosen,
    pub(super) confirmation: Confirmation,
    /// The snapshot that the site is from.
    pub(super) generation: u64,
    prepared: Mutex<Option<Prepared>>,
}

impl Opened {
    /// How it resumes; taken once, when the handshake has ended.
    pub(super) fn take_prepared(&self) -> Option<Prepared> {
        self.prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Opening {
    pub(super) fn new(
        worker: &Worker,
        permit: &Permit,
        nudge: Nudge,
        listener: Arc<str>,
        (client, local): (SocketAddr, SocketAddr),
    ) -> Arc<Self> {
        Arc::new(Self {
            process: Arc::clone(&worker.process),
            listener,
            client,
            local,
            vitals: permit.vitals().map(Arc::downgrade).unwrap_or_default(),
            ticker: Arc::clone(&worker.ticker),
            nudge,
            hello: OnceLock::new(),
            opened: OnceLock::new(),
            failed: OnceLock::new(),
        })
    }

    pub(super) fn hello(&self) -> Option<&Arc<ClientHello>> {
        self.hello.get()
    }

    pub(super) fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn fail(&self, label: HelloError, reason: String) {
        let metrics = &self.process.metrics.handshakes;
        metrics.hello_errors.inc(label);
        let _ = self.failed.set(reason);
    }

    fn select(&self, hello: &Arc<ClientHello>) -> Selection {
        match &self.process.selector {
            None => Selection::ByName,
            Some(selector) => selector.select_at_once(Arc::clone(hello), self.client, self.local),
        }
    }
}

impl Hellos for Opening {
    fn choose(&self, hello: Arc<ClientHello>) -> Result<Start, AlertDescription> {
        let process = &self.process;
        // A session asks once.
        let _ = self.hello.set(Arc::clone(&hello));
        let selection = self.select(&hello);
        let snapshot = process.current.peek();
        let mut listeners = snapshot.listeners.iter();
        let chosen = listeners
            .find(|listener| listener.name == self.listener)
            .ok_or(Unserved {
                alert: AlertDescription::InternalError,
                label: HelloError::Other,
            })
            .and_then(|listener| choose(listener, &hello, selection));
        let chosen = match chosen {
            Ok(chosen) => chosen.over_quic(),
            Err(Unserved { alert, label }) => {
                self.fail(label, format!("turned away: {}", label.as_str()));
                return Err(alert);
            }
        };
        let prepared = prepare(process, &chosen, &hello);
        if prepared.offered {
            process.metrics.early.offered.inc();
        }
        let (settler, confirmation) = Confirmation::pending();
        let start = Start {
            config: Arc::clone(&prepared.config),
            sessions: prepared.sessions.clone(),
            settler,
        };
        let _ = self.opened.set(Opened {
            chosen,
            confirmation,
            generation: snapshot.generation,
            prepared: Mutex::new(Some(prepared)),
        });
        Ok(start)
    }

    fn no_staple(&self) {
        let label = HelloError::NoStaple;
        self.fail(label, format!("turned away: {}", label.as_str()));
    }

    fn heard(&self) {
        if let Some(vitals) = self.vitals.upgrade() {
            vitals.hear(self.ticker.now());
        }
    }

    fn came(&self) {
        self.nudge.nudge();
    }

    fn beyond(&self, limit: Limit) {
        self.process.metrics.requests.limits_hit.inc(limit);
    }

    fn settled(&self) {
        self.nudge.nudge();
    }

    fn refused(&self, error: &hello::HelloError) {
        self.fail(HelloError::of(error.label()), error.to_string());
    }
}
