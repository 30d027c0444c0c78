//! Metrics of origins.

use prometheus::{Histogram, IntCounter, IntGauge, Result};

use crate::telemetry::family::{Counters, Families, Gauges, NamedGauges};
use crate::telemetry::labels::{
    Ejection, HealthCheck, OriginConnection, OriginError, Resolution, RetryReason, ServerState,
};

/// Metrics of origins.
#[derive(Debug)]
pub struct Origins {
    /// Requests sent, retries included.
    pub requests: IntCounter,
    /// Connections used, by how they were come by.
    pub connections: Counters<OriginConnection>,
    /// Retries, by reason.
    pub retries: Counters<RetryReason>,
    /// Errors, by kind.
    pub errors: Counters<OriginError>,
    /// Retries that were not made because of `retries.budget`.
    pub retries_over_budget: IntCounter,
    /// Requests that wait for a server now.
    pub queued: IntGauge,
    /// How long requests waited for a server, those that did.
    pub queue_seconds: Histogram,
    /// Servers that failed too many requests in a row, by what became of them.
    pub ejections: Counters<Ejection>,
    /// Checks of servers, by their end.
    pub health_checks: Counters<HealthCheck>,
    /// Servers of the snapshot in force, by how they stand.
    pub servers: Gauges<ServerState>,
    /// Whether each of them gets requests, by origin and server as the configuration has them.
    pub server_usable: NamedGauges<2>,
    /// Resolutions of names, by their end.
    pub resolutions: Counters<Resolution>,
    /// 425 answers received, passed on or not.
    pub too_early: IntCounter,
    /// Request sent → head of the answer.
    pub response_seconds: Histogram,
}

impl Origins {
    pub(super) fn new(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            requests: families.counter(
                "origin_requests_total",
                "Requests sent to origins, retries included",
            )?,
            connections: families.counters(
                "origin_connections_total",
                "Connections to origins used for a request, by how they were come by",
                "how",
            )?,
            retries: families.counters(
                "origin_retries_total",
                "Requests sent to an origin again",
                "reason",
            )?,
            errors: families.counters("origin_errors_total", "Errors of origins", "error")?,
            resolutions: families.counters(
                "origin_resolutions_total",
                "Resolutions of the names of origins",
                "result",
            )?,
            retries_over_budget: families.counter(
                "origin_retries_over_budget_total",
                "Retries that were not made because too many are made already",
            )?,
            queued: families.gauge(
                "origin_queued",
                "Requests that wait for a server of an origin now",
            )?,
            queue_seconds: families.histogram(
                "origin_queue_seconds",
                "Time that requests waited for a server of an origin, those that did",
            )?,
            ejections: families.counters(
                "origin_ejections_total",
                "Servers that failed too many requests in a row, by what became of them",
                "outcome",
            )?,
            health_checks: families.counters(
                "origin_health_checks_total",
                "Checks of servers of origins, by their end",
                "result",
            )?,
            servers: families.gauges(
                "origin_servers",
                "Servers of the origins in use, by how they stand",
                "state",
            )?,
            server_usable: families.named_gauges(
                "origin_server_usable",
                "1 if a server gets requests, 0 if it is unhealthy or ejected",
                ["origin", "server"],
            )?,
            too_early: families.counter(
                "origin_too_early_total",
                "425 answers received from origins, passed on or not",
            )?,
            response_seconds: families.histogram(
                "origin_response_seconds",
                "Time from a request sent to an origin to the head of its answer",
            )?,
        })
    }
}
