//! Answers that need neither a handler nor an origin.

use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode, Uri};

use crate::body::Body;
use crate::config::snapshot::{FixedResponse, PathMatch, Redirect, Route, Target};
use crate::connection::shared::{Shared, Standing};
use crate::route;

/// The answer of a route that has one of its own. `uri` is normal.
pub(super) fn local(route: &Route, uri: &Uri) -> Option<Response<Body>> {
    match &route.target {
        Target::Respond(respond) => Some(fixed(respond)),
        Target::Redirect(redirect) => Some(redirected(redirect, &route.path, uri)),
        Target::Origin(_) | Target::Handler(_) => None,
    }
}

pub(super) fn fixed(respond: &FixedResponse) -> Response<Body> {
    let mut response = Response::new(Body::from(respond.body.clone()));
    *response.status_mut() = respond.status;
    response.headers_mut().clone_from(&respond.headers);
    response
}

pub(super) fn redirected(redirect: &Redirect, own: &PathMatch, uri: &Uri) -> Response<Body> {
    let mut response = empty(redirect.status);
    let kept = match redirect.keep_path || redirect.keep_query {
        true => kept(redirect, own, uri),
        false => None,
    };
    let to = kept.unwrap_or_else(|| redirect.to.clone());
    response.headers_mut().insert(LOCATION, to);
    response
}

/// Location with what is kept of the request.
fn kept(redirect: &Redirect, own: &PathMatch, uri: &Uri) -> Option<HeaderValue> {
    let to = redirect.to.to_str().ok()?;
    let mut location = match redirect.keep_path {
        true => route::join(to, route::rest(own, uri.path())),
        false => to.to_owned(),
    };
    if redirect.keep_query
        && let Some(query) = uri.query().filter(|query| !query.is_empty())
    {
        location.push(if location.contains('?') { '&' } else { '?' });
        location.push_str(query);
    }
    HeaderValue::try_from(location).ok()
}

/// An answer that the edge gives by itself: the site's own page, or an empty one.
pub(super) fn own(shared: &Shared, status: StatusCode) -> Response<Body> {
    let snapshot = shared.worker.process.current.peek();
    let site = match shared.standing(&snapshot) {
        Standing::Here(site) => site,
        Standing::Gone => &shared.site,
    };
    let page = site.error_pages.iter().find(|page| page.status == status);
    page.map_or_else(|| empty(status), fixed)
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
