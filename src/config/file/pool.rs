//! How an origin's servers are chosen, spared and watched.

use http::header::{self, HeaderName};
use http::uri::PathAndQuery;
use toml::de::DeValue;

use super::keys::{self, Keys};
use super::tree::{Table, Value};
use super::values::MANY;
use crate::config::snapshot::{
    Balance, EjectionSpec, HashKey, HealthSpec, Message, PoolLimits, PoolSpec, PoolTimeouts,
    RetrySpec, StatusRange, StatusSet, is_dropped_from_requests,
};

const BALANCE: &str = "{ hash = \"client\" }";
const HEALTH: &str = "{ path = \"/healthz\" }";
const EJECTION: &str = "{ failures = 5 }";

/// What `[origin.NAME]` says beside its servers.
pub(super) fn read(table: &Table<'_>) -> PoolSpec {
    let ejection = EjectionSpec::default();
    PoolSpec {
        balance: table
            .get("balance")
            .and_then(|value| balance(&value))
            .unwrap_or_default(),
        limits: limits(table),
        timeouts: timeouts(table),
        health: table.get("health").and_then(|value| health(&value)),
        ejection: match table.get("ejection") {
            Some(value) if is_off(&value) => None,
            Some(value) => Some(read_ejection(&value, ejection)),
            None => Some(ejection),
        },
        retries: retries(table),
        slow_start: table
            .get("slow_start")
            .and_then(|value| value.duration_or_off())
            .flatten(),
    }
}

fn is_off(value: &Value<'_>) -> bool {
    matches!(value.raw(), DeValue::String(text) if text == "off")
}

fn balance(value: &Value<'_>) -> Option<Balance> {
    if let DeValue::String(text) = value.raw() {
        if text == "hash" {
            let message = "`balance` does not say what is hashed";
            value.error(message, format!("write, for example, {BALANCE}"));
            return None;
        }
        return match value.choice(&[
            ("least_requests", 0),
            ("power_of_two", 1),
            ("round_robin", 2),
        ])? {
            0 => Some(Balance::LeastRequests),
            1 => Some(Balance::PowerOfTwo),
            _ => Some(Balance::RoundRobin),
        };
    }
    let table = value.table(&keys::BALANCE, BALANCE)?;
    let factor = table.get("balance_factor");
    let factor = factor.and_then(|value| small(&value, 101, 10_000));
    let key = hash_key(&table.require("hash", "hash = \"client\"")?)?;
    Some(Balance::Hash { key, factor })
}

fn hash_key(value: &Value<'_>) -> Option<HashKey> {
    let text = value.string("client")?;
    let key = match text.split_once(':') {
        None if text == "client" => Some(HashKey::Client),
        Some(("header", name)) => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => return is_key(&name, value).then_some(HashKey::Header(name)),
            Err(_) => None,
        },
        Some(("cookie", name)) => is_token(name).then(|| HashKey::Cookie(name.to_owned())),
        _ => None,
    };
    if key.is_none() {
        let hint = "write \"client\", \"header:NAME\" or \"cookie:NAME\"";
        value.error(format!("`hash` cannot be {text:?}"), hint);
    }
    key
}

/// Whether a field can choose a server. What ends at the edge cannot: the origin knows nothing of what the
/// client wrote there, and whoever sends some `X-Forwarded-For` would choose a server, not their address.
fn is_key(name: &HeaderName, value: &Value<'_>) -> bool {
    // The authority that was asked for, whichever way.
    if *name == header::HOST {
        return true;
    }
    let (why, hint) = if *name == header::COOKIE {
        // HTTP/2 sends it in pieces (RFC 9113 §8.2.3).
        let why = "is many values in one";
        (why, "write \"cookie:NAME\" with the name of the cookie")
    } else if is_dropped_from_requests(name.as_str()) || Message::Request.reserves(name) {
        let why = "is for the edge, and not passed on as the client wrote it";
        let hint = match name.as_str().replace('_', "-") {
            name if name.contains("forwarded") => {
                "\"client\" is the client's address: see trusted_proxies of [[listen]]"
            }
            _ => "name a field that the edge passes on, or write \"client\"",
        };
        (why, hint)
    } else {
        return true;
    };
    value.error(format!("`hash` cannot go by `{name}`, which {why}"), hint);
    false
}

