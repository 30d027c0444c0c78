use super::*;
use crate::config::file::tests::{errors, read_text};

fn pool(lines: &str) -> PoolSpec {
    let text = format!("[origin.a]\nservers = [\"http://a\"]\n{lines}\n");
    let mut read = read_text(&text);
    assert!(read.errors.is_empty(), "{text}\n{:#?}", read.errors);
    *read.spec.origins.remove("a").unwrap().pool
}

#[test]
fn what_is_not_said_has_its_default() {
    assert_eq!(pool(""), PoolSpec::default());
    assert_eq!(pool("limits = {}\nejection = {}"), PoolSpec::default());
    let health = pool("health = { path = \"/h\" }").health;
    assert_eq!(health, Some(HealthSpec::new("/h")));
}

#[test]
fn everything_can_be_said() {
    let key = |typed: &str| match pool(&format!("balance = {{ hash = {typed:?} }}")).balance {
        Balance::Hash { key, .. } => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(key("client"), HashKey::Client);
    let name = HeaderName::from_static("x-user");
    assert_eq!(key("header:X-User"), HashKey::Header(name));
    let [host, real] = ["host", "x-real-ip"].map(HeaderName::from_static);
    assert_eq!(key("header:Host"), HashKey::Header(host));
    assert_eq!(key("header:x-real-ip"), HashKey::Header(real));
    assert_eq!(key("cookie:Cart"), HashKey::Cookie("Cart".into()));
    assert_eq!(
        pool("balance = \"round_robin\"").balance,
        Balance::RoundRobin
    );
    assert_eq!(pool("ejection = \"off\"").ejection, None);
    let limits =
        pool("limits = { requests = \"off\", connections = 7, queue = 0, idle = 0 }").limits;
    let expected = PoolLimits {
        requests: None,
        connections: Some(7),
        queue: 0,
        idle: 0,
    };
    assert_eq!(limits, expected);
    let status = pool("retries = { status = [502, \"5xx\"] }").retries.status;
    let ranges = [StatusRange::code(502), StatusRange::class(5)];
    assert_eq!(status, StatusSet::new(ranges));
}

#[test]
fn a_longer_first_ejection_is_never_cut_short_by_a_default() {
    let ejection = pool("ejection = { time = \"1h\" }").ejection.unwrap();
    assert!(ejection.max_time >= ejection.time);
}

#[test]
fn servers_are_urls_or_say_more() {
    let text = "origin.a.servers = [\"http://a\", { url = \"http://b\", weight = 3 }]";
    let read = read_text(text);
    assert!(read.errors.is_empty(), "{:#?}", read.errors);
    let servers = &read.spec.origins["a"].servers;
    let weights: Vec<u32> = servers.iter().map(|server| server.weight).collect();
    assert_eq!(weights, [1, 3]);
}

#[test]
fn fields_that_end_at_the_edge_choose_no_server() {
    for name in [
        "x-forwarded-for",
        "X_Forwarded_For",
        "x-forwarded-client-cert",
        "forwarded",
        "x-request-id",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
        "transfer-encoding",
        "content-length",
        "expect",
        "early-data",
        "cookie",
    ] {
        let text = format!(
            "[origin.a]\nservers = [\"http://a\"]\nbalance = {{ hash = \"header:{name}\" }}\n"
        );
        let found = errors(&text);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        let begins = format!("3:20 `hash` cannot go by `{}`, ", name.to_lowercase());
        assert!(found[0].starts_with(&begins), "{found:?}");
    }
}

#[test]
fn each_mistake_is_told_with_place_and_hint() {
    for (line, expected) in [
        (
            "balance = \"least_request\"",
            "3:11 `balance` cannot be \"least_request\" / did you mean \"least_requests\"? allowed are \"least_requests\", \"power_of_two\", \"round_robin\"",
        ),
        (
            "balance = \"hash\"",
            "3:11 `balance` does not say what is hashed / write, for example, { hash = \"client\" }",
        ),
        (
            "balance = { hash = \"ip\" }",
            "3:20 `hash` cannot be \"ip\" / write \"client\", \"header:NAME\" or \"cookie:NAME\"",
        ),
        (
            "balance = { hash = \"cookie:\" }",
            "3:20 `hash` cannot be \"cookie:\" / write \"client\", \"header:NAME\" or \"cookie:NAME\"",
        ),
        (
            "balance = { hash = \"header:x-forwarded-for\" }",
            "3:20 `hash` cannot go by `x-forwarded-for`, which is for the edge, and not passed on as the client wrote it / \"client\" is the client's address: see trusted_proxies of [[listen]]",
        ),
        (
            "balance = { hash = \"header:cookie\" }",
            "3:20 `hash` cannot go by `cookie`, which is many values in one / write \"cookie:NAME\" with the name of the cookie",
        ),
        (
            "balance = { balance_factor = 150 }",
            "3:11 `hash` is missing in balance / add hash = \"client\"",
        ),
        (
            "balance = { hash = \"client\", balance_factor = 100 }",
            "3:47 `balance_factor` cannot be 100 / allowed are 101 to 10000",
        ),
        (
            "limits = { connections = 0 }",
            "3:26 `connections` cannot be 0 / allowed is 1 or more",
        ),
        (
            "limits = { conections = 1 }",
            "3:12 unknown key `conections` in limits of [origin.NAME] / did you mean `connections`?",
        ),
        (
            "timeouts = { queue = \"off\" }",
            "3:22 `queue` cannot be \"off\" / it always has an end: write, for example, \"10s\"",
        ),
        (
            "health = {}",
            "3:10 `path` is missing in health / add path = \"/healthz\"",
        ),
        (
            "health = { path = \"healthz\" }",
            "3:19 `path` cannot be \"healthz\" / write a path that begins with /, with everything else escaped",
        ),
        (
            "health = { path = \"/\", status = [] }",
            "3:33 `status` is empty / write, for example, [200, \"5xx\"]",
        ),
        (
            "health = { path = \"/\", host = \"a b\" }",
            "3:31 `host` cannot be \"a b\" / write a name, or a name and a port",
        ),
        (
            "ejection = { time = \"10s\", max_time = \"5s\" }",
            "3:39 `max_time` is shorter than `time` / a server stays out for `time` at first, and for twice that the next time",
        ),
        (
            "ejection = { max_percent = 101 }",
            "3:28 `max_percent` cannot be 101 / allowed are 0 to 100",
        ),
        (
            "retries = { status = [404] }",
            "3:23 `status` cannot be 404 / allowed are 500 to 599",
        ),
        (
            "retries = { status = [\"4xx\"] }",
            "3:23 `status` cannot have \"4xx\" / write, for example, [503, \"5xx\"]",
        ),
        (
            "slow_start = 30",
            "3:14 `slow_start` must be a duration with its unit, not an integer / write, for example, \"10s\" or \"off\"",
        ),
    ] {
        let text = format!("[origin.a]\nservers = [\"http://a\"]\n{line}\n");
        assert_eq!(errors(&text), [expected], "{line}");
    }
    let weight = "origin.a.servers = [{ url = \"http://a\", weight = 0 }]";
    assert_eq!(
        errors(weight),
        ["1:50 `weight` cannot be 0 / allowed are 1 to 1000"]
    );
}
