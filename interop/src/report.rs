//! The report: `report.json`, `report.md`, `report.html`, and the table in the documents.

pub mod browser;
mod html;
mod markdown;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::results::Run;
use crate::{conformance, quic};

/// Stacks that a whole run would have, and does not.
const ABSENT: &str = "Not tried: h2o, LibreSSL and picotls, which Debian has no packages of. \
    How a stack is added by its image stands in interop/README.md.";

/// The heading of the cases of quic-interop-runner.
const QUIC: &str = "The cases of quic-interop-runner";

/// The sections of a document that are not the run's own: their results, and what makes those.
const SECTIONS: [(&str, &str); 2] = [
    (quic::FILE, "quic"),
    (
        conformance::FILE,
        "conformance --h2spec FILE --tlsfuzzer DIRECTORY",
    ),
];

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
    let tools = conformance::read(output)?.unwrap_or_default();
    let quic = quic::read(output)?;
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

/// Reads `report.json` of the last run, writes the other forms again, and the tables into
/// `document`, with those of the runner's cases and of the conformance tools.
///
/// # Errors
/// There is no such run, or it was of a part, which the document is not to be about; results of
/// another section are not there; or something cannot be written.
pub fn again(output: &Path, document: &Path) -> Result<(), String> {
    let run = last(output)?;
    write(&run, output)?;
    let stays = |why: &str, hints: &[&str]| {
        let hints = hints
            .iter()
            .map(|hint| format!("\nhint: cargo run -p interop -- {hint}"));
        let hints: String = hints.collect();
        Err(format!(
            "{why}: {} stays as it is{hints}",
            document.display()
        ))
    };
    // All sections are written, or none is: of one that is left out nobody would miss anything.
    let (Some(quic), Some(tools)) = (quic::read(output)?, conformance::read(output)?) else {
        let missing: Vec<_> = SECTIONS
            .into_iter()
            .filter(|(file, _)| !output.join(file).exists())
            .collect();
        let files: Vec<_> = missing.iter().map(|(file, _)| *file).collect();
        let hints: Vec<_> = missing.iter().map(|(_, hint)| *hint).collect();
        let why = format!("no {} in {}", files.join(", no "), output.display());
        return stays(&why, &hints);
    };
    for (run, hint) in [(&run, "run --static"), (&quic, "quic")] {
        if !run.whole {
            let why = format!("the run of {} was of a part, or was stopped", run.date);
            return stays(&why, &[hint]);
        }
    }
    let text =
        fs::read_to_string(document).map_err(|error| format!("{}: {error}", document.display()))?;
    let mut tables = markdown::render_tables(&run, &tools);
    tables.push_str(&markdown::render_quic(&quic));
    let text = between(&text, &tables)
        .ok_or_else(|| format!("{} lacks `{BEGIN}` or `{END}`", document.display()))?;
    save(document, &text)
}

/// Results that stand beside the run's; nothing if they are not there.
///
/// # Errors
/// They cannot be read.
pub fn beside<T: DeserializeOwned>(output: &Path, file: &str) -> Result<Option<T>, String> {
    let file = output.join(file);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let found = serde_json::from_str(&text);
    found
        .map(Some)
        .map_err(|error| format!("{}: {error}", file.display()))
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
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_stands_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(between("no markers", "new"), None);
    }

    /// A directory with results of all sections, and a document.
    fn results() -> (tempfile::TempDir, PathBuf, String) {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path();
        let whole = Run {
            whole: true,
            ..html::tests::run()
        };
        write(&whole, output).unwrap();
        let keep = |file: &str, json: String| save(&output.join(file), &json).unwrap();
        keep(quic::FILE, serde_json::to_string(&whole).unwrap());
        let tools = html::tests::tools();
        keep(conformance::FILE, serde_json::to_string(&tools).unwrap());
        let document = output.join("document.md");
        let old = format!("{BEGIN}\nold\n{END}");
        save(&document, &old).unwrap();
        (directory, document, old)
    }

    #[test]
    fn the_document_is_about_whole_runs_alone() {
        for part in ["report.json", quic::FILE] {
            let (directory, document, old) = results();
            let run = Run {
                whole: false,
                ..html::tests::run()
            };
            let json = serde_json::to_string(&run).unwrap();
            save(&directory.path().join(part), &json).unwrap();
            let why = again(directory.path(), &document).unwrap_err();
            assert!(why.contains("was of a part"), "{why}");
            assert_eq!(fs::read_to_string(&document).unwrap(), old);
        }
    }

    #[test]
    fn the_document_has_every_section() {
        let (directory, document, _) = results();
        again(directory.path(), &document).unwrap();
        let text = fs::read_to_string(&document).unwrap();
        for heading in ["### Their clients, our edge", "### Conformance tools", QUIC] {
            assert!(text.contains(heading), "{heading}\n{text}");
        }
    }

    #[test]
    fn the_document_loses_no_section_whose_results_are_not_there() {
        for (file, hint) in SECTIONS {
            let (directory, document, old) = results();
            fs::remove_file(directory.path().join(file)).unwrap();
            let why = again(directory.path(), &document).unwrap_err();
            assert!(why.starts_with(&format!("no {file} in ")), "{why}");
            assert!(why.ends_with(&format!("interop -- {hint}")), "{why}");
            assert_eq!(fs::read_to_string(&document).unwrap(), old);
            // Nor one whose results are no such thing.
            save(&directory.path().join(file), "[").unwrap();
            let why = again(directory.path(), &document).unwrap_err();
            assert!(why.contains(file), "{why}");
            assert_eq!(fs::read_to_string(&document).unwrap(), old);
        }
    }

    #[test]
    fn the_document_of_the_repository_has_the_markers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/INTEROP.md");
        let text = fs::read_to_string(file).unwrap();
        assert!(between(&text, "").is_some());
    }
}
