//! The report: `report.json`, `report.md`, `report.html`, and the table in the documents.

pub mod browser;
mod html;
mod markdown;

use std::fs;
use std::path::Path;

use crate::results::Run;
use crate::{conformance, quic};

/// Stacks that a whole run would have, and does not.
const ABSENT: &str = "Not tried: h2o, LibreSSL and picotls, which Debian has no packages of. \
    How a stack is added by its image stands in interop/README.md.";

/// The heading of the cases of quic-interop-runner.
const QUIC: &str = "The cases of quic-interop-runner";

/// The table in a document stands between these.
const BEGIN: &str = "<!-- interop: begin -->";
const END: &str = "<!-- interop: end -->";

/// Writes all three forms.
///
/// # Errors
/// They cannot be written.
pub fn write(run: &Run, output: &Path) -> Result<(), String> {
    let json = serde_json::to_string_pretty(run).map_err(|error| error.to_string())?;
    let log = |name: &str| fs::read_to_string(output.join(name)).unwrap_or_default();
    save(&output.join("report.json"), &json)?;
    let (tools, quic) = (conformance::read(output), quic::read(output));
    let mut text = markdown::render(run, &tools);
    if let Some(quic) = &quic {
        text.push_str(&markdown::render_quic(quic));
        text.push_str(&markdown::render_lists(quic));
    }
    save(&output.join("report.md"), &text)?;
    let page = html::render(run, &tools, quic.as_ref(), log);
    save(&output.join("report.html"), &page)
}

/// Writes the report again, if there is one: something beside the matrix has changed.
///
/// # Errors
/// It cannot be written.
pub fn refresh(output: &Path) -> Result<(), String> {
    match output.join("report.json").exists() {
        true => last(output).and_then(|run| write(&run, output)),
        false => Ok(()),
    }
}

/// Reads `report.json` of the last run, writes the other forms again, and the table into
/// `document`.
///
/// # Errors
/// There is no such run, or it was of a part, which the document is not to be about; or something
/// cannot be written.
pub fn again(output: &Path, document: &Path) -> Result<(), String> {
    let run = last(output)?;
    write(&run, output)?;
    let quic = quic::read(output);
    for (run, hint) in [(Some(&run), "run --static"), (quic.as_ref(), "quic")] {
        if let Some(part) = run.filter(|run| !run.whole) {
            return Err(format!(
                "the run of {} was of a part, or was stopped: {} stays as it is\n\
                 hint: cargo run -p interop -- {hint}",
                part.date,
                document.display()
            ));
        }
    }
    let text =
        fs::read_to_string(document).map_err(|error| format!("{}: {error}", document.display()))?;
    let mut tables = markdown::render_tables(&run, &conformance::read(output));
    if let Some(quic) = quic {
        tables.push_str(&markdown::render_quic(&quic));
    }
    let text = between(&text, &tables)
        .ok_or_else(|| format!("{} lacks `{BEGIN}` or `{END}`", document.display()))?;
    save(document, &text)
}

/// What the last run has found.
fn last(output: &Path) -> Result<Run, String> {
    let file = output.join("report.json");
    let hint = "hint: cargo run -p interop -- run";
    let text = fs::read_to_string(&file);
    let text = text.map_err(|error| format!("{}: {error}\n{hint}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// The text with `new` between its markers.
fn between(text: &str, new: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", new.trim()))
}

fn save(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(between("no markers", "new"), None);
    }

    #[test]
    fn the_document_is_about_whole_runs_alone() {
        let directory = tempfile::tempdir().unwrap();
        let document = directory.path().join("document.md");
        let old = format!("{BEGIN}\nold\n{END}");
        for whole in [false, true] {
            fs::write(&document, &old).unwrap();
            let run = Run {
                whole,
                ..html::tests::run()
            };
            write(&run, directory.path()).unwrap();
            let done = again(directory.path(), &document);
            assert_eq!(done.is_ok(), whole, "{done:?}");
            assert_eq!(fs::read_to_string(&document).unwrap() != old, whole);
        }
    }

    #[test]
    fn the_document_of_the_repository_has_the_markers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/INTEROP.md");
        let text = fs::read_to_string(file).unwrap();
        assert!(between(&text, "").is_some());
    }
}
