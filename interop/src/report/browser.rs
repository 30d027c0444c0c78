//! The page as a browser shows it: Chromium without a window, in the image of that peer.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::stop::{self, Temporary};

/// The peer whose image has the browser.
const IMAGE: &str = "cutwater-interop/chromium";

/// What the page's own script finds is written here, in place of the page.
const BEGIN: &str = "<pre id=\"found\">";

/// Least contrast of text (WCAG 2.2, 1.4.3, level AA).
const CONTRAST: f64 = 4.5;

/// Appended to the page: measures it and leaves only what it found.
const SCRIPT: &str = include_str!("browser.js");

/// How the page is looked at: its name, what Chromium calls it, and whether it is dark.
const LOOKS: [(&str, &str, bool); 2] = [
    ("light", "preferredColorScheme=1", false),
    ("dark", "preferredColorScheme=0", true),
];

/// What was found.
#[derive(Debug, Deserialize)]
struct Found {
    /// Whether the page was told to be dark.
    dark: bool,
    /// Elements that have text of their own.
    texts: usize,
    /// The least contrast of one, and which it is.
    contrast: f64,
    worst: String,
    /// Cells that can be clicked, and those whose click shows no log.
    cells: usize,
    mute: Vec<String>,
    /// What the page asks others for.
    foreign: Vec<String>,
}

/// Looks at `report.html` of the last run: what was found, for whoever asked.
///
/// # Errors
/// There is no report, or no browser, or something is not as it should be.
pub fn check(output: &Path) -> Result<String, String> {
    let file = output.join("report.html");
    let page = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let directory = Temporary::new("cutwater-report")?;
    let copy = directory.path().join("report.html");
    fs::write(&copy, format!("{page}\n<script>\n{SCRIPT}</script>\n"))
        .map_err(|error| format!("{}: {error}", copy.display()))?;
    let mut told = Vec::new();
    for (name, scheme, dark) in LOOKS {
        let shown = show(directory.path(), scheme)?;
        let found = read(&shown)?;
        judge(&found, dark).map_err(|why| format!("{}, {name}: {why}", file.display()))?;
        told.push(format!(
            "{name}: {} texts, contrast {:.1} at least ({}), {} cells show their log",
            found.texts, found.contrast, found.worst, found.cells
        ));
    }
    Ok(told.join("\n"))
}

fn show(directory: &Path, scheme: &str) -> Result<String, String> {
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--pull", "never", "--network", "none"]);
    command.args(["--user", "1000:1000", "--cap-drop", "ALL", "--read-only"]);
    command.args(["--tmpfs", "/tmp:exec,mode=1777", "-e", "HOME=/tmp"]);
    command.args(["--shm-size", "256m"]);
    let mount = format!("{}:/report:ro", directory.display());
    command.args(["-v", &mount, "--entrypoint", "chromium", IMAGE]);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    command.arg(format!("--blink-settings={scheme}"));
    command.args(["--virtual-time-budget=60000", "file:///report/report.html"]);
    stop::run(&mut command)
}

fn read(shown: &str) -> Result<Found, String> {
    let found = shown.split_once(BEGIN).and_then(|(_, rest)| {
        let (found, _) = rest.split_once("</pre>")?;
        serde_json::from_str(
            &found
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&"),
        )
        .ok()
    });
    found.ok_or_else(|| format!("the browser says nothing of the page:\n{shown}"))
}

fn judge(found: &Found, dark: bool) -> Result<(), String> {
    if found.dark != dark {
        return Err("the browser has not taken its colours".into());
    }
    if found.texts == 0 || found.cells == 0 {
        return Err("there is nothing on it".into());
    }
    if found.contrast < CONTRAST {
        return Err(format!(
            "contrast {:.2}, should be {CONTRAST}: {}",
            found.contrast, found.worst
        ));
    }
    if !found.mute.is_empty() {
        return Err(format!("a click shows nothing: {}", found.mute.join(", ")));
    }
    match found.foreign.as_slice() {
        [] => Ok(()),
        some => Err(format!("it is not self-contained: {}", some.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let line = "x<pre id=\"found\">{\"dark\":true,\"texts\":9,\"contrast\":5.5,\"worst\":\"a &lt;b&gt;\",\
                    \"cells\":2,\"mute\":[],\"foreign\":[]}</pre>y";
        read(line).unwrap()
    }

    #[test]
    fn what_the_page_says_is_read_and_judged() {
        assert_eq!(found().worst, "a <b>");
        assert!(judge(&found(), true).is_ok());
        let wrong: [fn(&mut Found); 6] = [
            |it| it.dark = false,
            |it| it.texts = 0,
            |it| it.cells = 0,
            |it| it.contrast = 4.4,
            |it| it.mute.push("a".into()),
            |it| it.foreign.push("a".into()),
        ];
        for change in wrong {
            let mut found = found();
            change(&mut found);
            assert!(judge(&found, true).is_err(), "{found:?}");
        }
        assert!(read("nothing").unwrap_err().contains("nothing"));
    }
}
