//! Routes: targets found, early-data rules kept, no two alike.

use std::sync::Arc;

use http::uri::PathAndQuery;

use super::Work;
use crate::admission::{Admission, Networks, RateLimit};
use crate::config::diagnostics::Diagnostic;
use crate::config::nearest;
use crate::config::snapshot::{FieldEdits, FixedResponse, Message, PathMatch, Route, Site, Target};
use crate::config::spec::{RouteSpec, SiteSpec, Spec, TargetSpec};
use crate::route::{Routes, same_keys};

/// The routes of a site.
pub(super) fn compile(
    spec: &Spec,
    site: &SiteSpec,
    former: Option<&Site>,
    work: &mut Work<'_>,
) -> Routes {
    if site.routes.is_empty() {
        let message = format!("site {} has no route", site.label());
        let error = Diagnostic::error(site.place.clone(), message);
        let hint = "add a [[site.route]] with path = \"/\"";
        work.errors.push(error.hint(hint));
    }
    let mut routes: Vec<(Arc<Route>, &RouteSpec)> = Vec::with_capacity(site.routes.len());
    for typed in &site.routes {
        check_early_data(site, typed, work);
        check_host(site, typed, work);
        let Some(target) = target(spec, typed, work) else {
            continue;
        };
        check_awareness(typed, &target, work);
        check_program(typed, work);
        if let Target::Origin(origin) = &target
            && origin.servers.is_empty()
            && typed.place.is_none()
        {
            let message = format!("origin `{}` has no server", origin.name);
            work.errors.push(Diagnostic::error(None, message));
        }
        let name = name(typed);
        let route = Route {
            admission: admission(typed, &name, former),
            name: name.into(),
            host: typed.host.as_ref().map(|host| host.value.clone()),
            path: typed.path.clone(),
            methods: typed.methods.clone(),
            early_data: typed.early_data.value,
            target,
            prefix_rewrite: typed.prefix_rewrite.as_deref().map(Into::into),
            request_headers: edits(&typed.request_headers),
            response_headers: edits(&typed.response_headers),
            timeouts: typed.timeouts.clone(),
            limits: typed.limits.clone(),
        };
        // The second of two equals would never be reached.
        if let Some((first, at)) = routes.iter().find(|(first, _)| same_keys(first, &route)) {
            let message = match first.name == route.name {
                true => format!("two routes match the same: {}", route.name),
                false => format!("{} matches the same as {}", route.name, first.name),
            };
            let error = Diagnostic::error(typed.place.clone(), message);
            let error = error.other("the first is at", at.place.as_ref());
            work.errors.push(error.hint("take one of the two away"));
        }
        routes.push((Arc::new(route), typed));
    }
    Routes::new(routes.into_iter().map(|(route, _)| route))
}

/// What a route matches, in few words.
fn name(route: &RouteSpec) -> String {
    let mut name = String::new();
    if !route.methods.is_empty() {
        let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
        name.push_str(&methods.join(","));
        name.push(' ');
    }
    if let Some(host) = &route.host {
        name.push_str(&host.value.to_string());
        name.push(' ');
    }
    match &route.path {
        PathMatch::Exact(path) => {
            name.push('=');
            name.push_str(path);
        }
        PathMatch::Prefix(path) => {
            name.push_str(path);
            name.push('*');
        }
    }
    name
}

fn check_early_data(site: &SiteSpec, route: &RouteSpec, work: &mut Work<'_>) {
    // EARLY-DATA R13
    if route.early_data.value.answers_early() && !site.early_data.value {
        let message = format!(
            "`early_data = \"{}\"` on a site without early data",
            route.early_data.value.as_str()
        );
        let error = Diagnostic::error(route.early_data.place.clone(), message);
        let hint = "set `early_data = true` in the [[site]], or take this away";
        work.errors.push(error.hint(hint));
    }
}

