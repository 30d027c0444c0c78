//! Every metric of Cutwater, resolved once and grouped by subject. `docs/METRICS.md` lists them.

mod certificates;
mod ocsp;
mod origins;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Histogram, IntCounter, IntGauge, Registry, Result};

use super::family::{CounterGrid, Counters, Families, Histograms};
use super::labels::{
    AcceptError, Alert, Cap, ConnectionEnd, DeniedBy, Direction, EarlyRefusal, EarlyState,
    FailedBy, HandshakeKind, HelloError, Limit, Log, Protocol, ProxyHeaderError, QuicError,
    ReloadResult, StatusClass, Target, TimeoutKind, TlsVersion, TokenRefusal, TooEarlyBy,
};

pub use self::certificates::{CertificateSeries, Certificates, StapleSeries};
pub use self::ocsp::Ocsp;
pub use self::origins::Origins;

/// All metrics of one edge. Share it in an `Arc`; recording is one atomic add.
#[derive(Debug)]
pub struct Metrics {
    /// Connections and the listener.
    pub connections: Connections,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// QUIC.
    pub quic: Quic,
    /// Certificates of the sites.
    pub certificates: Certificates,
    /// Early data (EARLY-DATA P4).
    pub early: Early,
    /// HTTP requests.
    pub requests: Requests,
    /// Deadlines that passed, by kind.
    pub timeouts: Counters<TimeoutKind>,
    /// Sessions and tickets.
    pub sessions: Sessions,
    /// Origins.
    pub origins: Origins,
    /// OCSP stapling.
    pub ocsp: Ocsp,
    /// Configuration.
    pub config: Config,
    /// Log lines that could not be queued or written, by log.
    pub log_lines_dropped: Counters<Log>,
}

/// Metrics of connections and of the listener.
#[derive(Debug)]
pub struct Connections {
    /// Accepted.
    pub accepted: IntCounter,
    /// Open now.
    pub open: IntGauge,
    /// Ended, by how.
    pub closed: Counters<ConnectionEnd>,
    /// Errors of `accept`.
    pub accept_errors: Counters<AcceptError>,
    /// Pauses after errors of `accept`.
    pub accept_backoffs: IntCounter,
    /// Closed for their PROXY protocol header, or for want of one.
    pub proxy_header_errors: Counters<ProxyHeaderError>,
    /// Closed at once because a cap was reached.
    pub refused: Counters<Cap>,
    /// Bytes on the wire.
    pub bytes: Counters<Direction>,
}

/// Metrics of TLS handshakes.
#[derive(Debug)]
pub struct Handshakes {
    /// Begun, not ended yet.
    pub unfinished: IntGauge,
    /// Closed to make room for newer ones.
    pub evicted: IntCounter,
    /// Completed, by kind and version.
    pub completed: CounterGrid<HandshakeKind, TlsVersion>,
    /// HelloRetryRequests sent.
    pub hello_retry_requests: IntCounter,
    /// Failed, by who ended it and with which alert.
    pub failed: CounterGrid<FailedBy, Alert>,
    /// ClientHellos turned away, by reason.
    pub hello_errors: Counters<HelloError>,
    /// accept → Finished.
    pub seconds: Histograms<HandshakeKind>,
}

impl Handshakes {
    /// Counts a completed handshake that took `took` since accept.
    pub fn complete(&self, kind: HandshakeKind, version: TlsVersion, took: Duration) {
        self.completed.inc(kind, version);
        self.seconds.observe(kind, took);
    }
}

/// Metrics of QUIC.
#[derive(Debug)]
pub struct Quic {
    /// Clients that were asked to prove their address first.
    pub retries: IntCounter,
    /// Address validation tokens that were not believed.
    pub tokens_refused: Counters<TokenRefusal>,
    /// Rules and bounds of the transport that clients broke.
    pub errors: Counters<QuicError>,
    /// Connections that have ended and are kept for late packets.
    pub closing: IntGauge,
}

/// Metrics of early data (EARLY-DATA P4).
#[derive(Debug)]
pub struct Early {
    /// Handshakes that offered early data.
    pub offered: IntCounter,
    /// Handshakes of which at least one early byte was delivered.
    pub accepted: IntCounter,
    /// Handshakes whose early data was refused, by reason.
    pub refused: Counters<EarlyRefusal>,
    /// Requests, by what became of their early state.
    pub requests: Counters<EarlyState>,
    /// Requests that were held until the handshake was confirmed.
    pub delayed: IntCounter,
    /// 425 answers, by who made them.
    pub too_early: Counters<TooEarlyBy>,
    /// Early requests whose handshake failed.
    pub aborted: IntCounter,
    /// Answers whose first byte left before the client's Finished (EARLY-DATA R10).
    pub answered_before_finished: IntCounter,
    /// Confirmations that something waited for.
    pub confirmations_awaited: IntCounter,
    /// How long confirmations were waited for.
    pub confirmation_seconds: Histogram,
}

