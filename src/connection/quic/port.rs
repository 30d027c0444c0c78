//! The UDP port of a listener on one worker: what comes is admitted, turned away or asked to prove
//! its address.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig, ValidationTokenConfig, VarInt,
};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::closing::{Closing, Room};
use super::code;
use super::connection::{Accepted, Connection};
use super::shown::{ShownTokens, Unasked};
use super::tokens::{LIFETIME, TokenKeys, UsedTokens};
use crate::config::site_tls::QUIC;
use crate::config::snapshot::QuicRetry;
use crate::connection::context::Worker;
use crate::http::h3::Code;
use crate::listen::udp::{Bound, Ids};
use crate::telemetry::family::Counters;
use crate::telemetry::labels::{Cap, Label, TokenRefusal};
use crate::tls::quic::{Crypto, VERSION};

/// How long a connection may be silent: after that its client is gone, and the state goes too. Who
/// waits longer for an answer sends something meanwhile (RFC 9000 §10.1.2).
const SILENT: Duration = Duration::from_secs(120);

/// What may be under way to one client, in bytes: until it says that it has come, it is kept.
const SEND_WINDOW: u64 = 1024 * 1024;

/// First packets that wait for us, for one worker; and what each may have sent meanwhile, and all of
/// them, in bytes.
const WAITING: usize = 1024;
const WAITING_EACH: u64 = 64 * 1024;
const WAITING_ALL: u64 = 16 * 1024 * 1024;

/// The largest datagram is looked for in steps no smaller than this. So the first probe is for 1452
/// bytes, what Ethernet takes, and where it comes through it is the only one: with quinn's 20 there
/// are four, each with an acknowledgement of its own, and most of them within the handshake. Where it
/// is lost the next one is for 1325 bytes, and any larger step would make the first the only try.
const MTU_STEP: u16 = 127;

/// How many address validation tokens a client gets: one spares its next connection a Retry, and that
/// gets another one.
const TOKENS: u32 = 1;

/// How long the token of a Retry proves its client's address: it comes back at once, or is somebody
/// else's.
const RETRIED: Duration = Duration::from_secs(15);

/// Over this share of the handshakes cap clients must prove their address, where that is "auto".
pub(super) const PRESSURE: f64 = 0.5;

/// How often those that have ended are counted while there are some.
const COUNTED: Duration = Duration::from_secs(1);

/// What all workers must agree on, because a client may come back to any of them: the key of stateless
/// resets, which lives as long as the process, and address validation tokens.
#[derive(Clone)]
pub struct Secrets {
    reset: Arc<hmac::Key>,
    tokens: Arc<TokenKeys>,
    used: Arc<UsedTokens>,
    refused: Counters<TokenRefusal>,
}

impl Secrets {
    /// New ones. `refused` counts tokens that are not believed.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn new(refused: &Counters<TokenRefusal>) -> io::Result<Self> {
        let mut reset = [0; 64];
        rand::fill(&mut reset).map_err(|_| io::Error::other("no random bytes"))?;
        Ok(Self {
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)),
            tokens: Arc::new(TokenKeys::new(
                refused.child(TokenRefusal::Unknown).clone(),
            )?),
            used: Arc::new(UsedTokens::new(refused.child(TokenRefusal::Used).clone())),
            refused: refused.clone(),
        })
    }

    /// Those of them that clients show to one port.
    pub(super) fn shown(&self) -> Arc<ShownTokens> {
        let elsewhere = self.refused.child(TokenRefusal::Address);
        let (tokens, used) = (Arc::clone(&self.tokens), Arc::clone(&self.used));
        ShownTokens::new(tokens, used, elsewhere.clone())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// An open port.
#[derive(Debug)]
pub struct Port {
    endpoint: Endpoint,
    accepting: JoinHandle<()>,
}

impl Port {
    /// Serves the listener at `place` of the snapshot in force on `socket`, within a runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn open(
        worker: &Arc<Worker>,
        place: usize,
        socket: Bound,
        workers: usize,
        secrets: &Secrets,
    ) -> io::Result<Option<Self>> {
        let snapshot = worker.process.current.peek();
        let listener = snapshot.listeners.get(place);
        let Some((listener, quic)) = listener.and_then(|l| Some((l, l.quic.as_ref()?))) else {
            return Ok(None);
        };
        let shown = secrets.shown();
        let opened = shown.opened();
        let crypto = Crypto::unopened(secrets.refused.child(TokenRefusal::Retry).clone());
        let base = server_config(quic.migration, crypto, shown);
        let mut config = EndpointConfig::new(secrets.reset.clone());
        let index = worker.index;
        config
            .cid_generator(move || Box::new(Ids::new(index, workers)))
            .supported_versions(vec![VERSION]);
        let address = socket.address()?;
        let endpoint = Endpoint::new_with_abstract_socket(
            config,
            Some(base.clone()),
            socket.open()?,
            Arc::new(TokioRuntime),
        )?;
        let gauge = worker.process.metrics.quic.closing.clone();
        let accept = Accepting {
            closing: Closing::new(endpoint.clone(), workers, gauge),
            worker: Arc::clone(worker),
            endpoint: endpoint.clone(),
            listener: Arc::clone(&listener.name),
            address,
            base,
            opened,
        };
        Ok(Some(Self {
            accepting: tokio::spawn(accept.run()),
            endpoint,
        }))
    }

    /// Takes no new connections; those that are there live on.
    pub fn leave(&self) {
        self.accepting.abort();
        self.endpoint.set_server_config(None);
    }

    /// Ends what is left.
    pub fn cut(&self) {
        self.endpoint.close(code(Code::NO_ERROR), b"");
    }
}

