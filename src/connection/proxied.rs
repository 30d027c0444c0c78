//! The beginning of a connection that comes through a load balancer: its PROXY protocol header.

use std::task::{Context, Poll};
use std::time::Duration;

use super::{Connection, Phase, Step};
use crate::listen::proxy::Receiver;
use crate::proxy_protocol::{Accepts, Told};
use crate::telemetry::labels::{ConnectionEnd, ProxyHeaderError, TimeoutKind};

/// What a balancer's connection awaits before anything else.
#[derive(Clone, Copy, Debug)]
pub struct Awaited {
    /// Which headers are taken.
    pub accepts: Accepts,
    /// From accept to the whole header.
    pub timeout: Duration,
}

/// The header of one connection, until it is there.
pub(super) struct Header {
    receiver: Receiver,
    /// How long the ClientHello may take then.
    client_hello: Duration,
}

impl Header {
    pub(super) fn new(awaited: Awaited, client_hello: Duration) -> Self {
        Self {
            receiver: Receiver::new(awaited.accepts),
            client_hello,
        }
    }
}

impl Connection {
    pub(super) fn step_header(&mut self, cx: &mut Context<'_>) -> Step {
        let errors = &self.worker.process.metrics.connections.proxy_header_errors;
        if self.timing.poll_due(cx) {
            errors.inc(ProxyHeaderError::Timeout);
            return self.time_out(TimeoutKind::ProxyHeader);
        }
        let Phase::Header(header) = &mut self.phase else {
            return Step::Again;
        };
        let received = header.receiver.poll(self.io.lock().tls.socket(), cx);
        match received {
            Poll::Pending => Step::Wait,
            Poll::Ready(Ok(told)) => {
                if let Told::Proxied {
                    source,
                    destination,
                } = told
                {
                    tracing::debug!(client = %source, "told by a PROXY protocol header");
                    self.report.proxied(source, destination);
                }
                // A balancer may connect before it has a client: what the client may take its time
                // for begins here.
                let client_hello = header.client_hello;
                self.timing.restart(self.worker.ticker.now(), client_hello);
                self.hear();
                self.phase = Phase::Hello(Box::default());
                Step::Again
            }
            Poll::Ready(Err(error)) => {
                errors.inc(error.label());
                self.report.fail(error.to_string());
                self.end(ConnectionEnd::Error)
            }
        }
    }
}
