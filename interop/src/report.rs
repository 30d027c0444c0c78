//! The report: `report.json`, `report.md`, `report.html`, and the table in the documents.

mod html;
mod markdown;

use std::fs;
use std::path::Path;

use crate::conformance;
use crate::results::Run;

/// Stacks that a whole run would have, and does not.
const ABSENT: &str = "Not tried: h2o, LibreSSL and picotls, which Debian has no packages of. \
    How a stack is added by its image stands in interop/README.md.";

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
    let tools = conformance::read(output);
    save(&output.join("report.md"), &markdown::render(run, &tools))?;
    save(&output.join("report.html"), &html::render(run, &tools, log))
}

/// Reads `report.json` of the last run, writes the other forms again, and the table into
/// `document`.
///
/// # Errors
/// There is no such run, or something cannot be written.
pub fn again(output: &Path, document: &Path) -> Result<(), String> {
    let file = output.join("report.json");
    let hint = "hint: cargo run -p interop -- run";
    let text = fs::read_to_string(&file);
    let text = text.map_err(|error| format!("{}: {error}\n{hint}", file.display()))?;
    let run: Run =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    write(&run, output)?;
    let text =
        fs::read_to_string(document).map_err(|error| format!("{}: {error}", document.display()))?;
    let text = between(
        &text,
        &markdown::render_tables(&run, &conformance::read(output)),
    )
    .ok_or_else(|| format!("{} lacks `{BEGIN}` or `{END}`", document.display()))?;
    save(document, &text)
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
    fn the_document_of_the_repository_has_the_markers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/INTEROP.md");
        let text = fs::read_to_string(file).unwrap();
        assert!(between(&text, "").is_some());
    }
}
