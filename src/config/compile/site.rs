//! One site: its TLS side, its tags, and whether it is the site it was before.

use std::fmt::Write;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::Work;
use super::certificates::Source;
use crate::certs::chooser::CertificateChooser;
use crate::config::diagnostics::Diagnostic;
use crate::config::site_tls::SiteTls;
use crate::config::snapshot::{FieldEdits, FieldValue, FixedResponse, Route, Site, Target};
use crate::config::spec::{SiteSpec, Spec};
use crate::route::Routes;
use crate::tags::Tag;

pub(super) fn compile(
    spec: &Spec,
    site: &SiteSpec,
    identity: &str,
    certificates: &mut Source,
    work: &mut Work<'_>,
) -> Arc<Site> {
    let errors_before = work.errors.len();
    if site.names.is_empty() && work.errors.is_empty() {
        let error = Diagnostic::error(site.place.clone(), "a site without names");
        work.errors
            .push(error.hint("add `names = [\"example.com\"]`"));
    }
    let name: Arc<str> = site.label().into();
    let trust = trust(identity, site);
    let former = work.former(&name, &trust);
    let routes = super::routes::compile(spec, site, former.map(|former| &**former), work);
    check_early_data(site, &routes, work);
    let (certificates, tls) = tls(spec, site, trust, &routes, certificates, former, work);
    let largest = |limit: fn(&Route) -> usize| routes.iter().map(|route| limit(route)).max();
    let error_pages = error_pages(spec, site);
    let compiled = Site {
        digest: digest(
            site,
            &name,
            &routes,
            &error_pages,
            certificates,
            tls.as_deref(),
        ),
        name,
        names: site.names.iter().map(|name| name.value.clone()).collect(),
        tls,
        certificates,
        timeouts: site.timeouts.clone(),
        error_pages,
        max_header_bytes: largest(|route| route.limits.header_bytes).unwrap_or(0),
        max_headers: largest(|route| route.limits.headers).unwrap_or(0),
        max_uri: largest(|route| route.limits.uri).unwrap_or(0),
        routes,
    };
    match former {
        Some(former) if former.digest == compiled.digest && work.errors.len() == errors_before => {
            Arc::clone(former)
        }
        _ => Arc::new(compiled),
    }
}

/// Its own pages, and those of all sites for what it has none for.
fn error_pages(spec: &Spec, site: &SiteSpec) -> Vec<FixedResponse> {
    let mut pages: Vec<FixedResponse> = Vec::new();
    for page in site.error_pages.iter().chain(&spec.error_pages) {
        if !pages.iter().any(|known| known.status == page.status) {
            pages.push(FixedResponse {
                status: page.status,
                headers: page.headers.clone(),
                body: page.body.clone(),
            });
        }
    }
    pages
}

fn check_early_data(site: &SiteSpec, routes: &Routes, work: &mut Work<'_>) {
    let answers = |route: &Arc<Route>| route.early_data.answers_early();
    if site.early_data.value && !routes.is_empty() && !routes.iter().any(answers) {
        let message = format!(
            "site {} takes early data, but no route answers it",
            site.label()
        );
        let warning = Diagnostic::warning(site.early_data.place.clone(), message);
        let hint = "set `early_data = \"safe\"` on a route whose GET requests may run twice";
        work.warnings.push(warning.hint(hint));
    }
}

/// The TLS side and a hash of its certificates. `None` if there is no certificate to use, now or
/// before.
fn tls(
    spec: &Spec,
    site: &SiteSpec,
    trust: Tag,
    routes: &Routes,
    certificates: &mut Source,
    former: Option<&Arc<Site>>,
    work: &mut Work<'_>,
) -> (Tag, Option<Arc<SiteTls>>) {
    let former_tls = former.and_then(|former| former.tls.as_ref());
    let found = certificates.find(spec, site, work);
    let chooser = found.and_then(|found| {
        let keys = super::ocsp::staple(spec, site, &found, work)?;
        let mut tags = vec![found.tag];
        tags.extend(keys.iter().map(|key| key.tag()));
        let tags: Vec<&[u8]> = tags.iter().map(|tag| &tag.0[..]).collect();
        let tag = Tag::of(&tags);
        match CertificateChooser::stapled(keys) {
            Ok(chooser) => Some((tag, Arc::new(chooser))),
            Err(error) => {
                let message = format!("site {}: {error}", site.label());
                work.broken
                    .push(Diagnostic::error(site.place.clone(), message));
                None
            }
        }
    });
    let (tag, resolver) = match (chooser, former, former_tls) {
        (Some(chooser), _, _) => chooser,
        // A broken file costs nobody the certificate that still serves.
        (None, Some(former), Some(tls)) => (former.certificates, Arc::clone(&tls.certificates)),
        (None, _, _) => return (Tag::of(&[b"cutwater no certificate 1"]), None),
    };
    let mut tls = SiteTls::new(&site.label(), resolver);
    tls.alpn.clone_from(&site.alpn);
    tls.tls12 = site.tls12;
    tls.early_data = site.early_data.value;
    tls.certificate_compression
        .clone_from(&site.certificate_compression);
    tls.http09 = site.http09;
    tls.tickets = spec.sessions.tickets;
    tls.trust = trust;
    tls.early = early(&tls.trust, site, routes);
    let same = |former: &SiteTls| {
        former.trust == tls.trust
            && former.early == tls.early
            && former.tickets == tls.tickets
            && former.http09 == tls.http09
            && former.certificate_compression == tls.certificate_compression
    };
    match (former, former_tls) {
        // The rustls configurations that it made live on.
        (Some(former), Some(former_tls)) if former.certificates == tag && same(former_tls) => {
            (tag, Some(Arc::clone(former_tls)))
        }
        _ => (tag, Some(Arc::new(tls))),
    }
}