/// How connections are, and what clients without one are asked.
pub(super) fn server_config(
    migration: bool,
    crypto: Arc<Crypto>,
    shown: Arc<ShownTokens>,
) -> ServerConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.minimum_change(MTU_STEP);
    let mut transport = TransportConfig::default();
    transport
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_bidi_streams(VarInt::from_u32(QUIC.requests))
        .max_concurrent_uni_streams(VarInt::from_u32(QUIC.streams))
        .stream_receive_window(VarInt::from_u32(QUIC.stream_window))
        .receive_window(VarInt::from_u32(QUIC.connection_window))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(IdleTimeout::try_from(SILENT).ok())
        // Not supported yet (RFC 9221).
        .datagram_receive_buffer_size(None);
    let mut tokens = ValidationTokenConfig::default();
    // Without quinn's own log of tokens none is sent unless one says so.
    tokens.lifetime(LIFETIME).sent(TOKENS).log(shown.clone());
    let mut config = ServerConfig::new(crypto, shown);
    config
        .transport_config(Arc::new(transport))
        .validation_token_config(tokens)
        .retry_token_lifetime(RETRIED)
        .migration(migration)
        .max_incoming(WAITING)
        .incoming_buffer_size(WAITING_EACH)
        .incoming_buffer_size_total(WAITING_ALL);
    config
}

struct Accepting {
    worker: Arc<Worker>,
    endpoint: Endpoint,
    listener: Arc<str>,
    address: SocketAddr,
    base: ServerConfig,
    closing: Closing,
    opened: Arc<Unasked>,
}

impl Accepting {
    async fn run(self) {
        let counted = self.worker.ticker.alarm();
        loop {
            let due = poll_fn(|cx| counted.poll_due(cx));
            tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.take(incoming),
                    None => return,
                },
                () = due => {}
            }
            counted.set(Some(COUNTED));
            self.closing.count();
        }
    }

    /// Admits one connection and gives it a task.
    fn take(&self, incoming: Incoming) {
        // If it had a token, that has been looked at.
        self.opened.settle();
        let process = &self.worker.process;
        let client = incoming.remote_address();
        let room = {
            let snapshot = process.current.peek();
            self.closing.room(&snapshot.limits)
        };
        if self.must_prove(&incoming, &room) {
            process.metrics.quic.retries.inc();
            // It may be retried, because it is not validated.
            let _ = incoming.retry();
            return;
        }
        if room == Room::No {
            process.metrics.connections.refused.inc(Cap::Closing);
            incoming.ignore();
            return;
        }
        let alarm = self.worker.ticker.alarm();
        let permit = match self.worker.admit(alarm.waker()) {
            Ok(permit) => permit,
            Err(cap) => {
                process.metrics.connections.refused.inc(cap);
                tracing::debug!(%client, cap = cap.as_str(), "connection refused at a cap");
                match cap {
                    // An answer would cost more than it is worth to who is not there.
                    Cap::Handshakes | Cap::Closing => incoming.ignore(),
                    Cap::Connections => incoming.refuse(),
                }
                return;
            }
        };
        let ip = incoming.local_ip().unwrap_or(self.address.ip());
        let accepted = Accepted {
            listener: Arc::clone(&self.listener),
            client,
            local: SocketAddr::new(ip, self.address.port()),
            // Who may not be asked again has just answered a Retry. A token of an earlier connection
            // spares the client that, but is no proof of where it is now (EARLY-DATA R15).
            validated: !incoming.may_retry(),
        };
        let span = tracing::debug_span!("connection", %client, listener = %self.listener, worker = self.worker.index, quic = true);
        let worker = Arc::clone(&self.worker);
        let connection = Connection::new(worker, accepted, permit, alarm, incoming, &self.base);
        let live = self.closing.live();
        let run = async move {
            connection.run().await;
            drop(live);
        };
        match span.is_disabled() {
            true => tokio::spawn(run),
            false => tokio::spawn(run.instrument(span)),
        };
    }

    fn must_prove(&self, incoming: &Incoming, room: &Room) -> bool {
        if incoming.remote_address_validated() {
            return false;
        }
        let process = &self.worker.process;
        let snapshot = process.current.peek();
        let mut listeners = snapshot.listeners.iter();
        let listener = listeners.find(|listener| listener.name == self.listener);
        match listener.and_then(|listener| listener.quic.as_ref()) {
            Some(quic) => match quic.retry {
                QuicRetry::Always => true,
                QuicRetry::Never => false,
                QuicRetry::Auto => {
                    let limit = snapshot.limits.handshakes as f64 * PRESSURE;
                    *room != Room::Enough
                        || process.unfinished.load(Ordering::Relaxed) as f64 > limit
                }
            },
            None => false,
        }
    }
}
