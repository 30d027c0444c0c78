//! What answers a route's requests: `origin`, `respond` or `redirect`.

use std::fs;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::fields;
use crate::config::file::tree::{Table, Value};
use crate::config::file::{keys, origin};
use crate::config::snapshot::{Message, Redirect};
use crate::config::spec::{RespondSpec, TargetSpec};

pub(super) fn read(table: &Table<'_>) -> Option<TargetSpec> {
    let given: Vec<Value<'_>> = ["origin", "respond", "redirect"]
        .into_iter()
        .filter_map(|key| table.get(key))
        .collect();
    if let [first, others @ ..] = &given[..] {
        for other in others {
            let message = format!("`{}` beside `{}`", other.name(), first.name());
            other.key_error(message, "a route has one answer: take one of them away");
        }
    }
    let mut targets = given.iter().map(|value| match value.name() {
        "origin" => origin::target(value),
        "respond" => respond(value),
        _ => redirect(value),
    });
    let Some(first) = targets.next() else {
        let example = "`origin`, `respond` or `redirect`";
        table.missing("a route without an answer", example);
        return None;
    };
    // The others are read for their errors.
    targets.for_each(drop);
    first
}

fn redirect(value: &Value<'_>) -> Option<TargetSpec> {
    let example = "redirect = { to = \"https://example.com/\" }";
    let table = value.table(&keys::REDIRECT, example)?;
    let mut status = StatusCode::PERMANENT_REDIRECT;
    if let Some(value) = table.get("status")
        && let Some(code) = value.integer(301..=308)
    {
        let code = u16::try_from(code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        match code.filter(|code| matches!(code.as_u16(), 301 | 302 | 303 | 307 | 308)) {
            Some(code) => status = code,
            None => value.error("no such redirect", "allowed are 301, 302, 303, 307, 308"),
        }
    }
    let keep = |key: &str| {
        let value = table.get(key)?;
        let keep = value.boolean()?.value;
        keep.then_some(value)
    };
    let (path, query) = (keep("keep_path"), keep("keep_query"));
    let value = table.require("to", "to = \"https://example.com/\"")?;
    let text = value.string("https://example.com/")?;
    let wrong = |hint: &str| {
        value.error(format!("{text:?} cannot be redirected to"), hint);
        None
    };
    if ["$request_uri", "$uri", "$args", "{uri}"]
        .iter()
        .any(|name| text.contains(name))
    {
        return wrong("write keep_path = true and keep_query = true beside a plain URL");
    }
    let begins = ["https://", "http://", "/"]
        .iter()
        .any(|start| text.starts_with(start));
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    let to = HeaderValue::from_str(text).ok();
    let Some(to) = to.filter(|_| begins && printable) else {
        return wrong("write a URL or a path, with everything else escaped");
    };
    if let Some(path) = &path
        && text.contains(['?', '#'])
    {
        let message = "`keep_path` beside a `to` that does not end with its path";
        path.key_error(message, "take the query or the fragment away");
    } else if let Some(query) = &query
        && text.contains('#')
    {
        let message = "`keep_query` beside a `to` with a fragment";
        query.key_error(message, "take the fragment away");
    }
    Some(TargetSpec::Redirect(Redirect {
        status,
        to,
        keep_path: path.is_some(),
        keep_query: query.is_some(),
    }))
}

fn respond(value: &Value<'_>) -> Option<TargetSpec> {
    let table = value.table(
        &keys::RESPOND,
        "respond = { status = 200, body = \"hello\\n\" }",
    )?;
    let mut respond = RespondSpec {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        body_file: None,
    };
    if let Some(value) = table.get("status")
        && let Some(code) = value.integer(200..=599)
        && let Ok(code) = u16::try_from(code)
        && let Ok(status) = StatusCode::from_u16(code)
    {
        // EARLY-DATA R20
        if status == StatusCode::TOO_EARLY {
            let hint = "the edge makes this answer itself: see `early_data = \"refuse\"`";
            value.error("`status` cannot be 425", hint);
        }
        respond.status = status;
    }
    content(&table, &mut respond);
    Some(TargetSpec::Respond(respond))
}

/// What a fixed answer says: `headers`, and `body` or `body_file`.
fn content(table: &Table<'_>, respond: &mut RespondSpec) {
    if let Some(value) = table.get("headers") {
        respond.headers = headers(&value);
    }
    let (body, file) = (table.get("body"), table.get("body_file"));
    if let (Some(_), Some(file)) = (&body, &file) {
        file.key_error("`body_file` beside `body`", "take one of the two away");
    }
    let written = body.clone().or_else(|| file.clone());
    if let Some(text) = body.and_then(|value| value.string("hello\n")) {
        respond.body = Bytes::copy_from_slice(text.as_bytes());
    }
    if let Some(value) = file
        && let Some(path) = value.path("index.html")
    {
        match fs::read(&path.value) {
            Ok(bytes) => respond.body = bytes.into(),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.value.display());
                value.error(message, "a path is relative to the file that it stands in");
            }
        }
        respond.body_file = Some(path.value);
    }
    // RFC 9110 §15.3.5, §15.3.6, §15.4.5
    if let Some(written) = written
        && !respond.body.is_empty()
        && matches!(respond.status.as_u16(), 204 | 205 | 304)
    {
        let status = respond.status.as_u16();
        let message = format!("an answer of status {status} has no body");
        written.key_error(message, "take the body away");
    }
}

/// `[error_pages]`, of all sites or of one.
pub(in crate::config::file) fn error_pages(table: &Table<'_>) -> Vec<RespondSpec> {
    let example = "error_pages = { 404 = { body_file = \"404.html\" } }";
    let value = table.get("error_pages");
    let Some(table) = value.and_then(|value| value.table(&keys::ERROR_PAGES, example)) else {
        return Vec::new();
    };
    let codes = keys::ERROR_PAGES.known.iter();
    let page = |code: &&str| {
        let example = "{ body_file = \"404.html\" }";
        let page = table.get(code)?.table(&keys::ERROR_PAGE, example)?;
        let mut respond = RespondSpec {
            status: StatusCode::from_bytes(code.as_bytes()).ok()?,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            body_file: None,
        };
        content(&page, &mut respond);
        Some(respond)
    };
    codes.filter_map(page).collect()
}

fn headers(value: &Value<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in value.named("headers = { content-type = \"text/plain\" }") {
        let Some(name) = fields::key(&value, Message::Response) else {
            continue;
        };
        if let Some(text) = fields::value(&value)
            && headers.insert(name, text).is_some()
        {
            fields::twice(&value);
        }
    }
    headers
}
