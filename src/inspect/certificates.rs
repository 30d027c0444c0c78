//! The chains that were shown, each described once.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;

use super::chains::Shown;
use super::report::CertificateReport;
use super::witness::Learnt;
use crate::certs::describe::{Anchors, Known, describe};

/// Chains as they come in.
#[derive(Debug)]
pub(super) struct Certificates {
    /// `None` where nothing is trusted: then nothing is said of trust.
    anchors: Option<Anchors>,
    now: SystemTime,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    shown: Shown,
    kinds: Vec<&'static str>,
    learnt: Learnt,
}

impl Certificates {
    /// None yet; trust is told by these roots, time by `now`.
    pub(super) fn new(roots: &Arc<RootCertStore>, now: SystemTime) -> Self {
        Self {
            anchors: (!roots.is_empty()).then(|| Anchors::new(roots)),
            now,
            seen: Vec::new(),
        }
    }

    /// What was learnt by a handshake: with this kind of signature only, or any.
    pub(super) fn add(&mut self, kind: Option<&'static str>, learnt: &Learnt) {
        let Some(shown) = &learnt.shown else {
            return;
        };
        let seen = self.entry(shown);
        seen.kinds.extend(kind);
        if seen.learnt.shown.is_none() {
            seen.learnt = learnt.clone();
        }
    }

    /// A chain that came in the clear.
    pub(super) fn add_unverified(&mut self, shown: &Shown) {
        self.entry(shown);
    }

    /// Servers staple now and then only: one staple of a chain is enough.
    fn entry(&mut self, shown: &Shown) -> &mut Seen {
        let same = self
            .seen
            .iter()
            .position(|it| it.shown.chain == shown.chain);
        let place = same.unwrap_or_else(|| {
            self.seen.push(Seen {
                shown: shown.clone(),
                kinds: Vec::new(),
                learnt: Learnt::default(),
            });
            self.seen.len() - 1
        });
        let seen = &mut self.seen[place];
        if seen.shown.staple.is_none() {
            seen.shown.staple.clone_from(&shown.staple);
        }
        seen
    }

    /// What there is to say of each.
    pub(super) fn reports(&self) -> Vec<CertificateReport> {
        self.seen.iter().map(|seen| self.report(seen)).collect()
    }

    fn report(&self, seen: &Seen) -> CertificateReport {
        let known = Known {
            anchors: self.anchors.as_ref(),
            ..Known::default()
        };
        let description = describe(&seen.shown.chain, self.now, &known);
        let trust = seen.learnt.trust.as_ref();
        CertificateReport {
            shown_for: seen.kinds.clone(),
            trusted: trust.map(Result::is_ok),
            distrust: trust.and_then(|trust| trust.as_ref().err().cloned()),
            staple: None,
            description: description.ok(),
        }
    }
}
