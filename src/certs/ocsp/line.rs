//! The line in which the certificates of one responder stand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::book::{Failure, Job};
use super::{Source, Staple};
use crate::tags::Tag;

/// Attempts at once at one responder.
pub const AT_ONE: usize = 2;

/// Wrong answers in a row, about several certificates, that are the responder's own fault.
pub const ALIKE: u32 = 5;

/// When a certificate is due, and its key in the book.
pub(super) type Due = (SystemTime, [u8; 32]);

/// The certificates of one responder, by when they are due.
#[derive(Default)]
pub(super) struct Line {
    /// Those that are not shown without a staple: however many others are due, they go first.
    required: BTreeSet<Due>,
    others: BTreeSet<Due>,
    pub(super) running: usize,
    pub(super) failures: u32,
    /// Wrong answers in a row, and what the last one was about.
    wrong: u32,
    wrong_about: Option<Tag>,
    pub(super) not_before: Option<SystemTime>,
}

impl Line {
    /// One stands in line from now on.
    pub(super) fn wait(&mut self, due: Due, required: bool) {
        match required {
            true => self.required.insert(due),
            false => self.others.insert(due),
        };
    }

    /// One stands in line no more; tells whether it did.
    pub(super) fn leave(&mut self, due: &Due) -> bool {
        self.required.remove(due) || self.others.remove(due)
    }

    /// Takes out whose turn it is: one that is required, if one is due.
    pub(super) fn take(&mut self, now: SystemTime) -> Option<[u8; 32]> {
        let required = self.required.first().is_some_and(|(due, _)| *due <= now);
        let first = match required {
            true => self.required.pop_first(),
            false => self.others.pop_first(),
        };
        first.map(|(_, key)| key)
    }

    /// Whether a certificate waits that is not shown without a staple, and is due before `at`.
    pub(super) fn requires(&self, at: SystemTime) -> bool {
        self.required.first().is_some_and(|(due, _)| *due <= at)
    }

    /// Whether nobody stands in it or is served.
    pub(super) fn is_empty(&self) -> bool {
        self.running == 0 && self.required.is_empty() && self.others.is_empty()
    }

    /// Takes note of how an attempt ended; tells whether the responder is to blame for a failure.
    pub(super) fn ended(&mut self, job: &Job, result: &Result<Staple, Failure>) -> bool {
        // Files have nothing to do with one another.
        let asked = matches!(job.source, Source::Responder(_));
        let blamed = match result {
            Err(failure) if asked && failure.of_responder => true,
            Err(_) if asked => {
                // Of one certificate it may be right in its own way.
                if self.wrong_about.replace(job.key) != Some(job.key) {
                    self.wrong = self.wrong.saturating_add(1);
                }
                self.wrong >= ALIKE
            }
            _ => {
                self.wrong = 0;
                self.wrong_about = None;
                false
            }
        };
        self.failures = match blamed {
            true => self.failures.saturating_add(1),
            false => 0,
        };
        blamed
    }

    /// When its first job can begin.
    pub(super) fn next(&self) -> Option<SystemTime> {
        // While it fails, one certificate finds out for all.
        let most = if self.failures > 0 { 1 } else { AT_ONE };
        if self.running >= most {
            return None;
        }
        let firsts = [self.required.first(), self.others.first()];
        let (due, _) = firsts.into_iter().flatten().min()?;
        Some(
            self.not_before
                .map_or(*due, |not_before| not_before.max(*due)),
        )
    }
}

/// Certificates of one responder stand in one line; those of files in another.
pub(super) fn line(source: &Source) -> Arc<str> {
    match source {
        Source::Responder(uri) => uri.authority().map_or("", |a| a.as_str()).into(),
        Source::File(_) => "files".into(),
    }
}
