//! tlsfuzzer: its scripts, and what they print.
//!
//! A script plays conversations. Each that fails shows its exception as Python does; the last one
//! is the cause, and a failure is known by both, or another failure of the same conversation would
//! pass for the known one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::settings::{Listener, Script, Settings};
use super::tools::{bounded, missing, result, said, text_of};
use super::{Failure, Scripts, ToolResult};
use crate::ground::Ground;
use crate::stop;

/// What its scripts for TLS 1.3 begin with.
const SCRIPTS: &str = "test-tls13-";

/// Runs the scripts of this directory of tlsfuzzer.
pub(super) fn run(
    ground: &dyn Ground,
    directory: Option<&Path>,
    settings: &Settings,
    logs: &Path,
) -> ToolResult {
    const NAME: &str = "tlsfuzzer";
    let Some(directory) = directory else {
        return missing(NAME, "packaged nowhere; --tlsfuzzer DIRECTORY");
    };
    let there = match listed(&directory.join("scripts")) {
        Ok(there) => there,
        Err(error) => return result(NAME, None, Err(error)),
    };
    let (unknown, gone) = compared(settings, &there);
    let mut scripts = Scripts {
        run: 0,
        clean: 0,
        inapplicable: settings
            .inapplicable
            .iter()
            .map(|one| (one.scripts.clone(), one.reason.clone()))
            .collect(),
    };
    let (mut passed, mut failures) = (0, Vec::new());
    for script in &settings.tlsfuzzer {
        if stop::came() {
            break; // Nothing of this is written.
        }
        let (good, mut bad) = play(ground, directory, script, logs);
        scripts.run += 1;
        scripts.clean += usize::from(bad.is_empty());
        passed += good;
        failures.append(&mut bad);
    }
    failures.extend(unknown);
    ToolResult {
        scripts: Some(scripts),
        stale: gone,
        ..result(NAME, version(directory), Ok((passed, failures)))
    }
}

/// The scripts for TLS 1.3 in this directory.
fn listed(directory: &Path) -> Result<BTreeSet<String>, String> {
    let entries =
        fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(SCRIPTS)).collect())
}

/// Scripts that the settings say nothing of, and those that are not run and are not there either.
/// (Whatever is run and is not there fails.)
fn compared(settings: &Settings, there: &BTreeSet<String>) -> (Vec<Failure>, Vec<String>) {
    let known: BTreeSet<&str> = settings.scripts().collect();
    let unknown = there.iter().filter(|name| !known.contains(name.as_str()));
    let unknown = unknown.map(|name| Failure::new(name, "neither run nor inapplicable"));
    let inapplicable = settings.inapplicable.iter().flat_map(|one| &one.scripts);
    let gone = inapplicable.filter(|name| !there.contains(*name));
    let gone = gone.map(|name| format!("{name}: there is no such script"));
    (unknown.collect(), gone.collect())
}

/// Runs a script; how many conversations passed, and those that did not.
fn play(
    ground: &dyn Ground,
    directory: &Path,
    script: &Script,
    logs: &Path,
) -> (usize, Vec<Failure>) {
    let edge = match script.listener {
        Listener::Strict => ground.edge(true),
        Listener::Old => ground.edge_old(),
        Listener::Ed25519 => ground.edge_ed25519(),
    };
    let name = &script.script;
    let mut command = bounded(Path::new("python3"));
    command
        .arg(directory.join("scripts").join(name))
        .env("PYTHONPATH", directory)
        .args(["-h", &edge.ip().to_string(), "-p", &edge.port().to_string()])
        .args(&script.arguments);
    let read = said(command, &logs.join(format!("tlsfuzzer-{name}.log")))
        .and_then(|(good, text)| read(&text, good));
    match read {
        Ok((passed, failed)) => {
            let failures = failed.into_iter().map(|(conversation, cause)| Failure {
                conversation: Some(conversation),
                ..Failure::new(name, &cause)
            });
            (passed, failures.collect())
        }
        // Whatever is accepted of this script, this is not.
        Err(error) => (
            0,
            vec![Failure::new(&format!("{name}, as a whole"), &error)],
        ),
    }
}

