//! `[ocsp]`, and what sites and certificates say of staples.

use std::sync::Arc;

use http::Uri;

use super::keys;
use super::tree::{Table, Value};
use crate::certs::ocsp::{OcspMode, subject};
use crate::config::spec::{Spec, StapleFiles};

/// Reads the table into `spec`.
pub(super) fn read(top: &Table<'_>, spec: &mut Spec) {
    let Some(value) = top.get("ocsp") else {
        return;
    };
    let Some(table) = value.table(&keys::OCSP, "[ocsp]") else {
        return;
    };
    let directory = table.get("directory");
    if let Some(directory) = directory.and_then(|value| value.path("/var/lib/cutwater/ocsp")) {
        spec.ocsp.directory = Some(directory.value);
    }
    spec.ocsp.proxy = table.get("proxy").and_then(|value| proxy(&value));
    if let Some(timeout) = table.get("timeout").and_then(|value| value.duration()) {
        spec.ocsp.timeout = timeout;
    }
}

/// `ocsp` of a site.
pub(super) fn mode(value: &Value<'_>) -> Option<OcspMode> {
    let modes = [OcspMode::Auto, OcspMode::Off, OcspMode::Required];
    value.choice(&modes.map(|mode| (mode.as_str(), mode)))
}

/// What a `certificate` table says of staples.
pub(super) fn staple_files(table: &Table<'_>) -> StapleFiles {
    let path = |key: &str, example: &str| table.get(key).and_then(|value| value.path(example));
    let responder = table.get("responder");
    let files = StapleFiles {
        issuer: path("issuer", "issuer.pem"),
        responder: responder.as_ref().and_then(|value| {
            let read = address(value, "http://ocsp.example.com/")?;
            Some(value.at(read))
        }),
        staple: path("staple", "example.com.ocsp"),
    };
    if let (Some(value), true) = (responder, files.staple.is_some()) {
        let message = "`responder` beside `staple`: with a file nobody is asked";
        value.error(message, "take one of the two away");
    }
    files
}

/// `http://HOST:PORT`, and nothing behind it.
fn proxy(value: &Value<'_>) -> Option<Arc<str>> {
    let example = "http://127.0.0.1:3128";
    let uri = address(value, example)?;
    let authority = uri.authority()?;
    let bare = matches!(uri.path_and_query().map(|p| p.as_str()), None | Some("/"));
    if !bare || authority.as_str().contains('@') {
        let message = format!("`proxy` cannot be {:?}", uri.to_string());
        let hint = format!("write an address and a port without a path or a user: {example:?}");
        value.error(message, hint);
        return None;
    }
    match authority.port_u16() {
        Some(_) => Some(authority.as_str().into()),
        None => Some(format!("{authority}:80").into()),
    }
}

fn address(value: &Value<'_>, example: &str) -> Option<Uri> {
    let text = value.string(example)?;
    let uri = subject::responder(text);
    if uri.is_none() {
        let message = format!("`{}` cannot be {text:?}", value.name());
        let hint = format!("write an address of plain HTTP, such as {example:?}");
        value.error(message, hint);
    }
    uri
}
