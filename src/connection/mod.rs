//! One connection's life: TLS core ↔ hyper, phases, confirmation, close.
//!
//! One task per connection, and it is the only one that touches the socket. A turn of it: poll
//! hyper if it is there; while the handshake is unconfirmed or hyper absent, read and process TLS;
//! again if anything moved; make hyper when the first whole head is there; flush once; see which
//! deadline is next.

mod bodies;
pub mod context;
mod exchange;
mod handshake;
mod hyper;
mod link;
mod plan;
mod record;
pub mod redirect;
mod report;
mod service;
mod shared;
mod stage;
mod timing;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;

use self::context::{Permit, Worker};
use self::handshake::{Chosen, choose, prepare};
use self::hyper::Hyper;
use self::link::{Ended, Io, Link};
use self::report::Report;
use self::shared::Shared;
use self::timing::Timing;
use crate::confirm::{Confirmation, Status};
use crate::deadline::Alarm;
use crate::http::framing::raw_response;
use crate::state::{ConnectionState, Protocol};
use crate::telemetry::labels::{ConnectionEnd, HelloError, Label, TimeoutKind};
use crate::tls::hello::{ClientHello, HelloReader};
use crate::tls::selector::{SelectFuture, Selection};
use crate::tls::session::Prepared;
use crate::tls::stream::{StreamError, TlsStream};

/// How long a closed connection goes on to discard what the client still sends.
const LINGER: Duration = Duration::from_secs(2);

/// How long an HTTP/2 client may take to let go after GOAWAY for an idle connection.
const GOAWAY: Duration = Duration::from_secs(5);

enum Phase {
    /// Awaits the ClientHello.
    Hello(Box<HelloReader>),
    /// Awaits a library user's selector.
    Selecting(Arc<ClientHello>, SelectFuture),
    /// Handshake and HTTP.
    Open,
    /// Awaits the client's Finished, then says goodbye.
    Closing,
    /// Our side is closed; discards.
    Linger,
}

enum Step {
    Again,
    Wait,
    Done,
}

/// The task of one connection.
pub struct Connection {
    worker: Arc<Worker>,
    io: Io,
    phase: Phase,
    hyper: Option<Hyper>,
    shared: Option<Arc<Shared>>,
    chosen: Option<Chosen>,
    prepared: Option<Prepared>,
    confirmation: Option<Confirmation>,
    timing: Timing,
    report: Report,
    permit: Permit,
    /// Whether GOAWAY was sent or the connection refuses further requests.
    going_away: bool,
}

