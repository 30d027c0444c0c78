//! What hyper calls with each request: the way through gate and route to an answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tracing::Instrument;

use crate::body::Body;
use crate::config::snapshot::{Route, Target};
use crate::connection::admit::admit;
use crate::connection::bodies::{RequestBody, ResponseBody};
use crate::connection::drain::{drained, is_small};
use crate::connection::exchange::{BodyFault, Exchange, Received};
use crate::connection::fixed::{Fixed, is_plain};
use crate::connection::incoming::Incoming;
use crate::connection::local::{empty, local, own};
use crate::connection::plan::{Plan, Refusal, plan};
use crate::connection::shared::Shared;
use crate::connection::target::{Failure, target};
use crate::deadline::Deadline;
use crate::gate::Decision;
use crate::interim::Interims;
use crate::state::Protocol;
use crate::telemetry::access::AnswerEnd;
use crate::telemetry::labels::{EarlyState, TimeoutKind, TooEarlyBy};

/// Why a request gets no answer at all.
#[derive(Debug)]
pub(super) struct NoAnswer(h2::Error);

impl NoAnswer {
    fn new(reason: h2::Reason) -> Self {
        Self(reason.into())
    }

    /// Whether it is our fault.
    pub(super) fn is_internal(&self) -> bool {
        self.0.reason() == Some(h2::Reason::INTERNAL_ERROR)
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request gets no answer")
    }
}

impl std::error::Error for NoAnswer {
    // hyper takes the reason of RST_STREAM from here.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

pub(super) type Answered = Result<Response<ResponseBody>, NoAnswer>;

/// The service of one connection.
pub(super) struct Http(pub(super) Arc<Shared>);

impl hyper::service::Service<Request<hyper::body::Incoming>> for Http {
    type Response = Response<ResponseBody>;
    type Error = NoAnswer;
    type Future = Answer;

    fn call(&self, request: Request<hyper::body::Incoming>) -> Answer {
        begin(&self.0, request.map(Incoming::Hyper), false, || None).into_answer()
    }
}

/// What a request has got so far.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost every answer that is there at once an allocation"
)]
pub(super) enum Begun {
    /// A fixed answer that needs nothing but to be sent.
    Fixed(Fixed),
    /// Any other.
    Answer(Answer),
}

impl Begun {
    /// The answer, whatever it is.
    pub(super) fn into_answer(self) -> Answer {
        match self {
            Self::Fixed(fixed) => fixed.into_answer(),
            Self::Answer(answer) => answer,
        }
    }
}

/// Answers a request. `came_early` says that it came as early data for sure, whatever has become of the
/// handshake since (EARLY-DATA R23); `interims` is where an origin's interim answers go.
pub(super) fn begin(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    came_early: bool,
    interims: impl FnOnce() -> Option<Arc<dyn Interims>>,
) -> Begun {
    let snapshot = shared.worker.process.current.peek();
    let mut exchange = Exchange::begin(shared, &snapshot, &request, came_early);
    let (mut parts, incoming) = request.into_parts();
    let ended = incoming.is_end_stream();
    match plan(shared, &snapshot, &mut parts, ended, came_early) {
        Ok(plan) => start(exchange, plan, parts, incoming, interims),
        Err(refusal) => {
            if refusal.status == StatusCode::TOO_EARLY {
                exchange.too_early(TooEarlyBy::Edge);
            }
            Begun::Answer(Answer::refuse(exchange, refusal, &parts, incoming))
        }
    }
}

/// The future of an answer: most are there at once and need no allocation of their own.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost every answer that is there at once an allocation"
)]
pub(super) enum Answer {
    Ready(Option<Response<ResponseBody>>),
    Running(Pin<Box<dyn Future<Output = Answered> + Send>>),
}

impl Future for Answer {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        match &mut *self {
            Self::Ready(response) => Poll::Ready(
                response
                    .take()
                    .ok_or_else(|| NoAnswer::new(h2::Reason::INTERNAL_ERROR)),
            ),
            Self::Running(running) => running.as_mut().poll(cx),
        }
    }
}

