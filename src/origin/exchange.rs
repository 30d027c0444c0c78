//! One request on its way through an origin: servers, connections, second tries.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{Response, StatusCode, response};

use super::address::Address;
use super::affinity;
use super::error::{Effort, ForwardError, ForwardErrorKind};
use super::fields::{self, Edge};
use super::head::Head;
use super::lease::Lease;
use super::link::{Link, LinkError};
use super::pool::{NoServer, Pool, Try, Wish};
use super::request_body::Upload;
use super::response_body::ResponseBody;
use super::watch::{Ended, Watch};
use super::{EarlyForward, Ends, Forward, Forwarded};
use crate::body::Body;
use crate::config::snapshot::RouteTimeouts;
use crate::confirm::{Confirmation, Status};
use crate::deadline::{Elapsed, within};
use crate::interim::Interims;
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
    let in_flight_early = early || forward.confirmation.status() != Status::Confirmed;
    let parts = forward.parts;
    let edge = Edge {
        host: forward.host,
        request_id: forward.request_id,
        client: forward.client,
        peer: forward.peer,
        told: forward.told,
        fields: forward.spec.forwarded,
        early: forward.early,
        has_body: !http_body::Body::is_end_stream(&forward.body),
        length: http_body::Body::size_hint(&forward.body).exact(),
    };
    let balance = &pool.spec().balance;
    let key = affinity::key(
        balance,
        &parts.headers,
        forward.ends.client.ip(),
        &edge.host,
    );
    let mut head = fields::prepare_request(parts, edge).map_err(|_| ForwardError {
        kind: ForwardErrorKind::RequestBody("the lengths of the request's body differ".into()),
        address: None,
        effort: Effort::default(),
    })?;
    if let Some(edits) = &forward.fields {
        head.edit(edits);
    }
    let upload = Upload::new(forward.body, early);
    let mut exchange = Exchange {
        // RFC 9110 §9.2.2.
        repeatable: upload.is_empty() && head.parts.method.is_idempotent(),
        upload,
        timeouts: forward.timeouts,
        watch: Watch::new(in_flight_early, &forward.confirmation, forward.deadline),
        key,
        fresh: false,
        idled: None,
        retries: 0,
        tried: Vec::new(),
        last: None,
        refused: 0,
        effort: Effort::default(),
        ends: forward.ends,
        interims: forward.interims,
        address: None,
        pool,
        metrics,
    };
    let result = exchange.run(&mut head, early, &forward.confirmation).await;
    result.map_err(|kind| ForwardError {
        kind,
        address: exchange.address,
        effort: exchange.effort,
    })
}

/// Within which a connection closes if it does so for having idled: the FIN was on its way when the
/// request was sent, so it is here after a round trip, or if it was lost after it was sent again
/// (RFC 6298: in Linux 200 ms later). Who closes later has seen the request, and what becomes of it
/// may be the request's doing. Measured in ticks.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How often a request goes to a server again that did nothing about it (RFC 9113 §8.7). Once is not
/// enough where connections end in good order all the time, such as behind every 100th request: those
/// that wait for one often meet the next one's end.
const REFUSED: u32 = 8;

struct Exchange<'a> {
    pool: Arc<Pool>,
    metrics: &'a Arc<Metrics>,
    upload: Upload,
    timeouts: RouteTimeouts,
    watch: Watch,
    /// Whether the request may be sent again after something of it was sent.
    repeatable: bool,
    /// What consistent hashing goes by.
    key: Option<u64>,
    /// Whether only a new connection will do.
    fresh: bool,
    /// The server that closed a connection which had idled, if one did.
    idled: Option<usize>,
    /// How often another server was asked.
    retries: u32,
    /// The servers that failed the request.
    tried: Vec<usize>,
    /// What became of it at the last of them; counted already.
    last: Option<ForwardErrorKind>,
    /// How often a server said that it did nothing about it.
    refused: u32,
    effort: Effort,
    /// Whose request it is.
    ends: Ends,
    interims: Option<Arc<dyn Interims>>,
    /// The server that was tried last.
    address: Option<Address>,
}

/// A try that brought no answer.
enum Failure {
    /// Nothing of the request was sent or processed, and all that was read of its body is held.
    NotSent(ForwardErrorKind),
    /// The connection ended before any byte of an answer.
    NoAnswer(ForwardErrorKind),
    Final(ForwardErrorKind),
}

