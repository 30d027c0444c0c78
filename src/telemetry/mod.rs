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
