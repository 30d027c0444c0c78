//! What is checked by counting.

use super::source::{files, root, sources};

/// Every integration binary links the whole library: they are few, with modules.
const BINARIES: usize = 8;

#[test]
fn no_file_is_longer_than_500_lines() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 500, "{}: {lines} lines", source.file.display());
    }
}

#[test]
fn nothing_is_left_open() {
    // In pieces, so that this file does not find itself.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["todo", "!("],
        ["unimplemented", "!("],
    ];
    for source in sources() {
        for mark in marks.map(|halves| halves.concat()) {
            let at = source.text.lines().position(|line| line.contains(&mark));
            assert_eq!(at, None, "{}: {mark}", source.file.display());
        }
    }
}

#[test]
fn integration_binaries_are_few() {
    let tests = root().join("tests");
    let binaries = files(&tests, "rs")
        .into_iter()
        .filter(|file| file.parent() == Some(&tests))
        .count();
    assert!(binaries <= BINARIES, "{binaries} files directly in tests/");
}

#[test]
fn tests_are_not_passed_over() {
    for source in sources() {
        let ignored = source
            .code
            .lines()
            .any(|line| line.trim_start().starts_with("#[ignore"));
        assert!(!ignored, "{} ignores a test", source.file.display());
    }
}
