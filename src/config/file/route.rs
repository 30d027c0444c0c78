//! `[[site.route]]`.

mod admission;
mod fields;
mod target;
mod template;
#[cfg(test)]
mod tests;

use http::{HeaderValue, Method, StatusCode};

use super::tree::{Table, Value};
use super::{keys, site};
use crate::config::snapshot::{Message, PathMatch, Redirect};
use crate::config::spec::{RouteSpec, TargetSpec};
use crate::early::EarlyDataPolicy;

pub(super) use target::error_pages;

pub(super) fn read(value: &Value<'_>) -> Option<RouteSpec> {
    let table = value.table(&keys::ROUTE, "[[site.route]]")?;
    let redirect = Redirect::new(
        StatusCode::PERMANENT_REDIRECT,
        HeaderValue::from_static("/"),
    );
    let mut route = RouteSpec::new("/", TargetSpec::Redirect(redirect));
    route.place = Some(table.place());
    route.target = target::read(&table);
    if let Some(path) = path(&table) {
        route.path = path;
    }
    if let (Some(TargetSpec::Redirect(redirect)), PathMatch::Exact(_)) =
        (&route.target, &route.path)
        && redirect.keep_path
        && let Some(value) = table.get("exact")
    {
        let message = "`exact` beside `keep_path`: there is no rest to keep";
        value.key_error(message, "write `path`, or take `keep_path` away");
    }
    if let Some(value) = table.get("methods") {
        route.methods = methods(&value);
    }
    if let Some(value) = table.get("host") {
        route.host = site::name(&value);
    }
    let policies = [
        EarlyDataPolicy::Refuse,
        EarlyDataPolicy::Wait,
        EarlyDataPolicy::Safe,
        EarlyDataPolicy::Allow,
    ]
    .map(|policy| (policy.as_str(), policy));
    if let Some(value) = table.get("early_data")
        && let Some(policy) = value.choice(&policies)
    {
        route.early_data = value.at(policy);
    }
    admission::read(&table, &mut route);
    route.prefix_rewrite = prefix_rewrite(&table);
    route.request_headers = fields::edits(&table, "request_headers", Message::Request);
    if let Some(TargetSpec::Respond(_) | TargetSpec::Redirect(_)) = route.target {
        for key in ["strip_prefix", "prefix_rewrite", "request_headers"] {
            if let Some(value) = table.get(key) {
                let message = format!("`{key}` of a route without `origin`");
                value.key_error(message, "no origin would see it: take this away");
            }
        }
    }
    route.response_headers = fields::edits(&table, "response_headers", Message::Response);
    timeouts(&table, &mut route);
    limits(&table, &mut route);
    Some(route)
}

fn path(table: &Table<'_>) -> Option<PathMatch> {
    let (prefix, exact) = (table.get("path"), table.get("exact"));
    if let (Some(_), Some(exact)) = (&prefix, &exact) {
        exact.key_error("`exact` beside `path`", "take one of the two away");
    }
    match (prefix, exact) {
        (Some(prefix), _) => checked_path(&prefix).map(PathMatch::Prefix),
        (None, Some(exact)) => checked_path(&exact).map(PathMatch::Exact),
        (None, None) => {
            table.missing("a route without `path` or `exact`", "path = \"/\"");
            None
        }
    }
}

/// What an origin sees in place of the route's path.
fn prefix_rewrite(table: &Table<'_>) -> Option<String> {
    let (strip, rewrite) = (table.get("strip_prefix"), table.get("prefix_rewrite"));
    let mut to = None;
    if let Some(value) = &strip
        && value.boolean().is_some_and(|strip| strip.value)
    {
        to = Some("/".to_owned());
        if rewrite.is_some() {
            let message = "`strip_prefix` beside `prefix_rewrite`";
            value.key_error(message, "take one of the two away");
        }
        if table.get("exact").is_some() {
            let message = "`strip_prefix` beside `exact`: nothing would be left";
            value.key_error(message, "write prefix_rewrite = \"/\" if that is meant");
        }
    }
    match rewrite {
        Some(value) => checked_path(&value),
        None => to,
    }
}

