//! How long one request waited for the client's Finished (EARLY-DATA P4).

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::confirm::{Confirmation, HandshakeFailed};
use crate::telemetry::metrics::Metrics;

/// Counts the waits of one request, of the gate or of its handler.
#[derive(Debug)]
pub(crate) struct Waits {
    metrics: Arc<Metrics>,
    began: OnceLock<Instant>,
    took: OnceLock<Duration>,
}

impl Waits {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            began: OnceLock::new(),
            took: OnceLock::new(),
        }
    }

    /// Awaits a confirmation, and counts that if it is not there yet.
    pub(crate) async fn until(&self, confirmation: &Confirmation) -> Result<(), HandshakeFailed> {
        if !confirmation.is_pending() {
            return confirmation.wait().await;
        }
        self.metrics.early.delayed.inc();
        let began = *self.began.get_or_init(Instant::now);
        let confirmed = confirmation.wait().await;
        let took = *self.took.get_or_init(|| began.elapsed());
        self.metrics.early.waited(took);
        confirmed
    }

    /// How long the request has waited; `None` if it did not.
    pub(crate) fn waited(&self) -> Option<Duration> {
        let began = self.began.get()?;
        Some(self.took.get().copied().unwrap_or_else(|| began.elapsed()))
    }
}