/// How many conversations passed, and those that failed, each with its cause. However often one is
/// repeated, it counts once, or once for each cause.
fn read(text: &str, good: bool) -> Result<(usize, BTreeSet<(String, String)>), String> {
    let count = |name| {
        let mut lines = text.lines().rev();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok())
    };
    let (Some(passed), Some(failed)) = (count("PASS:"), count("FAIL:")) else {
        return Err("it did not run".into());
    };
    let (fine, bad): (Vec<_>, Vec<_>) = played(text).into_iter().partition(|it| it.1.is_none());
    if (fine.len(), bad.len()) != (passed, failed) {
        return Err(format!(
            "it counts {passed} passed and {failed} failed, and shows {} and {}",
            fine.len(),
            bad.len()
        ));
    }
    match (passed, failed, good) {
        (0, 0, _) => return Err("it checked nothing".into()),
        (_, 0, false) => return Err(format!("it failed behind {passed} that passed")),
        (_, 1.., true) => return Err(format!("it is content with {failed} failures")),
        _ => {}
    }
    let causes = bad
        .into_iter()
        .filter_map(|(name, cause)| cause.map(|it| (name, it)));
    let bad: BTreeSet<_> = causes.collect();
    let names: BTreeSet<&String> = fine.iter().map(|(name, _)| name).collect();
    let always = names
        .iter()
        .filter(|&&name| !bad.iter().any(|(it, _)| it == name));
    Ok((always.count(), bad))
}

/// Each conversation in order; the cause of those that failed.
fn played(text: &str) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    let mut lines = text.lines();
    let mut conversation = None;
    while let Some(line) = lines.next() {
        if let Some(name) = begun(line) {
            conversation = Some(name);
        } else if line == "OK" {
            all.extend(conversation.take().map(|name| (name, None)));
        } else if line == "Error while processing" {
            let cause = cause(&mut lines);
            all.extend(conversation.take().map(|name| (name, cause)));
        }
    }
    all
}

/// The conversation that a line says begins: `NAME ...`, or `"NAME" repeat 3...`.
fn begun(line: &str) -> Option<String> {
    let name = line.strip_suffix("...")?.trim_end();
    let repeated = || {
        let (name, count) = name.strip_prefix('"')?.rsplit_once("\" repeat ")?;
        count.parse::<usize>().ok().map(|_| name)
    };
    Some(repeated().unwrap_or(name).to_owned())
}

/// The exception of a traceback; where one came of another, the last.
fn cause<'t>(lines: &mut (impl Iterator<Item = &'t str> + Clone)) -> Option<String> {
    let mut cause = None;
    loop {
        lines.find(|line| line.starts_with("Traceback "))?;
        let exception = lines.find(|line| !line.starts_with(' '))?;
        cause.replace(exception.to_owned());
        // `During handling of the above exception, …`, or `The above exception was the direct …`.
        let mut behind = lines.clone().skip_while(|line| line.is_empty());
        if !behind
            .next()
            .is_some_and(|line| line.contains("above exception"))
        {
            return cause;
        }
    }
}