impl Connection {
    /// A connection that was just accepted and admitted.
    ///
    /// `alarm` is the one whose waker the `permit` was admitted with.
    pub fn new(
        worker: Arc<Worker>,
        socket: TcpStream,
        listener: Arc<str>,
        client: SocketAddr,
        permit: Permit,
        alarm: Alarm,
        client_hello: Duration,
    ) -> Self {
        let local = socket.local_addr().unwrap_or(client);
        let timing = Timing::new(alarm, worker.ticker.now(), client_hello);
        worker.process.metrics.connections.accepted.inc();
        Self {
            io: Io::new(Link::new(TlsStream::new(socket))),
            phase: Phase::Hello(Box::default()),
            hyper: None,
            shared: None,
            chosen: None,
            prepared: None,
            confirmation: None,
            timing,
            report: Report::new(worker.index, listener, client, local),
            permit,
            going_away: false,
            worker,
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Step {
        if self
            .permit
            .vitals()
            .is_some_and(|vitals| vitals.is_evicted())
        {
            return self.end(ConnectionEnd::Evicted);
        }
        match &mut self.phase {
            Phase::Hello(_) => self.step_hello(cx),
            Phase::Selecting(..) => self.step_selecting(cx),
            Phase::Open => self.step_open(cx),
            Phase::Closing => self.step_closing(cx),
            Phase::Linger => self.step_linger(cx),
        }
    }

    fn step_hello(&mut self, cx: &mut Context<'_>) -> Step {
        if self.timing.poll_due(cx) {
            return self.time_out(TimeoutKind::ClientHello);
        }
        let Phase::Hello(reader) = &mut self.phase else {
            return Step::Again;
        };
        let read = self.io.lock().tls.poll_hello(cx, reader);
        match read {
            Poll::Pending => Step::Wait,
            Poll::Ready(Ok(hello)) => {
                let hello = Arc::new(hello);
                self.report.hello(Arc::clone(&hello));
                self.hear();
                match &self.worker.process.selector {
                    None => self.begin(&hello, Selection::ByName),
                    Some(selector) => {
                        let (client, local) = self.report.addresses();
                        let future = selector.select(Arc::clone(&hello), client, local);
                        // Until the site is known its handshake timeout is not.
                        self.phase = Phase::Selecting(hello, future);
                        Step::Again
                    }
                }
            }
            Poll::Ready(Err(StreamError::Hello(error))) => {
                let metrics = &self.worker.process.metrics.handshakes;
                metrics.hello_errors.inc(HelloError::of(error.label()));
                self.report.fail(error.to_string());
                self.close(ConnectionEnd::Alert)
            }
            Poll::Ready(Err(error)) => {
                let metrics = &self.worker.process.metrics.handshakes;
                metrics.hello_errors.inc(HelloError::Closed);
                self.report.fail(error.to_string());
                self.end(report::end_of(&error))
            }
        }
    }

    fn step_selecting(&mut self, cx: &mut Context<'_>) -> Step {
        if self.timing.poll_due(cx) {
            return self.time_out(TimeoutKind::Handshake);
        }
        let Phase::Selecting(hello, future) = &mut self.phase else {
            return Step::Again;
        };
        let hello = Arc::clone(hello);
        match future.as_mut().poll(cx) {
            Poll::Pending => Step::Wait,
            Poll::Ready(selection) => self.begin(&hello, selection),
        }
    }

    /// The ClientHello is there and so is the selection: starts the engine.
    fn begin(&mut self, hello: &ClientHello, selection: Selection) -> Step {
        let process = Arc::clone(&self.worker.process);
        let snapshot = process.current.peek();
        let chosen = snapshot
            .listeners
            .iter()
            .find(|listener| listener.name == *self.report.listener())
            .ok_or((rustls::AlertDescription::InternalError, HelloError::Other))
            .and_then(|listener| {
                choose(listener, hello, selection).map_err(|no| (no.alert, no.label))
            });
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err((alert, label)) => {
                process.metrics.handshakes.hello_errors.inc(label);
                self.report.fail(format!("no site: {}", label.as_str()));
                self.io.lock().tls.refuse(alert);
                return self.close(ConnectionEnd::Alert);
            }
        };
        let prepared = prepare(&process, &chosen, hello);
        if prepared.offered {
            process.metrics.early.offered.inc();
        }
        let (settler, confirmation) = Confirmation::pending();
        let started = {
            let config = Arc::clone(&prepared.config);
            self.io.lock().tls.start(config, settler)
        };
        self.confirmation = Some(confirmation);
        self.timing.handshake(chosen.site.timeouts.handshake);
        self.report.chose(&chosen, snapshot.generation);
        self.chosen = Some(chosen);
        self.prepared = Some(prepared);
        self.phase = Phase::Open;
        match started {
            Ok(()) => Step::Again,
            Err(error) => {
                self.report.fail(error.to_string());
                self.end(ConnectionEnd::Error)
            }
        }
    }

    fn step_open(&mut self, cx: &mut Context<'_>) -> Step {
        loop {
            let mut moved = false;
            if let Some(hyper) = &mut self.hyper
                && let Poll::Ready(result) = hyper.poll(cx)
            {
                self.hyper = None;
                if let Err(error) = result {
                    self.report.fail_quietly(&error);
                }
                return self.close_as_ended();
            }
            let unconfirmed = {
                let mut link = self.io.lock();
                let unconfirmed = link.tls.is_unconfirmed();
                if (unconfirmed || self.hyper.is_none()) && link.poll_drive(cx).is_ready() {
                    moved = true;
                }
                unconfirmed
            };
            if unconfirmed || self.report.is_handshaking() {
                self.advance_handshake();
            }
            if self.hyper.is_none() && self.make_hyper() {
                moved = true;
            }
            let ended = self.io.lock().ended.is_some();
            if ended && (self.hyper.is_none() || self.handshake_failed()) {
                // EARLY-DATA R11: with the handshake go the requests that it carried.
                return self.close_as_ended();
            }
            if !moved {
                break;
            }
        }
        self.after_turn(cx)
    }

    fn handshake_failed(&self) -> bool {
        let confirmation = self.confirmation.as_ref();
        confirmation.is_some_and(|confirmation| confirmation.status() == Status::Failed)
    }

    /// Closes, and says how the client's side ended, if it did.
    fn close_as_ended(&mut self) -> Step {
        let link = self.io.lock();
        let end = match &link.ended {
            Some(ended) => {
                if let Ended::Failed(error) = ended {
                    self.report.fail(error.to_string());
                }
                report::end_of_link(ended)
            }
            None => ConnectionEnd::Clean,
        };
        drop(link);
        self.close(end)
    }

    /// After hyper and TLS have done what they could: violations, flush, deadlines, idleness.
    fn after_turn(&mut self, cx: &mut Context<'_>) -> Step {
        if let Some(step) = self.answer_violation() {
            return step;
        }
        let going = self
            .shared
            .as_ref()
            .is_some_and(|shared| shared.is_closing());
        if (going || self.worker.process.is_draining()) && !self.going_away {
            self.go_away();
            return Step::Again;
        }
        {
            let mut link = self.io.lock();
            if let Poll::Ready(Err(error)) = link.tls.poll_flush(cx) {
                drop(link);
                self.report.fail(error.to_string());
                return self.end(ConnectionEnd::Reset);
            }
            let shared = self.shared.as_deref();
            self.timing.observe(
                &link,
                self.hyper.as_ref(),
                shared,
                self.chosen.as_ref().map(|chosen| &chosen.site.timeouts),
                self.worker.ticker.now(),
            );
        }
        if self.going_away && self.timing.is_idle() && self.is_http1() {
            return self.close(ConnectionEnd::Clean);
        }
        if !self.timing.poll_due(cx) {
            return Step::Wait;
        }
        self.on_due()
    }

    /// A deadline passed, or an idle connection may give its memory back.
    fn on_due(&mut self) -> Step {
        match self.timing.due(self.worker.ticker.now()) {
            timing::Due::Nothing => Step::Again,
            timing::Due::Rest => {
                if let Some(hyper) = self.hyper.take() {
                    let rest = hyper.take_down();
                    self.io.lock().push_back(&rest);
                }
                self.timing.rested();
                Step::Again
            }
            // The client has half a head: it may still read an answer.
            timing::Due::Close(TimeoutKind::RequestHeaders) if self.timing.in_head() => {
                self.count_timeout(TimeoutKind::RequestHeaders);
                self.answer_raw(StatusCode::REQUEST_TIMEOUT);
                self.close(ConnectionEnd::Timeout)
            }
            timing::Due::Close(kind) => {
                self.count_timeout(kind);
                match &mut self.hyper {
                    Some(hyper) if !hyper.is_http1() && !self.going_away => {
                        hyper.go_away();
                        self.going_away = true;
                        self.timing.force_in(&self.worker.ticker, GOAWAY);
                        Step::Again
                    }
                    _ => self.close(ConnectionEnd::Timeout),
                }
            }
            timing::Due::Cut(kind) => self.time_out(kind),
            timing::Due::Forced => self.close(ConnectionEnd::Clean),
        }
    }

    fn step_closing(&mut self, cx: &mut Context<'_>) -> Step {
        loop {
            let mut link = self.io.lock();
            if !link.tls.is_unconfirmed() {
                break;
            }
            // What an early answer with `Connection: close` owes its client: the handshake's end.
            if link.poll_drive(cx).is_pending() {
                let flushed = link.tls.poll_flush(cx);
                drop(link);
                if matches!(flushed, Poll::Ready(Err(_))) || self.timing.poll_due(cx) {
                    if self.timing.is_due_handshake(self.worker.ticker.now()) {
                        return self.time_out(TimeoutKind::Handshake);
                    }
                    return self.end(ConnectionEnd::Reset);
                }
                return Step::Wait;
            }
            link.forget_plain();
            drop(link);
            self.advance_handshake();
        }
        if self.report.is_handshaking() {
            self.advance_handshake();
        }
        let mut link = self.io.lock();
        link.tls.close();
        match link.tls.poll_flush(cx) {
            Poll::Pending => {
                drop(link);
                self.timing.bound_close(&self.worker.ticker, LINGER);
                return if self.timing.poll_due(cx) {
                    Step::Done
                } else {
                    Step::Wait
                };
            }
            Poll::Ready(Err(_)) => return Step::Done,
            Poll::Ready(Ok(())) => {}
        }
        // Who broke the protocol may still have bytes under way: closing at once would reset the
        // connection, and with it the alert that tells why.
        let lingers = matches!(
            link.ended,
            None | Some(Ended::Failed(StreamError::Tls(_) | StreamError::Hello(_)))
        );
        if matches!(link.tls.poll_shutdown(cx), Poll::Ready(Err(_))) || !lingers {
            return Step::Done;
        }
        drop(link);
        self.timing.linger(&self.worker.ticker, LINGER);
        self.phase = Phase::Linger;
        Step::Again
    }

    fn step_linger(&mut self, cx: &mut Context<'_>) -> Step {
        if self.timing.poll_due(cx) || self.io.lock().tls.poll_linger(cx).is_ready() {
            Step::Done
        } else {
            Step::Wait
        }
    }

    /// Sees what the handshake has come to.
    fn advance_handshake(&mut self) {
        let link = self.io.lock();
        let Some(engine) = link.tls.engine() else {
            return;
        };
        if let Some(sessions) = self.prepared.as_ref().and_then(|p| p.sessions.as_ref()) {
            // EARLY-DATA R9: what was taken for nothing goes back.
            sessions.settle(engine.handshake_kind());
        }
        let ended = !link.tls.is_unconfirmed();
        if !ended {
            return;
        }
        let confirmed = self
            .confirmation
            .as_ref()
            .is_some_and(|confirmation| !confirmation.is_pending());
        if confirmed && self.report.is_handshaking() {
            self.report.handshake_ended(
                &link.tls,
                self.prepared.as_ref(),
                self.confirmation.as_ref(),
                &self.worker.process.metrics,
            );
            drop(link);
            self.permit.finish_handshake();
            if let Some(shared) = &self.shared {
                shared.write_lines();
            }
        }
    }

    /// Makes hyper once there is something whole for it.
    fn make_hyper(&mut self) -> bool {
        if !self.io.lock().has_plain() {
            return false;
        }
        let shared = match &self.shared {
            Some(shared) => Arc::clone(shared),
            None => {
                let Some(shared) = self.make_shared() else {
                    return false;
                };
                self.shared = Some(Arc::clone(&shared));
                shared
            }
        };
        {
            let mut link = self.io.lock();
            match shared.state.protocol {
                Protocol::Http1 => link.scan_with(hyper::limits(&shared.site)),
                Protocol::Http2 => link.pass_on(),
            }
            if !link.has_approved() {
                return false;
            }
        }
        self.hyper = Some(Hyper::new(self.io.clone(), &shared));
        true
    }

    fn make_shared(&self) -> Option<Arc<Shared>> {
        let chosen = self.chosen.as_ref()?;
        let link = self.io.lock();
        let engine = link.tls.engine()?;
        let alpn = engine.alpn_protocol().map(<[u8]>::to_vec);
        let (client, local) = self.report.addresses();
        let state = Arc::new(ConnectionState {
            client,
            local,
            listener: Arc::clone(self.report.listener()),
            worker: self.worker.index,
            server_name: self.report.server_name(),
            protocol: match alpn.as_deref() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            },
            alpn,
            version: engine.protocol_version()?,
            suite: engine.negotiated_cipher_suite()?.suite(),
            group: engine
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
            resumed: engine.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            early_data: link.tls.facts().early_accepted,
            peer_certificates: None,
        });
        Some(Shared::new(
            Arc::clone(&self.worker),
            state,
            self.confirmation.clone()?,
            self.permit.vitals().cloned(),
            chosen,
            self.report.generation(),
            link.violation_status(),
        ))
    }

