//! Where the answer of an HTTP/2 or HTTP/3 stream stands, and who ends one that nobody takes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::Executor;
use tracing::Instrument;

use crate::connection::shared::Shared;
use crate::deadline::{Alarm, Deadline};
use crate::telemetry::labels::TimeoutKind;

/// Counts what the client has taken of an answer: odd while the answer waits for its source,
/// even while it waits for the client.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    count: AtomicU64,
    /// The total deadline of the request, once the gate has let it go.
    total: OnceLock<Deadline>,
    /// Bytes of content that the client has taken, over HTTP/3.
    taken: AtomicU64,
    /// Whether all of the answer is sent, over HTTP/3.
    sent: AtomicBool,
    /// The deadline that cut the stream.
    cut: OnceLock<TimeoutKind>,
}

impl Stage {
    /// The answer waits for a handler or an origin.
    pub(super) fn source(&self) {
        let count = self.count() + 2;
        self.0.count.store(count | 1, Ordering::Relaxed);
    }

    /// The answer waits for the client.
    pub(super) fn client(&self) {
        let count = self.count() + 2;
        self.0.count.store(count & !1, Ordering::Relaxed);
    }

    /// The client has taken so much content, and what stands around it. Over HTTP/3.
    pub(super) fn take(&self, content: usize) {
        self.0.taken.fetch_add(content as u64, Ordering::Relaxed);
        self.client();
    }

    /// Bytes of content that the client has taken, over HTTP/3.
    pub(super) fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// The gate let the request go: its total deadline runs.
    pub(super) fn bound(&self, total: &Deadline) {
        // Set once per request, before the answer.
        let _ = self.0.total.set(total.clone());
    }

    /// All of the answer is sent, in time: no total deadline can pass any more.
    pub(super) fn sent(&self) {
        self.0.sent.store(true, Ordering::Relaxed);
    }

    /// Whether all of the answer is sent, over HTTP/3.
    pub(super) fn is_sent(&self) -> bool {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// The deadline that cut the stream, if one did.
    pub(super) fn cut(&self) -> Option<TimeoutKind> {
        self.0.cut.get().copied()
    }

    fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }
}

/// What bounds one stream from outside.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) stage: Stage,
    pub(super) write_idle: Option<Duration>,
}

/// Runs HTTP/2 streams: each is polled once at once, and spawned only if it has to wait.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Arc<Shared>);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let watch = self.0.take_watch();
        let mut future = Box::pin(future);
        // The waker does not matter: a task that is spawned is polled at once.
        if future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            let stream = Stream::new(future, Arc::clone(&self.0), watch);
            tokio::spawn(stream.in_current_span());
        }
    }
}

/// One stream that waits. Dropped before its end, hyper resets one of HTTP/2 with CANCEL.
pub(super) struct Stream<F> {
    future: F,
    shared: Arc<Shared>,
    watch: Option<Watch>,
    alarm: Option<Alarm>,
    total: Option<Alarm>,
    seen: u64,
}

impl<F> Stream<F> {
    pub(super) fn new(future: F, shared: Arc<Shared>, watch: Option<Watch>) -> Self {
        Self {
            future,
            shared,
            watch,
            alarm: None,
            total: None,
            seen: u64::MAX,
        }
    }
}

impl<F: Future<Output = ()> + Unpin> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.future).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        let Some(watch) = &this.watch else {
            return Poll::Pending;
        };
        let timeouts = &this.shared.worker.process.metrics.timeouts;
        if let Some(limit) = watch.write_idle {
            let count = watch.stage.count();
            if count != this.seen {
                this.seen = count;
                let waits_for_client = count & 1 == 0;
                if waits_for_client || this.alarm.is_some() {
                    this.alarm
                        .get_or_insert_with(|| this.shared.worker.ticker.alarm())
                        .set(waits_for_client.then_some(limit));
                }
            }
            if let Some(alarm) = &this.alarm
                && alarm.poll_due(cx).is_ready()
            {
                timeouts.inc(TimeoutKind::WriteIdle);
                let _ = watch.stage.0.cut.set(TimeoutKind::WriteIdle);
                return Poll::Ready(());
            }
        }
        if let Some(total) = watch.stage.0.total.get()
            && !watch.stage.is_sent()
        {
            let alarm = this.total.get_or_insert_with(|| total.watch());
            // Before the head the service answers 504; after it the body fails. This ends what
            // neither is asked for, because the client takes nothing.
            if watch.stage.count() & 1 == 0 && alarm.poll_due(cx).is_ready() {
                timeouts.inc(TimeoutKind::Total);
                let _ = watch.stage.0.cut.set(TimeoutKind::Total);
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
