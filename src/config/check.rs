//! `cutwater check`: what it prints and how it exits.

use std::fmt::Write;
use std::path::Path;

use super::diagnostics::Diagnostic;
use super::{load, print};

/// What a check came to.
#[derive(Debug)]
pub struct Report {
    /// For standard output.
    pub output: String,
    /// For standard error.
    pub complaints: String,
    /// The exit code: 0, or 1 if anything is an error, a site's certificate included.
    pub code: u8,
}

/// Checks a configuration file and what it includes; `print` asks for the merged result with its
/// defaults, as TOML.
pub fn check(path: &Path, print: bool) -> Report {
    let loaded = load(path, None);
    let compiled = &loaded.compiled;
    let errors = compiled
        .result
        .as_ref()
        .err()
        .map_or(&[][..], Vec::as_slice);
    let wrong = errors.len() + compiled.broken.len();
    let mut complaints = shown(errors.iter().chain(&compiled.broken));
    complaints.push_str(&shown(&compiled.warnings));
    let mut output = String::new();
    if print && errors.is_empty() {
        output = print::print(&loaded.spec);
    }
    if wrong > 0 {
        let _ = writeln!(complaints, "{}: {}", path.display(), count(wrong, "error"));
    } else if !print {
        let (listeners, sites) = (loaded.spec.listeners.len(), loaded.spec.sites.len());
        let _ = write!(
            output,
            "{}: ok, {}, {}",
            path.display(),
            count(listeners, "listener"),
            count(sites, "site")
        );
        if !compiled.warnings.is_empty() {
            let _ = write!(output, ", {}", count(compiled.warnings.len(), "warning"));
        }
        output.push('\n');
    }
    Report {
        output,
        complaints,
        code: u8::from(wrong > 0),
    }
}

/// Diagnostics as they are printed, each with an empty line after it.
pub fn shown<'d>(diagnostics: impl IntoIterator<Item = &'d Diagnostic>) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let _ = writeln!(text, "{diagnostic}\n");
    }
    text
}

fn count(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
