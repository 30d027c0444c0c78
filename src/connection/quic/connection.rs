//! The life of one connection: ClientHello, handshake, requests, goodbye.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{ConnectionError, Incoming, RecvStream, SendStream, ServerConfig, VarInt};
use tracing::Instrument;

use super::code;
use super::control::{Control, under_way};
use super::errors::{alert, broken};
use super::http3::Http3;
use super::opening::{Opened, Opening};
use super::sent::await_acknowledged;
use super::wake::{Leaving, Woken, at_once};
use super::{peer, stream};
use crate::connection::context::{Permit, Worker};
use crate::connection::report::Report;
use crate::connection::seen::Seen;
use crate::deadline::Alarm;
use crate::http::h3::{Code, MAX};
use crate::telemetry::labels::{ConnectionEnd, Label, TimeoutKind};
use crate::tls::ja4::Transport;
use crate::tls::quic::{Crypto, Facts, Progress};

/// How long a connection that has asked nothing yet has for its first request before it is told
/// goodbye for good, as over TCP.
const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// What was received and sent is asked for once, at the end: quinn copies all of its figures for it.
pub(super) const NOT_COUNTED: (u64, u64) = (0, 0);

/// What a listener knows of a connection.
pub(super) struct Accepted {
    pub(super) listener: Arc<str>,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    /// Whether the client has proved its address by a Retry.
    pub(super) validated: bool,
}

/// The task of one connection.
pub(super) struct Connection {
    pub(super) worker: Arc<Worker>,
    pub(super) accepted: Accepted,
    pub(super) permit: Permit,
    pub(super) alarm: Alarm,
    pub(super) incoming: Option<Incoming>,
    pub(super) config: Option<ServerConfig>,
    pub(super) opening: Arc<Opening>,
    pub(super) progress: Progress,
    pub(super) report: Report,
    pub(super) quic: Option<quinn::Connection>,
    pub(super) http3: Option<Arc<Http3>>,
    pub(super) error: Option<ConnectionError>,
    /// When it was accepted, on the worker's clock.
    pub(super) began: Duration,
}

impl Connection {
    /// A connection that was just admitted, `alarm` being the one whose waker the `permit` was
    /// admitted with.
    pub(super) fn new(
        worker: Arc<Worker>,
        accepted: Accepted,
        permit: Permit,
        alarm: Alarm,
        incoming: Incoming,
        base: &ServerConfig,
    ) -> Self {
        let Accepted { client, local, .. } = accepted;
        worker.process.metrics.connections.accepted.inc();
        let listener = Arc::clone(&accepted.listener);
        let ends = (client, local);
        let opening = Opening::new(&worker, &permit, alarm.waker(), Arc::clone(&listener), ends);
        let progress = Progress::default();
        let mut config = base.clone();
        config.crypto = Crypto::new(opening.clone(), progress.clone());
        let mut report = Report::new(worker.index, Transport::Quic, listener, (client, local));
        if accepted.validated {
            report.validated();
        }
        Self {
            began: worker.ticker.now(),
            report,
            worker,
            accepted,
            permit,
            alarm,
            incoming: Some(incoming),
            config: Some(config),
            opening,
            progress,
            quic: None,
            http3: None,
            error: None,
        }
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        if self.open().await {
            self.serve().await;
        }
    }

    async fn serve(&mut self) {
        let Some(http3) = self.http3.clone() else {
            return;
        };
        let mut control = match http3.is_http09() {
            true => Control::Nothing,
            false => Control::begin(&http3.quic).await,
        };
        let mut leaving = Leaving::No;
        // Made once, since each is entered in a list of quinn's when it is polled, and taken out of
        // that when it is dropped.
        let quic = &http3.quic;
        let mut ended = std::pin::pin!(quic.closed());
        let mut requests = std::pin::pin!(quic.accept_bi());
        let mut others = std::pin::pin!(quic.accept_uni());
        loop {
            let streams = (requests.as_mut(), others.as_mut());
            let woken = self.wake(&http3, &leaving, ended.as_mut(), streams);
            match woken.await {
                end @ (Woken::Ended(_) | Woken::Evicted | Woken::HandshakeDue) => {
                    self.cut(quic, end);
                    return;
                }
                Woken::Request(send, recv) => {
                    http3.shared.comes_from(quic.remote_address().ip());
                    self.request(&http3, send, recv);
                    requests.set(quic.accept_bi());
                    // Others have mostly come with it. Nothing else has run on this worker's one thread
                    // between them, so nothing can have happened that comes before requests, unless one
                    // of them has closed the connection: then those behind it end with it.
                    while let Some((send, recv)) = at_once(requests.as_mut()).await {
                        self.request(&http3, send, recv);
                        requests.set(quic.accept_bi());
                    }
                }
                Woken::Unidirectional(recv) => {
                    others.set(quic.accept_uni());
                    tokio::spawn(peer::read(Arc::clone(&http3), recv).in_current_span());
                }
                Woken::Confirmed => self.confirmed(&http3),
                Woken::Idle => {
                    http3.forget_idle();
                    let metrics = &self.worker.process.metrics;
                    metrics.timeouts.inc(TimeoutKind::KeepAlive);
                    http3.shared.closing.store(true, Ordering::Relaxed);
                }
                Woken::Leave => {
                    http3.forget_idle();
                    http3.shared.closing.store(true, Ordering::Relaxed);
                    await_acknowledged(&http3);
                    control.goaway(quic, MAX & !3);
                    let first = (http3.next() == 0).then_some(FIRST_REQUEST);
                    let after = first.unwrap_or_else(|| under_way(&http3));
                    leaving = Leaving::Told(self.due(after));
                }
                Woken::GoodbyeDue if matches!(leaving, Leaving::Last(_)) => {
                    self.report.end(ConnectionEnd::Clean);
                    http3.quic.close(code(Code::NO_ERROR), b"");
                    return;
                }
                Woken::GoodbyeDue => {
                    http3.turn_away();
                    control.goaway(quic, http3.next());
                    leaving = Leaving::Last(self.due(under_way(&http3)));
                }
            }
        }
    }

