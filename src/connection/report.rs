//! What becomes known of a connection, for its log line and the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::{AlertDescription, HandshakeKind, ProtocolVersion};

use crate::certs::chooser::CertificateKind;
use crate::confirm::{Confirmation, Status};
use crate::connection::context::Process;
use crate::connection::handshake::Chosen;
use crate::connection::link::Ended;
use crate::connection::record;
use crate::connection::seen::Seen;
use crate::telemetry::connections::{ConnectionRecord, EarlyOutcome};
use crate::telemetry::labels::{
    Alert, CertificateCompression, ConnectionEnd, Direction, EarlyRefusal, FailedBy,
    HandshakeKind as Kind, Label, TlsVersion,
};
use crate::telemetry::metrics::Metrics;
use crate::tls::hello::ClientHello;
use crate::tls::ja4::{Transport, ja4};
use crate::tls::session::{Outcome, Prepared};
use crate::tls::stream::StreamError;

/// Gathers the facts of one connection.
pub(super) struct Report {
    worker: usize,
    transport: Transport,
    listener: Arc<str>,
    peer: SocketAddr,
    client: SocketAddr,
    local: SocketAddr,
    time: SystemTime,
    started: Instant,
    /// Whether the address was proved before the handshake.
    validated: bool,
    /// Kept for its fingerprint, until the connection rests.
    hello: Option<Arc<ClientHello>>,
    fingerprint: Option<Box<str>>,
    server_name: Option<Arc<str>>,
    generation: u64,
    /// The kind that a full handshake shows.
    certificate: Option<&'static str>,
    asks_for_status: bool,
    /// Those that a site without early data will issue; then those that were issued.
    tickets: usize,
    handshake: Option<Duration>,
    early: EarlyOutcome,
    handshaking: bool,
    end: Option<ConnectionEnd>,
    error: Option<String>,
}

impl Report {
    pub(super) fn new(
        worker: usize,
        transport: Transport,
        listener: Arc<str>,
        (peer, local): (SocketAddr, SocketAddr),
    ) -> Self {
        Self {
            worker,
            transport,
            listener,
            peer,
            client: peer,
            local,
            time: SystemTime::now(),
            started: Instant::now(),
            // Over TCP it has answered our SYN-ACK.
            validated: transport != Transport::Quic,
            hello: None,
            fingerprint: None,
            server_name: None,
            generation: 0,
            certificate: None,
            asks_for_status: false,
            tickets: 0,
            handshake: None,
            early: EarlyOutcome::None,
            handshaking: true,
            end: None,
            error: None,
        }
    }

    /// The client has proved its address by a Retry.
    pub(super) fn validated(&mut self) {
        self.validated = true;
    }

    pub(super) fn hello(&mut self, hello: Arc<ClientHello>) {
        if hello.offers_early_data() {
            self.early = EarlyOutcome::Offered;
        }
        self.server_name = hello.shared_server_name();
        self.hello = Some(hello);
    }

    /// The connection rests: keeps a line's worth of the ClientHello, not the message. `wanted`
    /// says whether there may be a line.
    pub(super) fn rest(&mut self, wanted: bool) {
        if let Some(hello) = self.hello.take()
            && wanted
        {
            self.fingerprint = Some(ja4(&hello, self.transport).into());
        }
    }

    pub(super) fn chose(&mut self, chosen: &Chosen, generation: u64) {
        self.generation = generation;
        if !chosen.tls.early_data {
            self.tickets = chosen.tls.tickets;
        }
        let Some(hello) = self.hello.as_deref() else {
            return;
        };
        let certificates = &chosen.tls.certificates;
        let kind =
            certificates.certificate_for(|| hello.signature_schemes(), || hello.cipher_suites());
        self.certificate = kind.map(CertificateKind::label);
        self.asks_for_status = hello.asks_for_status();
    }

    pub(super) fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// A balancer has named the client, and what the client connected to.
    pub(super) fn proxied(&mut self, client: SocketAddr, local: SocketAddr) {
        self.client = client;
        self.local = local;
    }

