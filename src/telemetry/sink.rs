//! A bounded log writer that never makes its callers wait.
//!
//! Callers copy a line into a shared buffer of bounded size; one thread swaps that buffer
//! for an empty one and writes it out. The lock is held for a copy or a swap, never for a
//! write. Lines that do not fit, or cannot be written, are dropped and counted.
//!
//! A line that finds the thread asleep wakes it. After a write the thread gathers lines for
//! 20 ms: waking it for each line would cost every request a system call and a context switch.

mod writer;

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use serde::Serialize;

/// Bytes that may wait to be written, unless told otherwise: some 2,000 lines.
pub const DEFAULT_CAPACITY: usize = 1024 * 1024;

/// How long opening a file may take. Opening a FIFO waits for its reader.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, created if absent and appended to.
    File(PathBuf),
}

impl Destination {
    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            // The handle of the standard library flushes at each newline, which would make
            // a system call of every line.
            Self::Stdout => Box::new(writer::duplicate(io::stdout())?),
            Self::Stderr => Box::new(writer::duplicate(io::stderr())?),
            Self::File(path) => Box::new(
                std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path)?,
            ),
        })
    }
}

/// The writer of one log. Share it in an `Arc`; when the last handle is dropped its thread
/// writes what is queued and ends.
#[derive(Debug)]
pub struct LineSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes `flush` and `close`.
    idle: Condvar,
    capacity: usize,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole lines, each with its newline.
    lines: Vec<u8>,
    /// The writer waits for the next line.
    asleep: bool,
    /// The writer is to gather no longer.
    hurry: bool,
    /// The writer holds lines that are not written yet.
    writing: bool,
    reopen: bool,
    closing: bool,
    ended: bool,
}

impl LineSink {
    /// Opens `destination` and starts its thread. `capacity` bounds the bytes that wait;
    /// `dropped` counts the lines that are lost.
    ///
    /// # Errors
    /// If the file cannot be opened (within 2 s: a FIFO needs a reader) or no thread started.
    pub fn open(
        destination: Destination,
        capacity: usize,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let (opened, outcome) = mpsc::channel();
        let sink = Self::start(capacity, dropped, move |shared| match destination.open() {
            Ok(out) => {
                let _ = opened.send(Ok(()));
                writer::run(&shared, out, || destination.open());
            }
            Err(error) => {
                shared.end();
                let _ = opened.send(Err(error));
            }
        })?;
        match outcome.recv_timeout(OPEN_WITHIN) {
            Ok(result) => result.map(|()| sink),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "could not open the log in time (a FIFO without a reader?)",
            )),
        }
    }

    /// Writes to `out`, which is never reopened.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn to_writer(
        out: impl Write + Send + 'static,
        capacity: usize,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        Self::start(capacity, dropped, move |shared| {
            writer::run(&shared, Box::new(out), || {
                Err(io::ErrorKind::Unsupported.into())
            });
        })
    }

    fn start(
        capacity: usize,
        dropped: IntCounter,
        run: impl FnOnce(Arc<Shared>) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            capacity,
            dropped,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || run(of_thread))?;
        Ok(Self { shared })
    }

    /// Queues one line; a missing newline is added. Never waits: a line that does not fit is
    /// dropped and counted. Returns whether it was queued.
    pub fn write(&self, line: &[u8]) -> bool {
        let mut queue = self.shared.lock();
        let newline = !line.ends_with(b"\n");
        let length = line.len() + usize::from(newline);
        let room = self.shared.capacity.saturating_sub(queue.lines.len());
        if length > room || queue.closing || queue.ended {
            drop(queue);
            self.shared.dropped.inc();
            return false;
        }
        queue.lines.extend_from_slice(line);
        if newline {
            queue.lines.push(b'\n');
        }
        let crowded = queue.lines.len() > self.shared.capacity / 4;
        self.shared.wake(queue, crowded);
        true
    }

    /// Queues `record` as one line of JSON.
    pub fn write_json(&self, record: &impl Serialize) -> bool {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            json_line(record, line);
            self.write(line)
        })
    }

    /// Opens the destination anew, once what is queued is written: for files that were
    /// renamed (SIGHUP). If that fails the former file is written on.
    pub fn reopen(&self) {
        let mut queue = self.shared.lock();
        queue.reopen = true;
        self.shared.wake(queue, true);
    }

    /// Waits until every line queued so far is written or dropped, at most `within`.
    /// Returns whether it is. Blocks its thread: for shutdown and tests.
    pub fn flush(&self, within: Duration) -> bool {
        self.shared.wake(self.shared.lock(), true);
        self.wait_until(within, |queue| {
            queue.ended || (queue.lines.is_empty() && !queue.writing && !queue.reopen)
        })
    }

    /// Takes no more lines and waits until the queued ones are written, at most `within`.
    /// Returns whether they are; if not, what is queued is counted as dropped.
    /// Blocks its thread: for shutdown.
    pub fn close(&self, within: Duration) -> bool {
        let mut queue = self.shared.lock();
        queue.closing = true;
        self.shared.wake(queue, true);
        let ended = self.wait_until(within, |queue| queue.ended);
        if !ended {
            let left = std::mem::take(&mut self.shared.lock().lines);
            self.shared.count_dropped(&left);
        }
        ended
    }

    fn wait_until(&self, within: Duration, done: impl Fn(&Queue) -> bool) -> bool {
        let until = Instant::now() + within;
        let mut queue = self.shared.lock();
        while !done(&queue) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self
                .shared
                .idle
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Drop for LineSink {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closing = true;
        self.shared.wake(queue, true);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after every statement: a poisoned lock changes nothing.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waking is a system call: only where it is needed, and outside the lock.
    fn wake(&self, mut queue: MutexGuard<'_, Queue>, urgent: bool) {
        let asleep = std::mem::take(&mut queue.asleep);
        let hurry = urgent && !std::mem::replace(&mut queue.hurry, true);
        drop(queue);
        if asleep || hurry {
            self.work.notify_one();
        }
    }

    fn end(&self) {
        let mut queue = self.lock();
        queue.ended = true;
        queue.writing = false;
        let left = std::mem::take(&mut queue.lines);
        drop(queue);
        self.count_dropped(&left);
        self.idle.notify_all();
    }

    fn count_dropped(&self, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        self.dropped.inc_by(count as u64);
    }
}

/// Appends `record` as one line of JSON with its newline, or nothing if it cannot be said in
/// JSON (which no record of ours can bring about).
pub(super) fn json_line(record: &impl Serialize, line: &mut Vec<u8>) {
    let start = line.len();
    match serde_json::to_writer(&mut *line, record) {
        Ok(()) => line.push(b'\n'),
        Err(_) => line.truncate(start),
    }
}

#[cfg(test)]
mod tests;