impl Early {
    /// The handshake was awaited for so long.
    pub fn waited(&self, took: Duration) {
        self.confirmations_awaited.inc();
        self.confirmation_seconds.observe(took.as_secs_f64());
    }
}

/// Metrics of HTTP requests.
#[derive(Debug)]
pub struct Requests {
    /// Ended, by protocol and class of status.
    pub ended: CounterGrid<Protocol, StatusClass>,
    /// Head whole → answer sent, by what answered.
    pub seconds: Histograms<Target>,
    /// Requests with ambiguous or broken framing (RFC 9112 section 6).
    pub framing_violations: IntCounter,
    /// 421 answers (RFC 9110 section 15.5.20).
    pub misdirected: IntCounter,
    /// Limits that were passed.
    pub limits_hit: Counters<Limit>,
    /// Requests that a route did not admit.
    pub denied: Counters<DeniedBy>,
}

impl Requests {
    /// Counts a request that ended. `status` is 0 if there was no answer.
    pub fn end(&self, protocol: Protocol, status: u16, target: Target, took: Duration) {
        self.ended.inc(protocol, StatusClass::of(status));
        self.seconds.observe(target, took);
    }
}

/// Metrics of sessions and tickets.
#[derive(Debug)]
pub struct Sessions {
    /// Held in the store now.
    pub held: IntGauge,
    /// Put into the store.
    pub stored: IntCounter,
    /// Taken out of the store for a resumption.
    pub taken: IntCounter,
    /// Looked for in vain.
    pub missed: IntCounter,
    /// Dropped because the store was full.
    pub evicted: IntCounter,
    /// Dropped because of their age.
    pub expired: IntCounter,
    /// Tickets sent to clients.
    pub tickets_sent: IntCounter,
    /// Rotations of the ticket keys.
    pub key_rotations: IntCounter,
}

/// Metrics of the configuration.
#[derive(Debug)]
pub struct Config {
    /// Reloads, by their end.
    pub reloads: Counters<ReloadResult>,
    /// Number of the configuration in use; the first is 1.
    pub generation: IntGauge,
    /// Sites that serve.
    pub sites: IntGauge,
    /// Sites that cannot serve because of a broken certificate or key.
    pub sites_refused: IntGauge,
}

impl Metrics {
    /// Registers every family with `registry`.
    ///
    /// # Errors
    /// If the registry already holds a family of the same name: one registry takes one edge.
    pub fn new(registry: &Registry) -> Result<Self> {
        let families = Families(registry);
        families.constant(
            "build_info",
            "Always 1; the label tells the version",
            Some(("version", env!("CARGO_PKG_VERSION"))),
            1.0,
        )?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        families.constant(
            "start_time_seconds",
            "When the edge was made, in seconds since the Unix epoch",
            None,
            started.unwrap_or_default().as_secs_f64(),
        )?;
        Ok(Self {
            connections: Connections::new(&families)?,
            handshakes: Handshakes::new(&families)?,
            quic: Quic {
                retries: families.counter(
                    "quic_retries_total",
                    "Clients asked to prove their address before a handshake",
                )?,
                tokens_refused: families.counters(
                    "quic_tokens_refused_total",
                    "Address validation tokens that were not believed",
                    "reason",
                )?,
                errors: families.counters(
                    "quic_errors_total",
                    "Connections that ended because their client broke a rule or bound of QUIC",
                    "error",
                )?,
                closing: families.gauge(
                    "quic_connections_closing",
                    "Connections over QUIC that have ended and are kept for late packets",
                )?,
            },
            certificates: Certificates::new(&families)?,
            early: Early::new(&families)?,
            requests: Requests::new(&families)?,
            timeouts: families.counters("timeouts_total", "Deadlines that passed", "kind")?,
            sessions: Sessions::new(&families)?,
            origins: Origins::new(&families)?,
            ocsp: Ocsp::new(&families)?,
            config: Config::new(&families)?,
            log_lines_dropped: families.counters(
                "log_lines_dropped_total",
                "Log lines that could not be queued or written",
                "log",
            )?,
        })
    }
}