    /// Due when the next step of a goodbye is.
    fn due(&self, after: Duration) -> Alarm {
        let due = self.worker.ticker.alarm();
        due.set(Some(after));
        due
    }

    /// It has ended, or ends before the handshake has.
    pub(super) fn cut(&mut self, quic: &quinn::Connection, end: Woken) {
        match end {
            Woken::Ended(error) => self.error = Some(error),
            Woken::Evicted => {
                self.report.end(ConnectionEnd::Evicted);
                quic.close(code(Code::EXCESSIVE_LOAD), b"");
            }
            Woken::HandshakeDue => {
                self.time_out(TimeoutKind::Handshake);
                quic.close(code(Code::NO_ERROR), b"");
            }
            _ => {}
        }
    }

    fn request(&self, http3: &Arc<Http3>, mut send: SendStream, mut recv: RecvStream) {
        if http3.turns_away() {
            let _ = send.reset(code(Code::REQUEST_REJECTED));
            let _ = recv.stop(code(Code::REQUEST_REJECTED));
            http3.given_up();
            return;
        }
        let id = u64::from(VarInt::from(recv.id()));
        let place = http3.begin(id);
        // EARLY-DATA R23. As long as Finished is not verified there are no keys but those of early data;
        // whether it was is known before any request is seen here. quinn's own word is of no use: it
        // takes a connection that has ended meanwhile for one whose handshake is over.
        let early = self.report.is_handshaking() || self.progress.is_early(id);
        stream::begin(http3, place, id, send, recv, early);
    }

    fn confirmed(&mut self, http3: &Http3) {
        self.alarm.clear();
        self.end_of_handshake();
        self.permit.finish_handshake();
        http3.shared.write_lines();
        http3.rest();
    }

    fn end_of_handshake(&mut self) {
        let opening = Arc::clone(&self.opening);
        let opened = opening.opened();
        self.report.handshake_ended(
            &self.seen(NOT_COUNTED),
            opened.and_then(Opened::take_prepared),
            opened.map(|opened| &opened.confirmation),
            &self.worker.process.metrics,
        );
    }

    fn time_out(&mut self, kind: TimeoutKind) {
        self.worker.process.metrics.timeouts.inc(kind);
        if let Some(http3) = &self.http3 {
            // The first reason counts.
            let _ = http3.shared.cut.set(kind);
        }
        self.report.fail(format!("timeout: {}", kind.as_str()));
        self.report.end(ConnectionEnd::Timeout);
    }

    pub(super) fn seen(&self, bytes: (u64, u64)) -> Seen<'static> {
        let facts: Facts = self.progress.facts();
        Seen::of_quic(facts, bytes, self.error.as_ref().and_then(alert))
    }

    /// What was received and sent.
    fn bytes(&self) -> (u64, u64) {
        self.quic.as_ref().map_or(NOT_COUNTED, |quic| {
            let stats = quic.stats();
            (stats.udp_rx.bytes, stats.udp_tx.bytes)
        })
    }

    /// How it ended, if nothing of ours ended it.
    fn end(&mut self) {
        if let Some(wrong) = self.http3.as_ref().and_then(|http3| http3.wrong()) {
            self.report.fail(format!("HTTP/3 error {:#x}", wrong.0));
            self.report.end(ConnectionEnd::Error);
        }
        let end = match &self.error {
            None if self.worker.process.is_draining() => ConnectionEnd::Timeout,
            None => return,
            Some(ConnectionError::ApplicationClosed(close)) => {
                match close.error_code.into_inner() {
                    // The second is what those say who say nothing.
                    0x100 | 0 => ConnectionEnd::Clean,
                    _ => ConnectionEnd::Error,
                }
            }
            // Cut, if nothing else ended it.
            Some(ConnectionError::LocallyClosed) if self.worker.process.is_draining() => {
                ConnectionEnd::Timeout
            }
            Some(ConnectionError::LocallyClosed) => ConnectionEnd::Clean,
            Some(ConnectionError::TimedOut) => ConnectionEnd::Timeout,
            Some(ConnectionError::Reset) => ConnectionEnd::Reset,
            Some(ConnectionError::ConnectionClosed(close)) if u64::from(close.error_code) == 0 => {
                ConnectionEnd::Clean
            }
            Some(_) => ConnectionEnd::Error,
        };
        if end != ConnectionEnd::Clean
            && let Some(error) = &self.error
        {
            self.report.fail(error.to_string());
        }
        self.report.end(end);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(quic) = &self.quic
            && quic.close_reason().is_none()
        {
            quic.close(code(Code::INTERNAL_ERROR), b"");
        }
        self.end();
        if let Some(broken) = self.error.as_ref().and_then(broken) {
            self.worker.process.metrics.quic.errors.inc(broken);
        }
        // Whoever still awaits the client's Finished awaits it in vain.
        self.progress.give_up();
        let opened = self.opening.opened();
        if self.report.is_handshaking() && opened.is_some() {
            self.end_of_handshake();
        }
        if let Some(http3) = &self.http3 {
            http3.shared.write_lines();
        }
        let requests = self.http3.as_ref().map_or(0, |http3| http3.shared.calls());
        self.report
            .write(&self.seen(self.bytes()), &self.worker.process, requests);
    }
}
