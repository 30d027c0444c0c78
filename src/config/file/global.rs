//! The tables that concern the whole process.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::tree::{Table, Value};
use super::values::MANY;
use super::{keys, listener, ocsp, origin, resolver};
use crate::config::diagnostics::At;
use crate::config::snapshot::{AdminAddress, LogTarget};
use crate::config::spec::Spec;
use crate::telemetry::connections::ConnectionLog;

/// Reads everything but the sites into `spec`; gives the patterns of `include`.
pub(super) fn read(top: &Table<'_>, spec: &mut Spec) -> Vec<At<PathBuf>> {
    if let Some(value) = top.get("certificate_directory") {
        spec.certificate_directory = value.path("certs");
    }
    server(top, spec);
    limits(top, spec);
    log(top, spec);
    if let Some(table) = table(top, "admin", &keys::ADMIN) {
        let address = table.require("address", "address = \"127.0.0.1:9901\"");
        spec.admin = address.and_then(|address| admin_address(&address));
    }
    sessions(top, spec);
    ocsp::read(top, spec);
    resolver::read(top, spec);
    transparency(top, spec);
    spec.listeners = listener::read_all(top);
    if let Some(value) = top.get("origin") {
        for named in value.named("[origin.app]") {
            if let Some(table) = named.table(&keys::ORIGIN, "[origin.app]") {
                spec.origins
                    .insert(named.name().to_owned(), origin::table(&table));
            }
        }
    }
    let include = top.get("include");
    let patterns = include.and_then(|value| value.list("files", "[\"sites.d/*.toml\"]"));
    let patterns = patterns.unwrap_or_default();
    patterns
        .iter()
        .filter_map(|pattern| pattern.path("sites.d/*.toml"))
        .collect()
}

fn table<'a>(top: &Table<'a>, key: &str, keys: &'static keys::Keys) -> Option<Table<'a>> {
    top.get(key)?.table(keys, keys.table)
}

fn server(top: &Table<'_>, spec: &mut Spec) {
    let Some(table) = table(top, "server", &keys::SERVER) else {
        return;
    };
    if let Some(workers) = table.get("workers").and_then(|value| value.count(1..=1024)) {
        spec.server.workers = workers;
    }
    let drain = table.get("drain");
    let example = "drain = { timeout = \"30s\" }";
    let Some(drain) = drain.and_then(|value| value.table(&keys::DRAIN, example)) else {
        return;
    };
    if let Some(delay) = drain
        .get("delay")
        .and_then(|value| value.duration_or_zero())
    {
        spec.server.drain_delay = delay;
    }
    if let Some(timeout) = drain
        .get("timeout")
        .and_then(|value| value.duration_or_zero())
    {
        spec.server.drain_timeout = timeout;
    }
}

fn limits(top: &Table<'_>, spec: &mut Spec) {
    let Some(table) = table(top, "limits", &keys::LIMITS) else {
        return;
    };
    if let Some(limit) = table
        .get("connections")
        .and_then(|value| value.count(1..=MANY))
    {
        spec.limits.connections = limit;
    }
    if let Some(limit) = table
        .get("handshakes")
        .and_then(|value| value.count(1..=MANY))
    {
        spec.limits.handshakes = limit;
    }
}

fn log(top: &Table<'_>, spec: &mut Spec) {
    let Some(table) = table(top, "log", &keys::LOG) else {
        return;
    };
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    if let Some(level) = table.get("level").and_then(|value| value.choice(&levels)) {
        spec.log.level = level.to_owned();
    }
    if let Some(value) = table.get("access") {
        spec.log.access = match value.string("stdout") {
            Some("off") => LogTarget::Off,
            Some("stdout") | None => LogTarget::Stdout,
            Some(_) => match value.path("/var/log/cutwater/access.log") {
                Some(path) => LogTarget::File(path.value),
                None => LogTarget::Stdout,
            },
        };
    }
    let choices = [
        ("errors", ConnectionLog::Errors),
        ("all", ConnectionLog::All),
        ("off", ConnectionLog::Off),
    ];
    if let Some(which) = table
        .get("connections")
        .and_then(|value| value.choice(&choices))
    {
        spec.log.connections = which;
    }
}

fn transparency(top: &Table<'_>, spec: &mut Spec) {
    let keys = &keys::CERTIFICATE_TRANSPARENCY;
    let Some(table) = table(top, "certificate_transparency", keys) else {
        return;
    };
    if let Some(value) = table.get("log_list") {
        spec.log_list = value.path("log_list.json");
    }
}

fn sessions(top: &Table<'_>, spec: &mut Spec) {
    let Some(table) = table(top, "sessions", &keys::SESSIONS) else {
        return;
    };
    if let Some(capacity) = table
        .get("capacity")
        .and_then(|value| value.count(1..=MANY))
    {
        spec.sessions.capacity = capacity;
    }
    if let Some(tickets) = table.get("tickets").and_then(|value| value.count(1..=4)) {
        spec.sessions.tickets = tickets;
    }
    if let Some(value) = table.get("store")
        && let Some(store) = value.string("memory")
        && store != "memory"
    {
        value.unsupported(
            "a shared session store",
            "write \"memory\", or take this away",
        );
    }
}

pub(super) fn socket_address(value: &Value<'_>, example: &str) -> Option<SocketAddr> {
    let text = value.string(example)?;
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("`{}` cannot be {text:?}", value.name());
        let hint = match text
            .rsplit(':')
            .next()
            .and_then(|port| port.parse::<u16>().ok())
        {
            Some(port) => format!(
                "write an address and a port: \"0.0.0.0:{port}\" or \"[::]:{port}\" for all"
            ),
            None => format!("write an address and a port, such as {example:?}"),
        };
        value.error(message, hint);
    }
    address
}

fn admin_address(value: &Value<'_>) -> Option<At<AdminAddress>> {
    let example = "127.0.0.1:9901";
    let address = match value.string(example)?.strip_prefix("unix:") {
        Some("") => {
            value.error(
                "`address` has no path",
                "write, for example, \"unix:admin.sock\"",
            );
            return None;
        }
        Some(path) => AdminAddress::Unix(value.beside(path)),
        None => AdminAddress::Tcp(socket_address(value, example)?),
    };
    Some(value.at(address))
}
