//! Reading the tree: files, their modules, and the paths that they name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A Rust file.
pub struct Source {
    /// Relative to the root of the repository.
    pub file: PathBuf,
    /// `["tls", "hello"]` for `src/tls/hello/mod.rs`; empty outside `src` and for its two roots.
    pub module: Vec<String>,
    /// All of it.
    pub text: String,
    /// Without comments and without tests.
    pub code: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files under `directory` that end in `.extension`, sorted; none if there is no such directory.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the project.
pub fn sources() -> Vec<Source> {
    ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"]
        .iter()
        .flat_map(|directory| files(&root().join(directory), "rs"))
        .map(|path| read(&path))
        .collect()
}

/// The files of the library and the program, without those that only tests compile.
pub fn product() -> Vec<Source> {
    let mut sources = sources();
    sources.retain(|source| {
        let test = |part: &std::ffi::OsStr| {
            ["tests", "tests.rs", "testing.rs"].contains(&part.to_str().unwrap())
        };
        source.file.starts_with("src") && !source.file.iter().any(test)
    });
    sources
}

fn read(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let file = path.strip_prefix(root()).unwrap().to_owned();
    Source {
        module: module(&file),
        code: code(&text),
        file,
        text,
    }
}

fn module(file: &Path) -> Vec<String> {
    let Ok(inside) = file.strip_prefix("src") else {
        return Vec::new();
    };
    let mut names: Vec<String> = inside
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if ["mod", "lib", "main"].contains(&names.last().unwrap().as_str()) {
        names.pop();
    }
    names
}

fn code(text: &str) -> String {
    let mut code = String::new();
    let mut tests_follow = false;
    for line in text.lines() {
        // Tests stand last in a file; `mod tests;` is another file.
        if tests_follow && line.starts_with("mod ") && line.ends_with('{') {
            break;
        }
        tests_follow = line == "#[cfg(test)]";
        let line = line.find("//").map_or(line, |comment| &line[..comment]);
        code.push_str(line);
        code.push('\n');
    }
    code
}

impl Source {
    /// The module as it is written: `tls::hello`.
    pub fn name(&self) -> String {
        self.module.join("::")
    }

    /// Every path into this crate that the code names: `crate::tls::{hello, select}` are two.
    /// `super` is resolved.
    pub fn names(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut from = 0;
        while let Some((at, end)) = next_root(&self.code, from) {
            let mut prefix: Vec<String> = Vec::new();
            let mut rest = &self.code[at..];
            if let Some(after) = rest.strip_prefix("crate::") {
                rest = after;
            } else {
                prefix.clone_from(&self.module);
                while let Some(after) = rest.strip_prefix("super::") {
                    prefix.pop();
                    rest = after;
                }
            }
            expand(&prefix, rest, &mut found);
            from = end;
        }
        found
    }

    /// Whether the code names `word`, as a word of its own and not as a room of this crate.
    pub fn says(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let before = &self.code[..at];
            let after = &self.code[at + word.len()..];
            let part = |c: char| c.is_alphanumeric() || c == '_';
            !before.ends_with(part) && !before.ends_with("::") && !after.starts_with(part)
        })
    }
}

fn next_root(code: &str, from: usize) -> Option<(usize, usize)> {
    let found = |word: &str| code[from..].find(word).map(|at| from + at);
    let at = match (found("crate::"), found("super::")) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b)?,
    };
    let mut end = at + "crate::".len();
    while code[end..].starts_with("super::") {
        end += "super::".len();
    }
    Some((at, end))
}

/// Follows one path from behind its root; braces open into several.
fn expand(prefix: &[String], mut rest: &str, found: &mut BTreeSet<String>) {
    let mut path = prefix.to_vec();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            for branch in branches(group) {
                expand(&path, branch, found);
            }
            return;
        }
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        match rest[end..].strip_prefix("::") {
            Some(after) => rest = after,
            None => break,
        }
    }
    found.insert(path.join("::"));
}

fn branches(group: &str) -> Vec<&str> {
    let mut branches = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                branches.push(group[start..at].trim());
                start = at + 1;
            }
            '}' if depth == 0 => {
                branches.push(group[start..at].trim());
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    branches.retain(|branch| !branch.is_empty());
    branches
}

#[test]
fn paths_are_found_in_groups_and_through_super() {
    let source = Source {
        file: PathBuf::new(),
        module: vec!["tls".into(), "hello".into()],
        text: String::new(),
        code: code(
            "use crate::{body, tags::{Tag, other as x}}; // crate::nothing\n\
             use super::select::Site;\n\
             use super::super::early;\n\
             fn f() { crate::http::path::normalise(); }\n\
             #[cfg(test)]\nmod tests {\nuse crate::demo;\n}\n",
        ),
    };
    let names: Vec<String> = source.names().into_iter().collect();
    assert_eq!(
        names,
        [
            "body",
            "early",
            "http::path::normalise",
            "tags::Tag",
            "tags::other",
            "tls::select::Site"
        ]
    );
    // A room of this crate is not the crate of that name.
    assert!(source.says("fn") && !source.says("path") && !source.says("norm"));
}
