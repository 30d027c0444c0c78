use super::*;
use crate::config::names::SiteName;
use crate::config::snapshot::{FixedResponse, RouteLimits, RouteTimeouts, Target};
use crate::early::EarlyDataPolicy;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

/// A route written as `[host] path [METHOD,…]`: `=/x` is exact, `/x` a prefix.
pub(crate) fn route(text: &str) -> Arc<Route> {
    let mut words = text.split(' ').peekable();
    let host = words
        .next_if(|word| !word.starts_with(['/', '=']))
        .map(|word| SiteName::parse(word).expect("a name"));
    let path = words.next().expect("a path");
    let path = match path.strip_prefix('=') {
        Some(path) => PathMatch::Exact(path.into()),
        None => PathMatch::Prefix(path.into()),
    };
    let methods = words.next().map_or(vec![], |words| {
        let methods = words.split(',');
        methods.map(|m| m.parse().expect("a method")).collect()
    });
    Arc::new(Route {
        name: text.into(),
        host,
        path,
        methods,
        early_data: EarlyDataPolicy::default(),
        target: Target::Respond(FixedResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }),
        admission: None,
        prefix_rewrite: None,
        request_headers: None,
        response_headers: None,
        timeouts: RouteTimeouts::default(),
        limits: RouteLimits::default(),
    })
}

fn routes(texts: &[&str]) -> Routes {
    Routes::new(texts.iter().map(|text| route(text)))
}

/// The route a request takes, or the status and Allow.
fn taken(routes: &Routes, host: &str, path: &str, method: &str) -> String {
    let host = Some(host).filter(|host| !host.is_empty());
    match routes.find(host, path, &method.parse().expect("a method")) {
        Ok(route) => route.name.to_string(),
        Err(NoRoute::NotFound) => "404".into(),
        Err(NoRoute::MethodNotAllowed { allow }) => {
            format!("405 {}", allow.to_str().expect("text"))
        }
    }
}

#[test]
fn an_exact_host_beats_a_wildcard_beats_none() {
    let routes = routes(&["=/x", "*.a.b /x", "x.a.b /"]);
    assert_eq!(taken(&routes, "x.a.b", "/x", "GET"), "x.a.b /");
    assert_eq!(taken(&routes, "y.a.b", "/x", "GET"), "*.a.b /x");
    assert_eq!(taken(&routes, "a.b", "/x", "GET"), "=/x");
    assert_eq!(taken(&routes, "y.y.a.b", "/x", "GET"), "=/x");
    assert_eq!(taken(&routes, "", "/x", "GET"), "=/x");
    assert_eq!(taken(&routes, "y.a.b", "/y", "GET"), "404");
}

#[test]
fn an_exact_path_beats_the_longest_prefix() {
    let routes = routes(&["/", "/a", "/a/b/c", "/a/b", "=/a/b"]);
    for (path, expected) in [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/b", "=/a/b"),
        ("/a/b/", "/a/b"),
        ("/a/b/c/d", "/a/b/c"),
        ("/a/b/cd", "/a/b"),
    ] {
        assert_eq!(taken(&routes, "", path, "GET"), expected, "{path}");
    }
}

#[test]
fn a_prefix_ends_on_a_segment_boundary() {
    let routes = routes(&["/api", "/dir/", "=/one"]);
    for (path, expected) in [
        ("/api", "/api"),
        ("/api/x", "/api"),
        ("/apix", "404"),
        ("/ap", "404"),
        ("/dir/", "/dir/"),
        ("/dir/x", "/dir/"),
        ("/dir", "404"),
        ("/one", "=/one"),
        ("/one/", "404"),
        ("/API", "404"),
        ("*", "404"),
    ] {
        assert_eq!(taken(&routes, "", path, "GET"), expected, "{path}");
    }
}

