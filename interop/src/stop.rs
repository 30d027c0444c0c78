//! An end before the end: on Ctrl-C and SIGTERM all that is under way ends, and what was made goes.
//!
//! What takes long runs in a process group of its own and is ended with it; what began it gets an
//! error, and cleans up on its way out as it does on any error.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::ground::docker;
use crate::service;

static STOPPER: Stopper = Stopper(Mutex::new(Made {
    stopped: false,
    groups: Vec::new(),
    label: None,
}));

/// What has to end.
struct Stopper(Mutex<Made>);

struct Made {
    stopped: bool,
    /// Process groups, by the id of their first process.
    groups: Vec<u32>,
    /// What Docker's containers and the network of the run carry.
    label: Option<String>,
}

/// From now on the two signals stop what is under way; without this they end the program as it
/// stands.
///
/// # Errors
/// They cannot be awaited.
pub fn on_signals() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                eprintln!("stopping");
                STOPPER.stop();
            }
        });
    });
    Ok(())
}

/// Whether a signal came: what is being done is not to be gone on with.
pub fn came() -> bool {
    STOPPER.lock().stopped
}

/// Fails once a signal came.
///
/// # Errors
/// It did.
pub fn check() -> Result<(), String> {
    match came() {
        true => Err("stopped".into()),
        false => Ok(()),
    }
}

/// What carries this label in Docker is removed when a signal comes.
pub fn removes(label: String) {
    STOPPER.lock().label = Some(label);
}

/// As [`service::run`], for what may take minutes: a signal ends it.
///
/// # Errors
/// Those, and that a signal came.
pub fn run(command: &mut Command) -> Result<String, String> {
    STOPPER.run(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// The same for a program whose output is shown as it comes.
///
/// # Errors
/// As for [`run`].
pub fn shown(command: &mut Command) -> Result<(), String> {
    STOPPER.run(command).map(drop)
}

impl Stopper {
    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let label = {
            let mut made = self.lock();
            made.stopped = true;
            for group in &made.groups {
                // One that is gone already has ended by itself.
                let _ = Command::new("kill")
                    .args(["-TERM", "--", &format!("-{group}")])
                    .stderr(Stdio::null())
                    .status();
            }
            made.label.clone()
        };
        if let Some(label) = label {
            docker::remove(&label);
        }
    }

    fn run(&self, command: &mut Command) -> Result<String, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = {
            // Held over the start: whatever starts is seen by `stop`, or does not start.
            let mut made = self.lock();
            if made.stopped {
                return Err("stopped".into());
            }
            let child = command.stdin(Stdio::null()).process_group(0).spawn();
            let child = child.map_err(|error| format!("cannot start {name}: {error}"))?;
            made.groups.push(child.id());
            child
        };
        let id = child.id();
        let output = child.wait_with_output();
        let stopped = {
            let mut made = self.lock();
            made.groups.retain(|group| *group != id);
            made.stopped
        };
        let output = output.map_err(|error| format!("{name}: {error}"))?;
        match stopped && !output.status.success() {
            true => Err("stopped".into()),
            false => service::said(command, output),
        }
    }
}

/// A directory that goes with its owner.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes one whose name begins so.
    ///
    /// # Errors
    /// It cannot be made. What is there already is somebody else's.
    pub fn new(what: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(docker::unique(what));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::service::Lines;

    #[test]
    fn what_runs_is_ended_with_its_children_and_nothing_starts_any_more() {
        let directory = Temporary::new("cutwater-stop").unwrap();
        let path = directory.path().to_owned();
        let stopper = Arc::new(Stopper(Mutex::new(Made {
            stopped: false,
            groups: Vec::new(),
            label: None,
        })));
        let (read, write) = std::io::pipe().unwrap();
        let running = {
            let stopper = Arc::clone(&stopper);
            thread::spawn(move || {
                let directory = directory;
                let mut command = Command::new("sh");
                // The grandchild holds the pipe as long as it lives.
                command.args(["-c", "echo begun; sleep 600 & wait"]);
                let ended = stopper.run(command.stdout(write).stderr(Stdio::null()));
                drop(command);
                drop(directory);
                ended
            })
        };
        let lines = Lines::from(Some(read));
        let bound = std::time::Duration::from_secs(10);
        let begun = |lines: &[String], _| lines.first().cloned();
        assert_eq!(lines.wait(bound, begun).as_deref(), Some("begun"));
        stopper.stop();
        assert_eq!(running.join().unwrap(), Err("stopped".into()));
        let gone = lines.wait(bound, |_, ended| ended.then_some(()));
        assert!(gone.is_some(), "the grandchild lives on");
        assert!(!path.exists());
        assert_eq!(
            stopper.run(&mut Command::new("true")),
            Err("stopped".into())
        );
    }

    #[test]
    fn without_a_signal_it_runs_to_its_end() {
        let mut echo = Command::new("echo");
        assert_eq!(run(echo.arg("said")), Ok("said".into()));
        assert!(run(&mut Command::new("false")).is_err());
        assert!(shown(&mut Command::new("true")).is_ok() && check().is_ok());
    }
}