impl Exchange<'_> {
    async fn run(
        &mut self,
        request: &mut Head,
        mut early: bool,
        confirmation: &Confirmation,
    ) -> Result<Forwarded, ForwardErrorKind> {
        let Some(permit) = self.pool.upstream.admit() else {
            return Err(self.counted(ForwardErrorKind::CircuitOpen));
        };
        let mut server = self.server(Try::First).await?;
        loop {
            let (mut lease, reused) = self.connected(server).await?;
            if let Some(host) = lease.host() {
                request.set_host(host);
            }
            let (begin, began) = (Instant::now(), self.pool.ticker.now());
            let failure = match self.send(&mut lease, request).await {
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
                            request.unmark();
                            self.metrics.origins.retries.inc(RetryReason::TooEarly);
                            self.fresh = true;
                            server = self.server(Try::Fresh).await?;
                            continue;
                        }
                    }
                    self.judge(&mut lease, head.status);
                    if let Some(other) = self.instead(&lease, head.status) {
                        self.metrics.origins.retries.inc(RetryReason::Status);
                        // Its connection is kept if the answer is whole, as mostly.
                        let idle = self.timeouts.response_idle;
                        ResponseBody::new(lease, Watch::none(), idle, self.metrics).whole();
                        server = other;
                        continue;
                    }
                    lease.hold(permit);
                    return Ok(self.answer(head, lease, origin_time));
                }
                Err(failure) => failure,
            };
            let idled = reused && !self.fresh && self.idled(&mut lease, began);
            let (kind, reason) = match failure {
                Failure::NotSent(kind) => (kind, Some(RetryReason::NotSent)),
                Failure::NoAnswer(kind) if self.repeatable => {
                    let reason = match idled {
                        true => RetryReason::ReusedClosed,
                        false => RetryReason::NoAnswer,
                    };
                    (kind, Some(reason))
                }
                Failure::NoAnswer(kind) | Failure::Final(kind) => (kind, None),
            };
            // It goes in good order, which is no fault of the server either (RFC 9113 §8.7).
            let refused = self.refused < REFUSED && matches!(kind, ForwardErrorKind::Unprocessed);
            self.refused += u32::from(refused);
            if (idled || refused)
                && let Some(reason) = reason
            {
                // On a fresh connection, which cannot fail by having been idle too long.
                self.metrics.origins.retries.inc(reason);
                self.fresh = true;
                self.idled = idled.then(|| lease.server());
                drop(lease);
                server = self.server(Try::Fresh).await?;
                continue;
            }
            if kind.is_failure() {
                lease.fail();
                let closed = matches!(kind, ForwardErrorKind::Closed | ForwardErrorKind::Reset);
                if closed && self.idled.take() == Some(lease.server()) {
                    // A fresh one fared no better: it was not for having idled.
                    lease.fail_before();
                }
            }
            let Some(reason) = reason else {
                return Err(self.counted(kind));
            };
            server = self.another(lease, kind, reason).await?;
        }
    }

    /// Whether a connection that was used before and failed did so for having idled.
    fn idled(&self, lease: &mut Lease, began: Duration) -> bool {
        self.pool.ticker.now().saturating_sub(began) < AT_ONCE
            && lease.link().is_some_and(|link| link.rested(AT_ONCE))
    }

    fn counted(&self, kind: ForwardErrorKind) -> ForwardErrorKind {
        kind.count(self.metrics);
        kind
    }

    fn wish(&self, again: Try) -> Wish<'_> {
        Wish {
            tried: &self.tried,
            key: self.key,
            again,
        }
    }

    /// The server that is to be asked; waits for one if all have as many requests as they may.
    async fn server(&mut self, again: Try) -> Result<Lease, ForwardErrorKind> {
        match self.pool.choose(self.wish(again)) {
            Ok(lease) => Ok(lease),
            Err(NoServer::Busy) => Box::pin(self.queue()).await,
            Err(reason) => {
                if reason == NoServer::OverBudget {
                    self.metrics.origins.retries_over_budget.inc();
                }
                Err(self.failed_with(ForwardErrorKind::NoServer))
            }
        }
    }

    /// What the client is told: of the last server that failed the request, if there is one.
    fn failed_with(&mut self, kind: ForwardErrorKind) -> ForwardErrorKind {
        match self.last.take() {
            Some(last) => last,
            None => self.counted(kind),
        }
    }

    /// Waits in the queue.
    async fn queue(&mut self) -> Result<Lease, ForwardErrorKind> {
        let pool = Arc::clone(&self.pool);
        let Some(mut place) = pool.wait(&self.tried) else {
            return Err(self.failed_with(ForwardErrorKind::QueueFull));
        };
        let began = Instant::now();
        let turn = within(&pool.ticker, Some(pool.spec().timeouts.queue), place.turn());
        let turn = watched(&mut self.watch, turn).await;
        let waited = began.elapsed();
        *self.effort.queued.get_or_insert_default() += waited;
        let seconds = &self.metrics.origins.queue_seconds;
        seconds.observe(waited.as_secs_f64());
        match turn {
            Ok(Ok(Some(slot))) => Ok(pool.take(slot)),
            Ok(Ok(None) | Err(Elapsed)) => Err(self.failed_with(ForwardErrorKind::QueueTimeout)),
            Err(ended) => Err(self.counted(ended.into())),
        }
    }

    /// Another server for a request that one failed, if it may be sent again.
    async fn another(
        &mut self,
        lease: Lease,
        kind: ForwardErrorKind,
        reason: RetryReason,
    ) -> Result<Lease, ForwardErrorKind> {
        kind.count(self.metrics);
        self.tried.push(lease.server());
        drop(lease);
        if self.retries >= self.pool.spec().retries.attempts {
            return Err(kind);
        }
        self.last = Some(kind);
        let server = self.server(Try::Retry).await?;
        self.retries += 1;
        self.metrics.origins.retries.inc(reason);
        Ok(server)
    }

    /// A connection to a server, and whether it may have idled before. One that cannot be connected to
    /// got nothing, so another one is asked.
    async fn connected(&mut self, mut lease: Lease) -> Result<(Lease, bool), ForwardErrorKind> {
        let connections = &self.metrics.origins.connections;
        loop {
            self.effort.tries += 1;
            if !self.fresh && lease.reuse(self.repeatable) {
                connections.inc(OriginConnection::Reused);
                self.address = lease.link().map(|link| link.address.clone());
                return Ok((lease, true));
            }
            // Boxed, so that requests on kept connections do not carry its room around.
            let connects =
                Box::pin(lease.connect(self.ends, self.repeatable, self.timeouts.connect));
            match watched(&mut self.watch, connects).await {
                Ok(Ok(())) => {
                    let joined = lease.link().is_some_and(|link| link.joined());
                    connections.inc(match joined {
                        true => OriginConnection::Reused,
                        false => OriginConnection::Opened,
                    });
                    let reused = lease.link().is_some_and(|link| link.may_have_idled());
                    self.address = lease.link().map(|link| link.address.clone());
                    return Ok((lease, reused));
                }
                Ok(Err((kind, address))) => {
                    self.address = address.or(self.address.take());
                    let another = self.another(lease, kind, RetryReason::NotSent);
                    lease = Box::pin(another).await?;
                }
                Err(ended) => return Err(self.counted(ended.into())),
            }
        }
    }

    /// Some answers say that the server is ill.
    fn judge(&self, lease: &mut Lease, status: StatusCode) {
        let ejection = self.pool.spec().ejection.as_ref();
        if ejection.is_some_and(|ejection| ejection.status.contains(status)) {
            lease.fail();
        }
    }

    /// The server to ask instead of passing on an answer of this status; `None` passes it on.
    fn instead(&mut self, lease: &Lease, status: StatusCode) -> Option<Lease> {
        let retries = &self.pool.spec().retries;
        if !self.repeatable || !retries.status.contains(status) || self.retries >= retries.attempts
        {
            return None;
        }
        self.tried.push(lease.server());
        match self.pool.choose(self.wish(Try::Instead)) {
            Ok(other) => {
                self.retries += 1;
                Some(other)
            }
            Err(reason) => {
                if reason == NoServer::OverBudget {
                    self.metrics.origins.retries_over_budget.inc();
                }
                None
            }
        }
    }

    /// Sends the request over a connection and awaits the head of the answer.
    async fn send(
        &mut self,
        lease: &mut Lease,
        request: &Head,
    ) -> Result<response::Parts, Failure> {
        let Some(link) = lease.link() else {
            return Err(Failure::Final(ForwardErrorKind::Closed));
        };
        self.metrics.origins.requests.inc();
        if link.is_http2() {
            self.upload.hold();
        }
        link.start(request, &self.upload, self.interims.clone());
        let mut written = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = link.poll_head(cx) {
                // The client is the one waited for from now on.
                link.alarm.clear();
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
        let gone = match error {
            LinkError::Closed | LinkError::Reset => link.is_silent(),
            LinkError::Unprocessed => true,
            _ => false,
        };
        // A refused stream's body may have been read from the client: is it there again?
        let anew = match error {
            LinkError::Unprocessed => self.upload.rewind(),
            _ => self.upload.is_empty(),
        };
        match (gone, link.sent_nothing() && anew) {
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

    fn answer(
        &mut self,
        head: response::Parts,
        mut lease: Lease,
        origin_time: Duration,
    ) -> Forwarded {
        let watch = std::mem::replace(&mut self.watch, Watch::none());
        let idle = self.timeouts.response_idle;
        if lease.link().is_some_and(|link| link.is_http2()) {
            self.upload.let_go();
        }
        let mut body = ResponseBody::new(lease, watch, idle, self.metrics);
        let body = match body.whole() {
            Some(whole) => whole,
            None => Body::new(body),
        };
        Forwarded {
            response: Response::from_parts(head, body),
            address: self.address.clone(),
            effort: self.effort,
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