    /// Answers broken framing once everything before it is answered.
    fn answer_violation(&mut self) -> Option<Step> {
        let link = self.io.lock();
        let violation = link.violation.as_ref()?;
        let status = violation.status();
        let label = violation.reason.label();
        let in_body = link.scanner().is_some_and(|scanner| scanner.in_body());
        let heads = link.scanner().map_or(0, |scanner| scanner.heads());
        drop(link);
        if let Some(shared) = &self.shared {
            let answered = shared.calls.load(Ordering::Relaxed) == heads && shared.in_flight() == 0;
            if !answered || (in_body && self.hyper.is_some()) {
                return None;
            }
        }
        let metrics = &self.worker.process.metrics.requests;
        metrics.framing_violations.inc();
        self.report.fail(format!("broken framing: {label}"));
        if !in_body {
            self.answer_raw(status);
        }
        Some(self.close(ConnectionEnd::Error))
    }

    /// Writes an answer past hyper, which has none for it.
    fn answer_raw(&mut self, status: StatusCode) {
        let bytes = std::io::IoSlice::new(raw_response(status));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // It is small and nothing is under way: it fits, or the client takes nothing anyway.
        let _ = self.io.lock().tls.poll_write(&mut cx, &[bytes]);
    }

    fn go_away(&mut self) {
        self.going_away = true;
        if let Some(shared) = &self.shared {
            shared.closing.store(true, Ordering::Relaxed);
        }
        if let Some(hyper) = &mut self.hyper {
            hyper.go_away();
        }
    }

