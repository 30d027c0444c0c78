//! From a request's head to what will answer it: authority, path, route, limits, gate.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{ALLOW, CONTENT_LENGTH};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use crate::config::snapshot::{Route, Site, Snapshot, Target};
use crate::connection::fields::Fields;
use crate::connection::shared::{Shared, Standing};
use crate::gate::{self, Decision, GateInput, TargetKind};
use crate::http::{authority, path};
use crate::route::NoRoute;
use crate::telemetry::labels::Limit;

/// What will become of a request.
pub(super) struct Plan {
    pub(super) route: Arc<Route>,
    pub(super) decision: Decision,
    pub(super) marked: bool,
    /// Whether the gate took it for early.
    pub(super) early: bool,
    /// The authority as the client sent it, for an origin or for edits of fields, if the route has
    /// either.
    pub(super) host: Option<HeaderValue>,
}

/// An answer that the edge gives by itself, before routing or instead of it (EARLY-DATA R12: such
/// answers go at once).
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// A field that says more: Allow, Retry-After.
    pub(super) field: Option<(HeaderName, HeaderValue)>,
    /// Whether the connection ends with it.
    pub(super) close: bool,
}

impl Refusal {
    fn new(status: StatusCode) -> Self {
        Self {
            status,
            field: None,
            close: false,
        }
    }

    /// 421, and the connection ends: the client comes again on another one (RFC 9110 §15.5.20).
    pub(super) fn elsewhere(shared: &Shared) -> Self {
        shared.metrics().requests.misdirected.inc();
        Self {
            close: true,
            ..Self::new(StatusCode::MISDIRECTED_REQUEST)
        }
    }
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self::new(status)
    }
}

/// Decides what becomes of a request; its path is normalised in place. `came_early` says that it
/// came as early data, whatever has become of the handshake since.
pub(super) fn plan(
    shared: &Shared,
    snapshot: &Snapshot,
    parts: &mut Parts,
    end_of_stream: bool,
    came_early: bool,
) -> Result<Plan, Refusal> {
    let metrics = &shared.worker.process.metrics.requests;
    let Standing::Here(site) = shared.standing(snapshot) else {
        return Err(Refusal::elsewhere(shared));
    };
    if shared.has_moved() && shared.may_be_believed(snapshot) {
        return Err(Refusal::elsewhere(shared));
    }
    // RFC 9110 §10.1.1: hyper answers 100-continue, at the first read of the body.
    let fields = Fields::of(&parts.headers);
    if fields.expects_unknown {
        return Err(StatusCode::EXPECTATION_FAILED.into());
    }
    if parts.method == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED.into());
    }
    // As the framing scanner has it in HTTP/1.1. HTTP/2 leaves it to us (RFC 9113 §8.3.1).
    let is_known = |scheme: &Scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP;
    if parts.uri.scheme().is_some_and(|scheme| !is_known(scheme)) {
        return Err(StatusCode::BAD_REQUEST.into());
    }
    let host = match names_its_site(shared, snapshot, parts, &fields) {
        Some(name) => Some(Cow::Borrowed(name)),
        None => {
            let host = authority::authority(parts.version, &parts.uri, &parts.headers)
                .map_err(|_| StatusCode::BAD_REQUEST)?;
            if let Some(host) = &host
                && !is_own_name(shared, snapshot, host)
            {
                metrics.misdirected.inc();
                return Err(StatusCode::MISDIRECTED_REQUEST.into());
            }
            host
        }
    };
    let own_name = match host {
        Some(_) => None,
        None => Some(own_name(shared)?),
    };
    let asked = parts.uri.path_and_query();
    let target = asked.map_or("/", PathAndQuery::as_str);
    if target == "*" {
        // RFC 9110 §9.3.7: about the server as a whole, so no route has a say.
        return Err(match parts.method {
            Method::OPTIONS => StatusCode::NO_CONTENT,
            _ => StatusCode::BAD_REQUEST,
        }
        .into());
    }
    let uri_length = target.len();
    let normal = path::normalise(target).map_err(|_| StatusCode::BAD_REQUEST)?;
    let only_path = match &normal {
        Cow::Borrowed(_) => asked.map_or("/", PathAndQuery::path),
        Cow::Owned(normal) => normal.split('?').next().unwrap_or("/"),
    };
    let route = site
        .routes
        .find(host.as_deref(), only_path, &parts.method)
        .map_err(|none| match none {
            NoRoute::NotFound => StatusCode::NOT_FOUND.into(),
            NoRoute::MethodNotAllowed { allow } => Refusal {
                field: Some((ALLOW, allow)),
                ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED)
            },
        })?;
    let route = Arc::clone(route);
    drop(host);
    check_limits(shared, &route, parts, uri_length, fields.bytes)?;
    let marked = fields.marked;
    let host = match tells_host(&route) {
        true => own_name.or_else(|| asked_host(parts, &fields)),
        false => None,
    };
    if let Cow::Owned(normal) = normal {
        parts.uri = with_path(&parts.uri, &normal).ok_or(StatusCode::BAD_REQUEST)?;
    }

    // EARLY-DATA R23: a stream that was opened in early data stays early, even if it is read late.
    // What fails meanwhile is not proved either.
    let early = came_early || !shared.is_confirmed();
    if early && site.tls.as_ref().is_some_and(|tls| !tls.early_data) && !shared.has_own_tls() {
        // A reload switched early data off: what is not confirmed comes again.
        return Err(StatusCode::TOO_EARLY.into());
    }
    let decision = if early || marked {
        gate::decide(GateInput {
            policy: route.early_data,
            early,
            marked,
            safe: gate::is_safe(parts, end_of_stream),
            upgrade_or_connect: gate::is_upgrade_or_connect(parts),
            target: match &route.target {
                Target::Respond(_) | Target::Redirect(_) => TargetKind::Local,
                Target::Origin(spec) => TargetKind::Origin {
                    aware: spec.early_data_aware,
                },
                Target::Handler(_) => TargetKind::Handler,
            },
        })
    } else {
        Decision::Proceed {
            early_forward: false,
        }
    };
    let decision = match decision {
        Decision::Proceed { .. } if !shared.address_is_proved() && tells_address(&route) => {
            Decision::Wait
        }
        decision => decision,
    };
    Ok(Plan {
        route,
        decision,
        marked,
        early,
        host,
    })
}

