//! Metrics of OCSP stapling.

use prometheus::{IntGauge, Result};

use crate::telemetry::family::{Counters, Families, Gauges};
use crate::telemetry::labels::{OcspFetch, StapleState};

/// Metrics of OCSP stapling.
#[derive(Debug)]
pub struct Ocsp {
    /// Attempts to get a staple, by their end.
    pub fetches: Counters<OcspFetch>,
    /// Certificates that are to be stapled, by how they stand.
    pub certificates: Gauges<StapleState>,
    /// When the first staple in use ends, in seconds since the Unix epoch; 0 without one.
    pub first_end: IntGauge,
    /// The oldest thisUpdate of the staples in use, likewise.
    pub oldest: IntGauge,
}

impl Ocsp {
    pub(super) fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            fetches: families.counters(
                "ocsp_fetches_total",
                "Attempts to get a staple, by their end",
                "result",
            )?,
            certificates: families.gauges(
                "ocsp_certificates",
                "Certificates that are to be stapled, by how they stand",
                "state",
            )?,
            first_end: families.gauge(
                "ocsp_first_end_time_seconds",
                "When the first staple in use ends, in seconds since the Unix epoch",
            )?,
            oldest: families.gauge(
                "ocsp_oldest_update_time_seconds",
                "The oldest thisUpdate of the staples in use, in seconds since the Unix epoch",
            )?,
        })
    }
}