impl Answer {
    fn refuse(
        exchange: Box<Exchange>,
        refusal: Refusal,
        parts: &Parts,
        incoming: Incoming,
    ) -> Self {
        let mut response = own(&exchange.shared, refusal.status);
        if let Some((name, value)) = refusal.field {
            response.headers_mut().insert(name, value);
        }
        if refusal.close {
            // HTTP/1.1 says so in the answer, HTTP/2 by GOAWAY.
            exchange.shared.closing.store(true, Ordering::Relaxed);
        }
        let http1 = exchange.shared.state.protocol == Protocol::Http1;
        if incoming.is_end_stream() || !http1 {
            return Self::Ready(Some(finish(exchange, response, &parts.method, None)));
        }
        if !is_small(parts) {
            close_after(&exchange.shared, &mut response);
            return Self::Ready(Some(finish(exchange, response, &parts.method, None)));
        }
        let method = parts.method.clone();
        Self::Running(Box::pin(async move {
            if !drained(&exchange.shared.worker.ticker, incoming).await {
                close_after(&exchange.shared, &mut response);
            }
            Ok(finish(exchange, response, &method, None))
        }))
    }
}

fn start(
    mut exchange: Box<Exchange>,
    plan: Plan,
    parts: Parts,
    incoming: Incoming,
    interims: impl FnOnce() -> Option<Arc<dyn Interims>>,
) -> Begun {
    let shared = Arc::clone(&exchange.shared);
    let route = &plan.route;
    exchange.routed(route);
    if let Target::Origin(_) = route.target {
        exchange.interims = interims();
    }
    if route.request_headers.is_some() || route.response_headers.is_some() {
        exchange.host.clone_from(&plan.host);
    }
    if plan.decision == Decision::TooEarly {
        exchange.too_early(TooEarlyBy::Edge);
        let refusal = StatusCode::TOO_EARLY.into();
        return Begun::Answer(Answer::refuse(exchange, refusal, &parts, incoming));
    }
    if let Some(admission) = &route.admission
        && let Err(refusal) = admit(&shared, exchange.client().ip(), admission, plan.early)
    {
        if refusal.status == StatusCode::TOO_EARLY {
            exchange.too_early(TooEarlyBy::Edge);
        }
        return Begun::Answer(Answer::refuse(exchange, refusal, &parts, incoming));
    }
    shared.set_write_idle(route.timeouts.write_idle);
    // A request with a body must be read, or hyper closes the connection after the answer.
    let proceeds = matches!(plan.decision, Decision::Proceed { .. });
    if proceeds && plan.early {
        exchange.early = EarlyState::Served;
    }
    if proceeds && incoming.is_end_stream() && is_plain(route, &parts.method) {
        return Begun::Fixed(Fixed::new(exchange, plan.route));
    }
    exchange.watch(route);
    if proceeds
        && incoming.is_end_stream()
        && let Some(response) = local(route, &parts.uri)
    {
        let total = total_deadline(&exchange, route);
        let response = finish(exchange, response, &parts.method, total);
        return Begun::Answer(Answer::Ready(Some(response)));
    }
    let span = tracing::debug_span!("request", method = %parts.method, path = parts.uri.path());
    let running = run(exchange, plan, parts, incoming);
    Begun::Answer(Answer::Running(match span.is_disabled() {
        true => Box::pin(running),
        false => Box::pin(running.instrument(span)),
    }))
}

async fn run(
    mut exchange: Box<Exchange>,
    plan: Plan,
    parts: Parts,
    incoming: Incoming,
) -> Answered {
    let shared = Arc::clone(&exchange.shared);
    let early_forward = match plan.decision {
        Decision::Proceed { early_forward } => early_forward,
        Decision::Wait | Decision::TooEarly => {
            // EARLY-DATA R11: nothing is read meanwhile, the task drives the handshake.
            wait(&mut exchange).await?;
            false
        }
    };
    let route = Arc::clone(&plan.route);
    let method = parts.method.clone();
    let total = total_deadline(&exchange, &route);
    let body = if incoming.is_end_stream() {
        Body::empty()
    } else {
        let received = Arc::new(Received::default());
        exchange.received = Some(Arc::clone(&received));
        Body::new(RequestBody::new(
            incoming,
            received,
            route.limits.body,
            route.timeouts.request_body_idle,
            &shared,
        ))
    };
    let outcome = target(
        &mut exchange,
        &plan,
        &route,
        parts,
        body,
        &total,
        early_forward,
    )
    .await;
    // The client's own fault comes first: what an origin or a handler made of it is secondary.
    if let Some(fault) = exchange.received.as_ref().and_then(|body| body.fault()) {
        return at_fault(exchange, fault, &method);
    }
    let by = match (&route.target, plan.early || plan.marked) {
        // EARLY-DATA R20: asked for or not, it passes and is counted.
        (Target::Origin(_), _) => Some(TooEarlyBy::Origin),
        (_, true) => Some(TooEarlyBy::Edge),
        // What else a handler means by this status is its own affair.
        (_, false) => None,
    };
    let counted = |exchange: &mut Exchange, status| {
        let by = by.filter(|_| status == StatusCode::TOO_EARLY);
        by.map(|by| exchange.too_early(by))
    };
    match outcome {
        Ok(response) => {
            counted(&mut exchange, response.status());
            Ok(finish(exchange, response, &method, total))
        }
        Err(Failure::Status(status, end)) => {
            counted(&mut exchange, status);
            let _ = end.map(|end| exchange.end = end);
            let mut response = own(&shared, status);
            if exchange.received.as_ref().is_some_and(|body| !body.ended()) {
                // Nobody reads the rest.
                close_after(&shared, &mut response);
            }
            Ok(finish(exchange, response, &method, None))
        }
        Err(Failure::HandshakeFailed) => {
            exchange.end = AnswerEnd::HandshakeFailed;
            Err(NoAnswer::new(h2::Reason::CANCEL))
        }
    }
}