/// EARLY-DATA R16
fn check_awareness(route: &RouteSpec, target: &Target, work: &mut Work<'_>) {
    if let Target::Origin(origin) = target
        && route.early_data.value.answers_early()
        && !origin.early_data_aware
    {
        let message = format!(
            "early requests to origin `{}` will wait: it is not `early_data_aware`",
            origin.name
        );
        let warning = Diagnostic::warning(route.early_data.place.clone(), message);
        let hint = "set `early_data_aware = true` if the origin understands Early-Data and \
                    answers 425 (RFC 8470)";
        work.warnings.push(warning.hint(hint));
    }
}

/// Files are held to this where they are read, at the value that is wrong.
fn check_program(route: &RouteSpec, work: &mut Work<'_>) {
    if route.place.is_some() {
        return;
    }
    let rewrite = route.prefix_rewrite.as_deref();
    if let Some(rewrite) = rewrite.filter(|path| path.parse::<PathAndQuery>().is_err()) {
        let message = format!("{rewrite:?} is no path to rewrite to");
        work.errors.push(Diagnostic::error(None, message));
    }
    for (edits, message) in [
        (&route.request_headers, Message::Request),
        (&route.response_headers, Message::Response),
    ] {
        for name in edits.names().filter(|name| message.reserves(name)) {
            let message = format!("`{name}` is set by the edge");
            work.errors.push(Diagnostic::error(None, message));
        }
    }
}

/// Whose requests a route takes. The buckets of a rate that stayed the same live on.
fn admission(route: &RouteSpec, name: &str, former: Option<&Site>) -> Option<Admission> {
    if route.allow.is_empty() && route.deny.is_empty() && route.rate_limit.is_none() {
        return None;
    }
    let rate = route.rate_limit.map(|rate| {
        let former = former.and_then(|former| {
            let same = former.routes.iter().find(|route| *route.name == *name)?;
            same.admission.as_ref()?.rate.as_ref()
        });
        match former.filter(|former| former.rate() == rate) {
            Some(former) => Arc::clone(former),
            None => Arc::new(RateLimit::new(rate)),
        }
    });
    Some(Admission {
        allow: (!route.allow.is_empty()).then(|| Networks::new(&route.allow)),
        deny: Networks::new(&route.deny),
        rate,
    })
}

fn edits(edits: &FieldEdits) -> Option<Arc<FieldEdits>> {
    (!edits.is_empty()).then(|| Arc::new(edits.clone()))
}

fn check_host(site: &SiteSpec, route: &RouteSpec, work: &mut Work<'_>) {
    let Some(host) = &route.host else { return };
    let reachable = site.names.iter().any(|name| {
        name.value == host.value
            || (!host.value.is_wildcard() && name.value.matches(host.value.base()))
            || (!name.value.is_wildcard() && host.value.matches(name.value.base()))
    });
    // The default site answers for names that no site has.
    if !reachable && !site.default.value && !site.names.is_empty() {
        let message = format!("`{}` is none of the site's names", host.value);
        let error = Diagnostic::error(host.place.clone(), message);
        let names: Vec<String> = site
            .names
            .iter()
            .map(|name| name.value.to_string())
            .collect();
        work.errors
            .push(error.hint(format!("its names are: {}", names.join(", "))));
    }
}

fn target(spec: &Spec, route: &RouteSpec, work: &mut Work<'_>) -> Option<Target> {
    Some(match route.target.as_ref()? {
        TargetSpec::Respond(respond) => Target::Respond(FixedResponse {
            status: respond.status,
            headers: respond.headers.clone(),
            body: respond.body.clone(),
        }),
        TargetSpec::Redirect(redirect) => Target::Redirect(redirect.clone()),
        TargetSpec::Handler(handler) => Target::Handler(Arc::clone(handler)),
        TargetSpec::Named(name) => match spec.origins.get(&name.value) {
            Some(table) => Target::Origin(work.origin(name.value.as_str().into(), table)),
            None => {
                let hint = nearest::hint(&name.value, spec.origins.keys().map(String::as_str));
                let message = format!("no origin is named `{}`", name.value);
                let error = Diagnostic::error(name.place.clone(), message);
                work.errors.push(error.hint(hint));
                return None;
            }
        },
        TargetSpec::Inline(table) => {
            let servers: Vec<String> = table.servers.iter().map(ToString::to_string).collect();
            Target::Origin(work.origin(servers.join(",").into(), table))
        }
    })
}
