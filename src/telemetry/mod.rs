//! Telemetry: metrics, the access and connection logs, the admin endpoint, tracing.
//!
//! This room imports no stage: plain values come in. What is logged or counted is decided
//! by whoever calls; here it is only written down, cheaply and without ever making the
//! caller wait.

pub mod access;
pub mod admin;
mod alerts;
pub mod connections;
pub mod family;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod sink;
pub mod timestamp;

pub use access::AccessRecord;
pub use admin::{Admin, Readiness};
pub use connections::ConnectionRecord;
pub use metrics::Metrics;
pub use sink::LineSink;

/// The fields that a section of the document on logs has rows for.
#[cfg(test)]
fn documented(section: &str) -> Vec<String> {
    let document = include_str!("../../docs/LOGS.md");
    let rows = document.split(section).nth(1).unwrap_or_default();
    let rows = rows.split("\n## ").next().unwrap_or_default();
    rows.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}
