//! `--json FILE`: every figure, under names that stay. docs/LOAD.md explains each.

use std::io;
use std::path::Path;

use super::Report;

/// The report as JSON, with a line break at its end.
pub fn render(report: &Report) -> String {
    // Maps have string or integer keys, and nothing in it can fail to be written.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

/// Reads a report.
///
/// # Errors
/// The file cannot be read, or it is no report of this version.
pub fn read(file: &Path) -> io::Result<Report> {
    let text = std::fs::read(file)?;
    serde_json::from_slice(&text).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::load::report::testing::report;

    /// Every path of a value; what has names of its own is `NAME`.
    fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = match path {
                        "" => name.clone(),
                        "statuses" | "errors" => format!("{path}.NAME"),
                        _ => format!("{path}.{name}"),
                    };
                    paths(value, &path, found);
                }
            }
            Value::Array(values) if values.iter().any(Value::is_object) => {
                for value in values {
                    paths(value, &format!("{path}[]"), found);
                }
            }
            _ => {
                found.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn the_document_has_every_field_and_no_other() {
        let value: Value = serde_json::from_str(&render(&report())).unwrap();
        let mut written = BTreeSet::new();
        paths(&value, "", &mut written);

        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/LOAD.md");
        let text = std::fs::read_to_string(file).unwrap();
        let (_, fields) = text.split_once("## Fields of the JSON report").unwrap();
        let fields = fields.split("\n## ").next().unwrap();
        let mut told = BTreeSet::new();
        let kinds = ["connect", "handshake", "first_byte", "total", "failed"];
        for line in fields.lines().filter_map(|line| line.strip_prefix("| `")) {
            let (name, _) = line.split_once('`').unwrap();
            match name.strip_prefix("latency.KIND.") {
                Some(rest) => told.extend(kinds.map(|kind| format!("latency.{kind}.{rest}"))),
                None => assert!(told.insert(name.to_owned()), "{name} stands there twice"),
            }
        }
        let missing: Vec<_> = written.difference(&told).collect();
        let invented: Vec<_> = told.difference(&written).collect();
        assert!(missing.is_empty(), "not in docs/LOAD.md: {missing:?}");
        assert!(invented.is_empty(), "only in docs/LOAD.md: {invented:?}");
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.json");
        std::fs::write(&file, render(&report())).unwrap();
        assert_eq!(read(&file).unwrap(), report());
        std::fs::write(&file, "{}").unwrap();
        assert!(read(&file).is_err());
        assert!(read(&directory.path().join("none.json")).is_err());
    }
}
