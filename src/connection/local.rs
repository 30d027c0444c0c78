//! Answers that need neither a handler nor an origin.

use http::header::LOCATION;
use http::{Response, StatusCode};

use crate::body::Body;
use crate::config::snapshot::{FixedResponse, Redirect, Target};

/// The answer of a route that has one of its own.
pub(super) fn local(target: &Target) -> Option<Response<Body>> {
    match target {
        Target::Respond(respond) => Some(fixed(respond)),
        Target::Redirect(redirect) => Some(redirected(redirect)),
        Target::Origin(_) | Target::Handler(_) => None,
    }
}

pub(super) fn fixed(respond: &FixedResponse) -> Response<Body> {
    let mut response = Response::new(Body::from(respond.body.clone()));
    *response.status_mut() = respond.status;
    response.headers_mut().clone_from(&respond.headers);
    response
}

pub(super) fn redirected(redirect: &Redirect) -> Response<Body> {
    let mut response = empty(redirect.status);
    response.headers_mut().insert(LOCATION, redirect.to.clone());
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
