use std::sync::Arc;

use crate::config::file::tests::{errors, read_text};
use crate::config::snapshot::HostHeader;
use crate::config::spec::{RouteSpec, TargetSpec};

/// A route with these lines, which begin at line 5.
fn text(lines: &str) -> String {
    format!("[[site]]\nnames = [\"a.com\"]\n[[site.route]]\npath = \"/api\"\n{lines}\n")
}

#[track_caller]
fn wrong(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        assert_eq!(errors(&text(lines)), [*expected], "{lines}");
    }
}

#[track_caller]
fn route(lines: &str) -> RouteSpec {
    let read = read_text(&text(lines));
    assert!(read.errors.is_empty(), "{lines}: {:?}", read.errors);
    read.spec.sites[0].routes[0].clone()
}

#[test]
fn mistakes_in_the_fields_of_a_route_are_told() {
    wrong(&[
        (
            "origin = { servers = [\"h2c://a\"], proxy_protocol = \"v2\" }",
            "5:52 `proxy_protocol` of an origin over h2c / write http:// or https://: such connections are HTTP/1.1",
        ),
        (
            "origin = { servers = [\"http://a\"], forwarded = \"rfc\" }",
            "5:48 `forwarded` cannot be \"rfc\" / allowed are \"x\", \"rfc7239\", \"both\", \"off\"",
        ),
        (
            "origin = \"a\"\nrequest_headers = { sett = {} }",
            "6:21 unknown key `sett` in request_headers and response_headers / did you mean `set`?",
        ),
        (
            "origin = \"a\"\nrequest_headers = { set = { host = \"b\" } }",
            "6:29 `host` is set by the edge / see `host` of [origin.NAME]",
        ),
        (
            "origin = \"a\"\nrequest_headers.remove = [\"Early-Data\"]",
            "6:27 `early-data` is set by the edge / take this away",
        ),
        (
            "origin = \"a\"\nresponse_headers = { add = { content-length = \"1\" } }",
            "6:30 `content-length` is set by the edge / take this away",
        ),
        (
            "origin = \"a\"\nresponse_headers = { set = { a = \"1\", A = \"2\" } }",
            "6:39 `A` stands there twice / field names do not mind letter case",
        ),
        (
            "origin = \"a\"\nresponse_headers = { set = { a = 1 } }",
            "6:34 `a` must be a string, not an integer / write, for example, \"value\"",
        ),
        (
            "origin = \"a\"\nresponse_headers = { set = { a = [] } }",
            "6:34 `a` is empty / write, for example, [\"value\"]",
        ),
        (
            "origin = \"a\"\nrequest_headers = { set = { a = \"$client_adress\" } }",
            "6:33 `$client_adress` is no variable / did you mean `client_address`? write $$client_adress for the text $client_adress",
        ),
        (
            "respond = {}\nrequest_headers = { remove = [\"cookie\"] }",
            "6:1 `request_headers` of a route without `origin` / no origin would see it: take this away",
        ),
    ]);
}

#[test]
fn several_values_of_one_field_stay_in_their_order() {
    let route = route("origin = \"a\"\nresponse_headers.add = { B = \"3\", A = [\"2\", \"1\"] }");
    let fields = route.response_headers.add.iter();
    let shown: Vec<String> = fields
        .map(|field| {
            let value = field.value.fixed().unwrap();
            format!("{}={}", field.name, value.to_str().unwrap())
        })
        .collect();
    assert_eq!(shown, ["b=3", "a=2", "a=1"]);
    assert!(route.request_headers.is_empty());
}

#[test]
fn mistakes_in_a_rewrite_are_told() {
    wrong(&[
        (
            "origin = \"a\"\nstrip_prefix = 1",
            "6:16 `strip_prefix` must be true or false, not an integer / write, for example, true",
        ),
        (
            "origin = \"a\"\nstrip_prefix = true\nprefix_rewrite = \"/\"",
            "6:1 `strip_prefix` beside `prefix_rewrite` / take one of the two away",
        ),
        (
            "origin = \"a\"\nprefix_rewrite = \"v2\"",
            "6:18 \"v2\" is no path: it does not begin with / / write \"/v2\"",
        ),
        (
            "origin = \"a\"\nprefix_rewrite = \"/a/../b\"",
            "6:18 \"/a/../b\" is no path: dot segments are removed first / take them away",
        ),
        (
            "respond = {}\nstrip_prefix = true",
            "6:1 `strip_prefix` of a route without `origin` / no origin would see it: take this away",
        ),
    ]);
    let exact = text("origin = \"a\"\nstrip_prefix = true").replace("path =", "exact =");
    assert_eq!(
        errors(&exact),
        [
            "6:1 `strip_prefix` beside `exact`: nothing would be left / write prefix_rewrite = \"/\" if that is meant"
        ]
    );
}

#[test]
fn to_strip_a_prefix_is_to_rewrite_it_to_the_root() {
    let rewrite = |lines: &str| route(&format!("origin = \"a\"\n{lines}")).prefix_rewrite;
    assert_eq!(rewrite("strip_prefix = true").as_deref(), Some("/"));
    assert_eq!(rewrite("prefix_rewrite = \"/v2\"").as_deref(), Some("/v2"));
    assert_eq!(rewrite("strip_prefix = false"), None);
    assert_eq!(rewrite(""), None);
}

