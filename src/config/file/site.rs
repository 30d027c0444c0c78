//! `[[site]]`.

use toml::de::DeValue;

use super::tree::{Table, Value};
use super::{keys, ocsp, route};
use crate::certs::compression::Algorithm;
use crate::config::diagnostics::At;
use crate::config::names::{NameError, SiteName};
use crate::config::spec::{CertificateFiles, Certificates, SiteSpec};

const CERTIFICATE: &str =
    "certificate = { chain = \"example.com.pem\", key = \"example.com.key\" }";

/// The sites of one file.
pub(super) fn read_all(top: &Table<'_>) -> Vec<SiteSpec> {
    let Some(value) = top.get("site") else {
        return Vec::new();
    };
    let tables = value.list("tables", "[[site]]").unwrap_or_default();
    tables.iter().filter_map(read).collect()
}

fn read(value: &Value<'_>) -> Option<SiteSpec> {
    let table = value.table(&keys::SITE, "[[site]]")?;
    let mut site = SiteSpec::new(Vec::new(), Certificates::Directory);
    site.place = Some(table.place());
    let example = "names = [\"example.com\"]";
    if let Some(list) = table.require("names", example) {
        let list = list
            .full_list("names", "[\"example.com\"]")
            .unwrap_or_default();
        site.names = list.iter().filter_map(name).collect();
    }
    if let Some(value) = table.get("listen") {
        let list = value
            .full_list("names of listeners", "[\"public\"]")
            .unwrap_or_default();
        let read = |value: &Value<'_>| Some(value.at(value.string("public")?.to_owned()));
        site.listen = list.iter().filter_map(read).collect();
    }
    if let Some(value) = table.get("certificate") {
        site.certificates = certificates(&value);
    }
    if let Some(default) = table.get("default").and_then(|value| value.boolean()) {
        site.default = default;
    }
    if let Some(value) = table.get("alpn") {
        site.alpn = alpn(&value);
    }
    let versions = [("1.3", false), ("1.2", true)];
    if let Some(tls12) = table
        .get("min_version")
        .and_then(|value| value.choice(&versions))
    {
        site.tls12 = tls12;
    }
    if let Some(early_data) = table.get("early_data").and_then(|value| value.boolean()) {
        site.early_data = early_data;
    }
    if let Some(value) = table.get("certificate_compression") {
        site.certificate_compression = compression(&value);
    }
    if let Some(value) = table.get("ocsp")
        && let Some(mode) = ocsp::mode(&value)
    {
        site.ocsp = value.at(mode);
    }
    if let Some(value) = table.get("client_auth") {
        value.unsupported("`client_auth`", "take this away");
        // EARLY-DATA R1
        if site.early_data.value
            && let Some(early_data) = table.get("early_data")
        {
            let message = "`early_data = true` beside `client_auth`";
            early_data.error(message, "take one of the two away");
        }
    }
    timeouts(&table, &mut site);
    site.error_pages = route::error_pages(&table);
    if let Some(value) = table.get("route") {
        let tables = value.list("tables", "[[site.route]]").unwrap_or_default();
        site.routes = tables.iter().filter_map(route::read).collect();
    }
    Some(site)
}

fn timeouts(table: &Table<'_>, site: &mut SiteSpec) {
    let value = table.get("timeouts");
    let example = "timeouts = { handshake = \"10s\" }";
    let Some(table) = value.and_then(|value| value.table(&keys::SITE_TIMEOUTS, example)) else {
        return;
    };
    let timeouts = &mut site.timeouts;
    for (key, timeout) in [
        ("handshake", &mut timeouts.handshake),
        ("request_headers", &mut timeouts.request_headers),
        ("keep_alive", &mut timeouts.keep_alive),
    ] {
        if let Some(typed) = table.get(key).and_then(|value| value.duration()) {
            *timeout = typed;
        }
    }
}

