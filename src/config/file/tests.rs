use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

pub(super) fn read_text(text: &str) -> Read {
    let mut read = Read {
        spec: Spec::default(),
        errors: Vec::new(),
        readable: true,
    };
    let file = Arc::new(SourceFile {
        path: PathBuf::from("t.toml"),
        text: text.to_owned(),
    });
    read_main(&file, &mut read);
    crate::config::diagnostics::sort(&mut read.errors);
    read
}

/// Each error as `line:column message / hint`.
pub(super) fn errors(text: &str) -> Vec<String> {
    let read = read_text(text);
    let show = |error: &Diagnostic| {
        let (line, column) = error.place.as_ref().map_or((0, 0), Place::line_column);
        let hint = error.hint.as_deref().unwrap_or("");
        format!("{line}:{column} {} / {hint}", error.message)
    };
    read.errors.iter().map(show).collect()
}

#[track_caller]
fn wrong(text: &str, expected: &str) {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{text}\n{errors:#?}");
    assert_eq!(errors[0], expected, "{text}");
}

#[test]
fn each_mistake_in_the_tables_of_the_process_is_told_with_place_and_hint() {
    for (text, expected) in [
        (
            "serve = 1",
            "1:1 unknown key `serve` in the file / did you mean `server`?",
        ),
        (
            "server = 1",
            "1:10 `server` must be a table, not an integer / write, for example, [server]",
        ),
        (
            "[server]\nworkers = \"2\"",
            "2:11 `workers` must be an integer, not a string / write, for example, 1",
        ),
        (
            "[server]\nworkers = 0",
            "2:11 `workers` cannot be 0 / allowed are 1 to 1024",
        ),
        (
            "[server]\nworkers = -1",
            "2:11 `workers` cannot be -1 / allowed are 1 to 1024",
        ),
        (
            "server.drain.timeout = \"off\"",
            "1:24 `timeout` cannot be \"off\" / write a number and ms, s, m or h, such as \"500ms\", \"10s\", \"5m\"",
        ),
        (
            "limits.handshakes = 0",
            "1:21 `handshakes` cannot be 0 / allowed is 1 or more",
        ),
        (
            "log.level = \"inof\"",
            "1:13 `level` cannot be \"inof\" / did you mean \"info\"? allowed are \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        (
            "log.access = true",
            "1:14 `access` must be a string, not true or false / write, for example, \"stdout\"",
        ),
        (
            "admin = {}",
            "1:9 `address` is missing in [admin] / add address = \"127.0.0.1:9901\"",
        ),
        (
            "admin.address = \"unix:\"",
            "1:17 `address` has no path / write, for example, \"unix:admin.sock\"",
        ),
        (
            "sessions.tickets = 5",
            "1:20 `tickets` cannot be 5 / allowed are 1 to 4",
        ),
        (
            "sessions.store = \"redis://a\"",
            "1:18 a shared session store is not supported in this version / write \"memory\", or take this away",
        ),
        (
            "[[listen]]\naddress = \":443\"",
            "2:11 `address` cannot be \":443\" / write an address and a port: \"0.0.0.0:443\" or \"[::]:443\" for all",
        ),
        (
            "[[listen]]\ntls = true",
            "1:1 `address` is missing in [[listen]] / add address = \"0.0.0.0:443\"",
        ),
        (
            "listen = [{ address = \"[::]:1\", timeouts = { proxy_header = \"off\" } }]",
            "1:61 `proxy_header` cannot be \"off\" / it always has an end: write, for example, \"10s\"",
        ),
        (
            "listen = [{ address = \"[::]:1\", timeouts = { client_hello = \"0s\" } }]",
            "1:61 `client_hello` cannot be \"0s\" / allowed are 1ms to 8760h",
        ),
        (
            "[origin.a]",
            "1:1 `servers` is missing in [origin.NAME] / add servers = [\"http://127.0.0.1:8080\"]",
        ),
        (
            "origin.a.servers = []",
            "1:20 `servers` is empty / write, for example, [\"http://127.0.0.1:8080\"]",
        ),
        (
            "origin.a.servers = [\"ftp://a\"]",
            "1:21 \"ftp://a\" cannot be an origin: its scheme is unknown / write http://, https:// or h2c:// and HOST:PORT, or unix:PATH",
        ),
        (
            "origin.a.servers = [\"http://a:0\"]",
            "1:21 \"http://a:0\" cannot be an origin: its port is none / ports are 1 to 65535",
        ),
        (
            "origin.a.servers = [\"http://::1\"]",
            "1:21 \"http://::1\" cannot be an origin: an IPv6 address needs brackets / write http://[::1]:8080",
        ),
        (
            "include = \"a\"",
            "1:11 `include` must be a list of files, not a string / write, for example, [\"sites.d/*.toml\"]",
        ),
        (
            "include = [\"*/a.toml\"]",
            "1:12 `*` and `?` may stand in the last part of a path only / write, for example, \"sites.d/*.toml\"",
        ),
    ] {
        wrong(text, expected);
    }
}

#[test]
fn each_mistake_in_a_site_is_told_with_place_and_hint() {
    for (line, expected) in [
        (
            "certificat = 1",
            "3:1 unknown key `certificat` in [[site]] / did you mean `certificate`?",
        ),
        (
            "certificate = \"acme\"",
            "3:15 ACME is not supported in this version / write certificate = { chain = \"example.com.pem\", key = \"example.com.key\" }",
        ),
        (
            "certificate = { chain = \"a.pem\" }",
            "3:15 `key` is missing in certificate / add key = \"example.com.key\"",
        ),
        (
            "certificate = []",
            "3:15 `certificate` is empty / write, for example, certificate = { chain = \"example.com.pem\", key = \"example.com.key\" }",
        ),
        (
            "default = 1",
            "3:11 `default` must be true or false, not an integer / write, for example, true",
        ),
        (
            "alpn = [\"h3\"]",
            "3:9 `alpn` cannot be \"h3\" / did you mean \"h2\"? allowed are \"h2\", \"http/1.1\"",
        ),
        (
            "alpn = [\"h2\", \"h2\"]",
            "3:15 \"h2\" stands there twice / take one of them away",
        ),
        (
            "min_version = \"1.1\"",
            "3:15 `min_version` cannot be \"1.1\" / did you mean \"1.3\"? allowed are \"1.3\", \"1.2\"",
        ),
        (
            "ocsp = \"on\"",
            "3:8 `ocsp` cannot be \"on\" / allowed are \"auto\", \"off\", \"required\"",
        ),
        (
            "client_auth = { ca = \"a\" }",
            "3:15 `client_auth` is not supported in this version / take this away",
        ),
        (
            "timeouts = { handshake = \"off\" }",
            "3:26 `handshake` cannot be \"off\" / it always has an end: write, for example, \"10s\"",
        ),
        (
            "timeouts = { handshakes = \"1s\" }",
            "3:14 unknown key `handshakes` in timeouts of [[site]] / did you mean `handshake`?",
        ),
        (
            "listen = []",
            "3:10 `listen` is empty / write, for example, [\"public\"]",
        ),
    ] {
        wrong(
            &format!("[[site]]\nnames = [\"a.com\"]\n{line}\n"),
            expected,
        );
    }
    wrong(
        "[[site]]",
        "1:1 `names` is missing in [[site]] / add names = [\"example.com\"]",
    );
    wrong(
        "[[site]]\nnames = [\"10.0.0.1\"]",
        "2:10 \"10.0.0.1\" is no host name: an IP address is not a host name; use `default = true` / a site with `default = true` answers whatever name comes",
    );
    // EARLY-DATA R1
    let both =
        errors("[[site]]\nnames = [\"a.com\"]\nearly_data = true\nclient_auth = { ca = \"a\" }");
    assert_eq!(
        both[0],
        "3:14 `early_data = true` beside `client_auth` / take one of the two away"
    );
    assert_eq!(both.len(), 2);
}

#[test]
fn each_mistake_in_a_route_is_told_with_place_and_hint() {
    let answer = "respond = { status = 200 }";
    for (lines, expected) in [
        (
            format!("{answer}\nmethds = []"),
            "5:1 unknown key `methds` in [[site.route]] / did you mean `methods`?",
        ),
        (
            format!("{answer}\nmethods = [\"get\"]"),
            "5:12 no request has the method \"get\" / write \"GET\"",
        ),
        (
            format!("{answer}\nmethods = [\"CONNECT\"]"),
            "5:12 CONNECT is not supported in this version / take this away",
        ),
        (
            format!("{answer}\nexact = \"/\""),
            "5:1 `exact` beside `path` / take one of the two away",
        ),
        (
            format!("{answer}\nearly_data = true"),
            "5:14 `early_data` must be a string, not true or false / write, for example, \"refuse\"",
        ),
        (
            format!("{answer}\ntimeouts.connect = \"off\""),
            "5:20 `connect` cannot be \"off\" / it always has an end: write, for example, \"10s\"",
        ),
        (
            format!("{answer}\ntimeouts.total = 5"),
            "5:18 `total` must be a duration with its unit, not an integer / write, for example, \"10s\" or \"off\"",
        ),
        (
            format!("{answer}\nlimits.uri = \"1MB\""),
            "5:14 `uri` cannot be \"1MB\" / allowed are 16 to 65534 bytes",
        ),
        (
            format!("{answer}\nlimits.header_bytes = \"1KB2\""),
            "5:23 `header_bytes` cannot be \"1KB2\" / write bytes, or a number and KiB, MiB, GiB, kB, MB or GB, such as \"32KiB\"",
        ),
        (
            format!("{answer}\norigin = \"a\""),
            "4:1 `respond` beside `origin` / a route has one answer: take one of them away",
        ),
        (
            String::new(),
            "2:1 a route without an answer / add `origin`, `respond` or `redirect`",
        ),
        (
            "origin = \"http://a\"".into(),
            "4:10 `origin` is the name of an origin, or a list of URLs / write [\"http://a\"]",
        ),
        (
            "respond = { status = 425 }".into(),
            "4:22 `status` cannot be 425 / the edge makes this answer itself: see `early_data = \"refuse\"`",
        ),
        (
            "respond = { status = 100 }".into(),
            "4:22 `status` cannot be 100 / allowed are 200 to 599",
        ),
        (
            "respond = { status = 204, body = \"x\" }".into(),
            "4:27 an answer of status 204 has no body / take the body away",
        ),
        ("respond = { body = \"\", body_file = \"x\" }".into(), ""),
        (
            "respond = { headers = { \"a b\" = \"x\" } }".into(),
            "4:25 \"a b\" is no header field / write, for example, content-type",
        ),
        (
            "respond = { headers = { connection = \"x\" } }".into(),
            "4:25 `connection` is set by the edge / take this away",
        ),
        (
            "respond = { headers = { a = \"\\n\" } }".into(),
            "4:29 a header field's value cannot have control characters / take them away",
        ),
        (
            "redirect = { status = 301 }".into(),
            "4:12 `to` is missing in redirect / add to = \"https://example.com/\"",
        ),
        (
            "redirect = { to = \"/\", status = 304 }".into(),
            "4:33 no such redirect / allowed are 301, 302, 303, 307, 308",
        ),
        (
            "redirect = { to = \"example.com\" }".into(),
            "4:19 \"example.com\" cannot be redirected to / write a URL or a path, with everything else escaped",
        ),
    ] {
        let text = format!("[[site]]\n[[site.route]]\npath = \"/\"\n{lines}\n");
        let errors: Vec<String> = errors(&text)
            .into_iter()
            .filter(|e| !e.contains("`names` is missing"))
            .collect();
        if expected.is_empty() {
            assert!(
                errors[0].contains("`body_file` beside `body`"),
                "{errors:?}"
            );
            continue;
        }
        assert_eq!(errors, [expected], "{text}");
    }
}

#[test]
fn a_path_that_no_request_has_is_refused() {
    for (path, hint) in [
        ("api", "write \"/api\""),
        ("/api/*", "a `path` matches everything below it already"),
        ("/a b", "write %20"),
        ("/ä", "write %C3%A4"),
        ("/a?b=c", "a route matches the path alone, not the query"),
        ("/a/../b", "take them away"),
        ("/%2F", "take it away"),
        ("/%41", "write A"),
        ("/%c3%a4", "write two digits 0-9 and A-F after %"),
        ("/%", "write two digits 0-9 and A-F after %"),
    ] {
        let text = format!(
            "[[site]]\nnames = [\"a.com\"]\n[[site.route]]\npath = \"{path}\"\nrespond = {{}}"
        );
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with("4:8 ") && errors[0].ends_with(hint),
            "{errors:?}"
        );
    }
    let fine = read_text(
        "[[site]]\nnames = [\"a.com\"]\n[[site.route]]\npath = \"/%C3%A4/.well-known\"\nrespond = {}",
    );
    assert!(fine.errors.is_empty());
}

