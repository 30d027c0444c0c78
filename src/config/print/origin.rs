//! Origins, as tables of their own and in place.

use super::origin_tls::{tls, url};
use super::{list, string};
use crate::config::snapshot::HostHeader;
use crate::config::spec::OriginTable;

/// The keys of an origin and their values.
pub(super) fn keys(origin: &OriginTable) -> Vec<(&'static str, String)> {
    let mut keys = vec![
        ("servers", list(origin.servers.iter().map(url))),
        ("early_data_aware", origin.early_data_aware.to_string()),
        ("host", string(host(origin.host))),
    ];
    keys.extend(origin.tls.as_ref().map(|spec| ("tls", tls(spec))));
    keys
}

/// An origin in place.
pub(super) fn inline(origin: &OriginTable) -> String {
    let keys = keys(origin);
    let keys: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{{ {} }}", keys.join(", "))
}

fn host(host: HostHeader) -> &'static str {
    match host {
        HostHeader::Client => "client",
        HostHeader::Origin => "origin",
    }
}
