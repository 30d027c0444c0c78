//! The `tls` table of an origin.

use rustls::pki_types::ServerName;

use super::tree::{Table, Value};
use super::{keys, site};
use crate::config::spec::OriginTlsSpec;

/// `tls = { … }` of an origin.
pub(super) fn read(value: &Value<'_>) -> Option<OriginTlsSpec> {
    let table = value.table(&keys::ORIGIN_TLS, "tls = { ca = \"ca.pem\" }")?;
    let mut tls = OriginTlsSpec {
        place: Some(table.place()),
        ca: table.get("ca").and_then(|value| value.path("ca.pem")),
        server_name: name(&table, "server_name"),
        verify_name: name(&table, "verify_name"),
        certificate: table
            .get("certificate")
            .and_then(|value| site::certificate(&value, &keys::ORIGIN_CERTIFICATE)),
        ..OriginTlsSpec::default()
    };
    if let Some(value) = table.get("alpn") {
        tls.alpn = site::alpn(&value);
    }
    let versions = [("1.2", true), ("1.3", false)];
    if let Some(tls12) = table
        .get("min_version")
        .and_then(|value| value.choice(&versions))
    {
        tls.tls12 = tls12;
    }
    Some(tls)
}

fn name(table: &Table<'_>, key: &str) -> Option<String> {
    let value = table.get(key)?;
    let text = value.string("backend.example")?;
    if ServerName::try_from(text).is_err() {
        let message = format!("{text:?} is no name of a server");
        value.error(message, "write a DNS name or an address, without a port");
        return None;
    }
    Some(text.to_owned())
}
