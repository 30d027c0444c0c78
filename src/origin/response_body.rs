//! An answer's body on its way to the client. Whoever reads it drives the connection to the
//! origin, so a client that stops reading stops the origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::error::AnswerCut;
use super::fields;
use super::lease::Lease;
use super::link::LinkError;
use super::watch::{Ended, Watch};
use crate::body::Body;
use crate::telemetry::labels::OriginError;
use crate::telemetry::metrics::Metrics;

/// The rest of an answer.
#[derive(Debug)]
pub(super) struct ResponseBody {
    /// What [`whole`](Self::whole) found that was not all.
    first: Option<Option<Result<Frame<Bytes>, LinkError>>>,
    /// `None` once the body has ended, well or not.
    lease: Option<Lease>,
    watch: Watch,
    idle_timeout: Option<Duration>,
    /// Whether the origin's silence is being timed.
    timing: bool,
    metrics: Arc<Metrics>,
}

impl ResponseBody {
    pub(super) fn new(
        lease: Lease,
        watch: Watch,
        idle_timeout: Option<Duration>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            first: None,
            lease: Some(lease),
            watch,
            idle_timeout,
            timing: false,
            metrics: Arc::clone(metrics),
        }
    }

    /// The whole body if it is already here: most answers are small, and then neither a boxed body
    /// is needed nor a connection held until somebody reads it.
    pub(super) fn whole(&mut self) -> Option<Body> {
        let link = self.lease.as_mut().and_then(Lease::link)?;
        match link.try_frame()? {
            None => {
                self.finish();
                Some(Body::empty())
            }
            Some(Ok(frame)) if frame.is_data() && link.is_whole() => {
                self.finish();
                Some(frame.into_data().unwrap_or_default().into())
            }
            frame => {
                self.first = Some(frame);
                None
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        if let Some(frame) = self.first.take() {
            return Poll::Ready(self.take(frame));
        }
        let Some(link) = self.lease.as_mut().and_then(Lease::link) else {
            return Poll::Ready(self.cut(AnswerCut::Origin(OriginError::Closed)));
        };
        if let Poll::Ready(frame) = link.poll_frame(cx) {
            return Poll::Ready(self.take(frame));
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
        frame: Option<Result<Frame<Bytes>, LinkError>>,
    ) -> Option<Result<Frame<Bytes>, AnswerCut>> {
        // Whoever leaves later, having taken nothing more, did not wait for the origin.
        if std::mem::take(&mut self.timing)
            && let Some(link) = self.lease.as_mut().and_then(Lease::link)
        {
            link.alarm.clear();
        }
        match frame {
            None => {
                self.finish();
                None
            }
            Some(Err(error)) => self.cut(error.into()),
            Some(Ok(frame)) => {
                let frame = match frame.into_data() {
                    Ok(bytes) => {
                        // The reader need not come back for the end of a body whose length it
                        // knows.
                        if self.is_whole() {
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

    fn is_whole(&mut self) -> bool {
        let link = self.lease.as_mut().and_then(Lease::link);
        link.is_some_and(|link| link.is_whole())
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
        self.watch = Watch::none();
    }

    fn cut<T>(&mut self, cut: AnswerCut) -> Option<Result<T, AnswerCut>> {
        cut.count(&self.metrics);
        if let Some(lease) = &mut self.lease
            && cut.is_failure()
        {
            lease.fail();
        }
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
        let first = match &self.first {
            None => 0,
            Some(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => data.len() as u64,
                // Trailers alone: with a length they would have no place.
                None => return SizeHint::default(),
            },
            Some(_) => return SizeHint::default(),
        };
        match &self.lease {
            None => SizeHint::with_exact(first),
            Some(lease) => match lease.left() {
                Some(left) => SizeHint::with_exact(first + left),
                None => SizeHint::default(),
            },
        }
    }
}
