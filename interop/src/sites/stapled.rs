//! Sites whose certificates are to be shown with an OCSP staple.

use std::fmt::Write;
use std::path::Path;

use super::{KEEP_ALIVE, Mistake};
use crate::pki::{Authorities, Leaf};
use crate::staple;

/// Its staples come from the responder; it lets TLS 1.2 in.
pub const STAPLED: &str = "stapled.test";
/// As [`STAPLED`], but its certificates have been taken back.
pub const REVOKED: &str = "revoked.test";
/// Its certificates demand a staple, which is in a file.
pub const MUST_STAPLE: &str = "must-staple.test";
/// Needs staples, and the responder knows none.
pub const NEVER: &str = "never-stapled.test";

/// How many certificates are without the staple that they should have: those of [`NEVER`].
pub const NEVER_STAPLED: f64 = 2.0;

/// Their names, which are those of their files with `.test`.
const ALL: [&str; 4] = [STAPLED, REVOKED, MUST_STAPLE, NEVER];

fn file(name: &str) -> &str {
    name.trim_end_matches(".test")
}

/// Writes their certificates, and what is said of them.
///
/// # Errors
/// Something cannot be made or written.
pub(super) fn issue(issuer: &Authorities, pki: &Path) -> Result<(), String> {
    for name in ALL {
        let leaf = Leaf {
            names: &[name],
            must_staple: name == MUST_STAPLE,
            revoked: name == REVOKED,
            with_issuer: true,
        };
        issuer.issue(pki, file(name), leaf)?;
    }
    Ok(())
}

/// Adds them to the configuration. `origin` is where the responder is.
pub(super) fn write(text: &mut String, pki: &str, origin: &str, mistake: Option<Mistake>) {
    for name in ALL {
        let certificate = |kind: &str| {
            let file = format!("{}-{kind}", file(name));
            let source = match name {
                MUST_STAPLE => format!("staple = \"{pki}/{file}.ocsp\""),
                NEVER => format!("responder = \"{}\"", staple::address(origin, "unknown")),
                _ => format!("responder = \"{}\"", staple::address(origin, &file)),
            };
            format!("{{ chain = \"{pki}/{file}.pem\", key = \"{pki}/{file}.key\", {source} }}")
        };
        let more = match name {
            STAPLED if mistake == Some(Mistake::NoStaple) => {
                "min_version = \"1.2\"\nocsp = \"off\""
            }
            STAPLED => "min_version = \"1.2\"",
            NEVER => "ocsp = \"required\"",
            _ => "",
        };
        let (ecdsa, rsa) = (certificate("ecdsa"), certificate("rsa"));
        let _ = write!(
            text,
            r#"
[[site]]
names = ["{name}"]
listen = ["main"]
timeouts = {{ keep_alive = "{KEEP_ALIVE}" }}
certificate = [
    {ecdsa},
    {rsa},
]
{more}

[[site.route]]
path = "/"
respond = {{ status = 200, body = "hello\n" }}
"#
        );
    }
}
