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

/// The certificates of one responder, by when they are due.
#[derive(Default)]
pub(super) struct Line {
    pub(super) waiting: BTreeSet<(SystemTime, [u8; 32])>,
    pub(super) running: usize,
    pub(super) failures: u32,
    /// Wrong answers in a row, and what the last one was about.
    wrong: u32,
    wrong_about: Option<Tag>,
    pub(super) not_before: Option<SystemTime>,
}

impl Line {
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
        let (due, _) = self.waiting.first().filter(|_| self.running < most)?;
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
