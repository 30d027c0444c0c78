//! Who may import whom.

use super::source::product;

/// What every stage speaks of: no decision is taken there.
const VOCABULARY: &[&str] = &[
    "body",
    "confirm",
    "deadline",
    "early",
    "forwarded",
    "interim",
    "proxy_protocol",
    "request_id",
    "state",
    "tags",
];

/// What a configuration becomes. How it is typed is known to `config` alone.
const COMPILED: &[&str] = &["config::names", "config::site_tls", "config::snapshot"];

/// The stages of the way through the house, and what they may import beside the vocabulary, the
/// compiled configuration and telemetry: never each other, except as argued here.
const STAGES: &[(&str, &[&str])] = &[
    ("listen", &[]),
    // What was shown of a certificate is told to whoever drives the engine.
    ("tls", &["certs::compression", "certs::shown"]),
    ("http", &[]),
    ("gate", &[]),
    ("admission", &[]),
    // Pure functions over the octets of a target: where a path is normalised and an authority is
    // read must not differ between the match and what is matched.
    ("route", &["http::authority", "http::path"]),
    ("origin", &[]),
    ("handler", &[]),
];

/// Rooms that are no stages, and all that they may import.
const BESIDE: &[(&str, &[&str])] = &[
    ("body", &[]),
    ("confirm", &[]),
    ("deadline", &[]),
    ("early", &[]),
    ("forwarded", &[]),
    ("interim", &[]),
    ("proxy_protocol", &[]),
    ("request_id", &[]),
    ("state", &[]),
    ("tags", &[]),
    ("certs", &["config::names", "telemetry"]),
    ("telemetry", &[]),
    // A snapshot holds certificates that were read, routes in the order of matching and whom they
    // admit, and a library user's handlers.
    (
        "config",
        &["admission", "certs", "handler", "route", "telemetry"],
    ),
];

/// These put the others together, or stand outside: they may import anything but the typed file.
const FREE: &[&str] = &[
    "connection",
    "server",
    "edge",
    "serve",
    "demo",
    "load",
    "inspect",
];

/// Decisions that take time and state as arguments.
const PURE: &[&str] = &["admission", "gate", "route", "tls::select"];

fn covers(room: &str, path: &str) -> bool {
    path == room
        || path
            .strip_prefix(room)
            .is_some_and(|rest| rest.starts_with("::"))
}

#[test]
fn rooms_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for source in product() {
        let Some(room) = source.module.first().map(String::as_str) else {
            continue;
        };
        if FREE.contains(&room) {
            continue;
        }
        let of = |table: &[(&str, &'static [&'static str])]| {
            let row = table.iter().find(|(name, _)| *name == room);
            row.map(|(_, more)| *more)
        };
        let mut may = vec![room];
        may.extend(VOCABULARY);
        if let Some(more) = of(STAGES) {
            may.extend(COMPILED);
            may.push("telemetry");
            may.extend(more);
        } else if let Some(more) = of(BESIDE) {
            may.extend(more);
        } else {
            wrong.push(format!("{}: a room without a rule", source.file.display()));
            continue;
        }
        for name in source.names() {
            if !may.iter().any(|room| covers(room, &name)) {
                wrong.push(format!("{} imports {name}", source.file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_config_knows_how_the_file_is_typed() {
    for source in product() {
        let inside = covers("config", &source.name());
        let seen = source
            .names()
            .iter()
            .any(|name| covers("config::file", name));
        assert!(inside || !seen, "{}", source.file.display());
    }
}

#[test]
fn a_snapshot_knows_neither_the_file_nor_the_compiler() {
    for source in product() {
        if covers("config::snapshot", &source.name()) {
            for name in source.names() {
                let allowed =
                    !covers("config", &name) || COMPILED.iter().any(|room| covers(room, &name));
                assert!(allowed, "{} imports {name}", source.file.display());
            }
        }
    }
}

#[test]
fn tls_knows_no_http_and_http_knows_no_tls() {
    for source in product() {
        let banned: &[&str] = match source.module.first().map(String::as_str) {
            Some("tls") => &["http", "http_body", "hyper", "h2"],
            Some("http") => &["rustls", "webpki", "rcgen"],
            _ => continue,
        };
        for word in banned {
            let said = source.says(&format!("{word}::")) || source.says(&format!("use {word};"));
            assert!(!said, "{} knows {word}", source.file.display());
        }
    }
}

#[test]
fn decisions_read_no_clock_and_do_no_io() {
    const BANNED: &[&str] = &[
        "tokio",
        "Instant",
        "SystemTime",
        "async",
        "File",
        "TcpStream",
    ];
    for source in product() {
        if PURE.iter().any(|room| covers(room, &source.name())) {
            for word in BANNED {
                assert!(!source.says(word), "{} says {word}", source.file.display());
            }
        }
    }
}
