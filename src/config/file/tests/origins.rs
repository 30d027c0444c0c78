//! How servers, their TLS and their names are typed.

use super::{read_text, wrong};
use crate::config::snapshot::OriginProtocol;

fn servers(list: &str) -> Vec<(OriginProtocol, String, String)> {
    let read = read_text(&format!("origin.a.servers = {list}"));
    assert!(read.errors.is_empty(), "{:?}", read.errors);
    let servers = read.spec.origins.get("a").unwrap().servers.iter();
    servers
        .map(|server| (server.protocol, server.to_string(), server.authority()))
        .collect()
}

#[test]
fn the_scheme_says_what_a_server_speaks() {
    use OriginProtocol::{Http1, Http2, Tls};
    let typed = "[\"http://a\", \"https://b\", \"https://[::1]:8443/\", \"h2c://c:50051\"]";
    let found = servers(typed);
    let expected = [
        (Http1, "http://a:80", "a"),
        (Tls, "https://b:443", "b"),
        (Tls, "https://[::1]:8443", "[::1]:8443"),
        (Http2, "h2c://c:50051", "c:50051"),
    ];
    for (found, (protocol, url, authority)) in found.iter().zip(expected) {
        assert_eq!(*found, (protocol, url.to_owned(), authority.to_owned()));
    }
    // A path is relative to the file that names it.
    for (typed, protocol, url) in [
        ("unix:/run/app.sock", Http1, "unix:/run/app.sock"),
        ("unix:///run/app.sock", Http1, "unix:/run/app.sock"),
        ("unix+h2c:/run/app.sock", Http2, "unix+h2c:/run/app.sock"),
    ] {
        let found = servers(&format!("[{typed:?}]"));
        let expected = (protocol, url.to_owned(), "localhost".to_owned());
        assert_eq!(found, [expected]);
    }
}

#[test]
fn each_mistake_in_an_origin_is_told_with_place_and_hint() {
    for (text, expected) in [
        (
            "origin.a.servers = [\"h2://a\"]",
            "1:21 \"h2://a\" cannot be an origin: its scheme is unknown / write \"https://a\": HTTP/2 is negotiated by ALPN",
        ),
        (
            "origin.a.servers = [\"https://a/x\"]",
            "1:21 \"https://a/x\" cannot be an origin: it has a path / write \"https://a\": requests keep their own path",
        ),
        (
            "origin.a.servers = [\"unix:\"]",
            "1:21 \"unix:\" cannot be an origin: it has no path / write, for example, \"unix:/run/app.sock\"",
        ),
        (
            "origin.a = { servers = [\"https://a\"], tls = { verify = false } }",
            "1:47 unknown key `verify` in tls of [origin.NAME] / known are: alpn, ca, certificate, min_version, server_name, verify_name",
        ),
        (
            "origin.a = { servers = [\"https://a\"], tls = { server_name = \"a:443\" } }",
            "1:61 \"a:443\" is no name of a server / write a DNS name or an address, without a port",
        ),
        (
            "origin.a = { servers = [\"https://a\"], tls = { certificate = { chain = \"a.pem\" } } }",
            "1:61 `key` is missing in certificate in tls of [origin.NAME] / add key = \"example.com.key\"",
        ),
        (
            "origin.a = { servers = [\"https://a\"], tls = { alpn = [\"h3\"] } }",
            "1:55 `alpn` cannot be \"h3\" / did you mean \"h2\"? allowed are \"h2\", \"http/1.1\"",
        ),
        (
            "resolver.servers = [\"dns.example\"]",
            "1:21 `servers` cannot have \"dns.example\" / write addresses, such as \"127.0.0.53\", \"10.0.0.2:5353\" or \"[::1]:53\"",
        ),
        (
            "resolver = { min_ttl = \"10m\" }",
            "1:24 `max_ttl` is less than `min_ttl` / an answer is kept at least `min_ttl`, which is 1s by default, and at most `max_ttl`, which is 5m",
        ),
    ] {
        wrong(text, expected);
    }
}

#[test]
fn an_error_names_a_variable_and_not_what_it_says() {
    let read = read_text("origin.a.servers = [\"http://user:${CARGO_PKG_VERSION}@db\"]");
    let told = read.errors.first().map(|error| error.message.clone());
    let told = told.unwrap_or_default();
    assert!(told.contains("user:${CARGO_PKG_VERSION}@db"), "{told}");
    assert!(!told.contains(env!("CARGO_PKG_VERSION")), "{told}");
}
