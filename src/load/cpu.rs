//! What a process costs: its CPU time and that of its descendants, from `/proc`.
//!
//! On a machine where others run too, rates say little; the CPU time of the server for each
//! operation still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Length of a tick of `/proc/PID/stat`. The kernel's `USER_HZ` is 100 on x86_64 and aarch64,
/// whatever its own timer does.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that a process and its descendants have used so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTime {
    pid: u32,
    /// Ticks by process.
    ticks: BTreeMap<u32, Ticks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    /// Of its threads, those that ended included.
    own: u64,
    /// Of its children that ended and were waited for, and of theirs.
    ended: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    ticks: Ticks,
}

impl CpuTime {
    /// Of the process with this number and everything below it, now.
    ///
    /// # Errors
    /// There is no such process, or `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut processes = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str());
            if number.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
                // One that ended since it was listed has nothing to tell.
                processes.extend(read(&path));
            }
        }
        Self::among(pid, &processes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no process {pid}")))
    }

    fn among(pid: u32, processes: &[Process]) -> Option<Self> {
        let mut family = BTreeSet::from([pid]);
        // A child may be listed before its parent once numbers have wrapped: until nothing is new.
        loop {
            let known = family.len();
            for process in processes {
                if family.contains(&process.parent) {
                    family.insert(process.pid);
                }
            }
            if family.len() == known {
                break;
            }
        }
        let members = processes.iter().filter(|it| family.contains(&it.pid));
        let ticks: BTreeMap<u32, Ticks> = members.map(|it| (it.pid, it.ticks)).collect();
        ticks.contains_key(&pid).then_some(Self { pid, ticks })
    }

    /// The process that was asked for.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How many processes were counted.
    pub fn processes(&self) -> usize {
        self.ticks.len()
    }

    /// The time used between `earlier` and this, to a hundredth of a second.
    pub fn since(&self, earlier: &Self) -> Duration {
        let ticks = self.total().saturating_sub(earlier.total());
        TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    fn total(&self) -> u64 {
        let all = self.ticks.values();
        all.map(|ticks| ticks.own + ticks.ended).sum()
    }
}

fn read(directory: &Path) -> Option<Process> {
    parse(&fs::read_to_string(directory.join("stat")).ok()?)
}

/// proc_pid_stat(5). The name in brackets may hold spaces and brackets.
fn parse(stat: &str) -> Option<Process> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `fields` begins with the manual's field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: Ticks {
            own: number(14)? + number(15)?,
            ended: number(16)? + number(17)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, own: u64, ended: u64) -> Process {
        let ticks = Ticks { own, ended };
        Process { pid, parent, ticks }
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_passed_over() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some(process(42, 7, 120, 7)));
        assert_eq!(parse("42 (a) S 7"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn descendants_count_in_any_order_and_strangers_do_not() {
        let processes = [
            process(3, 9, 1, 0),
            process(9, 5, 10, 0),
            process(5, 1, 100, 1000),
            process(6, 1, 77, 0),
        ];
        let time = CpuTime::among(5, &processes).unwrap();
        assert_eq!((time.processes(), time.total()), (3, 1111));
        assert_eq!(CpuTime::among(8, &processes), None);
    }

    #[test]
    fn a_child_that_ended_is_not_lost_and_not_counted_twice() {
        let before = CpuTime::among(1, &[process(1, 0, 5, 0), process(2, 1, 50, 0)]).unwrap();
        let after = CpuTime::among(1, &[process(1, 0, 6, 52)]).unwrap();
        assert_eq!(after.since(&before), Duration::from_millis(30));
        assert_eq!(before.since(&after), Duration::ZERO);
    }

    #[test]
    fn this_process_is_found_and_an_absent_one_is_not() {
        let here = CpuTime::of(std::process::id()).unwrap();
        assert!(here.processes() >= 1);
        assert!(CpuTime::of(u32::MAX).is_err());
    }
}
