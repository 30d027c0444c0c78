//! The book of all certificates that are stapled: which has what, which is asked about next.
//!
//! No clock, no I/O: the keeper asks what is [due](Book::due), does it, and tells what came of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::entry::{Entry, Shown, first_due};
use super::line::{Line, line};
use super::schedule::{
    LEAST, LOOK, MOST_WANTED, MOST_WRONG, after_answer, after_failure, after_want, pause,
};
use super::{Source, Staple, StapleStatus, Stapled, Subject};
use crate::tags::Tag;
use crate::telemetry::labels::OcspFetch;

/// Attempts at once, over all responders.
pub const AT_ONCE: usize = 16;

/// The least between two attempts at one responder: 50 in a second.
pub const BETWEEN: Duration = Duration::from_millis(20);

/// How often a revocation is told of.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// Numbers by chance, from 0 to 1.
pub type Chance = Box<dyn FnMut() -> f64 + Send>;

/// What is to be done now.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) key: Tag,
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
    /// Certificates that are revoked, with since when, and were not told of for a day.
    pub told_revoked: Vec<(Arc<Subject>, SystemTime)>,
}

/// All certificates that are stapled.
pub struct Book {
    entries: HashMap<Tag, Entry>,
    lines: HashMap<Arc<str>, Line>,
    running: usize,
    chance: Chance,
    /// The clock as it was last.
    clock: Option<SystemTime>,
}

