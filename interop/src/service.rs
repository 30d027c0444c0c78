//! Programs that run beside the cells: started, listened to, ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the last words of a program that has ended may be on the way.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A running program whose lines are kept.
#[derive(Debug)]
pub struct Service {
    child: Child,
    input: Option<ChildStdin>,
    /// Its standard output.
    pub said: Arc<Lines>,
    /// Its standard error.
    pub complained: Arc<Lines>,
}

/// Lines that come while somebody waits for them.
#[derive(Debug, Default)]
pub struct Lines {
    kept: Mutex<Kept>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    ended: bool,
}

impl Service {
    /// Starts a program.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self {
            input: child.stdin.take(),
            said: Lines::from(child.stdout.take()),
            complained: Lines::from(child.stderr.take()),
            child,
        })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// It does not read any more.
    pub fn tell(&mut self, line: &str) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        let told = input.write_all(format!("{line}\n").as_bytes());
        told.and_then(|()| input.flush())
            .map_err(|error| error.to_string())
    }

    /// Waits for its end, and for all that it had to say.
    pub fn ended_within(&mut self, bound: Duration) -> bool {
        let ended = |lines: &Lines| lines.wait(bound, |_, ended| ended.then_some(()));
        // Its output ends with it.
        ended(&self.said).is_some()
            && ended(&self.complained).is_some()
            && self.child.wait().is_ok()
    }

    /// Whether it has ended, whatever it left to be read.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Its exit code, once it has ended by itself.
    pub fn code(&mut self) -> Option<i32> {
        // Whose output has ended is about to.
        let ended = self.output_has_ended();
        ended.then(|| self.child.wait().ok()).flatten()?.code()
    }

    /// Whether nothing comes on its standard output any more.
    pub fn output_has_ended(&self) -> bool {
        let ended = |_: &[String], ended: bool| ended.then_some(());
        self.said.wait(Duration::ZERO, ended).is_some()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it complained of, to stand in an error: its last words too, if it has ended.
    pub fn complaint(&mut self) -> String {
        // Whose output has ended is about to.
        if self.output_has_ended() || self.has_ended() {
            self.ended_within(LAST_WORDS);
        }
        let lines = self.complained.all();
        let last = lines.len().saturating_sub(5);
        lines[last..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The relay and the origin end with their input.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    pub(crate) fn from(source: Option<impl Read + Send + 'static>) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let filled = Arc::clone(&lines);
        let Some(source) = source else {
            return lines;
        };
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                filled.lock().lines.push(text);
                filled.more.notify_all();
                line.clear();
            }
            filled.lock().ended = true;
            filled.more.notify_all();
        });
        lines
    }

    /// How many there are: a mark for [`Lines::since`].
    pub fn count(&self) -> usize {
        self.lock().lines.len()
    }

    /// Those that came after the mark.
    pub fn since(&self, mark: usize) -> Vec<String> {
        self.lock().lines.get(mark..).unwrap_or_default().to_vec()
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        self.since(0)
    }

    /// Waits until `found` has something in all lines; it is also told whether no more will come.
    pub fn wait<T>(
        &self,
        bound: Duration,
        mut found: impl FnMut(&[String], bool) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + bound;
        let mut kept = self.lock();
        loop {
            if let Some(found) = found(&kept.lines, kept.ended) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            if kept.ended {
                return None;
            }
            let waited = self.more.wait_timeout(kept, left);
            kept = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, or does not exit with 0: what it complained of.
pub fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    said(command, output)
}

/// What a program that has ended said.
///
/// # Errors
/// It did not exit with 0: what it complained of.
pub fn said(command: &Command, output: Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{command:?}: {}\n{}",
        output.status,
        complaint.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Service {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Service::start(command).unwrap()
    }

    #[test]
    fn lines_are_awaited_and_kept() {
        let mut service = shell("echo one; read line; echo got $line; echo no >&2");
        let one = |lines: &[String], _| lines.first().cloned();
        assert_eq!(service.said.wait(BOUND, one).unwrap(), "one");
        let mark = service.said.count();
        service.tell("two").unwrap();
        assert!(service.ended_within(BOUND));
        assert_eq!(service.said.since(mark), ["got two"]);
        let first = |lines: &[String], _| lines.first().cloned();
        assert_eq!(service.complained.wait(BOUND, first).unwrap(), "no");
    }

    #[test]
    fn the_end_is_that_of_both_outputs() {
        let mut service = shell("exec 1>&-; read line; echo last >&2");
        assert!(
            service
                .said
                .wait(BOUND, |_, ended| ended.then_some(()))
                .is_some()
        );
        assert!(!service.ended_within(Duration::ZERO));
        service.tell("go on").unwrap();
        assert!(service.ended_within(BOUND));
        assert_eq!(service.complained.all(), ["last"]);
    }

    #[test]
    fn waiting_ends_when_no_line_can_come_any_more() {
        let service = shell("true");
        let never = service.said.wait(BOUND, |_, _| None::<()>);
        assert!(never.is_none());
    }

    #[test]
    fn a_program_that_fails_says_so() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.contains("why") && error.contains('3'), "{error}");
        assert!(
            run(&mut Command::new("no-such-program"))
                .unwrap_err()
                .contains("cannot start")
        );
    }
}
