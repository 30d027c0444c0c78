//! Configuration: what is typed (file) → what was asked for (spec) → what runs (snapshot) → what
//! is current (reload).

pub mod check;
pub mod compile;
pub mod diagnostics;
pub mod file;
pub mod names;
mod nearest;
pub mod print;
pub mod reload;
pub mod site_tls;
pub mod snapshot;
pub mod spec;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::SystemTime;

use compile::{Compiled, compile};
use diagnostics::Diagnostic;
use snapshot::{AdminAddress, Snapshot};
use spec::Spec;

/// What became of a configuration file.
#[derive(Debug)]
pub struct Loaded {
    /// What was typed, as far as it could be read.
    pub spec: Spec,
    /// What can run, and everything that is wrong.
    pub compiled: Compiled,
}

/// Reads and compiles a configuration file and what it includes. Sites that are unchanged since
/// `previous` are shared with it.
pub fn load(path: &Path, previous: Option<&Snapshot>) -> Loaded {
    let read = file::read(path);
    let mut compiled = match read.readable {
        true => compile(&read.spec, previous, SystemTime::now()),
        false => Compiled {
            result: Err(Vec::new()),
            broken: Vec::new(),
            warnings: Vec::new(),
        },
    };
    if !read.errors.is_empty() {
        let mut errors = read.errors;
        errors.extend(compiled.result.err().unwrap_or_default());
        diagnostics::sort(&mut errors);
        compiled.result = Err(errors);
    }
    Loaded {
        spec: read.spec,
        compiled,
    }
}

/// Where a configuration file puts the admin endpoint; no other mistake of the file is looked at,
/// and no certificate is read.
///
/// # Errors
/// The file cannot be read, or is no TOML.
pub fn admin(path: &Path) -> Result<Option<AdminAddress>, Box<Diagnostic>> {
    let read = file::read(path);
    match read.errors.into_iter().next() {
        Some(error) if !read.readable => Err(Box::new(error)),
        _ => Ok(read.spec.admin.map(|address| address.value)),
    }
}
