//! A line that says how far a run is, where somebody looks on.

use std::io::{IsTerminal, Write, stderr};

use super::units::{grouped, percent, rate, time};
use crate::load::stats::{Phase, Progress};

/// To the beginning of the line, and clear it.
const AGAIN: &str = "\r\u{1b}[2K";

/// The line. Silent unless standard error is a terminal.
#[derive(Debug)]
pub struct Live {
    terminal: bool,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// On standard error.
    pub fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
        }
    }

    /// Writes the line over its predecessor.
    pub fn show(&self, progress: &Progress) {
        self.write(&line(progress));
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.write("");
    }

    fn write(&self, text: &str) {
        if self.terminal {
            // A terminal that went away wants no more.
            let _ = write!(stderr(), "{AGAIN}{text}");
            let _ = stderr().flush();
        }
    }
}

fn line(progress: &Progress) -> String {
    let what = match progress.phase {
        Phase::Collecting => return "collecting tickets".into(),
        Phase::Running => "running",
        Phase::Ending => "ending",
    };
    let p99 = match progress.p99 {
        Some(p99) => time(p99.as_secs_f64() * 1e6),
        None => "–".into(),
    };
    format!(
        "{what} {:.1} s  {}  {} /s  {} errors  p99 {p99}",
        progress.elapsed.as_secs_f64(),
        percent(progress.done),
        rate(progress.rate),
        grouped(progress.errors),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_line_has_rate_errors_p99_and_progress() {
        let mut progress = Progress {
            phase: Phase::Running,
            elapsed: Duration::from_millis(2_540),
            operations: 25_000,
            errors: 3,
            rate: 12_345.0,
            p99: Some(Duration::from_micros(1_234)),
            done: 0.254,
        };
        assert_eq!(
            line(&progress),
            "running 2.5 s  25 %  12,345 /s  3 errors  p99 1.23 ms"
        );
        progress.p99 = None;
        progress.phase = Phase::Ending;
        assert!(line(&progress).starts_with("ending"));
        assert!(line(&progress).ends_with("p99 –"));
        progress.phase = Phase::Collecting;
        assert_eq!(line(&progress), "collecting tickets");
    }
}
