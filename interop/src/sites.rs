//! The edge's configuration: the sites and routes that the cases ask for.

pub mod stapled;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::pki::{Authorities, Leaf};

/// Takes early data; has an ECDSA and an RSA certificate.
pub const EDGE: &str = "edge.test";
/// Covered by a wildcard.
pub const WILD: &str = "a.wild.test";
/// Another site than [`EDGE`].
pub const OTHER: &str = "other.test";
/// Lets TLS 1.2 in.
pub const OLD: &str = "old.test";
/// A site that there is not.
pub const UNKNOWN: &str = "unknown.test";
/// What servers of peers are called.
pub const SERVER: &str = "server.test";

/// Bytes of the answers of `/safe` and `/wait`: more than any handshake flight of a resumption.
pub const ANSWER: u64 = 10_000;
/// Bytes of `/large`, and of the largest upload.
pub const LARGE: u64 = 10_000_000;
/// Bytes of a large header field, of the request that has one and of the answer of `/fields`.
pub const FIELD: u64 = 16_000;
/// Tickets for a full handshake.
pub const TICKETS: u64 = 2;

/// Shorter than browsers wait with their second request: only on a new connection they resume.
const KEEP_ALIVE: &str = "4s";

/// Of listeners that speak HTTP/3 too. Browsers are not told over TCP, or they would go there.
const QUIC: &str = "quic = true\nalt_svc = \"off\"";
/// How long a handshake may take on the listener `brief`: so long at most a copy of a flight over
/// QUIC is taken for part of the connection that an earlier copy has made.
const BRIEF: &str = "1s";

/// A mistake that is made on purpose, to see whether the cells that should catch it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// `/safe` waits.
    SafeWaits,
    /// `/wait` answers early.
    WaitAnswers,
    /// The certificates come from an authority that nobody trusts.
    WrongAuthority,
    /// The certificates are shown without their staples.
    NoStaple,
}

/// Where the edge finds and listens.
#[derive(Debug, Clone)]
pub struct Places {
    /// The directory of the certificates, as the edge sees it.
    pub pki: String,
    /// Addresses of the listeners and the admin endpoint.
    pub main: String,
    /// The listener on which [`EDGE`] has another early-data policy.
    pub strict: String,
    /// The listener whose handshakes are due soon.
    pub brief: String,
    /// The listener whose default site lets TLS 1.2 in.
    pub old: String,
    /// The listener whose default site has an Ed25519 certificate.
    pub ed25519: String,
    /// The admin endpoint.
    pub admin: String,
    /// The origin.
    pub origin: String,
}

