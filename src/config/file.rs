//! Configuration files: walks a tree of TOML that knows its places, and collects every error.
//!
//! serde's derive would stop at the first one. Nothing here knows a rule that concerns more than
//! one value, except where one key excludes another in the same table: those rules are in
//! [`compile`](super::compile()).

mod environment;
mod global;
mod include;
pub mod keys;
mod listener;
mod ocsp;
mod origin;
mod origin_tls;
mod origin_url;
mod pool;
mod resolver;
mod route;
mod site;
#[cfg(test)]
mod tests;
mod tree;
mod values;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

use self::tree::{Reader, Table};
use super::diagnostics::{Diagnostic, Place, SourceFile};
use super::spec::{Environment, Spec};

/// What was read of a file and what it includes.
#[derive(Debug)]
pub struct Read {
    /// What could be understood; defaults stand for the rest.
    pub spec: Spec,
    /// What could not be understood.
    pub errors: Vec<Diagnostic>,
    /// Whether so much was understood that it is worth while to look for further errors.
    pub readable: bool,
}

/// Reads a configuration file and what it includes.
pub fn read(path: &Path) -> Read {
    let mut read = Read {
        spec: Spec::default(),
        errors: Vec::new(),
        readable: true,
    };
    match open(path, None) {
        Ok(file) => read_main(&file, &mut read),
        Err(error) => {
            read.errors.push(error);
            read.readable = false;
        }
    }
    read
}

/// Reads a file; `place` is where it is named.
fn open(path: &Path, place: Option<&Place>) -> Result<Arc<SourceFile>, Diagnostic> {
    let bytes = fs::read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        let told = Diagnostic::error(place.cloned(), message);
        match place {
            Some(_) => told.hint("a path is relative to the file that it stands in"),
            None => told.hint("name the file with --config"),
        }
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(SourceFile {
            path: path.to_owned(),
            text,
        })),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let path = path.to_owned();
            let file = Arc::new(SourceFile { path, text });
            let place = Place::new(&file, valid..valid + '\u{fffd}'.len_utf8());
            Err(Diagnostic::error(Some(place), "the file is not UTF-8").hint("save it as UTF-8"))
        }
    }
}

fn read_main(file: &Arc<SourceFile>, read: &mut Read) {
    let spec = &mut read.spec;
    let mut environment = Environment::default();
    let mut included = Vec::new();
    walk(
        file,
        &mut environment,
        &mut read.errors,
        &mut read.readable,
        |reader, root| {
            let top = Table::open_root(reader, root, &keys::TOP);
            included = global::read(&top, spec);
            spec.error_pages = route::error_pages(&top);
            spec.sites = site::read_all(&top);
        },
    );
    let mut seen = vec![file.path.clone()];
    for include in included {
        for path in include::expand(&include, &mut read.errors) {
            if seen.contains(&path) {
                continue;
            }
            seen.push(path.clone());
            match open(&path, include.place.as_ref()) {
                Ok(file) => walk(
                    &file,
                    &mut environment,
                    &mut read.errors,
                    &mut read.readable,
                    |reader, root| {
                        let top = Table::open_root(reader, root, &keys::INCLUDED);
                        read.spec.sites.extend(site::read_all(&top));
                    },
                ),
                Err(error) => read.errors.push(error),
            }
        }
    }
    let errors = std::mem::take(&mut read.errors).into_iter();
    read.errors = errors.map(|error| error.concealed(&environment)).collect();
    read.spec.environment = environment;
}

/// Parses one file and lets `read` walk through it. A file with mistakes of TOML itself is walked
/// too, for those of its lines that have none.
fn walk(
    file: &Arc<SourceFile>,
    environment: &mut Environment,
    errors: &mut Vec<Diagnostic>,
    readable: &mut bool,
    read: impl FnOnce(&Reader, &DeTable<'_>),
) {
    let (mut root, mistakes) = DeTable::parse_recoverable(&file.text);
    let mistakes = mistakes.into_iter().map(|mistake| {
        let place = mistake.span().map(|span| Place::new(file, span));
        Diagnostic::error(place, mistake.message().trim_end())
            .hint("this, or what stands before it, is no TOML: see https://toml.io/en/v1.0.0")
    });
    let mut mistakes: Vec<Diagnostic> = mistakes.collect();
    let place = |error: &Diagnostic| error.place.as_ref().map(Place::line_column);
    let line = |error: &Diagnostic| place(error).map(|(line, _)| line);
    // What follows the first mistake of a line is mostly its consequence.
    mistakes.sort_by_key(place);
    mistakes.dedup_by_key(|error| line(error));
    let (expanded, missing) = environment::expand(file, root.get_mut(), environment);
    let reader = Reader::new(file, mistakes.is_empty(), expanded);
    read(&reader, root.get_ref());
    let spoilt: Vec<_> = mistakes.iter().chain(&missing).map(line).collect();
    let found = reader.into_errors().into_iter();
    errors.extend(found.filter(|error| !spoilt.contains(&line(error))));
    *readable &= mistakes.is_empty();
    errors.extend(mistakes);
    errors.extend(missing);
}
