//! Processes under test: started on a core of their own, measured by /proc, ended by their id.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to end after SIGTERM, before it is killed.
const ENDING: Duration = Duration::from_secs(5);

/// A process that runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a command on that core, in a chroot if one is given; what it says goes to the file
    /// `log`. If this program dies, the kernel ends the process.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        command: &[String],
        core: usize,
        chroot: Option<&Path>,
        log: &Path,
    ) -> io::Result<Self> {
        let said = File::create(log)?;
        let mut wrapped = Command::new("taskset");
        wrapped.arg("-c").arg(core.to_string());
        wrapped.args(["setpriv", "--pdeathsig", "TERM"]);
        if let Some(chroot) = chroot {
            wrapped.arg("chroot").arg(chroot);
        }
        let child = wrapped
            .args(command)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()?;
        Ok(Self { child })
    }

    /// Its id: the parent of whatever else it starts.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(status.to_string())
    }

    /// Sends it a signal, by name.
    ///
    /// # Errors
    /// There is no such signal or process.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.id().to_string())
            .stderr(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("kill -{name}: {status}")))
        }
    }

    /// The memory of it and its children in bytes: pages that several share are counted once.
    pub fn memory(&self) -> u64 {
        family(self.id(), &parents())
            .into_iter()
            .filter_map(|id| fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok())
            .filter_map(|text| proportional(&text))
            .sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.signal("TERM");
        let until = Instant::now() + ENDING;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits on the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "one thread, on which nobody else waits, and nothing tells of what is waited for"
)]
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// The cores that this process may use, in order.
pub fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(read_cores).unwrap_or_default()
}

/// Cores in a list like `0-3,8`.
fn read_cores(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Every process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id: u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            Some((id, parent(&stat)?))
        })
        .collect()
}

/// The parent's id in a line of /proc/ID/stat. The program's name, in parentheses, may itself
/// contain some.
fn parent(stat: &str) -> Option<u32> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// A process and all that descend from it.
fn family(id: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut family = vec![id];
    let mut next = 0;
    while let Some(one) = family.get(next).copied() {
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == one)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    family
}

/// The bytes of `Pss:` in /proc/ID/smaps_rollup.
fn proportional(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_a_name_with_parentheses() {
        assert_eq!(parent("71 (a (b) c) S 70 71 71 0"), Some(70));
        assert_eq!(parent("71 (a"), None);
    }

    #[test]
    fn a_family_is_all_generations_and_nobody_else() {
        let parents = [(2, 1), (3, 2), (4, 1), (5, 3), (6, 4)];
        let mut family = family(2, &parents);
        family.sort_unstable();
        assert_eq!(family, [2, 3, 5]);
    }

    #[test]
    fn cores_are_read_from_ranges() {
        assert_eq!(read_cores("\t0-2,8,10-11\n"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(read_cores(""), [0; 0]);
        assert!(!cores().is_empty());
    }

    #[test]
    fn memory_is_read_from_the_rollup() {
        let text = "5600-7fff ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:     812 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(proportional(text), Some(812 * 1024));
        assert_eq!(proportional("Rss: 900 kB\n"), None);
    }
}
