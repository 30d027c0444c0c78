//! A connection up to where it can be served: its ClientHello, and what that chooses.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use quinn::{Connecting, ConnectionError};
use rustls::ProtocolVersion;

use super::connection::{Connection, NOT_COUNTED};
use super::http3::Http3;
use super::opening::Opened;
use crate::config::snapshot::Listener;
use crate::connection::shared::{Past, Shared};
use crate::state::{ConnectionState, Protocol};
use crate::telemetry::labels::{ConnectionEnd, HelloError, TimeoutKind};

/// How long a ClientHello may take where no listener says so any more.
const CLIENT_HELLO: Duration = Duration::from_secs(5);

impl Connection {
    /// Awaits the ClientHello. Whether there is a connection to serve.
    pub(super) async fn open(&mut self) -> bool {
        let (Some(incoming), Some(config)) = (self.incoming.take(), self.config.take()) else {
            return false;
        };
        let mut connecting = match incoming.accept_with(Arc::new(config)) {
            Ok(connecting) => connecting,
            Err(error) => return self.no_hello(error),
        };
        // Mostly its first datagrams have all of it: then we go on before quinn sends, and what we say
        // first leaves with its first flight.
        let known = self.opening.opened().is_some() && self.opening.failed().is_none();
        if !known && !self.await_hello(&mut connecting).await {
            return false;
        }
        if let Some(vitals) = self.permit.vitals() {
            vitals.hear(self.worker.ticker.now());
        }
        // A server's connection is usable from its first flight on.
        let Ok((quic, _)) = connecting.into_0rtt() else {
            return false;
        };
        self.quic = Some(quic.clone());
        let opening = Arc::clone(&self.opening);
        let Some(opened) = opening.opened() else {
            return false;
        };
        self.tell();
        let timeouts = &opened.chosen.site.timeouts;
        let waited = self.worker.ticker.now().saturating_sub(self.began);
        self.alarm
            .set(Some(timeouts.handshake.saturating_sub(waited)));
        if let Some(end) = self.second_hello(&self.progress, &quic).await {
            self.cut(&quic, end);
            return false;
        }
        let Some(shared) = self.make_shared(opened) else {
            return false;
        };
        let nudge = self.alarm.waker();
        self.http3 = Some(Http3::new(
            quic,
            shared,
            timeouts.keep_alive,
            nudge,
            self.progress.clone(),
        ));
        true
    }

    /// Awaits the rest of a ClientHello. Whether it came.
    async fn await_hello(&mut self, connecting: &mut Connecting) -> bool {
        let limit = self.with_listener(|listener| listener.client_hello_timeout);
        // Also where a reload has taken the listener away.
        self.alarm.set(Some(limit.unwrap_or(CLIENT_HELLO)));
        let known = {
            let vitals = self.permit.vitals().cloned();
            let alarm = &self.alarm;
            let mut known = std::pin::pin!(connecting.handshake_data());
            poll_fn(|cx| {
                if vitals.as_ref().is_some_and(|vitals| vitals.is_evicted()) {
                    return Poll::Ready(Err(ConnectionEnd::Evicted));
                }
                if let Poll::Ready(known) = known.as_mut().poll(cx) {
                    return Poll::Ready(Ok(known));
                }
                alarm.poll_due(cx).map(|()| Err(ConnectionEnd::Timeout))
            })
            .await
        };
        match known {
            Err(end) => {
                if end == ConnectionEnd::Timeout {
                    let metrics = &self.worker.process.metrics;
                    metrics.handshakes.hello_errors.inc(HelloError::Timeout);
                    metrics.timeouts.inc(TimeoutKind::ClientHello);
                    self.report.fail("timeout: client_hello".to_owned());
                }
                self.report.end(end);
                false
            }
            Ok(Err(error)) => self.no_hello(error),
            Ok(Ok(_)) => true,
        }
    }

    /// Tells the log what was asked for and what was chosen, as far as it came to that.
    fn tell(&mut self) {
        if let Some(hello) = self.opening.hello() {
            self.report.hello(Arc::clone(hello));
        }
        if let Some(opened) = self.opening.opened() {
            self.report.chose(&opened.chosen, opened.generation);
        }
    }

    /// The connection ended before its ClientHello was whole, or by it.
    fn no_hello(&mut self, error: ConnectionError) -> bool {
        self.tell();
        match self.opening.failed() {
            Some(reason) => self.report.fail(reason.to_owned()),
            None if self.opening.opened().is_none() => {
                let metrics = &self.worker.process.metrics.handshakes;
                metrics.hello_errors.inc(HelloError::Closed);
                self.report.fail(error.to_string());
            }
            None => self.report.fail(error.to_string()),
        }
        self.error = Some(error);
        false
    }

    fn make_shared(&self, opened: &Opened) -> Option<Arc<Shared>> {
        let facts = self.progress.facts();
        let (client, local) = self.report.addresses();
        let state = Arc::new(ConnectionState {
            client,
            peer: self.report.peer(),
            local,
            listener: Arc::clone(self.report.listener()),
            worker: self.worker.index,
            server_name: self.report.server_name(),
            protocol: Protocol::Http3,
            alpn: self.seen(NOT_COUNTED).alpn.map(<[u8]>::to_vec),
            version: ProtocolVersion::TLSv1_3,
            suite: facts.suite?,
            group: facts.group,
            resumed: facts.kind == Some(rustls::HandshakeKind::Resumed),
            early_data: facts.early_accepted,
            address_validated: self.accepted.validated,
            peer_certificates: None,
        });
        Some(Shared::new(
            Arc::clone(&self.worker),
            state,
            opened.confirmation.clone(),
            self.permit.vitals().map(Arc::downgrade).unwrap_or_default(),
            &opened.chosen,
            Arc::default(),
            Past {
                generation: opened.generation,
                calls: 0,
                early_bytes: false,
            },
        ))
    }

    /// The listener in the snapshot in force.
    fn with_listener<T>(&self, read: impl FnOnce(&Listener) -> T) -> Option<T> {
        let snapshot = self.worker.process.current.peek();
        let mut listeners = snapshot.listeners.iter();
        let listener = listeners.find(|listener| listener.name == self.accepted.listener);
        listener.map(read)
    }
}
