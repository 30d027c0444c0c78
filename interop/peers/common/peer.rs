//! What the Rust programs over QUIC share: arguments, and the client's line of JSON (PROTOCOL.md).

use serde_json::{json, Value};
use std::collections::HashMap;
use std::process::exit;

/// Options without a value.
const FLAGS: [&str; 4] = ["key-update", "retry-425", "early", "refuse-early"];

/// What was asked for.
#[derive(Clone)]
pub struct Options {
    values: HashMap<String, String>,
    headers: Vec<(String, String)>,
}

impl Options {
    /// The process's arguments.
    pub fn read() -> Self {
        let mut options = Self { values: HashMap::new(), headers: Vec::new() };
        let mut rest = std::env::args().skip(1);
        while let Some(argument) = rest.next() {
            let Some(key) = argument.strip_prefix("--") else { broken(&format!("no such argument: {argument}")) };
            if FLAGS.contains(&key) {
                options.values.insert(key.into(), String::new());
                continue;
            }
            let Some(value) = rest.next() else { broken(&format!("{argument} needs a value")) };
            match value.split_once(':') {
                Some((name, value)) if key == "header" => options.headers.push((name.trim().to_lowercase(), value.trim().into())),
                _ => drop(options.values.insert(key.into(), value)),
            }
        }
        options
    }

    pub fn has(&self, flag: &str) -> bool {
        self.values.contains_key(flag)
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.get(key).unwrap_or(default)
    }

    pub fn required(&self, key: &str) -> &str {
        self.get(key).unwrap_or_else(|| broken(&format!("--{key} is required")))
    }

    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.get(key).map_or(default, |value| value.parse().unwrap_or_else(|_| broken(&format!("--{key}: {value}"))))
    }

    /// A list with commas; `-` is an empty one.
    pub fn list(&self, key: &str) -> Vec<&str> {
        let text = self.text(key, "");
        if text == "-" { Vec::new() } else { text.split(',').filter(|item| !item.is_empty()).collect() }
    }

    /// The protocols to offer.
    pub fn alpn(&self) -> Vec<&str> {
        if self.has("alpn") { self.list("alpn") } else { vec!["h3"] }
    }

    /// Address and name of a connection, 0 or 1; no name if it is `-`.
    pub fn place(&self, connection: usize) -> (&str, Option<&str>) {
        let (connect, name) = (self.required("connect"), self.required("name"));
        let (connect, name) = match connection {
            0 => (connect, name),
            _ => (self.text("second-connect", connect), self.text("second-name", name)),
        };
        (connect, Some(name).filter(|name| *name != "-"))
    }

    /// More fields of the request.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        let padding = self.number("header-bytes", 0);
        if padding > 0 {
            headers.push(("x-padding".into(), "p".repeat(padding as usize)));
        }
        headers
    }
}

fn broken(why: &str) -> ! {
    eprintln!("{why}");
    exit(2)
}

/// The stack cannot do it.
pub fn unsupported(why: &str) -> ! {
    println!("{}", json!({ "unsupported": why }));
    exit(127)
}

/// An entry of the line, with nothing known yet.
pub fn connection() -> Value {
    json!({
        "handshake": false, "version": null, "resumed": null, "early": "none", "hrr": null, "group": null, "suite": null, "alpn": null,
        "certificate": null, "staple": null, "tickets": null, "key_updates": null, "responses": [], "sent": 0, "ended": null, "error": null,
    })
}

/// The line, and the end.
pub fn finish(stack: &str, connections: Vec<Value>, complete: bool) -> ! {
    println!("{}", json!({ "stack": stack, "connections": connections }));
    exit(i32::from(!complete))
}

/// Alerts by number (RFC 8446 section 6).
pub fn alert(number: u64) -> String {
    let name = match number {
        10 => "unexpected_message",
        20 => "bad_record_mac",
        40 => "handshake_failure",
        42 => "bad_certificate",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        80 => "internal_error",
        109 => "missing_extension",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        other => return format!("alert:{other}"),
    };
    format!("alert:{name}")
}