/// EARLY-DATA R6: site, TLS version, transport and client-authentication policy. Not the
/// certificate: a renewal drops no session.
fn trust(identity: &str, site: &SiteSpec) -> Tag {
    let version: &[u8] = if site.tls12 { b"1.2" } else { b"1.3" };
    Tag::of(&[
        b"cutwater trust 1",
        identity.as_bytes(),
        version,
        b"tcp",
        b"no client auth",
    ])
}

/// EARLY-DATA R6: trust, ALPN, and what each route does with early data.
fn early(trust: &Tag, site: &SiteSpec, routes: &Routes) -> Tag {
    let on: &[u8] = if site.early_data.value { b"on" } else { b"off" };
    let mut parts: Vec<&[u8]> = vec![b"cutwater early 1", &trust.0, on, b"alpn"];
    parts.extend(site.alpn.iter().map(Vec::as_slice));
    parts.push(b"routes");
    for route in routes.iter() {
        parts.push(route.name.as_bytes());
        parts.push(route.early_data.as_str().as_bytes());
        parts.push(match &route.target {
            Target::Origin(origin) if !origin.early_data_aware => b"unaware",
            _ => b"aware",
        });
    }
    Tag::of(&parts)
}

/// Everything that was said about a site. Compared within one process only, so the debug form of
/// its parts will do.
fn digest(
    site: &SiteSpec,
    name: &str,
    routes: &Routes,
    error_pages: &[FixedResponse],
    certificates: Tag,
    tls: Option<&SiteTls>,
) -> Tag {
    let names: Vec<String> = site
        .names
        .iter()
        .map(|name| name.value.to_string())
        .collect();
    let listen: Vec<&str> = site.listen.iter().map(|name| &*name.value).collect();
    let mut said = format!(
        "{name:?} {names:?} {listen:?} {:?} {:?} {tls:?} {:?}",
        site.default.value,
        site.timeouts,
        tls.map(|tls| (tls.tickets, tls.early)),
    );
    for page in error_pages {
        say_fixed(page, &mut said);
    }
    for route in routes.iter() {
        say_route(route, &mut said);
    }
    Tag::of(&[&certificates.0, said.as_bytes()])
}

fn say_route(route: &Route, said: &mut String) {
    // Taken apart, so that what a route may come to have is not forgotten here.
    let Route {
        name,
        host,
        path,
        methods,
        early_data,
        target,
        admission,
        prefix_rewrite,
        request_headers,
        response_headers,
        timeouts,
        limits,
    } = route;
    // Writing to a String does not fail.
    let _ = write!(
        said,
        "\n{name:?} {host:?} {path:?} {methods:?} {early_data:?} {admission:?} {prefix_rewrite:?} {timeouts:?} {limits:?} "
    );
    for edits in [request_headers, response_headers] {
        say_edits(edits.as_deref(), said);
    }
    let _ = match target {
        Target::Respond(respond) => {
            say_fixed(respond, said);
            Ok(())
        }
        // The former site keeps its handler alive, so no other can have its address.
        Target::Handler(handler) => write!(said, "{:p}", Arc::as_ptr(handler)),
        target => write!(said, "{target:?}"),
    };
}

fn say_fixed(respond: &FixedResponse, said: &mut String) {
    let FixedResponse {
        status,
        headers,
        body,
    } = respond;
    let _ = write!(said, "{status:?} {:?} ", Tag::of(&[body]));
    for (name, value) in headers {
        say_value(name, ':', value, said);
    }
}

fn say_value(name: &HeaderName, mark: char, value: &HeaderValue, said: &mut String) {
    // The debug form of a secret is the same for all of them.
    let (secret, value) = (value.is_sensitive(), Tag::of(&[value.as_bytes()]));
    let _ = write!(said, "{name}{mark}{value:?} {secret} ");
}

fn say_edits(edits: Option<&FieldEdits>, said: &mut String) {
    let Some(FieldEdits { remove, set, add }) = edits else {
        said.push_str("None ");
        return;
    };
    let _ = write!(said, "{remove:?} ");
    for (fields, mark) in [(set, '='), (add, '+')] {
        for field in fields {
            match &field.value {
                FieldValue::Fixed(value) => say_value(&field.name, mark, value, said),
                FieldValue::Template { parts, secret } => {
                    let _ = write!(said, "{}{mark}{parts:?} {secret} ", field.name);
                }
            }
        }
    }
}
