//! Whose requests a route takes: `allow`, `deny`, `rate_limit`.

use std::time::Duration;

use crate::admission::Rate;
use crate::config::file::keys;
use crate::config::file::tree::{Table, Value};
use crate::config::spec::RouteSpec;

const EXAMPLE: &str = "rate_limit = { requests = 100, per = \"1s\" }";

pub(super) fn read(table: &Table<'_>, route: &mut RouteSpec) {
    for (key, networks) in [("allow", &mut route.allow), ("deny", &mut route.deny)] {
        if let Some(value) = table.get(key) {
            *networks = value.networks("[\"10.0.0.0/8\"]");
        }
    }
    route.rate_limit = table.get("rate_limit").and_then(|value| rate(&value));
}

fn rate(value: &Value<'_>) -> Option<Rate> {
    let table = value.table(&keys::RATE_LIMIT, EXAMPLE)?;
    let number = |value: Value<'_>| u32::try_from(value.integer(1..=1_000_000)?).ok();
    let requests = table.require("requests", "requests = 100");
    let per = table.get("per");
    let burst = table.get("burst");
    let clients = table.get("clients");
    // All are read before any is given up.
    let requests = requests.and_then(number);
    let burst = burst.map(number);
    let per = per.map_or(Some(Duration::from_secs(1)), |value| value.duration());
    let clients = clients.map_or(Some(10_000), |value| value.count(1..=100_000_000));
    Some(Rate {
        requests: requests?,
        per: per?,
        burst: burst.unwrap_or(requests)?,
        clients: clients?,
    })
}