#[test]
fn routes_with_methods_come_first_then_the_order_of_the_file() {
    let routes = routes(&["/a", "/a POST,PUT", "/a PUT,PATCH"]);
    assert_eq!(taken(&routes, "", "/a", "PUT"), "/a POST,PUT");
    assert_eq!(taken(&routes, "", "/a", "PATCH"), "/a PUT,PATCH");
    assert_eq!(taken(&routes, "", "/a", "GET"), "/a");
}

#[test]
fn a_request_without_its_method_falls_to_a_shorter_prefix() {
    let routes = routes(&["/", "=/a POST"]);
    assert_eq!(taken(&routes, "", "/a", "POST"), "=/a POST");
    assert_eq!(taken(&routes, "", "/a", "GET"), "/");
}

#[test]
fn only_a_wrong_method_is_405_with_every_method_there_is() {
    let routes = routes(&["/a PUT,GET", "=/a/b POST,PUT", "c.d /a DELETE", "/z TRACE"]);
    assert_eq!(taken(&routes, "", "/a/b", "HEAD"), "405 GET, POST, PUT");
    assert_eq!(taken(&routes, "c.d", "/a", "HEAD"), "405 DELETE, GET, PUT");
    assert_eq!(taken(&routes, "", "/b", "HEAD"), "404");
    assert_eq!(taken(&routes, "", "/a", "get"), "405 GET, PUT");
}

#[test]
fn spellings_take_the_same_route() {
    let routes = routes(&["/", "/a:b", "/%C3%A9", "//x//y", "/q%25", "/{id}"]);
    for (path, expected) in [
        ("/a%3Ab/c", "/a:b"),
        ("//a:b", "/a:b"),
        ("/%C3%A9/x", "/%C3%A9"),
        ("/x/y", "//x//y"),
        ("/x///y/z", "//x//y"),
        ("/q%25", "/q%25"),
        ("/q%2525", "/"),
        ("/%7Bid%7D", "/{id}"),
    ] {
        assert_eq!(taken(&routes, "", path, "GET"), expected, "{path}");
    }
}

#[test]
fn equal_keys_are_told() {
    let same = |one, other| same_keys(&route(one), &route(other));
    assert!(same("/a", "/a") && same("/a%3A", "/a:") && same("a.b /a GET,PUT", "A.b. /a PUT,GET"));
    assert!(!same("/a", "=/a") && !same("/a", "/a GET") && !same("a.b /a", "/a"));
    assert!(!same("/a", "/a/") && !same("/a PUT", "/a GET") && !same("/a PUT", "/a GET,PUT"));
}

/// The definition, without an order made beforehand.
fn by_definition(texts: &[String], host: &str, path: &str, method: &Method) -> Option<String> {
    let all: Vec<_> = texts.iter().map(|text| route(text)).collect();
    let matching = all.iter().enumerate().filter(|(_, route)| {
        let path_matches = match &route.path {
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Prefix(prefix) => {
                let below = format!("{}/", prefix.trim_end_matches('/'));
                path == prefix || path.starts_with(&below)
            }
        };
        path_matches
            && route.host.as_ref().is_none_or(|name| name.matches(host))
            && (route.methods.is_empty() || route.methods.contains(method))
    });
    let best = matching.min_by_key(|(place, route)| {
        let host = route
            .host
            .as_ref()
            .map_or(2, |name| usize::from(name.is_wildcard()));
        let (prefix, length) = match &route.path {
            PathMatch::Exact(_) => (false, 0),
            PathMatch::Prefix(prefix) => (true, prefix.len()),
        };
        (
            host,
            prefix,
            Reverse(length),
            route.methods.is_empty(),
            *place,
        )
    });
    best.map(|(_, route)| route.name.to_string())
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(
        "(a\\.b |\\*\\.b )?=?/([ab:](/[ab:])?)?( (GET|POST|GET,POST))?",
        1..8,
    )
}

