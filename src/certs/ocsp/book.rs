//! The book of all certificates that are stapled: which has what, which is asked about next.
//!
//! No clock, no I/O: the keeper asks what is [due](Book::due), does it, and tells what came of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::schedule::{LOOK, after_answer, after_failure, after_start, pause};
use super::{Source, Staple, Stapled, Subject};
use crate::tags::Tag;
use crate::telemetry::labels::OcspFetch;

/// Attempts at once, over all responders.
pub const AT_ONCE: usize = 16;

/// Attempts at once at one responder.
pub const AT_ONE: usize = 2;

/// The least between two attempts at one responder: 50 in a second.
pub const BETWEEN: Duration = Duration::from_millis(20);

/// Numbers by chance, from 0 to 1.
pub type Chance = Box<dyn FnMut() -> f64 + Send>;

/// What is to be done now.
#[derive(Clone, Debug)]
pub struct Job {
    key: Tag,
    line: Arc<str>,
    /// The certificate.
    pub subject: Arc<Subject>,
    /// Who is asked.
    pub source: Source,
}

/// Why there is no new staple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its label.
    pub result: OcspFetch,
    /// Whether it is the responder that fails, for all certificates.
    pub of_responder: bool,
    /// What went wrong, for people.
    pub message: String,
}

/// What a finished job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// There is a new staple.
    New {
        /// The first one that is known of this certificate.
        first: bool,
    },
    /// It is the one that was shown already.
    Same,
    /// It is older than the one that is shown, which stays.
    Older,
    /// There is none.
    Failed {
        /// How often in a row now: for the responder, if it is to blame.
        times: u32,
    },
    /// Nobody wants to know any more.
    Nothing,
}

/// How the certificates stand.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Those with a valid staple that says good.
    pub valid: usize,
    /// Those with a valid staple that says revoked.
    pub revoked: usize,
    /// Those whose last staple has ended.
    pub expired: usize,
    /// Those that have had none.
    pub missing: usize,
    /// When the first of the valid ones ends.
    pub first_end: Option<SystemTime>,
    /// The oldest thisUpdate of the valid ones.
    pub oldest: Option<SystemTime>,
    /// Certificates that are not shown for want of a staple, and were not told of yet.
    pub lapsed: Vec<Arc<Subject>>,
}

struct Entry {
    subject: Arc<Subject>,
    shown: Vec<Arc<Stapled>>,
    staple: Option<Staple>,
    line: Option<Arc<str>>,
    due: SystemTime,
    failures: u32,
    running: bool,
    told: bool,
}

/// The certificates of one responder, by when they are due.
#[derive(Default)]
struct Line {
    waiting: BTreeSet<(SystemTime, [u8; 32])>,
    running: usize,
    failures: u32,
    not_before: Option<SystemTime>,
}

impl Line {
    /// When its first job can begin.
    fn next(&self) -> Option<SystemTime> {
        // While it fails, one certificate finds out for all.
        let most = if self.failures > 0 { 1 } else { AT_ONE };
        let (due, _) = self.waiting.first().filter(|_| self.running < most)?;
        Some(
            self.not_before
                .map_or(*due, |not_before| not_before.max(*due)),
        )
    }
}

/// All certificates that are stapled.
pub struct Book {
    entries: HashMap<Tag, Entry>,
    lines: HashMap<Arc<str>, Line>,
    running: usize,
    chance: Chance,
}

impl Book {
    /// An empty book.
    pub fn new(chance: Chance) -> Self {
        Self {
            entries: HashMap::new(),
            lines: HashMap::new(),
            running: 0,
            chance,
        }
    }

    /// Whether nothing is to be stapled.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The fingerprints of all certificates.
    pub fn fingerprints(&self) -> HashSet<[u8; 32]> {
        self.entries
            .values()
            .map(|entry| entry.subject.fingerprint)
            .collect()
    }

    /// These certificates are in use from now on, and no others. What is known of them is shown at
    /// once; `recall` finds what was kept of new ones.
    pub fn follow(
        &mut self,
        stapled: impl Iterator<Item = Arc<Stapled>>,
        recall: &mut dyn FnMut(&Subject) -> Option<Staple>,
        now: SystemTime,
    ) {
        let mut wanted: HashMap<Tag, Vec<Arc<Stapled>>> = HashMap::new();
        for stapled in stapled {
            if let Some(subject) = stapled.subject() {
                wanted.entry(subject.tag()).or_default().push(stapled);
            }
        }
        let lines = &mut self.lines;
        self.entries.retain(|key, entry| {
            let stays = wanted.contains_key(key);
            if !stays && let Some(line) = entry.line.as_ref().and_then(|line| lines.get_mut(line)) {
                line.waiting.remove(&(entry.due, key.0));
            }
            stays
        });
        for (key, shown) in wanted {
            match self.entries.get_mut(&key) {
                Some(entry) => {
                    let staple = entry.staple.as_ref().filter(|staple| staple.is_valid(now));
                    for new in &shown {
                        let old = entry.shown.iter().any(|old| Arc::ptr_eq(old, new));
                        if let (false, Some(staple)) = (old, staple) {
                            new.show(staple);
                        }
                    }
                    entry.shown = shown;
                }
                None => self.add(key, shown, recall, now),
            }
        }
        self.lines
            .retain(|_, line| line.running > 0 || !line.waiting.is_empty());
    }

