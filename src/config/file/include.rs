//! `include`: which files a pattern means.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::diagnostics::{At, Diagnostic};

/// The files of one pattern, sorted. `*` and `?` may stand in the last part of the path; a path
/// without them must exist.
pub(super) fn expand(pattern: &At<PathBuf>, errors: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let path = &pattern.value;
    let is_pattern = |part: &OsStr| {
        let part = part.as_encoded_bytes();
        part.contains(&b'*') || part.contains(&b'?')
    };
    let Some(last) = path.file_name() else {
        let error = Diagnostic::error(pattern.place.clone(), "`include` names no file");
        errors.push(error.hint("write, for example, \"sites.d/*.toml\""));
        return Vec::new();
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    if directory.iter().any(is_pattern) {
        let message = "`*` and `?` may stand in the last part of a path only";
        let error = Diagnostic::error(pattern.place.clone(), message);
        errors.push(error.hint("write, for example, \"sites.d/*.toml\""));
        return Vec::new();
    }
    if !is_pattern(last) {
        return vec![path.clone()];
    }
    let listed = match directory.as_os_str().is_empty() {
        true => fs::read_dir("."),
        false => fs::read_dir(directory),
    };
    let entries = match listed.and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("cannot read {}: {error}", directory.display());
            let error = Diagnostic::error(pattern.place.clone(), message);
            errors.push(error.hint("a path is relative to the file that it stands in"));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .map(|entry| entry.file_name())
        // As shells do: what is hidden is not meant.
        .filter(|name| !name.as_encoded_bytes().starts_with(b"."))
        .filter(|name| matches(last.as_encoded_bytes(), name.as_encoded_bytes()))
        .map(|name| directory.join(name))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

/// Whether `name` is as `pattern` says: `*` is any number of bytes, `?` is one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on if what follows the last `*` does not fit: one byte further.
    let mut retry: Option<(&[u8], &[u8])> = None;
    let (mut pattern, mut name) = (pattern, name);
    loop {
        match (pattern, name) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                retry = Some((rest, name));
                pattern = rest;
                continue;
            }
            ([b'?', rest @ ..], [_, left @ ..]) => {
                (pattern, name) = (rest, left);
                continue;
            }
            ([wanted, rest @ ..], [found, left @ ..]) if wanted == found => {
                (pattern, name) = (rest, left);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((rest, [_, left @ ..])) => {
                retry = Some((rest, left));
                (pattern, name) = (rest, left);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_what_they_always_do() {
        let matches = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        assert!(matches("*.toml", "a.toml"));
        assert!(matches("*.toml", ".toml"));
        assert!(matches("*a*b", "xaxxbab"));
        assert!(matches("a?c", "abc"));
        assert!(matches("*", ""));
        assert!(!matches("*.toml", "a.toml~"));
        assert!(!matches("a?c", "ac"));
        assert!(!matches("a", "ab"));
        // As long as the name is, and not as its square.
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    }
}