/// A host name of a site or of a route.
pub(super) fn name(value: &Value<'_>) -> Option<At<SiteName>> {
    let text = value.string("example.com")?;
    match SiteName::parse(text) {
        Ok(name) => Some(value.at(name)),
        Err(error) => {
            let hint = match error {
                NameError::IpAddress | NameError::BareWildcard => {
                    "a site with `default = true` answers whatever name comes"
                }
                _ => "write, for example, \"example.com\" or \"*.example.com\"",
            };
            value.error(format!("{text:?} is no host name: {error}"), hint);
            None
        }
    }
}

fn certificates(value: &Value<'_>) -> Certificates {
    let files = match value.raw() {
        DeValue::Table(_) => certificate(value, &keys::CERTIFICATE).map(|files| vec![files]),
        DeValue::Array(_) => {
            let list = value.full_list("tables", CERTIFICATE).unwrap_or_default();
            let read = |value| certificate(value, &keys::CERTIFICATE);
            list.iter().map(read).collect()
        }
        DeValue::String(text) if text == "acme" => {
            value.unsupported("ACME", &format!("write {CERTIFICATE}"));
            None
        }
        _ => {
            value.wrong_type("a table or a list of tables", CERTIFICATE);
            None
        }
    };
    match files {
        Some(files) if !files.is_empty() => Certificates::Files(files),
        _ => Certificates::Unusable,
    }
}

/// A chain and a key. What is said of staples and timestamps belongs to sites' certificates, not to
/// those that origins see.
pub(super) fn certificate(
    value: &Value<'_>,
    known: &'static keys::Keys,
) -> Option<CertificateFiles> {
    let table = value.table(known, CERTIFICATE)?;
    let chain = table.require("chain", "chain = \"example.com.pem\"");
    let key = table.require("key", "key = \"example.com.key\"");
    // Both are read before either is given up.
    let chain = chain.and_then(|value| value.path("example.com.pem"));
    let key = key.and_then(|value| value.path("example.com.key"));
    let ocsp = match known.known.contains(&"staple") {
        true => {
            timestamps(&table);
            Box::new(ocsp::staple_files(&table))
        }
        false => Box::default(),
    };
    Some(CertificateFiles {
        chain: chain?,
        key: key?,
        ocsp,
    })
}

/// rustls 0.23 sends one extension with a certificate, status_request, and has no type for
/// signed_certificate_timestamp (RFC 6962 §3.3.1) that anything could be put into.
fn timestamps(table: &Table<'_>) {
    if let Some(value) = table.get("scts") {
        let hint = "take this away: authorities embed timestamps in the certificates themselves";
        value.unsupported("the TLS extension for certificate timestamps", hint);
    }
}

/// `"off"`, or a list.
fn compression(value: &Value<'_>) -> Vec<Algorithm> {
    if matches!(value.raw(), DeValue::String(_)) {
        value.choice(&[("off", ())]);
        return Vec::new();
    }
    let example = "[\"brotli\", \"zlib\"]";
    let list = value.full_list("algorithms", example).unwrap_or_default();
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for value in list {
        if value.raw().as_str() == Some("zstd") {
            let hint = "take it away: who takes zstd takes brotli or zlib too";
            value.unsupported("zstd", hint);
            continue;
        }
        let choices = Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
        let Some(algorithm) = value.choice(&choices) else {
            continue;
        };
        if algorithms.contains(&algorithm) {
            let message = format!("{:?} stands there twice", algorithm.as_str());
            value.error(message, "take one of them away");
            continue;
        }
        algorithms.push(algorithm);
    }
    algorithms
}

pub(super) fn alpn(value: &Value<'_>) -> Vec<Vec<u8>> {
    let example = "[\"h2\", \"http/1.1\"]";
    let list = value.full_list("protocols", example).unwrap_or_default();
    let mut alpn: Vec<Vec<u8>> = Vec::new();
    for value in list {
        let choices = [("h2", "h2"), ("http/1.1", "http/1.1")];
        let Some(protocol) = value.choice(&choices) else {
            continue;
        };
        if alpn.iter().any(|known| known == protocol.as_bytes()) {
            value.error(
                format!("{protocol:?} stands there twice"),
                "take one of them away",
            );
            continue;
        }
        alpn.push(protocol.into());
    }
    alpn
}
