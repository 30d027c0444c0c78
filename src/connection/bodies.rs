//! The bodies of requests and answers, with their limits, deadlines and counts.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BoxError, PIECE};
use crate::connection::exchange::{BodyFault, Exchange, Received};
use crate::connection::incoming::Incoming;
use crate::connection::shared::Shared;
use crate::deadline::{Alarm, Deadline};
use crate::origin::AnswerCut;
use crate::state::Protocol;
use crate::telemetry::access::AnswerEnd;
use crate::telemetry::labels::{Limit, Target, TimeoutKind};

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "the client was silent in the request body",
            Self::TooLarge => "the request body is larger than allowed",
            Self::Aborted => "the client ended the request body too soon",
        })
    }
}

impl std::error::Error for BodyFault {}

/// A request's body on its way to a handler or an origin.
pub(super) struct RequestBody {
    incoming: Incoming,
    received: Arc<Received>,
    left: Option<u64>,
    idle: Duration,
    alarm: Option<Alarm>,
    /// Whether the client is awaited. While nobody reads, its silence is not its fault.
    awaiting: bool,
    shared: Arc<Shared>,
    /// Whether it is one of the connection's unread bodies.
    unread: bool,
}

impl RequestBody {
    pub(super) fn new(
        incoming: Incoming,
        received: Arc<Received>,
        limit: Option<u64>,
        idle: Duration,
        shared: &Arc<Shared>,
    ) -> Self {
        shared.unread_bodies.fetch_add(1, Ordering::Relaxed);
        Self {
            incoming,
            received,
            left: limit,
            idle,
            alarm: None,
            awaiting: false,
            shared: Arc::clone(shared),
            unread: true,
        }
    }

