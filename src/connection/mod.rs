//! One connection's life: TLS core ↔ hyper, phases, confirmation, close.
//!
//! One task per connection, and it is the only one that touches the socket. A turn of it: poll
//! hyper if it is there; while the handshake is unconfirmed or hyper absent, read and process TLS;
//! again if anything moved; make hyper when the first whole head is there; flush once; see which
//! deadline is next.

mod admit;
mod bodies;
mod closing;
pub mod context;
mod drain;
mod exchange;
mod fields;
mod fixed;
mod handshake;
mod hyper;
mod incoming;
mod link;
mod local;
mod opening;
mod plan;
pub mod proxied;
pub mod quic;
mod record;
pub mod redirect;
mod report;
mod seen;
mod service;
mod shared;
mod stage;
mod target;
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
use self::handshake::Chosen;
use self::hyper::Hyper;
use self::link::{Ended, Io, Link};
use self::proxied::{Awaited, Header};
use self::report::Report;
use self::seen::Seen;
use self::shared::Shared;
use self::timing::Timing;
use crate::confirm::{Confirmation, Status};
use crate::deadline::Alarm;
use crate::http::framing::raw_response;
use crate::state::Protocol;
use crate::telemetry::labels::{ConnectionEnd, HelloError, TimeoutKind};
use crate::tls::hello::{ClientHello, HelloReader};
use crate::tls::ja4::Transport;
use crate::tls::selector::SelectFuture;
use crate::tls::session::Prepared;
use crate::tls::stream::{StreamError, TlsStream};

/// How long a closed connection goes on to discard what the client still sends.
const LINGER: Duration = Duration::from_secs(2);

/// How long an HTTP/2 client may take to let go after GOAWAY for an idle connection.
const GOAWAY: Duration = Duration::from_secs(5);

enum Phase {
    /// Awaits a balancer's PROXY protocol header.
    Header(Box<Header>),
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

/// What a listener knows of a connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection itself.
    pub socket: TcpStream,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The other end's address.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
    /// The header that it begins with, if the listener has it so.
    pub header: Option<Awaited>,
    /// From accept, or from the end of that header, to the whole ClientHello.
    pub client_hello: Duration,
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
    /// ClientHellos that were heard of.
    hellos: u8,
    /// Whether GOAWAY was sent or the connection refuses further requests.
    going_away: bool,
    /// Whether an answer broke off: then close_notify would say that it is whole.
    broken_off: bool,
}

impl Connection {
    /// A connection that was just accepted and admitted.
    ///
    /// `alarm` is the one whose waker the `permit` was admitted with.
    pub fn new(worker: Arc<Worker>, accepted: Accepted, permit: Permit, alarm: Alarm) -> Self {
        let Accepted {
            socket,
            listener,
            peer,
            local,
            header,
            client_hello,
        } = accepted;
        let first = header.map_or(client_hello, |header| header.timeout);
        let timing = Timing::new(alarm, worker.ticker.now(), first);
        worker.process.metrics.connections.accepted.inc();
        Self {
            io: Io::new(Link::new(TlsStream::new(socket))),
            phase: match header {
                Some(header) => Phase::Header(Box::new(Header::new(header, client_hello))),
                None => Phase::Hello(Box::default()),
            },
            hyper: None,
            shared: None,
            chosen: None,
            prepared: None,
            confirmation: None,
            timing,
            report: Report::new(worker.index, Transport::Tcp, listener, (peer, local)),
            permit,
            hellos: 1,
            going_away: false,
            broken_off: false,
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
            Phase::Header(_) => self.step_header(cx),
            Phase::Hello(_) => self.step_hello(cx),
            Phase::Selecting(..) => self.step_selecting(cx),
            Phase::Open => self.step_open(cx),
            Phase::Closing => self.step_closing(cx),
            Phase::Linger => self.step_linger(cx),
        }
    }

