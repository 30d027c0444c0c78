//! The answer of a route's target: an origin, a handler, or what the configuration says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::request::Parts;
use http::{Request, Response, StatusCode, Uri};
use http_body::Body as HttpBody;

use crate::body::Body;
use crate::config::snapshot::{Route, Target};
use crate::connection::exchange::Exchange;
use crate::connection::local::{fixed, redirected};
use crate::connection::plan::{Plan, with_path};
use crate::connection::shared::Shared;
use crate::deadline::{Deadline, Elapsed};
use crate::forwarded::x_forwarded_for;
use crate::handler::{EarlyRequest, HandlerError};
use crate::origin::{EarlyForward, Ends, Forward, ForwardErrorKind};
use crate::route;
use crate::telemetry::access::AnswerEnd;
use crate::telemetry::labels::TimeoutKind;

/// Why there is no answer to pass on.
pub(super) enum Failure {
    Status(StatusCode, Option<AnswerEnd>),
    HandshakeFailed,
}

/// Awaits the answer of a route's target.
pub(super) async fn target(
    exchange: &mut Exchange,
    plan: &Plan,
    route: &Route,
    mut parts: Parts,
    body: Body,
    total: &Option<Deadline>,
    early_forward: bool,
) -> Result<Response<Body>, Failure> {
    let shared = Arc::clone(&exchange.shared);
    match &route.target {
        Target::Respond(respond) => discard(body, total, &shared).await.map(|()| fixed(respond)),
        Target::Redirect(redirect) => discard(body, total, &shared)
            .await
            .map(|()| redirected(redirect, &route.path, &parts.uri)),
        Target::Handler(handler) => {
            let deadline = total
                .clone()
                .unwrap_or_else(|| Deadline::new(&shared.worker.ticker, None));
            let request = EarlyRequest::new(
                Request::from_parts(parts, body),
                Arc::clone(&shared.state),
                shared.confirmation.clone(),
                deadline.clone(),
                plan.marked,
            );
            let request = match plan.early {
                true => request.counted(exchange.waits()),
                false => request,
            };
            match bounded(handler.call(request), &deadline).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(HandlerError::TooEarly)) => {
                    Err(Failure::Status(StatusCode::TOO_EARLY, None))
                }
                Ok(Err(HandlerError::HandshakeFailed)) => Err(Failure::HandshakeFailed),
                Ok(Err(HandlerError::Failed(error))) => {
                    tracing::warn!(route = %route.name, %error, "handler failed");
                    Err(Failure::Status(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        Some(AnswerEnd::AbortedByHandler),
                    ))
                }
                Err(Elapsed) => Err(total_passed(&shared)),
            }
        }
        Target::Origin(spec) => {
            if let Some(to) = &route.prefix_rewrite {
                parts.uri = rewritten(&parts.uri, to, route)
                    .ok_or(Failure::Status(StatusCode::URI_TOO_LONG, None))?;
            }
            let early = match (plan.marked, early_forward) {
                (true, _) => EarlyForward::Marked,
                (false, true) => EarlyForward::Early,
                (false, false) => EarlyForward::No,
            };
            let forward = Forward {
                spec: Arc::clone(spec),
                parts,
                body,
                host: plan
                    .host
                    .clone()
                    .ok_or(Failure::Status(StatusCode::BAD_REQUEST, None))?,
                request_id: exchange.request_id.to_header(),
                client: match &exchange.told {
                    None => shared.forwarded_for.clone(),
                    told => x_forwarded_for(told.as_deref(), shared.state.client.ip()),
                },
                peer: shared.state.client.ip(),
                ends: Ends {
                    client: exchange.client(),
                    local: shared.state.local,
                },
                told: exchange.told.clone(),
                timeouts: route.timeouts.clone(),
                deadline: total.clone(),
                confirmation: shared.confirmation.clone(),
                early,
                fields: route.request_headers.as_ref().map(|edits| {
                    let says = |variable| exchange.says(variable);
                    edits.resolved(&says)
                }),
                interims: exchange.interims.take(),
            };
            match shared.worker.origins.forward(forward).await {
                Ok(forwarded) => {
                    exchange.origin = forwarded.address;
                    exchange.origin_time = Some(forwarded.origin_time);
                    exchange.effort = forwarded.effort;
                    Ok(forwarded.response)
                }
                Err(error) => {
                    exchange.origin.clone_from(&error.address);
                    exchange.origin_error = error.kind.origin_error();
                    exchange.effort = error.effort;
                    if matches!(error.kind, ForwardErrorKind::HandshakeFailed) {
                        return Err(Failure::HandshakeFailed);
                    }
                    tracing::debug!(origin = %spec.name, %error, "no answer from origin");
                    Err(Failure::Status(error.status(), None))
                }
            }
        }
    }
}

/// The target as an origin sees it: `to` in place of the route's own path. `None` if it does not fit
/// into a URI any more.
fn rewritten(uri: &Uri, to: &str, route: &Route) -> Option<Uri> {
    let mut path = route::join(to, route::rest(&route.path, uri.path()));
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    with_path(uri, &path)
}

fn total_passed(shared: &Shared) -> Failure {
    let timeouts = &shared.worker.process.metrics.timeouts;
    timeouts.inc(TimeoutKind::Total);
    Failure::Status(
        StatusCode::GATEWAY_TIMEOUT,
        Some(AnswerEnd::Timeout(TimeoutKind::Total)),
    )
}

/// Reads a body to its end, or to its fault, and forgets it.
async fn discard(mut body: Body, total: &Option<Deadline>, shared: &Shared) -> Result<(), Failure> {
    let read = std::future::poll_fn(|cx| {
        loop {
            match std::task::ready!(Pin::new(&mut body).poll_frame(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    });
    match total {
        Some(total) => bounded(read, total).await.map_err(|_| total_passed(shared)),
        None => {
            read.await;
            Ok(())
        }
    }
}

/// Bounds `future` by a deadline that may move while it runs.
async fn bounded<F: Future>(future: F, deadline: &Deadline) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut alarm = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        alarm
            .get_or_insert_with(|| deadline.watch())
            .poll_due(cx)
            .map(|()| Err(Elapsed))
    })
    .await
}