#[test]
fn what_a_path_has_behind_a_prefix_keeps_its_spelling() {
    for (own, path, expected) in [
        ("/", "/", "/"),
        ("/", "/a/b", "/a/b"),
        ("/", "//a", "//a"),
        ("/api", "/api", ""),
        ("/api", "/api/", "/"),
        ("/api", "/api/a%20b//c", "/a%20b//c"),
        ("/api", "/api//evil.example", "//evil.example"),
        ("/api", "//api/x", "/x"),
        ("/api/", "/api/", "/"),
        ("/api/", "/api/x", "/x"),
        ("/a/b", "/a//b/x", "/x"),
        ("/a:b", "/a%3Ab/x", "/x"),
        ("/a%3Ab", "/a:b/x", "/x"),
        ("/%C3%A4", "/%C3%A4/x", "/x"),
    ] {
        let own = PathMatch::Prefix(own.into());
        assert_eq!(rest(&own, path), expected, "{own:?} {path}");
    }
    assert_eq!(rest(&PathMatch::Exact("/a".into()), "/a"), "");
    // What does not match gives nothing that could be misread.
    assert_eq!(rest(&PathMatch::Prefix("/longer".into()), "/a"), "");
}

#[test]
fn a_rest_is_joined_by_one_slash() {
    for (base, rest, expected) in [
        ("/", "", "/"),
        ("/", "/x", "/x"),
        ("/", "//elsewhere.example", "/elsewhere.example"),
        ("/v2", "", "/v2"),
        ("/v2", "/", "/v2/"),
        ("/v2/", "///x//y", "/v2/x//y"),
        ("https://example.org", "", "https://example.org"),
        ("https://example.org", "/x", "https://example.org/x"),
    ] {
        assert_eq!(join(base, rest), expected, "{base} {rest}");
    }
}

proptest! {
    #[test]
    fn the_order_made_beforehand_is_the_definition(
        texts in texts(),
        host in "(a|b)\\.b",
        path in "/([ab:]{1,2}(/[ab:]?){0,2})?",
        method in prop::sample::select(vec![Method::GET, Method::PUT]),
    ) {
        // Runs of slashes and prefixes with a slash at the end have tests of their own.
        prop_assume!(!path.contains("//"));
        let routes = Routes::new(texts.iter().map(|text| route(text)));
        let found = routes.find(Some(&host), &path, &method).ok();
        let found = found.map(|route| route.name.to_string());
        prop_assert_eq!(found, by_definition(&texts, &host, &path, &method));
    }

    #[test]
    fn no_spelling_reaches_another_route(
        texts in texts(),
        segments in proptest::collection::vec("[ab:]{1,2}", 0..4),
        escapes in proptest::collection::vec(0u8..4, 16),
        detours in proptest::collection::vec(0u8..6, 4),
    ) {
        let routes = Routes::new(texts.iter().map(|text| route(text)));
        let normal = format!("/{}", segments.join("/"));
        let mut escapes = escapes.into_iter().cycle();
        let mut spelled = String::new();
        for (segment, detour) in segments.iter().zip(&detours) {
            spelled.push_str(match detour {
                0 => "/.",
                1 => "/x/..",
                2 => "/%2e",
                3 => "/%61/%2E%2e",
                4 => "/",
                _ => "",
            });
            spelled.push('/');
            for byte in segment.bytes() {
                match escapes.next() {
                    Some(0) => spelled.push_str(&format!("%{byte:02x}")),
                    Some(1) => spelled.push_str(&format!("%{byte:02X}")),
                    _ => spelled.push(char::from(byte)),
                }
            }
        }
        if segments.is_empty() { spelled.push('/'); }
        let spelled = normalise(&spelled).expect("a path");
        for method in [Method::GET, Method::POST, Method::PUT] {
            let expected = routes.find(Some("a.b"), &normal, &method);
            prop_assert_eq!(
                routes.find(Some("a.b"), &spelled, &method).map(|route| &route.name),
                expected.map(|route| &route.name)
            );
        }
    }
}
