//! The first half of a connection: ClientHello, site, engine, handshake, hyper.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use super::handshake::{choose, prepare};
use super::hyper::{self, Hyper};
use super::report;
use super::seen::Seen;
use super::shared::{Past, Shared};
use super::{Connection, Phase, Step};
use crate::config::snapshot::SiteTimeouts;
use crate::confirm::Confirmation;
use crate::state::{ConnectionState, Protocol};
use crate::telemetry::labels::{ConnectionEnd, HelloError, Label, TimeoutKind};
use crate::tls::hello::ClientHello;
use crate::tls::selector::Selection;
use crate::tls::stream::StreamError;

impl Connection {
    pub(super) fn step_hello(&mut self, cx: &mut Context<'_>) -> Step {
        if self.timing.poll_due(cx) {
            let metrics = &self.worker.process.metrics.handshakes;
            metrics.hello_errors.inc(HelloError::Timeout);
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
                        let limit = self.handshake_limit(&hello);
                        self.timing.handshake(limit);
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

    /// How long the handshake may take while its site is not known: as at the site that its name
    /// would choose, if there is one.
    fn handshake_limit(&self, hello: &ClientHello) -> Duration {
        let snapshot = self.worker.process.current.peek();
        let mut listeners = snapshot.listeners.iter();
        listeners
            .find(|listener| listener.name == *self.report.listener())
            .and_then(|listener| choose(listener, hello, Selection::ByName).ok())
            .map_or(SiteTimeouts::default().handshake, |chosen| {
                chosen.site.timeouts.handshake
            })
    }

    pub(super) fn step_selecting(&mut self, cx: &mut Context<'_>) -> Step {
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
    pub(super) fn begin(&mut self, hello: &ClientHello, selection: Selection) -> Step {
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
                self.report.fail(format!("turned away: {}", label.as_str()));
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
            let tls = &mut self.io.lock().tls;
            tls.start(config, settler)
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

    /// Sees what the handshake has come to.
    pub(super) fn advance_handshake(&mut self) {
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
            let hellos = link.tls.facts().hellos;
            if hellos > self.hellos {
                // After a HelloRetryRequest.
                self.hellos = hellos;
                self.hear();
            }
            return;
        }
        let confirmed = self
            .confirmation
            .as_ref()
            .is_some_and(|confirmation| !confirmation.is_pending());
        if confirmed && self.report.is_handshaking() {
            self.report.handshake_ended(
                &Seen::of(&link.tls),
                self.prepared.take(),
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
    pub(super) fn make_hyper(&mut self) -> bool {
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
                Protocol::Http2 | Protocol::Http3 => link.pass_on(),
            }
            if !link.has_approved() {
                return false;
            }
        }
        let mut hyper = Hyper::new(self.io.clone(), &shared);
        if self.going_away {
            // A drain began before its first request was here.
            shared.closing.store(true, Ordering::Relaxed);
            hyper.go_away();
        }
        self.hyper = Some(hyper);
        true
    }

    pub(super) fn make_shared(&self) -> Option<Arc<Shared>> {
        let chosen = self.chosen.as_ref()?;
        let link = self.io.lock();
        let engine = link.tls.engine()?;
        let alpn = engine.alpn_protocol().map(<[u8]>::to_vec);
        let (client, local) = self.report.addresses();
        let state = Arc::new(ConnectionState {
            client,
            peer: self.report.peer(),
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
            address_validated: true,
            peer_certificates: None,
        });
        Some(Shared::new(
            Arc::clone(&self.worker),
            state,
            self.confirmation.clone()?,
            self.permit.vitals().map(Arc::downgrade).unwrap_or_default(),
            chosen,
            link.violation_status(),
            Past {
                generation: self.report.generation(),
                calls: self.timing.calls(),
                early_bytes: link.tls.facts().early_bytes > 0 && self.timing.calls() == 0,
            },
        ))
    }
}
