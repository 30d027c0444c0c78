//! Listeners.

use std::net::SocketAddr;
use std::time::Duration;

use super::global::socket_address;
use super::keys;
use super::tree::{Table, Value};
use crate::config::snapshot::QuicRetry;
use crate::config::spec::ListenSpec;
use crate::forwarded::TrustedHeader;
use crate::proxy_protocol::{Accepts, Version};

const NETWORKS: &str = "[\"10.0.0.0/8\"]";

/// All of `[[listen]]`.
pub(super) fn read_all(top: &Table<'_>) -> Vec<ListenSpec> {
    let tables = top.get("listen");
    let tables = tables.and_then(|value| value.list("tables", "[[listen]]"));
    let tables = tables.unwrap_or_default();
    let listeners = tables.iter().enumerate();
    listeners
        .filter_map(|(index, value)| listener(index, value))
        .collect()
}

fn listener(index: usize, value: &Value<'_>) -> Option<ListenSpec> {
    let table = value.table(&keys::LISTEN, "[[listen]]")?;
    let example = "address = \"0.0.0.0:443\"";
    let address = table.require("address", example);
    let place = address.as_ref().map_or(table.place(), Value::place);
    let address = address.and_then(|address| socket_address(&address, "0.0.0.0:443"));
    // What follows is read for its errors, even if there is no address.
    let mut listen = ListenSpec::new(address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))));
    if address.is_none() {
        // Two of these are not called alike.
        listen.name.value = format!("listener {}", index + 1);
    }
    listen.address.place = Some(place.clone());
    listen.name.place = Some(place);
    if let Some(value) = table.get("name")
        && let Some(name) = value.string("public")
    {
        listen.name = value.at(name.to_owned());
    }
    if let Some(tls) = table.get("tls").and_then(|value| value.boolean()) {
        listen.tls = tls.value;
    }
    quic(&table, &mut listen);
    proxy_protocol(&table, &mut listen);
    trusted_proxies(&table, &mut listen);
    if let Some(backlog) = table
        .get("backlog")
        .and_then(|value| value.integer(1..=65_535))
    {
        listen.backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
    }
    let timeouts = table.get("timeouts");
    let example = "timeouts = { client_hello = \"5s\" }";
    if let Some(table) = timeouts.and_then(|value| value.table(&keys::LISTEN_TIMEOUTS, example)) {
        let read = |key: &str, timeout: &mut Duration| {
            let value = table.get(key);
            if let Some(read) = value.and_then(|value| value.duration()) {
                *timeout = read;
            }
        };
        read("client_hello", &mut listen.client_hello_timeout);
        read("proxy_header", &mut listen.proxy_header_timeout);
    }
    Some(listen)
}

fn quic(table: &Table<'_>, listen: &mut ListenSpec) {
    if let Some(quic) = table.get("quic").and_then(|value| value.boolean()) {
        listen.quic = quic;
    }
    let retries = [QuicRetry::Auto, QuicRetry::Always, QuicRetry::Never];
    let retries = retries.map(|retry| (retry.as_str(), retry));
    let alone = |value: &Value<'_>, key: &str| {
        if !listen.quic.value {
            let message = format!("`{key}` of a listener without QUIC");
            value.key_error(message, "add quic = true, or take this away");
        }
    };
    let alt_svc = table.get("alt_svc");
    let retry = table.get("quic_retry");
    let migration = table.get("quic_migration");
    for (value, key) in [
        (&alt_svc, "alt_svc"),
        (&retry, "quic_retry"),
        (&migration, "quic_migration"),
    ] {
        let _ = value.as_ref().map(|value| alone(value, key));
    }
    if let Some(age) = alt_svc.and_then(|value| value.duration_or_off()) {
        listen.alt_svc = age;
    }
    if let Some(retry) = retry.and_then(|value| value.choice(&retries)) {
        listen.quic_retry = retry;
    }
    if let Some(migration) = migration.and_then(|value| value.boolean()) {
        listen.quic_migration = migration.value;
    }
}