    fn add(
        &mut self,
        key: Tag,
        shown: Vec<Arc<Stapled>>,
        recall: &mut dyn FnMut(&Subject) -> Option<Staple>,
        now: SystemTime,
    ) {
        let Some(subject) = shown.first().and_then(|stapled| stapled.subject()).cloned() else {
            return;
        };
        let staple = recall(&subject).filter(|staple| staple.is_valid(now));
        for stapled in &shown {
            if let Some(staple) = &staple {
                stapled.show(staple);
            }
        }
        let due = match (&staple, &subject.source) {
            (Some(staple), Some(Source::Responder(_))) => after_start(staple, now, (self.chance)()),
            (Some(_), _) => now + LOOK,
            (None, _) => now,
        };
        let line = subject.source.as_ref().map(line);
        if let Some(line) = &line {
            let line = self.lines.entry(Arc::clone(line)).or_default();
            line.waiting.insert((due, key.0));
        }
        let entry = Entry {
            subject,
            shown,
            staple,
            line,
            due,
            failures: 0,
            running: false,
            told: false,
        };
        self.entries.insert(key, entry);
    }

    /// What is to be done now; to be called until there is nothing.
    pub fn due(&mut self, now: SystemTime) -> Option<Job> {
        if self.running >= AT_ONCE {
            return None;
        }
        let ready = self
            .lines
            .iter()
            .filter_map(|(name, line)| Some((line.next()?, name)));
        let (next, name) = ready.min()?;
        if next > now {
            return None;
        }
        let name = Arc::clone(name);
        let line = self.lines.get_mut(&name)?;
        let (_, key) = line.waiting.pop_first()?;
        let entry = self.entries.get_mut(&Tag(key))?;
        let source = entry.subject.source.clone()?;
        entry.running = true;
        line.running += 1;
        line.not_before = Some(now + BETWEEN);
        self.running += 1;
        Some(Job {
            key: Tag(key),
            line: name,
            subject: Arc::clone(&entry.subject),
            source,
        })
    }

    /// When something will be due; `None` if not before something else happens.
    pub fn next(&self) -> Option<SystemTime> {
        let room = self.running < AT_ONCE;
        self.lines
            .values()
            .filter(|_| room)
            .filter_map(Line::next)
            .min()
    }

    /// A job has ended.
    pub fn done(
        &mut self,
        job: &Job,
        result: Result<Staple, Failure>,
        now: SystemTime,
    ) -> Happened {
        self.running = self.running.saturating_sub(1);
        let chance = (self.chance)();
        let line = self.lines.entry(Arc::clone(&job.line)).or_default();
        line.running = line.running.saturating_sub(1);
        let of_responder = matches!(&result, Err(failure) if failure.of_responder);
        line.failures = match of_responder {
            true => line.failures.saturating_add(1),
            false => 0,
        };
        if of_responder {
            line.not_before = Some(now + pause(line.failures, chance));
        }
        let Some(entry) = self.entries.get_mut(&job.key).filter(|entry| entry.running) else {
            return Happened::Nothing;
        };
        entry.running = false;
        let happened = match result {
            Ok(staple) => entry.take(staple, now),
            Err(_) => {
                entry.failures = entry.failures.saturating_add(1);
                let times = if of_responder {
                    line.failures
                } else {
                    entry.failures
                };
                Happened::Failed { times }
            }
        };
        entry.due = match (&happened, &job.source, &entry.staple) {
            (_, Source::File(_), _) => now + LOOK,
            (Happened::New { .. } | Happened::Same, _, Some(staple)) => {
                after_answer(staple, now, chance)
            }
            (_, _, staple) => after_failure(entry.failures.max(1), staple.as_ref(), now, chance),
        };
        line.waiting.insert((entry.due, job.key.0));
        happened
    }

    /// How the certificates stand.
    pub fn figures(&mut self, now: SystemTime) -> Figures {
        let mut figures = Figures::default();
        for entry in self.entries.values_mut() {
            match &entry.staple {
                Some(staple) if staple.is_valid(now) => {
                    match staple.is_revoked() {
                        true => figures.revoked += 1,
                        false => figures.valid += 1,
                    }
                    let least = |known: Option<SystemTime>, new| {
                        Some(known.map_or(new, |known| known.min(new)))
                    };
                    figures.first_end = least(figures.first_end, staple.next_update);
                    figures.oldest = least(figures.oldest, staple.this_update);
                    entry.told = false;
                    continue;
                }
                Some(_) => figures.expired += 1,
                None => figures.missing += 1,
            }
            // Of one that is being asked about for the first time nothing can be said yet.
            let tried = entry.staple.is_some() || entry.failures > 0;
            let required = entry.shown.iter().any(|stapled| stapled.is_required());
            if required && tried && !std::mem::replace(&mut entry.told, true) {
                figures.lapsed.push(Arc::clone(&entry.subject));
            }
        }
        figures
    }
}

impl Entry {
    fn take(&mut self, staple: Staple, now: SystemTime) -> Happened {
        let current = self.staple.as_ref().filter(|current| current.is_valid(now));
        if let Some(current) = current {
            if current.der == staple.der {
                self.failures = 0;
                return Happened::Same;
            }
            // Whoever sends what was once true must not undo a revocation.
            if staple.this_update < current.this_update {
                self.failures = self.failures.saturating_add(1);
                return Happened::Older;
            }
        }
        for stapled in &self.shown {
            stapled.show(&staple);
        }
        self.failures = 0;
        let first = self.staple.is_none();
        self.staple = Some(staple);
        Happened::New { first }
    }
}

/// Certificates of one responder stand in one line; those of files in another.
fn line(source: &Source) -> Arc<str> {
    match source {
        Source::Responder(uri) => uri.authority().map_or("", |a| a.as_str()).into(),
        Source::File(_) => "files".into(),
    }
}
