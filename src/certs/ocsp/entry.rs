//! One certificate in the book of those that are stapled.

use std::sync::Arc;
use std::time::SystemTime;

use super::book::Happened;
use super::schedule::{LOOK, after_start};
use super::{Source, Staple, Stapled, Subject};

/// Where a certificate is shown.
pub(super) struct Shown {
    pub(super) stapled: Arc<Stapled>,
    /// Only in place of another one, which has had no staple yet.
    pub(super) former: bool,
}

pub(super) struct Entry {
    pub(super) subject: Arc<Subject>,
    pub(super) shown: Vec<Shown>,
    pub(super) staple: Option<Staple>,
    pub(super) line: Option<Arc<str>>,
    pub(super) due: SystemTime,
    pub(super) failures: u32,
    pub(super) running: bool,
    pub(super) told: bool,
    /// When its revocation was told of last.
    pub(super) reminded: Option<SystemTime>,
    /// Whether its staple is on disk.
    pub(super) kept: bool,
}

impl Entry {
    /// Whether handshakes are refused, or will be soon, because it has no staple.
    pub(super) fn is_wanted(&self, now: SystemTime) -> bool {
        let staple = self.staple.as_ref();
        !staple.is_some_and(|staple| staple.is_valid(now)) && self.is_required()
    }

    pub(super) fn is_required(&self) -> bool {
        self.shown.iter().any(|shown| shown.stapled.is_required())
    }

    pub(super) fn take(&mut self, staple: Staple, now: SystemTime) -> Happened {
        let current = self.staple.as_ref().filter(|current| current.is_valid(now));
        if let Some(current) = current {
            if current.der == staple.der {
                self.failures = 0;
                for shown in &self.shown {
                    shown.stapled.show(&staple);
                }
                return Happened::Same;
            }
            // Whoever sends what was once true must not undo a revocation.
            if staple.this_update < current.this_update {
                self.failures = self.failures.saturating_add(1);
                return Happened::Older;
            }
        }
        for shown in &self.shown {
            shown.stapled.show(&staple);
        }
        self.failures = 0;
        let first = self.staple.is_none();
        self.staple = Some(staple);
        self.kept = false;
        self.reminded = None;
        Happened::New { first }
    }
}

/// When a certificate is asked about for the first time.
pub(super) fn first_due(
    subject: &Subject,
    staple: Option<&Staple>,
    now: SystemTime,
    chance: f64,
) -> SystemTime {
    match (staple, &subject.source) {
        (Some(staple), Some(Source::Responder(_))) => after_start(staple, now, chance),
        (Some(_), _) => now + LOOK,
        (None, _) => now,
    }
}
