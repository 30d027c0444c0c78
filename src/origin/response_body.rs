//! An answer's body on its way to the client. Whoever reads it drives the connection to the
//! origin, so a client that stops reading stops the origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::AnswerCut;
use super::fields;
use super::pool::Lease;
use super::watch::{Ended, Watch};
use crate::body::Body;
use crate::telemetry::labels::OriginError;
use crate::telemetry::metrics::Metrics;

/// The rest of an answer.
#[derive(Debug)]
pub(super) struct ResponseBody {
    incoming: Incoming,
    /// What [`whole`](Self::whole) found that was not all.
    first: Option<Option<hyper::Result<Frame<Bytes>>>>,
    /// `None` once the body has ended, well or not.
    lease: Option<Lease>,
    watch: Watch,
    idle_timeout: Option<Duration>,
    /// Whether the origin's silence is being timed.
    timing: bool,
    /// The end of the body is the end of the connection (RFC 9112 §6.3, rule 8).
    until_close: bool,
    metrics: Arc<Metrics>,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        lease: Lease,
        watch: Watch,
        idle_timeout: Option<Duration>,
        until_close: bool,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            incoming,
            first: None,
            lease: Some(lease),
            watch,
            idle_timeout,
            timing: false,
            until_close,
            metrics: Arc::clone(metrics),
        }
    }

    /// The whole body if it is already here: most answers are small, and then neither a boxed body
    /// is needed nor a connection held until somebody reads it.
    pub(super) fn whole(&mut self, cx: &mut Context<'_>) -> Option<Body> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(None) if !self.until_close => {
                self.finish();
                Some(Body::empty())
            }
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && self.incoming.is_end_stream() => {
                self.finish();
                Some(frame.into_data().unwrap_or_default().into())
            }
            Poll::Ready(frame) => {
                self.first = Some(frame);
                None
            }
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        if let Some(frame) = self.first.take() {
            return Poll::Ready(self.take(frame));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(self.take(frame));
        }
        let Some(link) = self.lease.as_mut().and_then(Lease::link) else {
            return Poll::Ready(self.cut(AnswerCut::Origin(OriginError::Closed)));
        };
        let done = link.poll(cx).is_ready();
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => return Poll::Ready(self.take(frame)),
            Poll::Pending if done => {
                return Poll::Ready(self.cut(AnswerCut::Origin(OriginError::Closed)));
            }
            Poll::Pending => {}
        }
        match self.watch.poll(cx) {
            Poll::Ready(Ended::HandshakeFailed) => {
                return Poll::Ready(self.cut(AnswerCut::HandshakeFailed));
            }
            Poll::Ready(Ended::TotalPassed) => return Poll::Ready(self.cut(AnswerCut::Total)),
            Poll::Pending => {}
        }
        if let Some(link) = self.lease.as_mut().and_then(Lease::link) {
            if !self.timing {
                self.timing = true;
                link.alarm.set(self.idle_timeout);
            }
            if link.alarm.poll_due(cx).is_ready() {
                return Poll::Ready(self.cut(AnswerCut::ResponseIdle));
            }
        }
        Poll::Pending
    }

    fn take(
        &mut self,
        frame: Option<hyper::Result<Frame<Bytes>>>,
    ) -> Option<Result<Frame<Bytes>, AnswerCut>> {
        self.timing = false;
        match frame {
            // The socket's error went to the writer: this end is not one that the origin meant.
            None if self.until_close && self.write_failed() => {
                self.cut(AnswerCut::Origin(OriginError::Reset))
            }
            None => {
                self.finish();
                None
            }
            Some(Err(error)) => self.cut(AnswerCut::of_body(&error)),
            Some(Ok(frame)) => {
                let frame = match frame.into_data() {
                    Ok(bytes) => {
                        // The reader need not come back for the end of a body whose length it
                        // knows.
                        if self.incoming.is_end_stream() {
                            self.finish();
                        }
                        Frame::data(bytes)
                    }
                    Err(frame) => {
                        let mut trailers = frame.into_trailers().unwrap_or_default();
                        fields::strip_trailers(&mut trailers);
                        self.finish();
                        Frame::trailers(trailers)
                    }
                };
                Some(Ok(frame))
            }
        }
    }

    fn write_failed(&mut self) -> bool {
        let link = self.lease.as_mut().and_then(Lease::link);
        link.is_some_and(|link| link.gauge.write_failed())
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
        self.watch = Watch::none();
    }

    fn cut<T>(&mut self, cut: AnswerCut) -> Option<Result<T, AnswerCut>> {
        cut.count(&self.metrics);
        self.lease = None;
        self.watch = Watch::none();
        Some(Err(cut))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = AnswerCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        self.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        if let (Some(Some(Ok(frame))), Some(rest)) = (&self.first, hint.exact()) {
            let first = frame.data_ref().map_or(0, Bytes::len) as u64;
            hint = SizeHint::with_exact(rest + first);
        }
        hint
    }
}
