//! `cutwater load`: from what is typed to an exit code.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::arguments::Arguments;
use super::cpu::CpuTime;
use super::replay::{self, ReplayPlan};
use super::report::live::Live;
use super::report::{Report, ServerCpu, compare, html, json, text};
use super::stats::Phase;
use super::{Stop, run};

/// The command line cannot be used.
const USAGE: u8 = 2;
/// As a file: standard output.
const STDOUT: &str = "-";

/// Runs what is asked for: exit 0, 1 if an expectation did not hold, 2 if the arguments cannot be
/// used, 3 if a replay test proves nothing.
pub fn load(arguments: &Arguments) -> ExitCode {
    let done = match (arguments.compare.as_deref(), arguments.replay) {
        (Some([a, b]), _) => compare(a, b),
        (_, Some(replays)) => replay(arguments, replays),
        (_, None) => measure(arguments),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(complaint) => {
            eprintln!("error: {complaint}");
            ExitCode::from(USAGE)
        }
    }
}

fn compare(a: &Path, b: &Path) -> Result<u8, String> {
    let read = |file: &Path| {
        let hint = "hint: a report that --json wrote is needed";
        json::read(file).map_err(|error| format!("{}: {error}\n{hint}", file.display()))
    };
    say(&compare::render(&read(a)?, &read(b)?));
    Ok(0)
}

fn replay(arguments: &Arguments, replays: usize) -> Result<u8, String> {
    let plan = arguments.plan().map_err(said)?;
    writable(arguments)?;
    let report = runtime()?.block_on(replay::run(ReplayPlan { plan, replays }));
    show(arguments, &report.to_string(), &pretty(&report)?)?;
    Ok(report.exit_code)
}

fn measure(arguments: &Arguments) -> Result<u8, String> {
    let plan = arguments.plan().map_err(said)?;
    writable(arguments)?;
    let server = |pid| CpuTime::of(pid).map_err(said);
    let mut before = arguments.server_pid.map(server).transpose()?;
    let stop = Stop::default();
    stop_on_ctrl_c(&stop)?;

    let live = Live::new();
    let mut measuring = false;
    let stats = run(&plan, &stop, |progress| {
        if progress.phase == Phase::Running && !measuring {
            measuring = true;
            // What the server did so far, such as giving the first tickets, is not counted.
            before = before.take().and_then(|it| CpuTime::of(it.pid()).ok());
        }
        live.show(progress);
    });
    let after = arguments.server_pid.map(CpuTime::of);
    live.clear();
    let stats = stats.map_err(said)?;

    let used = before.zip(after.and_then(Result::ok));
    let used = used.map(|(before, after)| ServerCpu {
        pid: after.pid(),
        processes: after.processes(),
        time: after.since(&before),
    });
    if let (Some(pid), None) = (arguments.server_pid, used) {
        eprintln!("warning: process {pid} ended during the run: its CPU time is not known");
    }
    finish(arguments, &Report::new(&plan, &stats, used))
}

fn finish(arguments: &Arguments, report: &Report) -> Result<u8, String> {
    show(arguments, &text::render(report), &json::render(report))?;
    if let Some(file) = &arguments.html {
        write(file, &html::render(report))?;
    }
    Ok(u8::from(!report.unmet.is_empty()))
}

/// Text to standard output and JSON to its file, or JSON in the text's place.
fn show(arguments: &Arguments, text: &str, json: &str) -> Result<(), String> {
    match arguments.json.as_deref() {
        Some(file) if file == Path::new(STDOUT) => say(json),
        Some(file) => {
            say(text);
            write(file, json)?;
        }
        None => say(text),
    }
    Ok(())
}

/// A file that cannot be written is found before the run, not after it. Leaves none behind: a run
/// that cannot begin writes no report.
fn writable(arguments: &Arguments) -> Result<(), String> {
    for file in [&arguments.json, &arguments.html].into_iter().flatten() {
        if file == Path::new(STDOUT) {
            continue;
        }
        let complain = |error: io::Error| format!("{}: {error}", file.display());
        let new = !file.exists();
        let opened = File::options().create(true).append(true).open(file);
        opened.map_err(complain)?;
        if new {
            std::fs::remove_file(file).map_err(complain)?;
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// The first Ctrl-C ends the run, which then says what it has.
fn stop_on_ctrl_c(stop: &Stop) -> Result<(), String> {
    let runtime = runtime()?;
    let mut interrupt = {
        let _inside = runtime.enter();
        signal(SignalKind::interrupt()).map_err(said)?
    };
    let stop = stop.clone();
    thread::spawn(move || {
        if runtime.block_on(interrupt.recv()).is_some() {
            stop.stop();
        }
    });
    Ok(())
}

fn runtime() -> Result<Runtime, String> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(said)
}

fn pretty(report: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(report).map_err(said)?;
    Ok(text + "\n")
}

fn said(error: impl Display) -> String {
    error.to_string()
}

/// A reader that went away wants no more.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
