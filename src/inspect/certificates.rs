//! The chains that were shown, each described once.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::chains::{MOST, Shown};
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
    /// At most [`MOST`].
    seen: Vec<Seen>,
    /// Whether there were more.
    more: bool,
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
            more: false,
        }
    }

    /// What was learnt by a handshake: with this kind of signature only, or any.
    pub(super) fn add(&mut self, kind: Option<&'static str>, learnt: &Learnt) {
        let Some(shown) = &learnt.shown else {
            return;
        };
        let Some(seen) = self.entry(shown) else {
            return;
        };
        seen.kinds.extend(kind);
        if seen.learnt.shown.is_none() {
            seen.learnt = learnt.clone();
        }
    }

    /// A chain that came in the clear.
    pub(super) fn add_unverified(&mut self, shown: &Shown) {
        self.entry(shown);
    }

    /// Servers staple now and then only: one staple of a chain is enough. `None` for one more chain
    /// than are told.
    fn entry(&mut self, shown: &Shown) -> Option<&mut Seen> {
        let same = self
            .seen
            .iter()
            .position(|it| it.shown.chain == shown.chain);
        if same.is_none() && self.seen.len() == MOST {
            self.more = true;
            return None;
        }
        let place = same.unwrap_or_else(|| {
            self.seen.push(Seen {
                shown: shown.clone(),
                kinds: Vec::new(),
                learnt: Learnt::default(),
            });
            self.seen.len() - 1
        });
        let seen = self.seen.get_mut(place)?;
        if seen.shown.staple.is_none() {
            seen.shown.staple.clone_from(&shown.staple);
        }
        Some(seen)
    }

    /// What there is to say of each, as long as it is in time; and what is not said.
    pub(super) fn reports(
        &self,
        in_time: impl Fn() -> bool,
    ) -> (Vec<CertificateReport>, Option<String>) {
        let told = self.seen.iter().take_while(|_| in_time());
        let told: Vec<CertificateReport> = told.map(|seen| self.report(seen)).collect();
        let note = match (told.len() < self.seen.len(), self.more) {
            (true, _) => Some("certificates: the whole took too long".to_owned()),
            (_, true) => Some(format!(
                "certificates: the server showed more than {MOST} chains, these are the first"
            )),
            _ => None,
        };
        (told, note)
    }

    fn report(&self, seen: &Seen) -> CertificateReport {
        let known = Known {
            anchors: self.anchors.as_ref(),
            logs: self.trust.logs.as_ref(),
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

#[cfg(test)]
mod tests;
