//! The chains that were shown, each described once.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::chains::Shown;
use super::report::{CertificateReport, StapleReport, StapleState};
use super::run::Trust;
use super::witness::Learnt;
use crate::certs::describe::{Anchors, Known, describe};
use crate::certs::ocsp::subject::{Subject, Unfit};
use crate::certs::ocsp::verify::verify;
use crate::telemetry::timestamp::Rfc3339;

/// Chains as they come in.
#[derive(Debug)]
pub(super) struct Certificates<'t> {
    trust: &'t Trust,
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

impl<'t> Certificates<'t> {
    /// None yet; time is told by `now`.
    pub(super) fn new(trust: &'t Trust, now: SystemTime) -> Self {
        let roots = &trust.roots;
        Self {
            trust,
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
            staple: seen.shown.staple.as_ref().map(|staple| {
                staple_report(staple, &seen.shown.chain, &self.trust.authorities, self.now)
            }),
            forged: seen.learnt.forged.clone(),
            description: description.ok(),
        }
    }
}

/// What a staple says of the first certificate of this chain, verified by its issuer: from the
/// chain, or one of these authorities.
fn staple_report(
    staple: &[u8],
    chain: &[CertificateDer<'static>],
    authorities: &[CertificateDer<'static>],
    now: SystemTime,
) -> StapleReport {
    let bare = |state, why: String| StapleReport {
        state,
        why: Some(why),
        this_update: None,
        next_update: None,
        age: None,
        left: None,
    };
    let subject = match Subject::read(chain, &[]) {
        // Whoever issues leaves directly need not send itself along.
        Err(Unfit::NoIssuer) => Subject::read(chain, authorities),
        read => read,
    };
    let subject = match subject {
        Ok(subject) => subject,
        Err(unfit) => return bare(StapleState::Unverified, unfit.to_string()),
    };
    let staple = match verify(staple, &subject, None, now) {
        Ok(staple) => staple,
        Err(refusal) => return bare(StapleState::Bad, refusal.to_string()),
    };
    let seconds = |from: SystemTime, to: SystemTime| {
        let between = to.duration_since(from).unwrap_or_default();
        Some(between.as_secs())
    };
    StapleReport {
        state: match staple.is_revoked() {
            true => StapleState::Revoked,
            false => StapleState::Good,
        },
        why: None,
        this_update: Some(Rfc3339(staple.this_update).to_string()),
        next_update: Some(Rfc3339(staple.next_update).to_string()),
        age: seconds(staple.this_update, now),
        left: seconds(now, staple.next_update),
    }
}