    fn step_open(&mut self, cx: &mut Context<'_>) -> Step {
        loop {
            let mut moved = false;
            if let Some(hyper) = &mut self.hyper
                && let Poll::Ready(result) = hyper.poll(cx)
            {
                self.hyper = None;
                if let Err(error) = result
                    && self.io.lock().violation.is_none()
                {
                    self.report.fail_quietly(&error);
                    self.broken_off = error.is_user();
                }
                return self.close_as_ended();
            }
            let unconfirmed = {
                let mut link = self.io.lock();
                let unconfirmed = link.tls.is_unconfirmed();
                let drive = unconfirmed || self.hyper.is_none() || link.is_unread();
                if drive && link.poll_drive(cx).is_ready() {
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
            let (ended, vanished) = {
                let link = self.io.lock();
                (link.ended.is_some(), link.has_vanished())
            };
            if vanished || ended && (self.hyper.is_none() || self.handshake_failed()) {
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

    /// Closes, and says how the client's side ended, if it did, or what was broken about it.
    fn close_as_ended(&mut self) -> Step {
        let link = self.io.lock();
        let end = match (&link.violation, &link.ended) {
            (Some(violation), _) => {
                let metrics = &self.worker.process.metrics.requests;
                metrics.framing_violations.inc();
                let label = violation.reason.label();
                self.report.fail(format!("broken framing: {label}"));
                ConnectionEnd::Error
            }
            (None, Some(ended)) => {
                if let Ended::Failed(error) = ended {
                    self.report.fail(error.to_string());
                    if matches!(error, StreamError::Certificate) {
                        let metrics = &self.worker.process.metrics.handshakes;
                        metrics.hello_errors.inc(HelloError::NoStaple);
                    }
                }
                report::end_of_link(ended)
            }
            (None, None) if link.tls.has_failed() => ConnectionEnd::Reset,
            (None, None) if self.broken_off => ConnectionEnd::Error,
            (None, None) => ConnectionEnd::Clean,
        };
        drop(link);
        self.close(end)
    }

    /// After hyper and TLS have done what they could: violations, flush, deadlines, idleness.
    fn after_turn(&mut self, cx: &mut Context<'_>) -> Step {
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
        if let Some(shared) = &self.shared
            && !shared.confirmation.is_pending()
            // HTTP/1.1 requests may wait in hyper's buffer; HTTP/2 frames do not.
            && (self.timing.is_between() || !self.is_http1() && !self.io.lock().has_plain())
        {
            shared.early_bytes_are_over();
        }
        if let Some(step) = self.answer_violation() {
            return step;
        }
        if self.going_away && self.is_http1() {
            if self.timing.is_between() {
                return self.close(ConnectionEnd::Clean);
            }
            // Who has just come is about to ask something: closing now would lose it.
            self.timing.hurry_first(LINGER);
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
            timing::Due::Probe => {
                self.io.lock().probe();
                self.timing.probed();
                Step::Again
            }
            timing::Due::Rest => {
                if let Some(hyper) = self.hyper.take() {
                    let rest = hyper.take_down();
                    self.io.lock().push_back(&rest);
                }
                self.rest();
                Step::Again
            }
            // The client has half a head: it may still read an answer.
            timing::Due::Close(TimeoutKind::RequestHeaders) if self.timing.in_head() => {
                self.count_timeout(TimeoutKind::RequestHeaders);
                self.answer_raw(StatusCode::REQUEST_TIMEOUT);
                self.close(ConnectionEnd::Timeout)
            }
            timing::Due::Close(_) if self.going_away && self.is_http1() => {
                self.close(ConnectionEnd::Clean)
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
                    // It is how most connections end.
                    _ if kind == TimeoutKind::KeepAlive => self.close(ConnectionEnd::Clean),
                    _ => self.close(ConnectionEnd::Timeout),
                }
            }
            timing::Due::Cut(kind) => self.time_out(kind),
            timing::Due::Forced => self.close(ConnectionEnd::Clean),
        }
    }

    /// hyper is gone until the next request: gives back what only requests need.
    fn rest(&mut self) {
        self.report.rest(self.worker.process.connections.is_some());
        self.timing.rested();
        let settled = self
            .confirmation
            .as_ref()
            .is_some_and(|confirmation| confirmation.status() == Status::Confirmed);
        // A handler may hold on to a request whose answer is sent.
        if settled
            && self
                .shared
                .take_if(|shared| Arc::strong_count(shared) == 1 && !shared.is_closing())
                .is_some()
        {
            self.confirmation = Some(self.worker.confirmed.clone());
        }
    }

    /// Requests that were handed out, ever.
    fn calls(&self) -> u64 {
        self.shared
            .as_ref()
            .map_or(self.timing.calls(), |shared| shared.calls())
    }

    /// Answers broken framing once everything before it is answered.
    fn answer_violation(&mut self) -> Option<Step> {
        let link = self.io.lock();
        let violation = link.violation.as_ref()?;
        let status = violation.status();
        let in_body = link.scanner().is_some_and(|scanner| scanner.in_body());
        let heads = link.scanner().map_or(0, |scanner| scanner.heads());
        if link.holds_output() {
            // The answers before come first.
            return None;
        }
        drop(link);
        if let Some(shared) = &self.shared {
            let answered = shared.calls.load(Ordering::Relaxed) == heads && shared.in_flight() == 0;
            if !answered || (in_body && self.hyper.is_some()) {
                return None;
            }
        }
        if !in_body {
            self.answer_raw(status);
        }
        Some(self.close_as_ended())
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
        // Whoever still awaits the client's Finished awaits it in vain: settled before its
        // requests are dropped, so that they know why.
        self.io.lock().tls.give_up();
        self.hyper = None;
        if self.worker.process.is_draining() {
            // Cut, if nothing else ended it.
            self.report.end(ConnectionEnd::Timeout);
        }
        let link = self.io.lock();
        if self.report.is_handshaking() && link.tls.engine().is_some() {
            if let (Some(prepared), Some(engine)) = (&self.prepared, link.tls.engine())
                && let Some(sessions) = &prepared.sessions
            {
                sessions.settle(engine.handshake_kind());
            }
            self.report.handshake_ended(
                &Seen::of(&link.tls),
                self.prepared.take(),
                self.confirmation.as_ref(),
                &self.worker.process.metrics,
            );
        }
        if let Some(shared) = &self.shared {
            shared.write_lines();
        }
        let seen = Seen::of(&link.tls);
        self.report.write(&seen, &self.worker.process, self.calls());
    }
}
