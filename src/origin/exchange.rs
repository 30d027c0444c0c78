//! One request on its way through an origin: servers, connections, second tries.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::HOST;
use http::request::Parts;
use http::{Response, StatusCode, response};

use super::address::Address;
use super::error::{ForwardError, ForwardErrorKind};
use super::fields::{self, Edge};
use super::link::{Link, LinkError};
use super::pool::{Lease, Pool};
use super::request_body::Upload;
use super::response_body::ResponseBody;
use super::watch::{Ended, Watch};
use super::{EarlyForward, Forward, Forwarded};
use crate::body::Body;
use crate::config::snapshot::RouteTimeouts;
use crate::confirm::Confirmation;
use crate::early::EARLY_DATA;
use crate::telemetry::labels::{OriginConnection, RetryReason};
use crate::telemetry::metrics::Metrics;

/// Sends a request until there is an answer or none can be had.
pub(super) async fn run(
    pool: Arc<Pool>,
    metrics: &Arc<Metrics>,
    forward: Forward,
) -> Result<Forwarded, ForwardError> {
    let early = forward.early == EarlyForward::Early;
    // EARLY-DATA R11 is about the handshake, so a marked request may be in its scope too.
    let in_flight_early = early || forward.confirmation.is_pending();
    let mut parts = forward.parts;
    let edge = Edge {
        host: forward.host,
        request_id: forward.request_id,
        client: forward.client,
        early: forward.early,
        has_body: !http_body::Body::is_end_stream(&forward.body),
        length: http_body::Body::size_hint(&forward.body).exact(),
    };
    fields::prepare_request(&mut parts, edge).map_err(|_| ForwardError {
        kind: ForwardErrorKind::RequestBody("the lengths of the request's body differ".into()),
        address: None,
    })?;
    if let Some(edits) = &forward.fields {
        edits.apply(&mut parts.headers);
    }
    let upload = Upload::new(forward.body, early);
    let mut exchange = Exchange {
        pool,
        metrics,
        // RFC 9110 §9.2.2.
        repeatable: upload.is_empty() && parts.method.is_idempotent(),
        upload,
        timeouts: forward.timeouts,
        watch: Watch::new(in_flight_early, &forward.confirmation, forward.deadline),
        fresh: false,
        address: None,
    };
    let result = exchange.run(parts, early, &forward.confirmation).await;
    result.map_err(|kind| ForwardError {
        kind,
        address: exchange.address,
    })
}

struct Exchange<'a> {
    pool: Arc<Pool>,
    metrics: &'a Arc<Metrics>,
    upload: Upload,
    timeouts: RouteTimeouts,
    watch: Watch,
    /// Whether the request may be sent again after something of it was sent.
    repeatable: bool,
    /// Whether only a new connection will do.
    fresh: bool,
    /// The server that was tried last.
    address: Option<Address>,
}

/// A try that brought no answer.
enum Failure {
    /// Nothing of the request was sent, nor asked of its body.
    NotSent(ForwardErrorKind),
    /// The connection ended before any byte of an answer.
    NoAnswer(ForwardErrorKind),
    Final(ForwardErrorKind),
}

