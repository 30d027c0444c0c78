//! Origins: named tables, inline tables, lists of URLs.

use std::net::{IpAddr, Ipv6Addr};

use toml::de::DeValue;

use super::tree::{Table, Value};
use super::{keys, pool};
use crate::config::names::SiteName;
use crate::config::snapshot::{HostHeader, OriginHost, OriginServer};
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
        DeValue::String(text) if text.contains("://") || text.starts_with("unix:") => {
            let message = "`origin` is the name of an origin, or a list of URLs";
            value.error(message, format!("write [{text:?}]"));
            None
        }
        DeValue::String(name) => Some(TargetSpec::Named(value.at(name.to_string()))),
        DeValue::Array(_) => Some(TargetSpec::Inline(OriginTable {
            servers: servers(value),
            early_data_aware: false,
            host: HostHeader::default(),
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
        return url(value);
    };
    let example = "{ url = \"http://127.0.0.1:8080\", weight = 2 }";
    let table = value.table(&keys::ORIGIN_SERVER, example)?;
    let weight = table.get("weight");
    let weight = weight.and_then(|value| value.integer(1..=MAX_WEIGHT));
    let mut server = url(&table.require("url", "url = \"http://127.0.0.1:8080\"")?)?;
    if let Some(weight) = weight.and_then(|weight| u32::try_from(weight).ok()) {
        server.weight = weight;
    }
    Some(server)
}

fn url(value: &Value<'_>) -> Option<OriginServer> {
    let example = "http://127.0.0.1:8080";
    let text = value.string(example)?;
    let wrong = |why: &str, hint: String| {
        value.error(format!("{text:?} cannot be an origin: {why}"), hint);
        None
    };
    let plain = || "write http://HOST:PORT".to_owned();
    let Some((scheme, rest)) = text.split_once("://") else {
        if text.starts_with("unix:") {
            value.unsupported("an origin on a Unix socket", "write http://HOST:PORT");
            return None;
        }
        return wrong("it has no scheme", format!("write \"http://{text}\""));
    };
    match scheme {
        "http" => {}
        "https" | "h2c" | "unix" | "h2" | "h3" => {
            let hint = "write http://HOST:PORT";
            value.unsupported(&format!("an origin over {scheme}"), hint);
            return None;
        }
        _ => return wrong("its scheme is unknown", plain()),
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        let host = authority.split(['/', '?', '#']).next().unwrap_or("");
        let hint = format!("write \"http://{host}\": requests keep their own path");
        return wrong("it has a path", hint);
    }
    if authority.contains('@') {
        return wrong("it has a user name", plain());
    }
    if !authority.starts_with('[') && authority.matches(':').count() > 1 {
        return wrong(
            "an IPv6 address needs brackets",
            "write http://[::1]:8080".to_owned(),
        );
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) if port.starts_with(':') => (host, port.strip_prefix(':')),
            _ => return wrong("its address has no end", plain()),
        },
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => 80,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
            Ok(port) if port > 0 => port,
            _ => return wrong("its port is none", "ports are 1 to 65535".to_owned()),
        },
        Some(_) => return wrong("its port is none", "ports are 1 to 65535".to_owned()),
    };
    let host = match authority.starts_with('[') {
        true => match host.parse::<Ipv6Addr>() {
            Ok(address) => OriginHost::Address(IpAddr::V6(address)),
            Err(_) => return wrong("its address is none", plain()),
        },
        false => match host.parse::<IpAddr>() {
            Ok(address) => OriginHost::Address(address),
            Err(_) => match SiteName::parse(host) {
                Ok(name) if !name.is_wildcard() => OriginHost::Name(name.base().to_owned()),
                Ok(_) => return wrong("a wildcard is no host", plain()),
                Err(error) => return wrong(&error.to_string(), plain()),
            },
        },
    };
    Some(OriginServer {
        host,
        port,
        weight: 1,
    })
}
