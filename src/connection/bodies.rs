//! The bodies of requests and answers, with their limits, deadlines and counts.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body::{Body, BoxError};
use crate::connection::exchange::{BodyFault, Exchange, Received};
use crate::deadline::{Alarm, Deadline, Ticker};
use crate::telemetry::access::AnswerEnd;
use crate::telemetry::labels::{Limit, TimeoutKind};
use crate::telemetry::metrics::Metrics;

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
    ticker: Arc<Ticker>,
    metrics: Arc<Metrics>,
}

impl RequestBody {
    pub(super) fn new(
        incoming: Incoming,
        received: Arc<Received>,
        limit: Option<u64>,
        idle: Duration,
        ticker: &Arc<Ticker>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            incoming,
            received,
            left: limit,
            idle,
            alarm: None,
            ticker: Arc::clone(ticker),
            metrics: Arc::clone(metrics),
        }
    }

    fn fail(&self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.received.fail(fault);
        Poll::Ready(Some(Err(fault.into())))
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
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let alarm = this.alarm.get_or_insert_with(|| {
                let alarm = this.ticker.alarm();
                alarm.set(Some(this.idle));
                alarm
            });
            ready!(alarm.poll_due(cx));
            this.metrics.timeouts.inc(TimeoutKind::RequestBodyIdle);
            return this.fail(BodyFault::Idle);
        };
        if let Some(alarm) = &this.alarm {
            alarm.set(Some(this.idle));
        }
        match frame {
            None => {
                this.received.end();
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
                                this.metrics.requests.limits_hit.inc(Limit::Body);
                                return this.fail(BodyFault::TooLarge);
                            }
                        }
                    }
                } else if let Some(trailers) = frame.trailers_mut() {
                    // EARLY-DATA R17: in trailers it counts for nothing.
                    trailers.remove(EARLY_DATA);
                }
                if this.incoming.is_end_stream() {
                    this.received.end();
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

/// The body of an answer. It carries the exchange to its end.
pub(super) struct ResponseBody {
    body: Body,
    exchange: Box<Exchange>,
    total: Option<Deadline>,
    alarm: Option<Alarm>,
}

impl ResponseBody {
    pub(super) fn new(body: Body, mut exchange: Box<Exchange>, total: Option<Deadline>) -> Self {
        if body.is_end_stream() {
            exchange.end = AnswerEnd::Complete;
        }
        Self {
            body,
            exchange,
            total,
            alarm: None,
        }
    }

    fn total_passed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(total) = &self.total else {
            return false;
        };
        if total.remaining().is_none() && self.alarm.is_none() {
            return false;
        }
        let alarm = self.alarm.get_or_insert_with(|| total.watch());
        alarm.poll_due(cx).is_ready()
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
        if let Some(stage) = &this.exchange.stage {
            stage.source();
        }
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if !this.total_passed(cx) {
                    return Poll::Pending;
                }
                this.exchange.end = AnswerEnd::Timeout(TimeoutKind::Total);
                let metrics = &this.exchange.shared.worker.process.metrics;
                metrics.timeouts.inc(TimeoutKind::Total);
                return Poll::Ready(Some(Err(crate::deadline::Elapsed.into())));
            }
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
                if this.body.is_end_stream() {
                    this.exchange.end = AnswerEnd::Complete;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.exchange.end = if error.is::<BodyFault>() {
                    AnswerEnd::AbortedByClient
                } else {
                    record_end(&this.exchange)
                };
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Who ended an answer after its head, by what answered.
fn record_end(exchange: &Exchange) -> AnswerEnd {
    match exchange.target {
        crate::telemetry::labels::Target::Origin => AnswerEnd::AbortedByOrigin,
        _ => AnswerEnd::AbortedByHandler,
    }
}
