//! `cutwater check`: what it prints and how it exits.

mod certificates;
mod staples;

use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use self::certificates::Told;
use super::diagnostics::{Diagnostic, Place, Severity, sort};
use super::spec::Spec;
use super::{load, print};

/// What a check is to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A paragraph for each certificate, and one line.
    #[default]
    Text,
    /// The merged result with its defaults, as TOML.
    Merged,
    /// One object: every error, warning and certificate.
    Json,
}

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

/// Checks a configuration file, what it includes, and the certificates that it names.
pub fn check(path: &Path, form: Form) -> Report {
    let loaded = load(path, None);
    let compiled = loaded.compiled;
    let mut warnings = compiled.warnings;
    let (mut errors, told) = match &compiled.result {
        Err(errors) => (errors.clone(), Vec::new()),
        Ok(_) if form == Form::Merged => (Vec::new(), Vec::new()),
        Ok(snapshot) => {
            let now = SystemTime::now();
            let (told, more) = certificates::tell(&loaded.spec, snapshot, now);
            warnings.extend(more);
            sort(&mut warnings);
            (Vec::new(), told)
        }
    };
    let usable = errors.is_empty();
    errors.extend(compiled.broken);
    let code = u8::from(!errors.is_empty());
    if form == Form::Json {
        return Report {
            output: as_json(path, &errors, &warnings, &told),
            complaints: String::new(),
            code,
        };
    }
    let mut complaints = shown(errors.iter().chain(&warnings));
    let mut output = String::new();
    if form == Form::Merged && usable {
        output = print::print(&loaded.spec);
    }
    if code > 0 {
        let wrong = count(errors.len(), "error");
        let _ = writeln!(complaints, "{}: {wrong}", path.display());
    }
    if form == Form::Text {
        output = certificates::text(&told);
    }
    if form == Form::Text && code == 0 {
        output.push_str(&verdict(path, &loaded.spec, warnings.len()));
    }
    Report {
        output,
        complaints,
        code,
    }
}

fn verdict(path: &Path, spec: &Spec, warnings: usize) -> String {
    let (listeners, sites) = (spec.listeners.len(), spec.sites.len());
    let mut line = format!(
        "{}: ok, {}, {}",
        path.display(),
        count(listeners, "listener"),
        count(sites, "site")
    );
    if warnings > 0 {
        let _ = write!(line, ", {}", count(warnings, "warning"));
    }
    line.push('\n');
    line
}

fn as_json(path: &Path, errors: &[Diagnostic], warnings: &[Diagnostic], told: &[Told]) -> String {
    let each = |diagnostics: &[Diagnostic]| diagnostics.iter().map(diagnostic).collect::<Value>();
    let report = json!({
        "file": path.display().to_string(),
        "ok": errors.is_empty(),
        "errors": each(errors),
        "warnings": each(warnings),
        "certificates": told,
    });
    format!("{report:#}\n")
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    let place = diagnostic.place.as_ref();
    let position = place.map(Place::line_column);
    json!({
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": diagnostic.message,
        "file": place.map(|place| place.path().display().to_string()),
        "line": position.map(|(line, _)| line),
        "column": position.map(|(_, column)| column),
        "hint": diagnostic.hint,
    })
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
