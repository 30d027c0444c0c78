//! The last half of a connection: how it ends, and that nothing said is lost by it.

use std::task::{Context, Poll};

use super::link::Ended;
use super::shared::Shared;
use super::{Connection, LINGER, Phase, Step};
use crate::telemetry::labels::{ConnectionEnd, Label, TimeoutKind};
use crate::tls::stream::StreamError;

impl Connection {
    pub(super) fn step_closing(&mut self, cx: &mut Context<'_>) -> Step {
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
        if !self.broken_off {
            link.tls.close();
        }
        match link.tls.poll_flush_last(cx) {
            Poll::Pending => {
                drop(link);
                let limit = self.shared.as_deref().and_then(Shared::write_idle);
                self.timing
                    .bound_close(&self.worker.ticker, limit.unwrap_or(LINGER).max(LINGER));
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
            None | Some(Ended::Failed(
                StreamError::Tls(_) | StreamError::Hello(_) | StreamError::Certificate
            ))
        );
        // Also where the socket is dropped next: what is held back leaves with this, whereas closing
        // throws it away if the client has sent what nobody read.
        if matches!(link.tls.poll_shutdown(cx), Poll::Ready(Err(_))) || !lingers {
            return Step::Done;
        }
        drop(link);
        self.timing.linger(&self.worker.ticker, LINGER);
        self.phase = Phase::Linger;
        Step::Again
    }

    pub(super) fn step_linger(&mut self, cx: &mut Context<'_>) -> Step {
        if self.timing.poll_due(cx) || self.io.lock().tls.poll_linger(cx).is_ready() {
            Step::Done
        } else {
            Step::Wait
        }
    }

    /// A deadline passed that ends the connection with no answer.
    pub(super) fn time_out(&mut self, kind: TimeoutKind) -> Step {
        self.count_timeout(kind);
        if let Some(shared) = &self.shared {
            // The first reason counts.
            let _ = shared.cut.set(kind);
        }
        self.report.fail(format!("timeout: {}", kind.as_str()));
        self.end(ConnectionEnd::Timeout)
    }

    /// Ends the connection as it is.
    pub(super) fn end(&mut self, end: ConnectionEnd) -> Step {
        self.report.end(end);
        Step::Done
    }

    /// Ends the connection properly.
    pub(super) fn close(&mut self, end: ConnectionEnd) -> Step {
        self.report.end(end);
        self.hyper = None;
        self.timing.close();
        self.phase = Phase::Closing;
        Step::Again
    }
}