#[test]
fn mistakes_in_a_redirect_that_keeps_are_told() {
    wrong(&[
        (
            "redirect = { to = \"https://b.com$request_uri\" }",
            "5:19 \"https://b.com$request_uri\" cannot be redirected to / write keep_path = true and keep_query = true beside a plain URL",
        ),
        (
            "redirect = { to = \"/?a\", keep_path = true }",
            "5:26 `keep_path` beside a `to` that does not end with its path / take the query or the fragment away",
        ),
        (
            "redirect = { to = \"/#a\", keep_query = true }",
            "5:26 `keep_query` beside a `to` with a fragment / take the fragment away",
        ),
    ]);
    let exact =
        text("redirect = { to = \"/\", keep_path = true }").replace("\npath =", "\nexact =");
    assert_eq!(
        errors(&exact),
        [
            "4:1 `exact` beside `keep_path`: there is no rest to keep / write `path`, or take `keep_path` away"
        ]
    );
}

#[test]
fn mistakes_in_whom_a_route_admits_are_told() {
    wrong(&[
        (
            "respond = {}\nallow = [\"10.1.2.3/8\"]",
            "6:10 \"10.1.2.3/8\" is no network: its address has bits set behind its prefix / write \"10.0.0.0/8\"",
        ),
        (
            "respond = {}\ndeny = [\"a.com\"]",
            "6:9 \"a.com\" is no network: not an address and not a network / write, for example, \"10.0.0.0/8\" or \"2001:db8::1\"",
        ),
        (
            "respond = {}\nallow = []",
            "6:9 `allow` is empty / write, for example, [\"10.0.0.0/8\"]",
        ),
        (
            "respond = {}\nrate_limit = { per = \"1m\" }",
            "6:14 `requests` is missing in rate_limit / add requests = 100",
        ),
        (
            "respond = {}\nrate_limit = { requests = 0 }",
            "6:27 `requests` cannot be 0 / allowed are 1 to 1000000",
        ),
        (
            "respond = {}\nrate_limit = { requests = 1, per = \"off\" }",
            "6:36 `per` cannot be \"off\" / it always has an end: write, for example, \"10s\"",
        ),
    ]);
    let rate = route("respond = {}\nrate_limit = { requests = 5 }").rate_limit;
    let rate = rate.map(|rate| (rate.requests, rate.per.as_secs(), rate.burst, rate.clients));
    assert_eq!(rate, Some((5, 1, 5, 10_000)));
}

#[test]
fn mistakes_in_error_pages_are_told() {
    for (line, expected) in [
        (
            "error_pages = { 500 = { body = \"\" } }",
            "1:17 unknown key `500` in error_pages / did you mean `502`?",
        ),
        (
            "error_pages = { 404 = \"404.html\" }",
            "1:23 `404` must be a table, not a string / write, for example, { body_file = \"404.html\" }",
        ),
        (
            "error_pages.404 = { status = 404 }",
            "1:21 unknown key `status` in a page of error_pages / known are: body, body_file, headers",
        ),
    ] {
        assert_eq!(errors(line), [expected]);
    }
}

#[test]
fn the_host_of_an_origin_is_the_clients_or_its_own() {
    let host = |lines: &str| {
        let Some(TargetSpec::Inline(origin)) = route(lines).target else {
            panic!("{lines}");
        };
        let authorities = origin.servers.iter().map(|server| server.authority());
        (origin.host, authorities.collect::<Vec<_>>().join(" "))
    };
    let servers = "servers = [\"http://a.com\", \"http://[::1]:81\", \"http://10.0.0.1:8080\"]";
    assert_eq!(
        host(&format!("origin = {{ {servers}, host = \"origin\" }}")),
        (
            HostHeader::Origin,
            "a.com [::1]:81 10.0.0.1:8080".to_owned()
        )
    );
    assert_eq!(
        host(&format!("origin = {{ {servers} }}")).0,
        HostHeader::Client
    );
    wrong(&[(
        &format!("origin = {{ {servers}, host = \"app\" }}"),
        "5:90 `host` cannot be \"app\" / allowed are \"client\", \"origin\"",
    )]);
}

#[test]
fn values_from_the_environment_are_sensitive() {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let fields = r#"{ set = { a = "v${CARGO_PKG_VERSION}", b = "$host ${CARGO_PKG_VERSION}", c = "$$x${CARGO_PKG_VERSION}" }, add = { d = "v", e = "$host", f = "$${x}" } }"#;
    let fixed = r#"respond = { status = 200, headers = { a = "${CARGO_PKG_VERSION}", b = "v" } }"#;
    let read = route(&format!("{fixed}\nresponse_headers = {fields}"));
    let edits = Arc::new(read.response_headers).resolved(&|_| "h".to_owned());
    let fields = edits.set.iter().chain(&edits.add);
    let values = fields.map(|field| field.value.fixed().unwrap());
    let secret: Vec<bool> = values.map(|value| value.is_sensitive()).collect();
    assert_eq!(secret, [true, true, true, false, false, false]);
    assert_eq!(
        edits.set[1].value.fixed().unwrap(),
        &format!("h {VERSION}")[..]
    );
    let told = format!("{:?}", read.target);
    assert!(!told.contains(VERSION), "{told}");
    let read = route(&format!(
        "{fixed}\nresponse_headers = {{ set = {{ a = \"$host ${{CARGO_PKG_VERSION}}\", b = \"${{CARGO_PKG_VERSION}}\" }} }}"
    ));
    let told = format!("{:?}", read.response_headers);
    assert!(!told.contains(VERSION), "{told}");
    assert!(told.contains("Sensitive"), "{told}");
}

#[test]
fn a_value_that_cannot_be_read_from_its_file_is_told() {
    wrong(&[(
        "origin = \"a\"\nrequest_headers = { set = { a = \"file:none.txt\" } }",
        "6:33 cannot take a value from none.txt: No such file or directory (os error 2) / a path is relative to the file that it stands in",
    )]);
}