fn proxy_protocol(table: &Table<'_>, listen: &mut ListenSpec) {
    let choices = [
        ("off", None),
        ("v1", Some(Accepts::Only(Version::V1))),
        ("v2", Some(Accepts::Only(Version::V2))),
        ("any", Some(Accepts::Any)),
    ];
    let version = table.get("proxy_protocol");
    listen.proxy_protocol = version
        .as_ref()
        .and_then(|value| value.choice(&choices))
        .flatten();
    let from = table.get("proxy_from");
    if let Some(value) = &from {
        listen.proxy_from = value.networks(NETWORKS);
    }
    match (version, from) {
        (Some(version), None) if listen.proxy_protocol.is_some() => {
            let hint = format!("add proxy_from = {NETWORKS}: who sends the headers");
            version.error("`proxy_protocol` without `proxy_from`", hint);
        }
        // A version that was typed wrongly has been reported.
        (version, Some(from)) if listen.proxy_protocol.is_none() => {
            let off = |value: &Value<'_>| value.string("off") == Some("off");
            if version.as_ref().is_none_or(off) {
                let hint = "add proxy_protocol = \"any\", or take this away";
                from.key_error("`proxy_from` without `proxy_protocol`", hint);
            }
        }
        _ => {}
    }
}

fn trusted_proxies(table: &Table<'_>, listen: &mut ListenSpec) {
    let choices = [TrustedHeader::XForwardedFor, TrustedHeader::Forwarded]
        .map(|header| (header.as_str(), header));
    let proxies = table.get("trusted_proxies");
    if let Some(value) = &proxies {
        listen.trusted_proxies = value.networks(NETWORKS);
        if !listen.tls {
            let hint = "it only redirects to https: take this away";
            value.key_error("`trusted_proxies` of a listener without TLS", hint);
        }
    }
    let Some(value) = table.get("trusted_header") else {
        return;
    };
    if let Some(header) = value.choice(&choices) {
        listen.trusted_header = header;
    }
    if proxies.is_none() {
        let hint = format!("add trusted_proxies = {NETWORKS}, or take this away");
        value.key_error("`trusted_header` without `trusted_proxies`", hint);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::file::tests::errors;

    #[test]
    fn mistakes_about_who_stands_in_front_and_about_quic_are_told() {
        for (text, expected) in [
            (
                "listen = [{ address = \"[::]:1\", proxy_protocol = \"v2\" }]",
                "1:50 `proxy_protocol` without `proxy_from` / add proxy_from = [\"10.0.0.0/8\"]: who sends the headers",
            ),
            (
                "listen = [{ address = \"[::]:1\", proxy_from = [\"10.0.0.0/8\"] }]",
                "1:33 `proxy_from` without `proxy_protocol` / add proxy_protocol = \"any\", or take this away",
            ),
            (
                "listen = [{ address = \"[::]:1\", proxy_protocol = \"v3\", proxy_from = [\"::1\"] }]",
                "1:50 `proxy_protocol` cannot be \"v3\" / did you mean \"v1\"? allowed are \"off\", \"v1\", \"v2\", \"any\"",
            ),
            (
                "listen = [{ address = \"[::]:1\", trusted_proxies = [\"10.0.0.1/8\"] }]",
                "1:52 \"10.0.0.1/8\" is no network: its address has bits set behind its prefix / write \"10.0.0.0/8\"",
            ),
            (
                "listen = [{ address = \"[::]:1\", tls = false, trusted_proxies = [\"::1\"] }]",
                "1:46 `trusted_proxies` of a listener without TLS / it only redirects to https: take this away",
            ),
            (
                "listen = [{ address = \"[::]:1\", trusted_header = \"forwarded\" }]",
                "1:33 `trusted_header` without `trusted_proxies` / add trusted_proxies = [\"10.0.0.0/8\"], or take this away",
            ),
            (
                "listen = [{ address = \"[::]:1\", quic_retry = \"always\" }]",
                "1:33 `quic_retry` of a listener without QUIC / add quic = true, or take this away",
            ),
            (
                "listen = [{ address = \"[::]:1\", quic = true, quic_retry = \"on\" }]",
                "1:59 `quic_retry` cannot be \"on\" / allowed are \"auto\", \"always\", \"never\"",
            ),
        ] {
            assert_eq!(errors(text), [expected], "{text}");
        }
    }
}
