//! Checks of an origin's servers: a request to each, now and then, on a connection of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, request};
use tokio::time::Instant;

use super::connect;
use super::endpoint::Endpoint;
use super::error::ForwardErrorKind;
use super::head::Head;
use super::pool::seed;
use super::request_body::Upload;
use super::resolver::Resolver;
use super::upstream::Upstream;
use crate::body::Body;
use crate::config::snapshot::{HealthSpec, OriginServer};
use crate::deadline::{Ticker, within};
use crate::telemetry::labels::HealthCheck;
use crate::telemetry::metrics::Metrics;

/// What a check says it is.
const AGENT: HeaderValue = HeaderValue::from_static("cutwater-health-check");

/// The checks of one origin.
#[derive(Debug)]
pub(super) struct Prober {
    upstream: Arc<Upstream>,
    checks: Vec<Check>,
}

/// The checks of one server.
#[derive(Debug)]
struct Check {
    next: Duration,
    target: Arc<Target>,
}

#[derive(Debug)]
struct Target {
    endpoint: Endpoint,
    request: Head,
    running: AtomicBool,
}

impl Prober {
    /// `None` if the origin is not checked. The first checks come within an interval from `now`:
    /// those of all servers at once would be a burst after each start and each reload.
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        resolver: &Arc<Resolver>,
        now: Duration,
    ) -> Option<Self> {
        let spec = upstream.spec();
        let health = spec.pool.health.as_ref()?;
        let check = |server: &OriginServer| Check {
            next: now + by_chance(health.interval),
            target: Arc::new(Target {
                endpoint: Endpoint::new(server, spec, resolver),
                request: request(health, server).into(),
                running: AtomicBool::new(false),
            }),
        };
        Some(Self {
            upstream: Arc::clone(upstream),
            checks: spec.servers.iter().map(check).collect(),
        })
    }

    /// Begins the checks that are due.
    pub(super) fn tick(
        &mut self,
        epoch: Instant,
        now: Duration,
        ticker: &Arc<Ticker>,
        metrics: &Arc<Metrics>,
    ) {
        let Some(health) = self.upstream.spec().pool.health.as_ref() else {
            return;
        };
        for (server, check) in self.checks.iter_mut().enumerate() {
            if check.target.running.load(Ordering::Acquire) {
                check.next = now + health.interval + by_chance(health.jitter);
                continue;
            }
            if check.next > now {
                continue;
            }
            check.target.running.store(true, Ordering::Relaxed);
            check.next = now + health.interval + by_chance(health.jitter);
            let target = Arc::clone(&check.target);
            let (upstream, ticker) = (Arc::clone(&self.upstream), Arc::clone(ticker));
            let metrics = Arc::clone(metrics);
            tokio::spawn(async move {
                let _running = Running(&target);
                let result = target.check(&upstream, &ticker).await;
                metrics.origins.health_checks.inc(result);
                upstream.checked(server, result == HealthCheck::Passed, epoch.elapsed());
            });
        }
    }
}

/// Ends with the check, however that ends: or its server would never be checked again.
struct Running<'t>(&'t Target);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

impl Target {
    async fn check(&self, upstream: &Upstream, ticker: &Arc<Ticker>) -> HealthCheck {
        let Some(health) = upstream.spec().pool.health.as_ref() else {
            return HealthCheck::Passed;
        };
        let asked = within(
            ticker,
            Some(health.timeout),
            self.ask(health.timeout, ticker),
        );
        match asked.await {
            Ok(Ok(status)) if health.status.contains(status) => HealthCheck::Passed,
            Ok(Ok(_)) => HealthCheck::Status,
            Ok(Err(ForwardErrorKind::ConnectTimeout)) | Err(_) => HealthCheck::Timeout,
            Ok(Err(_)) => HealthCheck::Error,
        }
    }

    /// The status of the answer. Its body is nobody's business: the connection is closed.
    async fn ask(
        &self,
        timeout: Duration,
        ticker: &Arc<Ticker>,
    ) -> Result<StatusCode, ForwardErrorKind> {
        let opened = connect::check(&self.endpoint, ticker, timeout).await;
        let mut link = opened.map_err(|(error, _)| error)?;
        link.start(&self.request, &Upload::new(Body::empty(), false), None);
        let head = poll_fn(|cx| link.poll_head(cx)).await?;
        Ok(head.status)
    }
}

fn request(health: &HealthSpec, server: &OriginServer) -> request::Parts {
    let host = health.host.clone().unwrap_or_else(|| server.authority());
    let (mut parts, ()) = Request::new(()).into_parts();
    // Both were read when the configuration was: neither fails.
    parts.uri = health.path.parse().unwrap_or_default();
    if let Ok(host) = HeaderValue::try_from(host) {
        parts.headers.insert(HOST, host);
    }
    parts.headers.insert(USER_AGENT, AGENT);
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    parts
}

/// Some part of `most`: checks of many edges must not come all at once.
fn by_chance(most: Duration) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(seed() % most.saturating_add(1).max(1))
}