impl Book {
    /// An empty book.
    pub fn new(chance: Chance) -> Self {
        Self {
            entries: HashMap::new(),
            lines: HashMap::new(),
            running: 0,
            chance,
            clock: None,
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
        let mut wanted: HashMap<Tag, Vec<Shown>> = HashMap::new();
        let mut want = |stapled: Arc<Stapled>, former| {
            if let Some(subject) = stapled.subject() {
                let shown = wanted.entry(subject.tag()).or_default();
                shown.push(Shown { stapled, former });
            }
        };
        for stapled in stapled {
            if let Some(former) = stapled.former(now) {
                want(former, true);
            }
            want(stapled, false);
        }
        // What is right does not become wrong because somebody else is to be asked from now on.
        let left: HashMap<_, Staple> = self
            .entries
            .values()
            .filter_map(|entry| Some((entry.subject.certificate(), entry.staple.clone()?)))
            .collect();
        self.retain(|key, _| wanted.contains_key(key));
        for (key, shown) in wanted {
            match self.entries.get_mut(&key) {
                Some(entry) => {
                    for Shown { stapled: new, .. } in &shown {
                        let mut old = entry.shown.iter();
                        let old = old.any(|old| Arc::ptr_eq(&old.stapled, new));
                        if let (false, Some(staple)) = (old, &entry.staple) {
                            new.show(staple);
                        }
                    }
                    entry.shown = shown;
                    let line = entry.line.as_ref();
                    // What needs a staple may be another one.
                    if let Some(line) = line.and_then(|line| self.lines.get_mut(line))
                        && line.leave(&(entry.due, key.0))
                    {
                        line.wait((entry.due, key.0), entry.is_required());
                    }
                }
                None => {
                    let left = |subject: &Subject| left.get(&subject.certificate()).cloned();
                    let mut known = |subject: &Subject| {
                        let known = [recall(subject), left(subject)].into_iter().flatten();
                        let valid = known.filter(|staple| staple.is_valid(now));
                        valid.max_by_key(|staple| staple.this_update)
                    };
                    self.add(key, shown, &mut known, now);
                }
            }
        }
        self.lines.retain(|_, line| !line.is_empty());
    }

    /// Forgets those that stand in for nobody any more.
    pub fn forget(&mut self, now: SystemTime) {
        let shown = self.entries.values().flat_map(|entry| &entry.shown);
        let standing = shown
            .filter(|shown| !shown.former)
            .filter_map(|shown| Some(Arc::as_ptr(&shown.stapled.former(now)?)));
        let standing: HashSet<_> = standing.collect();
        for entry in self.entries.values_mut() {
            let stands = |shown: &Shown| standing.contains(&Arc::as_ptr(&shown.stapled));
            entry.shown.retain(|shown| !shown.former || stands(shown));
        }
        self.retain(|_, entry| !entry.shown.is_empty());
        self.lines.retain(|_, line| !line.is_empty());
    }

    fn retain(&mut self, stays: impl Fn(&Tag, &Entry) -> bool) {
        let lines = &mut self.lines;
        self.entries.retain(|key, entry| {
            let stays = stays(key, entry);
            if !stays && let Some(line) = entry.line.as_ref().and_then(|line| lines.get_mut(line)) {
                line.leave(&(entry.due, key.0));
            }
            stays
        });
    }

    fn add(
        &mut self,
        key: Tag,
        shown: Vec<Shown>,
        known: &mut dyn FnMut(&Subject) -> Option<Staple>,
        now: SystemTime,
    ) {
        let first = shown.first();
        let Some(subject) = first.and_then(|shown| shown.stapled.subject()).cloned() else {
            return;
        };
        let staple = known(&subject);
        for shown in &shown {
            if let Some(staple) = &staple {
                shown.stapled.show(staple);
            }
        }
        let due = first_due(&subject, staple.as_ref(), now, (self.chance)());
        let kept = staple.is_some();
        let line = subject.source.as_ref().map(line);
        let entry = Entry {
            subject,
            shown,
            staple,
            line,
            due,
            failures: 0,
            running: false,
            told: false,
            reminded: None,
            kept,
        };
        if let Some(line) = &entry.line {
            let line = self.lines.entry(Arc::clone(line)).or_default();
            line.wait((due, key.0), entry.is_required());
        }
        self.entries.insert(key, entry);
    }

    /// What is to be done now; to be called until there is nothing.
    pub fn due(&mut self, now: SystemTime) -> Option<Job> {
        self.look_at_clock(now);
        let (next, name) = self.ready()?;
        if next > now {
            return None;
        }
        let name = Arc::clone(name);
        let line = self.lines.get_mut(&name)?;
        let key = line.take(now)?;
        let entry = self.entries.get_mut(&Tag(key))?;
        let source = entry.subject.source.clone()?;
        entry.running = true;
        line.running += 1;
        line.not_before = match source {
            Source::Responder(_) => Some(now + BETWEEN),
            Source::File(_) => None,
        };
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
        self.ready().map(|(next, _)| next)
    }

    /// Whose first job can begin first, and when.
    fn ready(&self) -> Option<(SystemTime, &Arc<str>)> {
        if self.running >= AT_ONCE {
            return None;
        }
        // However many responders are silent, there is room for those that answer.
        let failing = self.lines.values().filter(|line| line.failures > 0);
        let full = failing.map(|line| line.running).sum::<usize>() >= AT_ONCE / 2;
        let lines = self.lines.iter();
        lines
            .filter(|(_, line)| !(full && line.failures > 0))
            .filter_map(|(name, line)| Some((line.next()?, name)))
            .min()
    }

    /// After a clock that has gone back everything would be due when it comes to where it has been:
    /// all is reckoned anew.
    fn look_at_clock(&mut self, now: SystemTime) {
        let last = self.clock.replace(now);
        if last.is_none_or(|last| last <= now + LEAST) {
            return;
        }
        for line in self.lines.values_mut() {
            line.not_before = None;
        }
        for (key, entry) in &mut self.entries {
            let line = entry
                .line
                .as_ref()
                .and_then(|line| self.lines.get_mut(line));
            if let Some(line) = line
                && line.leave(&(entry.due, key.0))
            {
                let staple = entry.staple.as_ref().filter(|staple| staple.is_valid(now));
                entry.due = first_due(&entry.subject, staple, now, (self.chance)());
                line.wait((entry.due, key.0), entry.is_required());
            }
            entry.reminded = None;
        }
    }

    /// Staples that responders gave and that are not on disk.
    pub fn not_kept(&self) -> Vec<(Arc<Subject>, Staple)> {
        let entries = self.entries.values().filter(|entry| !entry.kept);
        let asked = entries
            .filter(|entry| matches!(entry.subject.source, Some(Source::Responder(_))))
            .filter_map(|entry| Some((Arc::clone(&entry.subject), entry.staple.clone()?)));
        asked.collect()
    }

    /// This staple is on disk now.
    pub fn kept(&mut self, subject: &Subject, staple: &Staple) {
        if let Some(entry) = self.entries.get_mut(&subject.tag()) {
            entry.kept |= entry.staple.as_ref() == Some(staple);
        }
    }

    /// No staple is on disk: they are kept elsewhere from now on.
    pub fn keep_anew(&mut self) {
        for entry in self.entries.values_mut() {
            entry.kept = false;
        }
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
        let blamed = line.ended(job, &result);
        let answers = matches!(&result, Err(failure) if !failure.of_responder);
        let entry = self.entries.get_mut(&job.key);
        if blamed {
            let most = match &entry {
                _ if answers => MOST_WRONG,
                Some(entry) if entry.is_wanted(now) => MOST_WANTED,
                // Whoever failed has failed for all.
                _ if line.requires(now + MOST_WANTED) => MOST_WANTED,
                _ => Duration::MAX,
            };
            line.not_before = Some(now + pause(line.failures, chance).min(most));
        }
        let Some(entry) = entry.filter(|entry| entry.running) else {
            return Happened::Nothing;
        };
        entry.running = false;
        let happened = match result {
            Ok(staple) => entry.take(staple, now),
            Err(_) => {
                entry.failures = entry.failures.saturating_add(1);
                let times = if blamed {
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
            _ if entry.is_wanted(now) => after_want(entry.failures.max(1), now, chance),
            (_, _, staple) => after_failure(entry.failures.max(1), staple.as_ref(), now, chance),
        };
        line.wait((entry.due, job.key.0), entry.is_required());
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
                    let fresh = |at| now.duration_since(at).is_ok_and(|ago| ago < REMIND);
                    if let StapleStatus::Revoked(since) = staple.status
                        && !entry.reminded.is_some_and(fresh)
                    {
                        entry.reminded = Some(now);
                        let subject = Arc::clone(&entry.subject);
                        figures.told_revoked.push((subject, since));
                    }
                    entry.told = false;
                    continue;
                }
                Some(_) => figures.expired += 1,
                None => figures.missing += 1,
            }
            // Of one that is being asked about for the first time nothing can be said yet.
            let tried = entry.staple.is_some() || entry.failures > 0;
            // Another may stand in for it.
            let refused = |shown: &Shown| !shown.former && !shown.stapled.may_be_shown(|| now);
            let refused = entry.shown.iter().any(refused);
            if refused && tried && !std::mem::replace(&mut entry.told, true) {
                figures.lapsed.push(Arc::clone(&entry.subject));
            }
        }
        figures
    }
}