/// Writes certificates and answers into `pki`, and gives `cutwater.toml`'s text.
///
/// # Errors
/// Something cannot be made or written.
pub fn prepare(pki: &Path, places: &Places, mistake: Option<Mistake>) -> Result<String, String> {
    let authorities = Authorities::new()?;
    authorities.write(pki)?;
    let issuer = match mistake {
        Some(Mistake::WrongAuthority) => &Authorities::new()?,
        _ => &authorities,
    };
    for (file, name) in SITES {
        issuer.issue(pki, file, Leaf::of(&[name]))?;
    }
    // Theirs is the right one always: the edge shows no staple that it cannot verify.
    stapled::issue(&authorities, pki)?;
    issuer.issue_ed25519(pki, "edge", EDGE)?;
    authorities.issue(pki, "server", Leaf::of(&[SERVER]))?;
    // Certificates that our client may not take for that server's.
    authorities.issue(pki, "misnamed", Leaf::of(&[UNKNOWN]))?;
    Authorities::new()?.issue(pki, "stranger", Leaf::of(&[SERVER]))?;
    for (file, bytes) in [("answer", ANSWER), ("large", LARGE)] {
        let file = pki.join(file);
        fs::write(&file, vec![b'x'; bytes as usize])
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(configuration(places, mistake))
}

/// Certificate files and names.
const SITES: [(&str, &str); 4] = [
    ("edge", EDGE),
    ("wild", "*.wild.test"),
    ("other", OTHER),
    ("old", OLD),
];

fn configuration(places: &Places, mistake: Option<Mistake>) -> String {
    let Places {
        pki,
        main,
        strict,
        brief,
        old,
        ed25519,
        admin,
        origin,
    } = places;
    let safe = match mistake {
        Some(Mistake::SafeWaits) => "wait",
        _ => "safe",
    };
    let wait = match mistake {
        Some(Mistake::WaitAnswers) => "safe",
        _ => "wait",
    };
    let mut text = format!(
        r#"
server = {{ workers = 2, drain = {{ timeout = "1s" }} }}
log = {{ access = "stdout", connections = "all" }}
admin = {{ address = "{admin}" }}
sessions = {{ tickets = {TICKETS} }}

[[listen]]
address = "{main}"
name = "main"
{QUIC}

[[listen]]
address = "{strict}"
name = "strict"
{QUIC}

[[listen]]
address = "{brief}"
name = "brief"
{QUIC}

[[listen]]
address = "{old}"
name = "old"

[[listen]]
address = "{ed25519}"
name = "ed25519"

[origin.plain]
servers = ["http://{origin}"]

# It is told no address: that of a client over QUIC is not proved while it is early.
[origin.aware]
servers = ["http://{origin}"]
early_data_aware = true
forwarded = "off"
"#
    );
    let hello = "respond = { status = 200, body = \"hello\\n\" }";
    let answer = format!("respond = {{ status = 200, body_file = \"{pki}/answer\" }}");
    let large = format!("respond = {{ status = 200, body_file = \"{pki}/large\" }}");
    for (file, name) in SITES {
        let early = name == EDGE || name == OTHER;
        site(
            &mut text,
            pki,
            file,
            name,
            "main",
            if early { "early_data = true" } else { "" },
        );
        if name == OLD {
            text.push_str("min_version = \"1.2\"\n");
        }
        if early {
            route(&mut text, "/", Some("safe"), hello);
        } else {
            route(&mut text, "/", None, hello);
        }
        if name == EDGE {
            route(&mut text, "/safe", Some(safe), &answer);
            route(&mut text, "/wait", Some(wait), &answer);
            route(&mut text, "/refuse", Some("refuse"), hello);
            route(&mut text, "/large", Some("safe"), &large);
            let value = "x".repeat(FIELD as usize);
            let fields =
                format!("{hello}\nresponse_headers = {{ set = {{ x-padding = \"{value}\" }} }}");
            route(&mut text, "/fields", Some("wait"), &fields);
            route(&mut text, "/upload", Some("wait"), "origin = \"plain\"");
            route(&mut text, "/aware", Some("allow"), "origin = \"aware\"");
        }
    }
    stapled::write(&mut text, pki, origin, mistake);
    // The same name and certificate, but another policy: its tag differs, so that early data of
    // the other listener's tickets is refused.
    // Conformance tools that know no server names go there, and to the next two.
    let more = "default = true\nearly_data = true";
    site(&mut text, pki, "edge", EDGE, "strict", more);
    route(&mut text, "/", Some("wait"), hello);
    route(&mut text, "/upload", Some("wait"), "origin = \"plain\"");
    let _ = write!(
        text,
        r#"
[[site]]
names = ["{EDGE}"]
listen = ["brief"]
early_data = true
timeouts = {{ keep_alive = "{KEEP_ALIVE}", handshake = "{BRIEF}" }}
certificate = {{ chain = "{pki}/edge-ecdsa.pem", key = "{pki}/edge-ecdsa.key" }}
"#
    );
    route(&mut text, "/", Some("safe"), hello);
    let more = "default = true\nmin_version = \"1.2\"";
    site(&mut text, pki, "old", OLD, "old", more);
    route(&mut text, "/", None, hello);
    let _ = write!(
        text,
        r#"
[[site]]
names = ["{EDGE}"]
listen = ["ed25519"]
default = true
timeouts = {{ keep_alive = "{KEEP_ALIVE}" }}
certificate = {{ chain = "{pki}/edge-ed25519.pem", key = "{pki}/edge-ed25519.key" }}
"#
    );
    route(&mut text, "/", None, hello);
    text
}

fn site(text: &mut String, pki: &str, file: &str, name: &str, listen: &str, more: &str) {
    let _ = write!(
        text,
        r#"
[[site]]
names = ["{name}"]
listen = ["{listen}"]
timeouts = {{ keep_alive = "{KEEP_ALIVE}" }}
certificate = [
    {{ chain = "{pki}/{file}-ecdsa.pem", key = "{pki}/{file}-ecdsa.key" }},
    {{ chain = "{pki}/{file}-rsa.pem", key = "{pki}/{file}-rsa.key" }},
]
{more}
"#
    );
}

fn route(text: &mut String, path: &str, early: Option<&str>, target: &str) {
    let _ = write!(text, "\n[[site.route]]\npath = \"{path}\"\n{target}\n");
    if let Some(policy) = early {
        let _ = writeln!(text, "early_data = \"{policy}\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_takes_the_configuration() {
        for mistake in [
            None,
            Some(Mistake::SafeWaits),
            Some(Mistake::WaitAnswers),
            Some(Mistake::WrongAuthority),
            Some(Mistake::NoStaple),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let places = Places {
                pki: directory.path().to_str().unwrap().into(),
                main: "[::]:8443".into(),
                strict: "[::]:8444".into(),
                brief: "[::]:8447".into(),
                old: "[::]:8445".into(),
                ed25519: "[::]:8446".into(),
                admin: "127.0.0.1:9901".into(),
                origin: "127.0.0.1:8080".into(),
            };
            let text = prepare(directory.path(), &places, mistake).unwrap();
            let file = directory.path().join("cutwater.toml");
            fs::write(&file, &text).unwrap();
            let report = cutwater::config::check::check(&file, cutwater::config::check::Form::Text);
            assert_eq!(report.code, 0, "{}\n{text}", report.complaints);
        }
    }
}
