//! The thread behind a [`super::LineSink`].

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::PoisonError;
use std::time::Duration;

use super::Shared;

type Out = Box<dyn Write + Send>;

/// How long lines are gathered after a write.
pub(super) const GATHER: Duration = Duration::from_millis(20);

/// A buffer that grew past this is given back once it is written.
const KEPT: usize = 64 * 1024;

/// The same open file as a plain [`File`], which neither locks nor buffers.
pub(super) fn duplicate(handle: impl AsFd) -> io::Result<File> {
    handle.as_fd().try_clone_to_owned().map(File::from)
}

/// Writes what is queued until the sink is closed.
pub(super) fn run(shared: &Shared, mut out: Out, reopen: impl Fn() -> io::Result<Out>) {
    let mut lines = Vec::new();
    let mut torn = false;
    let mut gathering = false;
    loop {
        let mut queue = shared.lock();
        queue.writing = false;
        if queue.lines.is_empty() {
            shared.idle.notify_all();
        }
        if gathering {
            queue = shared
                .work
                .wait_timeout_while(queue, GATHER, |queue| !queue.hurry)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        gathering = true;
        while queue.lines.is_empty() && !queue.reopen && !queue.closing {
            queue.asleep = true;
            queue = shared
                .work
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.asleep = false;
        queue.hurry = false;
        if queue.lines.is_empty() && !queue.reopen {
            drop(queue);
            return shared.end();
        }
        // Lines queued before the reopening still belong to the former file.
        let reopening = queue.reopen;
        queue.writing = true;
        std::mem::swap(&mut queue.lines, &mut lines);
        drop(queue);

        torn = write(&mut out, &lines, torn, shared);
        lines.clear();
        lines.shrink_to(KEPT);
        if reopening {
            match reopen() {
                Ok(fresh) => {
                    out = fresh;
                    torn = false;
                }
                Err(error) => tracing::warn!(%error, "could not reopen a log; writing on"),
            }
            shared.lock().reopen = false;
        }
    }
}

/// Writes whole lines; what can't be written is counted. Returns whether the last line that
/// reached the file is torn: the next write then begins on a line of its own.
fn write(out: &mut Out, lines: &[u8], torn: bool, shared: &Shared) -> bool {
    if lines.is_empty() {
        return torn;
    }
    if torn && out.write_all(b"\n").is_err() {
        shared.count_dropped(lines);
        return true;
    }
    let mut written = 0;
    while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let (done, lost) = lines.split_at(written.min(lines.len()));
    shared.count_dropped(lost);
    !done.is_empty() && !done.ends_with(b"\n")
}
