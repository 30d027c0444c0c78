//! Origins, as tables of their own and in place.

use super::origin_tls::{tls, url};
use super::{duration, duration_or_off, list, string};
use crate::config::snapshot::{
    Balance, EjectionSpec, HealthSpec, HostHeader, OriginServer, PoolSpec, StatusSet,
};
use crate::config::spec::OriginTable;
use crate::proxy_protocol::Version;

/// The keys of an origin and their values.
pub(super) fn keys(origin: &OriginTable) -> Vec<(&'static str, String)> {
    let mut keys = vec![
        ("servers", servers(&origin.servers)),
        ("early_data_aware", origin.early_data_aware.to_string()),
        ("host", string(host(origin.host))),
        ("forwarded", string(origin.forwarded.as_str())),
        (
            "proxy_protocol",
            string(origin.proxy_protocol.map_or("off", Version::as_str)),
        ),
    ];
    keys.extend(origin.tls.as_ref().map(|spec| ("tls", tls(spec))));
    keys.extend(pool(&origin.pool));
    keys
}

/// An origin in place.
pub(super) fn inline(origin: &OriginTable) -> String {
    table(keys(origin))
}

fn table<'a>(keys: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let keys = keys
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

fn host(host: HostHeader) -> &'static str {
    match host {
        HostHeader::Client => "client",
        HostHeader::Origin => "origin",
    }
}

fn servers(servers: &[OriginServer]) -> String {
    if servers.iter().all(|server| server.weight == 1) {
        return list(servers.iter().map(url));
    }
    let server = |server: &OriginServer| {
        let url = string(&url(server));
        format!("{{ url = {url}, weight = {} }}", server.weight)
    };
    let servers: Vec<String> = servers.iter().map(server).collect();
    format!("[{}]", servers.join(", "))
}

fn pool(pool: &PoolSpec) -> Vec<(&'static str, String)> {
    let count_or_off =
        |count: Option<usize>| count.map_or_else(|| string("off"), |count| count.to_string());
    let (limits, retries) = (&pool.limits, &pool.retries);
    let mut keys = vec![
        ("balance", balance(&pool.balance)),
        (
            "limits",
            table([
                ("requests", count_or_off(limits.requests)),
                ("connections", count_or_off(limits.connections)),
                ("queue", limits.queue.to_string()),
                ("idle", limits.idle.to_string()),
            ]),
        ),
        (
            "timeouts",
            table([
                ("queue", duration(pool.timeouts.queue)),
                ("idle", duration(pool.timeouts.idle)),
            ]),
        ),
    ];
    keys.extend(pool.health.as_ref().map(|spec| ("health", health(spec))));
    let ejection = pool.ejection.as_ref();
    let ejection = ejection.map_or_else(|| string("off"), |spec| table(self::ejection(spec)));
    keys.push(("ejection", ejection));
    keys.push((
        "retries",
        table([
            ("attempts", retries.attempts.to_string()),
            ("budget", retries.budget.to_string()),
            ("min", retries.min.to_string()),
            ("status", statuses(&retries.status)),
        ]),
    ));
    keys.push(("slow_start", duration_or_off(pool.slow_start)));
    keys
}

fn balance(balance: &Balance) -> String {
    match balance {
        Balance::LeastRequests => string("least_requests"),
        Balance::PowerOfTwo => string("power_of_two"),
        Balance::RoundRobin => string("round_robin"),
        Balance::Hash { key, factor } => {
            let factor = factor.map(|factor| ("balance_factor", factor.to_string()));
            table(
                [("hash", string(&key.to_string()))]
                    .into_iter()
                    .chain(factor),
            )
        }
    }
}

fn health(health: &HealthSpec) -> String {
    let host = health.host.as_deref().map(|host| ("host", string(host)));
    let keys = [
        ("path", string(&health.path)),
        ("interval", duration(health.interval)),
        ("jitter", duration(health.jitter)),
        ("timeout", duration(health.timeout)),
        ("status", statuses(&health.status)),
        ("healthy", health.healthy.to_string()),
        ("unhealthy", health.unhealthy.to_string()),
    ];
    table(keys.into_iter().chain(host))
}

fn ejection(ejection: &EjectionSpec) -> [(&'static str, String); 5] {
    [
        ("failures", ejection.failures.to_string()),
        ("time", duration(ejection.time)),
        ("max_time", duration(ejection.max_time)),
        ("max_percent", ejection.max_percent.to_string()),
        ("status", statuses(&ejection.status)),
    ]
}

fn statuses(set: &StatusSet) -> String {
    let ranges: Vec<String> = set.ranges().iter().map(ToString::to_string).collect();
    format!("[{}]", ranges.join(", "))
}