/// EARLY-DATA R15: an origin believes what we say of the client's address, so it is told none that
/// may be forged, nor is one of its servers chosen by it.
fn tells_address(route: &Route) -> bool {
    let Target::Origin(spec) = &route.target else {
        return false;
    };
    let edits = route.request_headers.as_ref();
    spec.goes_by_address() || edits.is_some_and(|edits| edits.say_address())
}

/// The name that chose the site, if the request asks for just that, with or without a port, as
/// nearly all do: then there is nothing to look up.
fn names_its_site<'s>(
    shared: &'s Shared,
    snapshot: &Snapshot,
    parts: &Parts,
    fields: &Fields<'_>,
) -> Option<&'s str> {
    if snapshot.generation != shared.generation || shared.by_default {
        return None;
    }
    let name = shared.state.server_name.as_deref()?;
    let asked = match (parts.uri.authority(), fields.host, fields.hosts) {
        (None, Some(host), 1) => host.as_bytes(),
        // HTTP/1.1 requires the field.
        (Some(authority), None, _) if parts.version >= Version::HTTP_2 => {
            authority.as_str().as_bytes()
        }
        _ => return None,
    };
    match asked.strip_prefix(name.as_bytes())? {
        [] => Some(name),
        [b':', port @ ..] => authority::is_port(port).then_some(name),
        _ => None,
    }
}

/// Whether the connection may carry requests for `host`.
fn is_own_name(shared: &Shared, snapshot: &Snapshot, host: &str) -> bool {
    let Some(listener) = shared.listener(snapshot) else {
        return false;
    };
    let is_own = |site: &Arc<Site>| site.name == shared.site.name;
    // Whether or not the ClientHello asked for one of the default site's names.
    let is_default = listener.default.as_ref().is_some_and(is_own);
    authority::belongs(listener.names.get(host), is_own, is_default)
}

/// Whether the route says the authority to anybody: for most of the others it would be copied in
/// vain.
fn tells_host(route: &Route) -> bool {
    matches!(route.target, Target::Origin(_))
        || route.request_headers.is_some()
        || route.response_headers.is_some()
}

/// The authority as the client sent it. It has been looked at: it is a host, perhaps with a port,
/// and so a value.
fn asked_host(parts: &Parts, fields: &Fields<'_>) -> Option<HeaderValue> {
    match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => fields.host.cloned(),
    }
}

/// What stands for the authority of a request that has none, as only HTTP/1.0 allows.
fn own_name(shared: &Shared) -> Result<HeaderValue, StatusCode> {
    let name = shared.state.server_name.as_deref();
    let name = name.unwrap_or(&shared.site.name);
    HeaderValue::from_str(name).map_err(|_| StatusCode::BAD_REQUEST)
}

/// `uri` with another path and query.
pub(super) fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn check_limits(
    shared: &Shared,
    route: &Route,
    parts: &Parts,
    uri_length: usize,
    header_bytes: usize,
) -> Result<(), Refusal> {
    let hit = |limit, status: StatusCode| {
        shared.worker.process.metrics.requests.limits_hit.inc(limit);
        Err(Refusal::new(status))
    };
    let limits = &route.limits;
    if uri_length > limits.uri {
        return hit(Limit::Uri, StatusCode::URI_TOO_LONG);
    }
    if parts.headers.len() > limits.headers {
        return hit(Limit::Headers, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    if header_bytes > limits.header_bytes {
        return hit(Limit::Headers, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    if let Some(limit) = limits.body
        && let Some(length) = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        && length > limit
    {
        return hit(Limit::Body, StatusCode::PAYLOAD_TOO_LARGE);
    }
    Ok(())
}