/// Awaits the client's Finished.
async fn wait(exchange: &mut Exchange) -> Result<(), NoAnswer> {
    let waits = exchange.waits();
    let confirmed = waits.until(&exchange.shared.confirmation).await;
    confirmed.map_err(|_| {
        exchange.end = AnswerEnd::HandshakeFailed;
        NoAnswer::new(h2::Reason::CANCEL)
    })
}

/// The total deadline of a request: one that is off is made only for a handler, who may set it.
pub(super) fn total_deadline(exchange: &Exchange, route: &Route) -> Option<Deadline> {
    let shared = &exchange.shared;
    let after = route.timeouts.total;
    if after.is_none() && !matches!(route.target, Target::Handler(_)) {
        return None;
    }
    let total = Deadline::new(&shared.worker.ticker, after);
    match &exchange.stage {
        Some(stage) => stage.bound(&total),
        None => shared.set_total(Some(total.clone())),
    }
    Some(total)
}

/// The answer to a request whose body failed: 408, 413, or none to who went away.
fn at_fault(mut exchange: Box<Exchange>, fault: BodyFault, method: &Method) -> Answered {
    let status = match fault {
        BodyFault::Idle if exchange.shared.state.protocol != Protocol::Http1 => {
            exchange.end = AnswerEnd::Timeout(TimeoutKind::RequestBodyIdle);
            return Err(NoAnswer::new(h2::Reason::CANCEL));
        }
        BodyFault::Idle => StatusCode::REQUEST_TIMEOUT,
        BodyFault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        BodyFault::Aborted => match exchange.shared.violation() {
            Some(status) => status,
            None => return Err(NoAnswer::new(h2::Reason::CANCEL)),
        },
    };
    let mut response = empty(status);
    close_after(&exchange.shared, &mut response);
    Ok(finish(exchange, response, method, None))
}

fn close_after(shared: &Shared, response: &mut Response<Body>) {
    if shared.state.protocol == Protocol::Http1 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether answers with this status have no content (RFC 9110 §6.4.1).
pub(super) fn is_bare(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Hands the answer to hyper, its exchange in its body.
pub(super) fn finish(
    mut exchange: Box<Exchange>,
    response: Response<Body>,
    method: &Method,
    total: Option<Deadline>,
) -> Response<ResponseBody> {
    exchange.answer(response.status().as_u16());
    let (mut parts, mut body) = response.into_parts();
    let route = exchange.route.as_deref();
    if let Some(edits) = route.and_then(|route| route.response_headers.as_ref()) {
        let says = |variable| exchange.says(variable);
        edits.resolved(&says).apply(&mut parts.headers);
    }
    if let Some(alt_svc) = exchange.shared.alt_svc() {
        parts.headers.entry(ALT_SVC).or_insert(alt_svc);
    }
    if exchange.shared.is_closing() && exchange.shared.state.protocol == Protocol::Http1 {
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if method == Method::HEAD {
        // RFC 9110 §9.3.2: the fields of a GET, no content. hyper's HTTP/2 would send it.
        if !parts.headers.contains_key(CONTENT_LENGTH)
            && let Some(length) = body.size_hint().exact().filter(|length| *length > 0)
        {
            parts.headers.insert(CONTENT_LENGTH, length.into());
        }
        body = Body::empty();
    }
    if is_bare(parts.status) {
        // RFC 9110 §6.4.1: whatever a handler made of it. hyper's HTTP/2 would send it as well.
        body = Body::empty();
    }
    if let Some(stage) = &exchange.stage {
        stage.client();
    }
    Response::from_parts(parts, ResponseBody::new(body, exchange, total))
}