    fn is_http1(&self) -> bool {
        self.shared
            .as_ref()
            .is_none_or(|shared| shared.state.protocol == Protocol::Http1)
    }

    fn hear(&self) {
        if let Some(vitals) = self.permit.vitals() {
            vitals.hear(self.worker.ticker.now());
        }
    }

    fn count_timeout(&self, kind: TimeoutKind) {
        self.worker.process.metrics.timeouts.inc(kind);
    }

    /// A deadline passed that ends the connection with no answer.
    fn time_out(&mut self, kind: TimeoutKind) -> Step {
        self.count_timeout(kind);
        self.report.fail(format!("timeout: {}", kind.as_str()));
        self.end(ConnectionEnd::Timeout)
    }

    /// Ends the connection as it is.
    fn end(&mut self, end: ConnectionEnd) -> Step {
        self.report.end(end);
        Step::Done
    }

    /// Ends the connection properly.
    fn close(&mut self, end: ConnectionEnd) -> Step {
        self.report.end(end);
        self.hyper = None;
        self.timing.close();
        self.phase = Phase::Closing;
        Step::Again
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.step(cx) {
                Step::Again => {}
                Step::Wait => return Poll::Pending,
                Step::Done => return Poll::Ready(()),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hyper = None;
        let mut link = self.io.lock();
        // Whoever still awaits the client's Finished awaits it in vain.
        link.tls.give_up();
        if self.report.is_handshaking() && link.tls.engine().is_some() {
            if let (Some(prepared), Some(engine)) = (&self.prepared, link.tls.engine())
                && let Some(sessions) = &prepared.sessions
            {
                sessions.settle(engine.handshake_kind());
            }
            self.report.handshake_ended(
                &link.tls,
                self.prepared.as_ref(),
                self.confirmation.as_ref(),
                &self.worker.process.metrics,
            );
        }
        if let Some(shared) = &self.shared {
            shared.write_lines();
        }
        self.report.write(
            &link,
            &self.worker.process,
            self.prepared.as_ref(),
            self.shared.as_deref(),
        );
    }
}
