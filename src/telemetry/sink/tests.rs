use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn counter() -> IntCounter {
    IntCounter::new("dropped", "help").unwrap()
}

fn to_file(path: &std::path::Path) -> LineSink {
    LineSink::open(Destination::File(path.into()), DEFAULT_CAPACITY, counter()).unwrap()
}

#[test]
fn lines_reach_the_file_whole_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    fs::write(&path, "before\n").unwrap();
    let sink = to_file(&path);
    for n in 0..1_000 {
        assert!(sink.write(format!("line {n}").as_bytes()));
    }
    assert!(sink.write(b"with a newline\n"));
    assert!(sink.write_json(&[1, 2]));
    assert!(sink.close(LONG));
    let text = fs::read_to_string(&path).unwrap();
    let mut expected = String::from("before\n");
    expected.extend((0..1_000).map(|n| format!("line {n}\n")));
    expected.push_str("with a newline\n[1,2]\n");
    assert_eq!(text, expected);
}

#[test]
fn threads_do_not_tear_each_others_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let sink = to_file(&path);
    thread::scope(|scope| {
        for thread in 0..4 {
            let sink = &sink;
            scope.spawn(move || {
                for n in 0..500 {
                    sink.write(format!("{thread} {n} end").as_bytes());
                }
            });
        }
    });
    assert!(sink.close(LONG));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2_000);
    assert!(
        text.lines()
            .all(|line| line.ends_with(" end") && line.len() < 12)
    );
}

#[test]
fn a_reader_that_does_not_read_costs_lines_and_never_time() {
    let (reader, writer) = std::io::pipe().unwrap();
    let dropped = counter();
    let sink = LineSink::to_writer(writer, 256 * 1024, dropped.clone()).unwrap();
    let line = [b'x'; 1_000];
    // Three times what the pipe takes (64 KiB): the writer is stuck from here on.
    assert!((0..200).all(|_| sink.write(&line)));
    assert!(!sink.flush(Duration::from_millis(20)));
    // Far more than the queue takes. If `write` ever waited, this would never end.
    let flood = 2_000;
    let queued = (0..flood).filter(|_| sink.write(&line)).count();
    assert!(queued < 300, "{queued}");
    assert_eq!(dropped.get(), (flood - queued) as u64);
    let queued = queued + 200;

    // When the reader comes back, every queued line arrives whole, and new ones too.
    let lines = BufReader::new(reader).lines();
    let reading = thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    assert!(sink.flush(LONG));
    assert!(sink.write(b"last"));
    assert!(sink.close(LONG));
    drop(sink);
    let read = reading.join().unwrap();
    assert_eq!(read.len(), queued + 1);
    assert!(read[..queued].iter().all(|line| line.len() == 1_000));
    assert_eq!(read[queued], "last");
}

#[test]
fn close_is_bounded_and_counts_what_it_gives_up() {
    let (reader, writer) = std::io::pipe().unwrap();
    let dropped = counter();
    let sink = LineSink::to_writer(writer, 300_000, dropped.clone()).unwrap();
    assert!(sink.write(b"read"));
    assert!(sink.flush(LONG));
    let flood = 2_000;
    for _ in 0..flood {
        sink.write(&[b'x'; 999]);
    }
    assert!(!sink.close(Duration::from_millis(1)));
    assert!(!sink.write(b"after close"), "a closed sink takes nothing");
    assert!(dropped.get() > 1);

    // What the writer held when it was given up may still be written: no line is counted twice.
    let read = BufReader::new(reader).lines().count() as u64;
    assert!(read > 0);
    assert_eq!(read + dropped.get(), flood + 2);
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_later_ones_go_on() {
    /// Takes `room` bytes, then fails once, then works.
    struct Full {
        room: usize,
        failed: bool,
        out: std::io::PipeWriter,
    }
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.failed {
                if self.room == 0 {
                    self.failed = true;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let n = bytes.len().min(self.room);
                self.room -= n;
                return self.out.write(&bytes[..n]);
            }
            self.out.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (mut reader, out) = std::io::pipe().unwrap();
    let full = Full {
        room: 8,
        failed: false,
        out,
    };
    let dropped = counter();
    let sink = LineSink::to_writer(full, DEFAULT_CAPACITY, dropped.clone()).unwrap();
    sink.write(b"first");
    assert!(sink.flush(LONG));
    sink.write(b"second");
    assert!(sink.flush(LONG));
    sink.write(b"third");
    assert!(sink.close(LONG));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "first\nse\nthird\n", "the torn line stands alone");
    assert_eq!(dropped.get(), 1);
}

#[test]
fn a_renamed_file_is_left_behind_on_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let rotated = directory.path().join("access.log.1");
    let sink = to_file(&path);
    sink.write(b"old");
    assert!(sink.flush(LONG));
    fs::rename(&path, &rotated).unwrap();
    sink.write(b"still old");
    sink.reopen();
    assert!(sink.flush(LONG));
    sink.write(b"new");
    assert!(sink.close(LONG));
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "old\nstill old\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
}

#[test]
fn a_failed_reopen_writes_on() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("logs");
    let moved = parent.path().join("moved");
    fs::create_dir(&directory).unwrap();
    let sink = to_file(&directory.join("access.log"));
    fs::rename(&directory, &moved).unwrap();
    sink.reopen();
    assert!(sink.flush(LONG));
    sink.write(b"line");
    assert!(sink.close(LONG));
    let text = fs::read_to_string(moved.join("access.log")).unwrap();
    assert_eq!(text, "line\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_once() {
    let path = PathBuf::from("/nonexistent/access.log");
    let error = LineSink::open(Destination::File(path), 10, counter()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_line_longer_than_the_queue_is_dropped() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let dropped = counter();
    let sink = LineSink::to_writer(writer, 10, dropped.clone()).unwrap();
    assert!(!sink.write(b"0123456789"), "no room for the newline");
    assert!(sink.write(b"012345678"));
    assert_eq!(dropped.get(), 1);
}

#[test]
fn dropping_the_sink_writes_what_is_queued() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let sink = LineSink::to_writer(writer, DEFAULT_CAPACITY, counter()).unwrap();
    sink.write(b"line");
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "line\n");
}

#[test]
fn lines_are_gathered_into_few_writes() {
    struct Counting(Arc<AtomicUsize>);
    impl Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writes = Arc::new(AtomicUsize::new(0));
    let out = Counting(Arc::clone(&writes));
    let begun = Instant::now();
    let sink = LineSink::to_writer(out, DEFAULT_CAPACITY, counter()).unwrap();
    for _ in 0..5_000 {
        assert!(sink.write(b"line"));
    }
    assert!(sink.close(LONG));
    let periods = begun.elapsed().as_millis() / writer::GATHER.as_millis();
    assert!(writes.load(Ordering::Relaxed) as u128 <= periods + 3);
}
