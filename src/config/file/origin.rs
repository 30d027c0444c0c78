//! Origins: named tables, inline tables, lists of URLs.

use toml::de::DeValue;

use super::tree::{Table, Value};
use super::{keys, origin_tls, origin_url, pool};
use crate::config::snapshot::{HostHeader, OriginProtocol, OriginServer};
use crate::config::spec::{OriginTable, TargetSpec};
use crate::forwarded::Fields;
use crate::proxy_protocol::Version;

/// The largest weight of a server: finer shares than a thousandth nobody can see.
const MAX_WEIGHT: u64 = 1000;

const SERVERS: &str = "[\"http://127.0.0.1:8080\"]";

/// `[origin.NAME]` or `origin = { … }`.
pub(super) fn table(table: &Table<'_>) -> OriginTable {
    let list = table.require("servers", &format!("servers = {SERVERS}"));
    let aware = table.get("early_data_aware");
    OriginTable {
        servers: list.map(|list| servers(&list)).unwrap_or_default(),
        early_data_aware: aware
            .and_then(|value| value.boolean())
            .is_some_and(|aware| aware.value),
        host: table
            .get("host")
            .and_then(|value| host(&value))
            .unwrap_or_default(),
        forwarded: table
            .get("forwarded")
            .and_then(|value| forwarded(&value))
            .unwrap_or_default(),
        proxy_protocol: proxy_protocol(table),
        tls: table.get("tls").and_then(|value| origin_tls::read(&value)),
        pool: Box::new(pool::read(table)),
    }
}

/// A connection that names its client is that client's alone, and HTTP/2 is for many at once.
fn proxy_protocol(table: &Table<'_>) -> Option<Version> {
    let value = table.get("proxy_protocol")?;
    let choices = [
        ("off", None),
        ("v1", Some(Version::V1)),
        ("v2", Some(Version::V2)),
    ];
    let version = value.choice(&choices)??;
    let urls = table.get("servers").map(|value| servers(&value));
    let is_http2 = |server: &OriginServer| server.protocol == OriginProtocol::Http2;
    if urls.is_some_and(|urls| urls.iter().any(is_http2)) {
        let hint = "write http:// or https://: such connections are HTTP/1.1";
        value.error("`proxy_protocol` of an origin over h2c", hint);
    }
    Some(version)
}

fn forwarded(value: &Value<'_>) -> Option<Fields> {
    let choices = [Fields::X, Fields::Rfc7239, Fields::Both, Fields::Off];
    value.choice(&choices.map(|fields| (fields.as_str(), fields)))
}

fn host(value: &Value<'_>) -> Option<HostHeader> {
    value.choice(&[
        ("client", HostHeader::Client),
        ("origin", HostHeader::Origin),
    ])
}

/// The value of a route's `origin`.
pub(super) fn target(value: &Value<'_>) -> Option<TargetSpec> {
    match value.raw() {
        DeValue::String(text) if origin_url::is_one(text) => {
            let message = "`origin` is the name of an origin, or a list of URLs";
            value.error(message, format!("write [{text:?}]"));
            None
        }
        DeValue::String(name) => Some(TargetSpec::Named(value.at(name.to_string()))),
        DeValue::Array(_) => Some(TargetSpec::Inline(OriginTable {
            servers: servers(value),
            early_data_aware: false,
            host: HostHeader::default(),
            forwarded: Fields::default(),
            proxy_protocol: None,
            tls: None,
            pool: Box::default(),
        })),
        DeValue::Table(_) => {
            let inline = value.table(&keys::ORIGIN, SERVERS)?;
            Some(TargetSpec::Inline(table(&inline)))
        }
        _ => {
            value.wrong_type(
                "a name, a list of URLs or a table",
                &format!("\"app\" or {SERVERS}"),
            );
            None
        }
    }
}

fn servers(value: &Value<'_>) -> Vec<OriginServer> {
    let list = value.full_list("URLs", SERVERS).unwrap_or_default();
    list.iter().filter_map(server).collect()
}

/// A URL, or a table that says more about it.
fn server(value: &Value<'_>) -> Option<OriginServer> {
    let DeValue::Table(_) = value.raw() else {
        return origin_url::server(value);
    };
    let example = "{ url = \"http://127.0.0.1:8080\", weight = 2 }";
    let table = value.table(&keys::ORIGIN_SERVER, example)?;
    let weight = table.get("weight");
    let weight = weight.and_then(|value| value.integer(1..=MAX_WEIGHT));
    let mut server = origin_url::server(&table.require("url", "url = \"http://127.0.0.1:8080\"")?)?;
    if let Some(weight) = weight.and_then(|weight| u32::try_from(weight).ok()) {
        server.weight = weight;
    }
    Some(server)
}