    /// It was read to its end, or nobody will.
    fn leave(&mut self) {
        if std::mem::take(&mut self.unread) {
            self.shared.unread_bodies.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn ended(&mut self) {
        self.received.end();
        self.leave();
    }

    fn fail(&self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.received.fail(fault);
        Poll::Ready(Some(Err(fault.into())))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.leave();
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.received.ended() {
            // hyper would say so only with its next request, if this one is answered already.
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let ticker = &this.shared.worker.ticker;
            let alarm = this.alarm.get_or_insert_with(|| ticker.alarm());
            if !this.awaiting {
                this.awaiting = true;
                alarm.set(Some(this.idle));
            }
            ready!(alarm.poll_due(cx));
            this.shared
                .metrics()
                .timeouts
                .inc(TimeoutKind::RequestBodyIdle);
            return this.fail(BodyFault::Idle);
        };
        if let Some(alarm) = this.alarm.as_ref().filter(|_| this.awaiting) {
            this.awaiting = false;
            alarm.clear();
        }
        match frame {
            None => {
                this.ended();
                Poll::Ready(None)
            }
            Some(Err(_)) => this.fail(BodyFault::Aborted),
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.received.count(data.len());
                    if let Some(left) = &mut this.left {
                        match left.checked_sub(data.len() as u64) {
                            Some(rest) => *left = rest,
                            None => {
                                this.shared.metrics().requests.limits_hit.inc(Limit::Body);
                                return this.fail(BodyFault::TooLarge);
                            }
                        }
                    }
                } else if let Some(trailers) = frame.trailers_mut() {
                    // EARLY-DATA R17: in trailers it counts for nothing.
                    trailers.remove(EARLY_DATA);
                    this.ended();
                }
                if this.incoming.is_end_stream() {
                    this.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The field of RFC 8470 §5.1.
pub(super) const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// A body in memory is handed out in pieces (see also [`PIECE`]), so that it is not taken for sent before
/// the client has room for it. A stream of HTTP/2 is watched only until its last piece is handed out; one
/// of HTTP/3 until all is sent, and tells how much that is, so that its pieces may be larger.
const PIECE_OF_STREAM: usize = 16 * 1024;

/// The body of an answer. It carries the exchange to its end.
pub(super) struct ResponseBody {
    body: Body,
    /// What is left of a frame that was handed out in part.
    rest: Bytes,
    exchange: Box<Exchange>,
    total: Option<Deadline>,
    alarm: Option<Alarm>,
    /// Why the answer breaks off, while hyper sends what it has of it.
    broken: Option<BoxError>,
}

impl ResponseBody {
    pub(super) fn new(body: Body, mut exchange: Box<Exchange>, total: Option<Deadline>) -> Self {
        if body.is_end_stream() {
            exchange.end = AnswerEnd::Complete;
        }
        Self {
            body,
            rest: Bytes::new(),
            exchange,
            total,
            alarm: None,
            broken: None,
        }
    }

    /// hyper forgets what it has not written when a body fails: it is asked once more.
    fn break_off(
        &mut self,
        cx: &mut Context<'_>,
        error: BoxError,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn total_passed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(total) = &self.total else {
            return false;
        };
        // Watched even if it is off: the handler may set it while this waits.
        let alarm = self.alarm.get_or_insert_with(|| total.watch());
        alarm.poll_due(cx).is_ready()
    }

    /// The next piece of what is left of a frame, or the body's next frame.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => bytes = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let limit = match self.exchange.shared.state.protocol {
            Protocol::Http2 => PIECE_OF_STREAM,
            Protocol::Http1 | Protocol::Http3 => PIECE,
        };
        if bytes.len() > limit {
            self.rest = bytes.split_off(limit);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn cut(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.exchange.end = AnswerEnd::Timeout(TimeoutKind::Total);
        let metrics = &self.exchange.shared.worker.process.metrics;
        metrics.timeouts.inc(TimeoutKind::Total);
        Poll::Ready(Some(Err(crate::deadline::Elapsed.into())))
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let exchange = &mut self.exchange;
        if exchange.shared.state.protocol == Protocol::Http3
            && let Some(stage) = &exchange.stage
        {
            // What was handed out was not taken yet.
            exchange.bytes_out = stage.taken();
            if exchange.end == AnswerEnd::Complete && !stage.is_sent() {
                exchange.end = AnswerEnd::AbortedByClient;
            }
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(stage) = &this.exchange.stage {
            stage.source();
        }
        // A source that never pauses is bounded too.
        if this.total.as_ref().is_some_and(Deadline::is_due) {
            return this.cut();
        }
        let frame = match this.poll_body(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.total_passed(cx) => return this.cut(),
            Poll::Pending => return Poll::Pending,
        };
        if let Some(stage) = &this.exchange.stage {
            stage.client();
        }
        match frame {
            None => {
                this.exchange.end = AnswerEnd::Complete;
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.exchange.bytes_out += data.len() as u64;
                }
                if this.is_end_stream() {
                    this.exchange.end = AnswerEnd::Complete;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let cut = error.downcast_ref::<AnswerCut>();
                this.exchange.origin_error = cut.and_then(AnswerCut::origin_error);
                this.exchange.end = end_of(&this.exchange, &error);
                this.break_off(cx, error)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Who or what ended an answer after its head.
fn end_of(exchange: &Exchange, error: &BoxError) -> AnswerEnd {
    if error.is::<BodyFault>() {
        return AnswerEnd::AbortedByClient;
    }
    match error.downcast_ref::<AnswerCut>() {
        Some(AnswerCut::ResponseIdle) => AnswerEnd::Timeout(TimeoutKind::ResponseIdle),
        Some(AnswerCut::Total) => AnswerEnd::Timeout(TimeoutKind::Total),
        Some(AnswerCut::HandshakeFailed) => AnswerEnd::HandshakeFailed,
        Some(AnswerCut::Origin(_)) => AnswerEnd::AbortedByOrigin,
        Some(AnswerCut::RequestBody) => AnswerEnd::AbortedByClient,
        None if exchange.target == Target::Origin => AnswerEnd::AbortedByOrigin,
        None => AnswerEnd::AbortedByHandler,
    }
}