/// A cookie's name (RFC 6265 §4.1.1) is a token, as a field's is.
fn is_token(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn limits(table: &Table<'_>) -> PoolLimits {
    let mut limits = PoolLimits::default();
    let example = "limits = { connections = 100 }";
    let Some(table) = sub(table, "limits", &keys::ORIGIN_LIMITS, example) else {
        return limits;
    };
    let count_or_off = |key: &str| {
        let value = table.get(key)?;
        match is_off(&value) {
            true => None,
            false => value.count(1..=MANY),
        }
    };
    limits.requests = count_or_off("requests");
    limits.connections = count_or_off("connections");
    if let Some(idle) = table.get("idle").and_then(|value| value.count(0..=65_536)) {
        limits.idle = idle;
    }
    if let Some(value) = table.get("queue")
        && let Some(queue) = value.count(0..=1_000_000)
    {
        limits.queue = queue;
    }
    limits
}

fn timeouts(table: &Table<'_>) -> PoolTimeouts {
    let mut timeouts = PoolTimeouts::default();
    let example = "timeouts = { idle = \"60s\" }";
    if let Some(table) = sub(table, "timeouts", &keys::ORIGIN_TIMEOUTS, example) {
        set(&table, "queue", &mut timeouts.queue, Value::duration);
        set(&table, "idle", &mut timeouts.idle, Value::duration);
    }
    timeouts
}

fn health(value: &Value<'_>) -> Option<HealthSpec> {
    let table = value.table(&keys::HEALTH, HEALTH)?;
    let mut health = HealthSpec::new("/");
    set(&table, "interval", &mut health.interval, Value::duration);
    set(
        &table,
        "jitter",
        &mut health.jitter,
        Value::duration_or_zero,
    );
    set(&table, "timeout", &mut health.timeout, Value::duration);
    let threshold = |value: &Value<'_>| small(value, 1, 1000);
    set(&table, "healthy", &mut health.healthy, threshold);
    set(&table, "unhealthy", &mut health.unhealthy, threshold);
    set(&table, "status", &mut health.status, |value| {
        statuses(value, 200)
    });
    if let Some(value) = table.get("host")
        && let Some(host) = value.string("app.internal")
    {
        match host.parse::<http::uri::Authority>() {
            Ok(authority) if !host.contains('@') => health.host = Some(authority.to_string()),
            _ => value.error(
                format!("`host` cannot be {host:?}"),
                "write a name, or a name and a port",
            ),
        }
    }
    let value = table.require("path", "path = \"/healthz\"")?;
    let path = value.string("/healthz")?;
    if !path.starts_with('/') || path.parse::<PathAndQuery>().is_err() || path.contains('#') {
        let hint = "write a path that begins with /, with everything else escaped";
        value.error(format!("`path` cannot be {path:?}"), hint);
        return None;
    }
    health.path = path.to_owned();
    Some(health)
}

fn read_ejection(value: &Value<'_>, mut ejection: EjectionSpec) -> EjectionSpec {
    let Some(table) = value.table(&keys::EJECTION, EJECTION) else {
        return ejection;
    };
    let times = |value: &Value<'_>| small(value, 1, 1000);
    set(&table, "failures", &mut ejection.failures, times);
    set(&table, "time", &mut ejection.time, Value::duration);
    let before = ejection.max_time.max(ejection.time);
    ejection.max_time = before;
    set(&table, "max_time", &mut ejection.max_time, Value::duration);
    if ejection.max_time < ejection.time
        && let Some(value) = table.get("max_time")
    {
        value.error(
            "`max_time` is shorter than `time`",
            "a server stays out for `time` at first, and for twice that the next time",
        );
    }
    let percent = |value: &Value<'_>| small(value, 0, 100);
    set(&table, "max_percent", &mut ejection.max_percent, percent);
    set(&table, "status", &mut ejection.status, |value| {
        statuses(value, 400)
    });
    ejection
}

fn retries(table: &Table<'_>) -> RetrySpec {
    let mut retries = RetrySpec::default();
    let example = "retries = { attempts = 3 }";
    if let Some(table) = sub(table, "retries", &keys::RETRIES, example) {
        set(&table, "attempts", &mut retries.attempts, |value| {
            small(value, 0, 100)
        });
        set(&table, "budget", &mut retries.budget, |value| {
            small(value, 0, 100)
        });
        set(&table, "min", &mut retries.min, |value| {
            small(value, 0, 1_000_000)
        });
        set(&table, "status", &mut retries.status, |value| {
            statuses(value, 500)
        });
    }
    retries
}

/// Status codes from `least` on, and classes of them. An empty list is none.
fn statuses(value: &Value<'_>, least: u16) -> Option<StatusSet> {
    let example = format!("[{}, \"5xx\"]", if least < 400 { 200 } else { 503 });
    let list = match least {
        // A check that nothing passes takes every server out.
        200 => value.full_list("status codes", &example),
        _ => value.list("status codes", &example),
    }?;
    let range = |value: &Value<'_>| {
        if let DeValue::String(text) = value.raw() {
            let digits = text.strip_suffix("xx").map(str::as_bytes);
            return match digits {
                Some([digit @ b'2'..=b'5']) if u16::from(digit - b'0') * 100 >= least => {
                    Some(StatusRange::class(u16::from(digit - b'0')))
                }
                _ => {
                    let message = format!("`{}` cannot have {text:?}", value.name());
                    value.error(message, format!("write, for example, {example}"));
                    None
                }
            };
        }
        let code = value.integer(u64::from(least)..=599)?;
        u16::try_from(code).ok().map(StatusRange::code)
    };
    let ranges: Vec<StatusRange> = list.iter().filter_map(range).collect();
    Some(StatusSet::new(ranges))
}

fn sub<'a>(table: &Table<'a>, key: &str, keys: &'static Keys, example: &str) -> Option<Table<'a>> {
    table.get(key)?.table(keys, example)
}

fn small(value: &Value<'_>, low: u32, high: u32) -> Option<u32> {
    let number = value.integer(u64::from(low)..=u64::from(high))?;
    u32::try_from(number).ok()
}

/// Replaces a default by what was typed.
fn set<'t, T>(
    table: &Table<'t>,
    key: &str,
    default: &mut T,
    read: impl FnOnce(&Value<'t>) -> Option<T>,
) {
    if let Some(typed) = table.get(key).and_then(|value| read(&value)) {
        *default = typed;
    }
}

#[cfg(test)]
mod tests;