/// A path as requests have it when routes are compared with it: every other spelling would match
/// nothing.
fn checked_path(value: &Value<'_>) -> Option<String> {
    let text = value.string("/api")?;
    let wrong = |why: &str, hint: String| {
        let message = match value.name() {
            "prefix_rewrite" => format!("{text:?} is no path: {why}"),
            _ => format!("{text:?} matches no request: {why}"),
        };
        value.error(message, hint);
        None
    };
    if !text.starts_with('/') {
        return wrong("it does not begin with /", format!("write \"/{text}\""));
    }
    if text.contains(['*', '{']) && value.name() == "path" {
        return wrong(
            "there are no patterns",
            "a `path` matches everything below it already".to_owned(),
        );
    }
    if let Some(bad) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "?#\\".contains(*c))
    {
        let hint = match bad {
            '?' => "a route matches the path alone, not the query".to_owned(),
            bad => {
                let mut buffer = [0; 4];
                let bytes = bad.encode_utf8(&mut buffer).bytes();
                let escaped: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
                match bad {
                    '#' | '\\' => "take it away".to_owned(),
                    _ => format!("write {escaped}"),
                }
            }
        };
        return wrong(&format!("it has {bad:?}"), hint);
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return wrong(
            "dot segments are removed first",
            "take them away".to_owned(),
        );
    }
    for escape in text.split('%').skip(1) {
        let octet = escape.get(..2).filter(|digits| {
            digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
        });
        let octet = octet.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match octet.map(char::from) {
            None => {
                let hint = "write two digits 0-9 and A-F after %".to_owned();
                return wrong("it has a bad escape", hint);
            }
            Some('/' | '\\' | '\0') => {
                return wrong("such a request is answered 400", "take it away".to_owned());
            }
            Some(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                return wrong("the escape is decoded first", format!("write {c}"));
            }
            Some(_) => {}
        }
    }
    Some(text.to_owned())
}

fn methods(value: &Value<'_>) -> Vec<Method> {
    let list = value.full_list("methods", "[\"GET\"]").unwrap_or_default();
    let mut methods = Vec::new();
    for value in list {
        let Some(text) = value.string("GET") else {
            continue;
        };
        let known = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
        ];
        let upper = text.to_ascii_uppercase();
        match Method::from_bytes(text.as_bytes()) {
            Ok(_) if text != upper && known.contains(&&*upper) => {
                let message = format!("no request has the method {text:?}");
                value.error(message, format!("write {upper:?}"));
            }
            Ok(Method::CONNECT) => value.unsupported("CONNECT", "take this away"),
            Ok(method) if methods.contains(&method) => {
                value.error(
                    format!("{text:?} stands there twice"),
                    "take one of them away",
                );
            }
            Ok(method) => methods.push(method),
            Err(_) => value.error(
                format!("{text:?} is no method"),
                "write, for example, \"GET\"",
            ),
        }
    }
    methods
}

fn timeouts(table: &Table<'_>, route: &mut RouteSpec) {
    let value = table.get("timeouts");
    let example = "timeouts = { response_headers = \"30s\" }";
    let Some(table) = value.and_then(|value| value.table(&keys::ROUTE_TIMEOUTS, example)) else {
        return;
    };
    let timeouts = &mut route.timeouts;
    for (key, timeout) in [
        ("connect", &mut timeouts.connect),
        ("request_body_idle", &mut timeouts.request_body_idle),
        ("response_headers", &mut timeouts.response_headers),
    ] {
        if let Some(typed) = table.get(key).and_then(|value| value.duration()) {
            *timeout = typed;
        }
    }
    for (key, timeout) in [
        ("response_idle", &mut timeouts.response_idle),
        ("write_idle", &mut timeouts.write_idle),
        ("total", &mut timeouts.total),
    ] {
        if let Some(typed) = table.get(key).and_then(|value| value.duration_or_off()) {
            *timeout = typed;
        }
    }
}

fn limits(table: &Table<'_>, route: &mut RouteSpec) {
    let value = table.get("limits");
    let example = "limits = { body = \"10MB\" }";
    let Some(table) = value.and_then(|value| value.table(&keys::ROUTE_LIMITS, example)) else {
        return;
    };
    let limits = &mut route.limits;
    let bytes = |key: &str, range| {
        let size = table.get(key).and_then(|value| value.size(range));
        size.and_then(|size| usize::try_from(size).ok())
    };
    if let Some(size) = bytes("header_bytes", 1024..=1 << 20) {
        limits.header_bytes = size;
    }
    // No longer target fits into `http::Uri`.
    if let Some(size) = bytes("uri", 16..=65_534) {
        limits.uri = size;
    }
    if let Some(count) = table
        .get("headers")
        .and_then(|value| value.count(1..=10_000))
    {
        limits.headers = count;
    }
    if let Some(body) = table.get("body").and_then(|value| value.size_or_off()) {
        limits.body = body;
    }
}