impl Connections {
    fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            accepted: families.counter("connections_accepted_total", "Connections accepted")?,
            open: families.gauge("connections_open", "Connections open now")?,
            closed: families.counters(
                "connections_closed_total",
                "Connections ended, by how",
                "how",
            )?,
            accept_errors: families.counters("accept_errors_total", "Errors of accept", "error")?,
            accept_backoffs: families.counter(
                "accept_backoffs_total",
                "Pauses of the listener after an error of accept",
            )?,
            proxy_header_errors: families.counters(
                "proxy_header_errors_total",
                "Connections closed for their PROXY protocol header, or for want of one",
                "error",
            )?,
            refused: families.counters(
                "connections_refused_total",
                "Connections closed at once because a cap was reached",
                "cap",
            )?,
            bytes: families.counters(
                "bytes_total",
                "Bytes received from (in) and sent to (out) clients",
                "direction",
            )?,
        })
    }
}

impl Handshakes {
    fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            unfinished: families.gauge("handshakes_unfinished", "Handshakes not ended yet")?,
            evicted: families.counter(
                "handshakes_evicted_total",
                "Unfinished handshakes closed to make room for newer ones",
            )?,
            completed: families.grid(
                "handshakes_total",
                "Handshakes completed",
                ["kind", "version"],
            )?,
            hello_retry_requests: families
                .counter("hello_retry_requests_total", "HelloRetryRequests sent")?,
            failed: families.grid(
                "handshake_failures_total",
                "Handshakes that failed, by who ended them and with which alert",
                ["by", "alert"],
            )?,
            hello_errors: families.counters(
                "client_hello_errors_total",
                "ClientHellos turned away",
                "error",
            )?,
            seconds: families.histograms(
                "handshake_seconds",
                "Time from accept to the client's Finished",
                "kind",
            )?,
        })
    }
}

impl Early {
    fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            offered: families.counter(
                "early_data_offered_total",
                "Handshakes that offered early data",
            )?,
            accepted: families.counter(
                "early_data_accepted_total",
                "Handshakes of which at least one early byte was delivered",
            )?,
            refused: families.counters(
                "early_data_refused_total",
                "Handshakes whose early data was refused",
                "reason",
            )?,
            requests: families.counters(
                "early_requests_total",
                "Requests, by what became of their early state",
                "state",
            )?,
            delayed: families.counter(
                "early_delayed_total",
                "Requests held until the handshake was confirmed",
            )?,
            too_early: families.counters(
                "too_early_total",
                "425 answers sent to clients, by who made them",
                "by",
            )?,
            aborted: families.counter(
                "early_aborted_total",
                "Early requests whose handshake failed",
            )?,
            answered_before_finished: families.counter(
                "answered_before_finished_total",
                "Answers that began before the client's Finished",
            )?,
            confirmations_awaited: families.counter(
                "confirmations_awaited_total",
                "Confirmations that something waited for",
            )?,
            confirmation_seconds: families.histogram(
                "confirmation_seconds",
                "Time that something waited for a confirmation",
            )?,
        })
    }
}

impl Requests {
    fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            ended: families.grid(
                "requests_total",
                "Requests ended, by protocol and class of status",
                ["protocol", "status"],
            )?,
            seconds: families.histograms(
                "request_seconds",
                "Time from a request's head to the end of its answer, by what answered",
                "target",
            )?,
            framing_violations: families.counter(
                "framing_violations_total",
                "Requests with ambiguous or broken framing",
            )?,
            misdirected: families.counter("misdirected_requests_total", "421 answers")?,
            limits_hit: families.counters(
                "limits_hit_total",
                "Requests past a limit of their route",
                "limit",
            )?,
            denied: families.counters(
                "requests_denied_total",
                "Requests that their route did not admit",
                "by",
            )?,
        })
    }
}

impl Sessions {
    fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            held: families.gauge("sessions_held", "Sessions in the store now")?,
            stored: families.counter("sessions_stored_total", "Sessions put into the store")?,
            taken: families.counter(
                "sessions_taken_total",
                "Sessions taken out of the store for a resumption",
            )?,
            missed: families.counter("sessions_missed_total", "Sessions looked for in vain")?,
            evicted: families.counter(
                "sessions_evicted_total",
                "Sessions dropped because the store was full",
            )?,
            expired: families.counter(
                "sessions_expired_total",
                "Sessions dropped because of their age",
            )?,
            tickets_sent: families.counter("tickets_sent_total", "Tickets sent to clients")?,
            key_rotations: families
                .counter("ticket_key_rotations_total", "Rotations of the ticket keys")?,
        })
    }
}

impl Config {
    fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            reloads: families.counters(
                "config_reloads_total",
                "Reloads of the configuration",
                "result",
            )?,
            generation: families.gauge(
                "config_generation",
                "Number of the configuration in use; the first is 1",
            )?,
            sites: families.gauge("sites", "Sites that serve")?,
            sites_refused: families.gauge(
                "sites_refused",
                "Sites that cannot serve because of a broken certificate or key",
            )?,
        })
    }
}

#[cfg(test)]
mod tests;