    /// The other end's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The client's address and ours, as the client knows it.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.client, self.local)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn server_name(&self) -> Option<Arc<str>> {
        self.server_name.clone()
    }

    /// Whether the end of the handshake was not reported yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.handshaking
    }

    /// The first reason counts.
    pub(super) fn fail(&mut self, error: String) {
        self.error.get_or_insert(error);
    }

    /// hyper's own words, where nothing better is known.
    pub(super) fn fail_quietly(&mut self, error: &hyper::Error) {
        if !error.is_incomplete_message() {
            self.error.get_or_insert_with(|| error.to_string());
        }
    }

    pub(super) fn end(&mut self, end: ConnectionEnd) {
        self.end.get_or_insert(end);
    }

    /// The handshake was confirmed, or failed: counts it.
    pub(super) fn handshake_ended(
        &mut self,
        seen: &Seen<'_>,
        prepared: Option<Prepared>,
        confirmation: Option<&Confirmation>,
        metrics: &Metrics,
    ) {
        self.handshaking = false;
        let took = self.started.elapsed();
        let (kind, facts) = (seen.kind, &seen.facts);
        if facts.hellos > 1 {
            metrics.handshakes.hello_retry_requests.inc();
        }
        if let Some(sessions) = prepared.as_ref().and_then(|p| p.sessions.as_ref()) {
            self.tickets = sessions.tickets();
        }
        if let Some(prepared) = prepared
            && prepared.offered
        {
            let refusal = prepared.refusal_after(Outcome {
                accepted: facts.early_accepted,
                retried: facts.hellos > 1,
                kind,
            });
            if facts.early_bytes > 0 {
                // EARLY-DATA P4: at least one byte was delivered.
                metrics.early.accepted.inc();
                self.early = EarlyOutcome::Accepted;
            } else if facts.early_accepted {
                self.early = EarlyOutcome::Empty;
            } else if let Some(refusal) =
                refusal.and_then(|refusal| EarlyRefusal::from_word(refusal.label()))
                && kind.is_some()
            {
                metrics.early.refused.inc(refusal);
                self.early = EarlyOutcome::Refused(refusal);
            }
        }
        let confirmed = confirmation.is_some_and(|c| c.status() == Status::Confirmed);
        if !confirmed {
            let (by, alert) = match (facts.alert_received, facts.alert_sent) {
                (Some(alert), _) => (FailedBy::Client, Alert::from(alert)),
                (None, Some(alert)) => (FailedBy::Edge, Alert::from(alert)),
                (None, None) if self.end == Some(ConnectionEnd::Timeout) => {
                    (FailedBy::Edge, Alert::None)
                }
                (None, None) if self.end == Some(ConnectionEnd::Evicted) => {
                    (FailedBy::Edge, Alert::None)
                }
                (None, None) => (FailedBy::Client, Alert::None),
            };
            self.tickets = 0;
            metrics.handshakes.failed.inc(by, alert);
            tracing::debug!(by = by.as_str(), alert = alert.as_str(), "handshake failed");
            return;
        }
        self.handshake = Some(took);
        let version = match seen.version {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let kind = match kind {
            Some(HandshakeKind::Resumed) if facts.early_accepted => Kind::Early,
            Some(HandshakeKind::Resumed) => Kind::Resumed,
            _ => Kind::Full,
        };
        metrics.handshakes.complete(kind, version, took);
        if let Some(compressed) = facts.compressed
            && let Some(label) = CertificateCompression::from_word(compressed.algorithm.as_str())
        {
            let saved = u64::try_from(compressed.saved).unwrap_or(u64::MAX);
            metrics.certificates.compressed.inc(label);
            metrics.certificates.bytes_saved.add(label, saved);
        }
        tracing::debug!(kind = kind.as_str(), ?took, "handshake complete");
    }

    /// Counts the connection's end and writes its line, if it is wanted.
    pub(super) fn write(&self, seen: &Seen<'_>, process: &Process, requests: u64) {
        let facts = &seen.facts;
        let metrics = &process.metrics;
        let end = match (self.end, facts.alert_received, facts.alert_sent) {
            (Some(end), None, None) => end,
            (_, Some(AlertDescription::UserCanceled), _) => ConnectionEnd::Clean,
            (_, Some(_), _) | (_, _, Some(_)) => ConnectionEnd::Alert,
            (None, None, None) => ConnectionEnd::Error,
        };
        metrics.connections.closed.inc(end);
        metrics.connections.bytes.add(Direction::In, facts.bytes_in);
        metrics
            .connections
            .bytes
            .add(Direction::Out, facts.bytes_out);
        let tickets = match self.handshaking {
            true => 0,
            false => self.tickets,
        };
        metrics.sessions.tickets_sent.inc_by(tickets as u64);
        let Some(sink) = &process.connections else {
            return;
        };
        let kind = seen.kind;
        let resumed = kind == Some(HandshakeKind::Resumed);
        let mut record = ConnectionRecord {
            time: self.time,
            worker: self.worker,
            client: self.client,
            peer: (self.peer != self.client).then_some(self.peer),
            address_proved: self.validated || self.handshake.is_some(),
            listener: &self.listener,
            sni: self.server_name.as_deref(),
            client_hellos: facts.hellos,
            group: seen.group.and_then(|group| group.as_str()),
            suite: seen.suite.and_then(|suite| suite.as_str()),
            version: seen.version.and_then(record::version),
            alpn: seen.alpn.and_then(|alpn| std::str::from_utf8(alpn).ok()),
            certificate: self.certificate.filter(|_| facts.certificate_sent),
            staple: facts
                .staple
                .filter(|_| facts.certificate_sent && self.asks_for_status),
            certificate_compression: facts.compressed.map(|one| one.algorithm.as_str()),
            resumed,
            early: self.early,
            tickets_sent: u8::try_from(tickets).unwrap_or(u8::MAX),
            ja4: None,
            alert_sent: facts.alert_sent.map(Alert::from),
            alert_received: facts.alert_received.map(Alert::from),
            bytes_in: facts.bytes_in,
            bytes_out: facts.bytes_out,
            requests,
            handshake: self.handshake,
            duration: self.started.elapsed(),
            end,
            error: self.error.as_deref(),
        };
        if !process.connection_log.wants(&record) {
            return;
        }
        // Hashed only for a line that is written.
        let now = self.hello.as_deref();
        let now = now.map(|hello| ja4(hello, self.transport));
        record.ja4 = now.as_deref().or(self.fingerprint.as_deref());
        sink.write_json(&record);
    }
}

/// How a connection ended that its stream's error ended.
pub(super) fn end_of(error: &StreamError) -> ConnectionEnd {
    match error {
        StreamError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ConnectionEnd::Truncated
        }
        StreamError::Io(_) => ConnectionEnd::Reset,
        StreamError::Hello(_) | StreamError::Tls(_) | StreamError::Certificate => {
            ConnectionEnd::Alert
        }
    }
}

/// How a connection ended whose client's side ended.
pub(super) fn end_of_link(ended: &Ended) -> ConnectionEnd {
    match ended {
        Ended::Closed => ConnectionEnd::Clean,
        Ended::Truncated => ConnectionEnd::Truncated,
        Ended::Failed(error) => end_of(error),
    }
}
