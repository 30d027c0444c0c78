//! Waiting for an edge's metrics.

use super::edge::{Edge, sum_of};
use super::polled;

impl Edge {
    /// The metrics, once they fit.
    pub async fn until_metrics(&self, what: &'static str, fits: impl Fn(&str) -> bool) -> String {
        polled(what, async || {
            Some(self.metrics().await).filter(|metrics| fits(metrics))
        })
        .await
    }

    /// Waits until a metric, summed as by [`metric`](Self::metric), is at least so large.
    pub async fn until_metric(&self, name: &'static str, labels: &[&str], least: f64) {
        self.until_metrics(name, |metrics| sum_of(metrics, name, labels) >= least)
            .await;
    }
}