/// It has no releases. What speaks TLS for it has.
fn version(directory: &Path) -> Option<String> {
    let ask = "import tlslite; print(tlslite.__version__)";
    let library = text_of(Command::new("python3").args(["-c", ask]));
    let git = |asked: &[&str]| {
        let mut git = Command::new("git");
        text_of(git.arg("-C").arg(directory).arg("rev-parse").args(asked))
    };
    // Somewhere below the top, the repository is another's.
    let commit = match git(&["--show-prefix"]) {
        None => git(&["--short", "HEAD"]),
        Some(_) => None,
    };
    let parts = [
        commit.map(|it| format!("commit {it}")),
        library.map(|it| format!("tlslite-ng {it}")),
    ];
    let version = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Some(version).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `test-tls13-keyupdate.py` and `test-tls13-connection-abort.py` print, shortened.
    const PRINTED: &str = r#"sanity ...
OK

1/4 fragmented keyupdate msg, appdata between ...
Error encountered while processing node ExpectNewSessionTicket() (child: ...) with last message being: None
Error while processing
Traceback (most recent call last):
  File "tlsfuzzer/runner.py", line 202, in run
    recvMessageBlocking()
  File "tlslite/recordlayer.py", line 121, in _sockRecvAll
    socketBytes = self.sock.recv(length - len(buf))
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
tlslite.errors.TLSAbruptCloseError: TLSAbruptCloseError()

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "tlsfuzzer/_apps/test_tls13_keyupdate.py", line 1002, in main
    runner.run()
AssertionError: Unexpected closure from peer

"After NewSessionTicket" repeat 0...
Error encountered while processing node ExpectNewSessionTicket() with last message being: <tlslite.messages.Message object at 0x7f>
Error while processing
Traceback (most recent call last):
  File "tlsfuzzer/_apps/test_tls13_connection_abort.py", line 270, in main
    runner.run()
AssertionError: Unexpected message from peer: ApplicationData(len=81)

sanity ...
OK

Test end
====================
version: 5
====================
TOTAL: 4
SKIP: 0
PASS: 2
XFAIL: 0
FAIL: 2
XPASS: 0
====================
FAILED:
	'1/4 fragmented keyupdate msg, appdata between'
	'After NewSessionTicket'
"#;

    fn settings(text: &str) -> Settings {
        Settings::parse(text).unwrap()
    }

    #[test]
    fn a_failed_conversation_has_its_last_exception_as_its_cause() {
        let (passed, failed) = read(PRINTED, false).unwrap();
        assert_eq!(passed, 1, "sanity, twice");
        let pair = |name: &str, cause: &str| (name.to_owned(), cause.to_owned());
        let wanted = BTreeSet::from([
            pair(
                "1/4 fragmented keyupdate msg, appdata between",
                "AssertionError: Unexpected closure from peer",
            ),
            pair(
                "After NewSessionTicket",
                "AssertionError: Unexpected message from peer: ApplicationData(len=81)",
            ),
        ]);
        assert_eq!(failed, wanted);
    }

    #[test]
    fn a_repeated_conversation_is_one_failure() {
        let begin = PRINTED.find("\"After").unwrap();
        let end = PRINTED.find("sanity ...\nOK\n\nTest end").unwrap();
        let again = PRINTED[begin..end].replace("repeat 0", "repeat 1");
        let twice = [&PRINTED[..end], &again, &PRINTED[end..]].concat();
        let error = read(&twice, false).unwrap_err();
        assert!(error.contains("2 failed, and shows 2 and 3"), "{error}");
        let twice = twice.replace("FAIL: 2", "FAIL: 3");
        assert_eq!(read(&twice, false).unwrap().1.len(), 2);
    }

    #[test]
    fn a_script_that_did_not_run_is_no_failure_that_may_be_accepted() {
        let whole = |text: &str, good| read(text, good).unwrap_err();
        let traceback =
            "Traceback (most recent call last):\n  x\nValueError: kyber-py library missing!\n";
        assert_eq!(whole(traceback, false), "it did not run");
        assert_eq!(whole("PASS: 0\nFAIL: 0\n", true), "it checked nothing");
        let passed = "a ...\nOK\n\nb ...\nOK\n\nPASS: 2\nFAIL: 0\n";
        assert_eq!(read(passed, true).unwrap(), (2, BTreeSet::new()));
        assert!(whole(passed, false).contains("it failed behind 2"));
        let more = passed.replace("FAIL: 0", "FAIL: 1");
        assert!(whole(&more, false).contains("2 passed and 1 failed, and shows 2 and 0"));
        assert!(whole(PRINTED, true).contains("content with 2"));
    }

    #[test]
    fn a_script_that_is_in_no_list_fails() {
        let text = "
            tlsfuzzer = [{ script = 'test-tls13-a.py' }]
            inapplicable = [{ scripts = ['test-tls13-b.py', 'test-tls13-c.py'], reason = 'x' }]
        ";
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "test-tls13-a.py",
            "test-tls13-b.py",
            "test-tls13-new.py",
            "test-sslv2.py",
        ] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let there = listed(directory.path()).unwrap();
        let (unknown, gone) = compared(&settings(text), &there);
        assert_eq!(
            unknown,
            [Failure::new(
                "test-tls13-new.py",
                "neither run nor inapplicable"
            )]
        );
        assert_eq!(gone, ["test-tls13-c.py: there is no such script"]);
        assert!(listed(&directory.path().join("none")).is_err());
    }

    #[test]
    fn every_script_of_the_repository_has_its_place_in_the_settings() {
        // Of the commit that docs/INTEROP.md names.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance.toml");
        let settings = settings(&fs::read_to_string(file).unwrap());
        assert_eq!(settings.scripts().count(), 57);
        assert!(settings.scripts().all(|name| name.starts_with(SCRIPTS)));
    }
}
