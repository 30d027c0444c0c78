//! `[resolver]`: who is asked for the addresses of origins.

use std::net::{IpAddr, SocketAddr};

use super::keys;
use super::tree::{Table, Value};
use crate::config::spec::Spec;

const DNS: u16 = 53;

/// Reads the table into `spec`.
pub(super) fn read(top: &Table<'_>, spec: &mut Spec) {
    let Some(value) = top.get("resolver") else {
        return;
    };
    let Some(table) = value.table(&keys::RESOLVER, "[resolver]") else {
        return;
    };
    let resolver = &mut spec.resolver;
    if let Some(value) = table.get("servers") {
        let list = value.full_list("addresses", "[\"127.0.0.53\"]");
        resolver.servers = list.unwrap_or_default().iter().filter_map(server).collect();
    }
    if let Some(timeout) = table.get("timeout").and_then(|value| value.duration()) {
        resolver.timeout = timeout;
    }
    let (least, most) = &mut resolver.ttl;
    if let Some(ttl) = table.get("min_ttl").and_then(|value| value.duration()) {
        *least = ttl;
    }
    if let Some(value) = table.get("max_ttl")
        && let Some(ttl) = value.duration()
    {
        *most = ttl;
    }
    if *least > *most {
        let value = table.get("max_ttl").or_else(|| table.get("min_ttl"));
        if let Some(value) = value {
            value.error(
                "`max_ttl` is less than `min_ttl`",
                "an answer is kept at least `min_ttl`, which is 1s by default, and at most `max_ttl`, which is 5m",
            );
        }
    }
}

/// An address, with a port or without.
fn server(value: &Value<'_>) -> Option<SocketAddr> {
    let text = value.string("127.0.0.53")?;
    let address = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS)));
    if address.is_err() {
        let message = format!("`servers` cannot have {text:?}");
        let hint = "write addresses, such as \"127.0.0.53\", \"10.0.0.2:5353\" or \"[::1]:53\"";
        value.error(message, hint);
    }
    address.ok()
}
