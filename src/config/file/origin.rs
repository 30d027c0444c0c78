//! Origins: named tables, inline tables, lists of URLs.

use toml::de::DeValue;

use super::tree::{Table, Value};
use super::{keys, origin_tls, origin_url, pool};
use crate::config::snapshot::{HostHeader, OriginServer};
use crate::config::spec::{OriginTable, TargetSpec};

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
        tls: table.get("tls").and_then(|value| origin_tls::read(&value)),
        pool: Box::new(pool::read(table)),
    }
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