#[test]
fn mistakes_of_toml_do_not_hide_those_of_other_lines() {
    let errors = errors("[server]\nworkers = = 2\n[log]\nlevle = \"info\"\n[server]\n");
    assert!(
        errors.iter().any(|error| error.starts_with("2:")),
        "{errors:#?}"
    );
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("4:1 unknown key `levle`")),
        "{errors:#?}"
    );
    assert!(
        errors.iter().any(|error| error.starts_with("5:")),
        "{errors:#?}"
    );
}

#[test]
fn a_line_that_is_no_toml_is_told_once() {
    let errors = errors("[[listen]]\naddress = [[[[\nname = 1\n[a\n");
    let lines: Vec<&str> = errors
        .iter()
        .map(|error| error.split(':').next().unwrap())
        .collect();
    let mut once = lines.clone();
    once.dedup();
    assert_eq!(lines, once, "{errors:#?}");
    assert!(errors[1].contains("toml.io"), "{errors:#?}");
}

#[test]
fn values_are_what_was_typed_and_defaults_stand_for_the_rest() {
    let read = read_text(
        "server.drain = { delay = \"1m\", timeout = \"1500ms\" }
         limits.connections = 0x10
         [[listen]]
         address = \"[::1]:443\"
         [[site]]
         names = [\"A.example.\"]
         min_version = \"1.2\"
         [[site.route]]
         exact = \"/\"
         methods = [\"GET\", \"PURGE\"]
         origin = [\"http://localhost\", \"http://[::1]:81/\", \"http://10.0.0.1:82\"]
         limits = { body = \"1_0MB\", headers = 5, uri = 4096 }
         timeouts = { total = \"1h\", response_idle = \"off\" }",
    );
    assert!(read.errors.is_empty(), "{:#?}", read.errors);
    let spec = read.spec;
    assert_eq!(spec.server.drain_delay.as_secs(), 60);
    assert_eq!(spec.server.drain_timeout.as_millis(), 1500);
    assert_eq!(
        (spec.limits.connections, spec.limits.handshakes),
        (16, 10_000)
    );
    assert_eq!(spec.listeners[0].name.value, "[::1]:443");
    let site = &spec.sites[0];
    assert_eq!(site.names[0].value.to_string(), "a.example");
    assert!(site.tls12 && !site.early_data.value);
    let route = &site.routes[0];
    assert_eq!(route.limits.body, Some(10_000_000));
    assert_eq!(route.timeouts.response_idle, None);
    assert_eq!(
        route.timeouts.total.map(|total| total.as_secs()),
        Some(3600)
    );
    assert_eq!(route.timeouts.connect.as_secs(), 3);
    let Some(crate::config::spec::TargetSpec::Inline(origin)) = &route.target else {
        panic!("{:?}", route.target);
    };
    let servers: Vec<String> = origin.servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        servers,
        [
            "http://localhost:80",
            "http://[::1]:81",
            "http://10.0.0.1:82"
        ]
    );
}

mod certificates;
mod ocsp;
mod origins;

#[test]
fn depth_is_bounded() {
    for text in [
        "a = ".to_owned() + &"[".repeat(100_000),
        "a.".repeat(50_000) + "a = 1",
    ] {
        assert!(!read_text(&text).errors.is_empty());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|[\n\"=\\[\\]{}.,#'\\\\]){0,200}") {
        for error in read_text(&text).errors {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_damage_to_a_real_file_makes_the_reader_panic(
        at in any::<prop::sample::Index>(),
        length in 0..40_usize,
        with in "\\PC{0,8}|[\n\"=\\[\\]{}.,#'\\\\]{0,4}",
    ) {
        let mut text: Vec<char> = include_str!("../../../examples/config/full.toml").chars().collect();
        let start = at.index(text.len());
        let end = text.len().min(start + length);
        text.splice(start..end, with.chars());
        for error in read_text(&text.into_iter().collect::<String>()).errors {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
