//! What the documents say of the tree.

use std::path::{Path, PathBuf};

use super::source::{files, root, sources};

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    for directory in ["docs", "examples", "interop", "fuzz"] {
        found.extend(files(&root().join(directory), "md"));
    }
    found
}

#[test]
fn the_readme_is_short_and_names_its_two_commands() {
    let readme = read("README.md");
    let lines: Vec<&str> = readme.lines().collect();
    assert!(lines.len() <= 150, "{} lines", lines.len());
    assert!(lines.contains(&"cargo run --release -- demo"));
    assert!(lines.contains(&"cargo test --workspace"));
}

#[test]
fn what_is_not_built_is_said() {
    assert!(
        read("ARCHITECTURE.md")
            .lines()
            .any(|line| line == "## Not built yet")
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("](") {
            let rest = &text[at + 2..];
            let target = &rest[..rest.find(')').unwrap_or(0)];
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains(':') {
                continue;
            }
            let directory = document.parent().unwrap_or(Path::new(""));
            assert!(
                directory.join(file).exists(),
                "{} links to {target}",
                document.display()
            );
        }
    }
}

#[test]
fn every_cited_early_data_rule_exists() {
    let rules = read("docs/EARLY-DATA.md");
    let known = |rule: &str| rules.contains(&format!("**{rule}**"));
    for number in 1..=24 {
        assert!(known(&format!("R{number}")), "R{number}");
    }
    for source in sources() {
        for (at, mark) in source.text.match_indices("EARLY-DATA ") {
            let cited: String = source.text[at + mark.len()..]
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let numbered = cited
                .strip_prefix(['R', 'P'])
                .is_some_and(|number| number.parse::<u32>().is_ok());
            if numbered {
                assert!(known(&cited), "{} cites {cited}", source.file.display());
            }
        }
    }
}

#[test]
fn every_example_is_listed() {
    let list = read("examples/README.md");
    let directory = root().join("examples");
    let mut examples = files(&directory, "rs");
    examples.retain(|file| file.parent() == Some(&directory));
    for example in examples {
        let name = example.file_stem().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("`{name}`")), "{name}");
    }
}
