//! What is said of staples.

use std::fmt::{self, Write};

use super::{duration, path, string};
use crate::certs::ocsp::Settings;
use crate::config::spec::StapleFiles;

/// `[ocsp]`.
pub(super) fn table(settings: &Settings, out: &mut String) -> fmt::Result {
    writeln!(out, "\n[ocsp]")?;
    if let Some(directory) = &settings.directory {
        writeln!(out, "directory = {}", path(directory))?;
    }
    if let Some(proxy) = &settings.proxy {
        writeln!(out, "proxy = {}", string(&format!("http://{proxy}")))?;
    }
    writeln!(out, "timeout = {}", duration(settings.timeout))
}

/// The rest of a `certificate` table.
pub(super) fn staple_files(files: &StapleFiles) -> String {
    let mut text = String::new();
    let values = [
        ("issuer", files.issuer.as_ref().map(|at| path(&at.value))),
        (
            "responder",
            files
                .responder
                .as_ref()
                .map(|at| string(&at.value.to_string())),
        ),
        ("staple", files.staple.as_ref().map(|at| path(&at.value))),
    ];
    for (key, value) in values {
        if let Some(value) = value {
            // Writing to a String does not fail.
            let _ = write!(text, ", {key} = {value}");
        }
    }
    text
}