impl Exchange<'_> {
    async fn run(
        &mut self,
        mut parts: Parts,
        mut early: bool,
        confirmation: &Confirmation,
    ) -> Result<Forwarded, ForwardErrorKind> {
        loop {
            let (mut lease, reused) = self.acquire().await?;
            if let Some(host) = lease.host() {
                parts.headers.insert(HOST, host.clone());
            }
            let begin = Instant::now();
            match self.send(&mut lease, &parts).await {
                Ok(head) => {
                    let origin_time = begin.elapsed();
                    self.metrics
                        .origins
                        .response_seconds
                        .observe(origin_time.as_secs_f64());
                    if head.status == StatusCode::TOO_EARLY {
                        self.metrics.origins.too_early.inc();
                        if early && self.upload.rewind() {
                            // EARLY-DATA R19: once more after completion, without our own mark.
                            drop(lease);
                            self.confirmed(confirmation).await?;
                            early = false;
                            parts.headers.remove(EARLY_DATA);
                            self.metrics.origins.retries.inc(RetryReason::TooEarly);
                            continue;
                        }
                    }
                    return Ok(self.answer(head, lease, origin_time));
                }
                Err(Failure::NotSent(_)) if reused => {
                    self.metrics.origins.retries.inc(RetryReason::NotSent);
                }
                Err(Failure::NoAnswer(_)) if reused && self.repeatable => {
                    self.metrics.origins.retries.inc(RetryReason::ReusedClosed);
                }
                Err(Failure::NotSent(kind) | Failure::NoAnswer(kind) | Failure::Final(kind)) => {
                    return Err(self.counted(kind));
                }
            }
            // Once on a fresh connection, which cannot fail by having been idle too long.
            self.fresh = true;
        }
    }

    fn counted(&self, kind: ForwardErrorKind) -> ForwardErrorKind {
        kind.count(self.metrics);
        kind
    }

    /// A connection to the least busy server, and whether it was used before. A server that
    /// cannot be connected to got nothing, so the next one is asked.
    async fn acquire(&mut self) -> Result<(Lease, bool), ForwardErrorKind> {
        let connections = &self.metrics.origins.connections;
        let mut tried = Vec::new();
        let mut last = None;
        while let Some(mut lease) = self.pool.choose(&tried) {
            if last.take().is_some() {
                self.metrics.origins.retries.inc(RetryReason::NotSent);
            }
            if !self.fresh && lease.reuse(self.repeatable) {
                connections.inc(OriginConnection::Reused);
                self.address = lease.link().map(|link| link.address.clone());
                return Ok((lease, true));
            }
            // Boxed, so that requests on kept connections do not carry its room around.
            let connects = Box::pin(lease.connect(self.timeouts.connect));
            match watched(&mut self.watch, connects).await {
                Ok(Ok(())) => {
                    connections.inc(OriginConnection::Opened);
                    self.address = lease.link().map(|link| link.address.clone());
                    return Ok((lease, false));
                }
                Ok(Err((kind, address))) => {
                    self.address = address.or(self.address.take());
                    kind.count(self.metrics);
                    tried.push(lease.server());
                    last = Some(kind);
                }
                Err(ended) => return Err(self.counted(ended.into())),
            }
        }
        Err(last.unwrap_or_else(|| {
            ForwardErrorKind::Unreachable(std::io::ErrorKind::AddrNotAvailable.into())
        }))
    }

    /// Sends the request over a connection and awaits the head of the answer.
    async fn send(&mut self, lease: &mut Lease, parts: &Parts) -> Result<response::Parts, Failure> {
        let Some(link) = lease.link() else {
            return Err(Failure::Final(ForwardErrorKind::Closed));
        };
        self.metrics.origins.requests.inc();
        link.start(parts, &self.upload);
        let mut written = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = link.poll_head(cx) {
                return Poll::Ready(result.map_err(|error| self.blame(link, error)));
            }
            if let Poll::Ready(ended) = self.watch.poll(cx) {
                return Poll::Ready(Err(Failure::Final(ended.into())));
            }
            // The clock of `response_headers` runs while the origin is the one waited for: it has
            // the whole request, or does not take the rest of it.
            if link.is_flushed() && self.upload.waits_for_client() {
                written = None;
                link.alarm.clear();
                return Poll::Pending;
            }
            let now = Some(link.written());
            if written != now {
                written = now;
                link.alarm.set(Some(self.timeouts.response_headers));
            }
            link.alarm
                .poll_due(cx)
                .map(|()| Err(Failure::Final(ForwardErrorKind::ResponseHeadersTimeout)))
        })
        .await
    }

    /// What an error before the answer's head means for the request.
    fn blame(&self, link: &Link, error: LinkError) -> Failure {
        let gone = matches!(error, LinkError::Closed | LinkError::Reset) && link.is_silent();
        match (gone, link.sent_nothing() && self.upload.is_empty()) {
            (true, true) => Failure::NotSent(error.into()),
            (true, false) => Failure::NoAnswer(error.into()),
            (false, _) => Failure::Final(error.into()),
        }
    }

    async fn confirmed(&mut self, confirmation: &Confirmation) -> Result<(), ForwardErrorKind> {
        let began = Instant::now();
        let outcome = watched(&mut self.watch, confirmation.wait()).await;
        self.metrics.early.waited(began.elapsed());
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ForwardErrorKind::HandshakeFailed),
            Err(ended) => Err(self.counted(ended.into())),
        }
    }

    fn answer(&mut self, head: response::Parts, lease: Lease, origin_time: Duration) -> Forwarded {
        let watch = std::mem::replace(&mut self.watch, Watch::none());
        let idle = self.timeouts.response_idle;
        let mut body = ResponseBody::new(lease, watch, idle, self.metrics);
        let body = match body.whole() {
            Some(whole) => whole,
            None => Body::new(body),
        };
        Forwarded {
            response: Response::from_parts(head, body),
            address: self.address.clone(),
            origin_time,
        }
    }
}

/// A future that ends when the exchange must.
async fn watched<F: Future>(watch: &mut Watch, future: F) -> Result<F::Output, Ended> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => watch.poll(cx).map(Err),
    })
    .await
}

impl From<Ended> for ForwardErrorKind {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::HandshakeFailed => Self::HandshakeFailed,
            Ended::TotalPassed => Self::TotalTimeout,
        }
    }
}
