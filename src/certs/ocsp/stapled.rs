//! A certificate as it is shown: with a staple that comes, changes and ends while it is in use.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;

use super::{Staple, Subject};
use crate::certs::leaf::Leaf;
use crate::tags::Tag;

/// A certificate and its key, with or without a staple. A handshake takes what is current.
pub struct Stapled {
    /// What is shown without a staple.
    bare: Arc<CertifiedKey>,
    staple: ArcSwapOption<Timed>,
    /// Another certificate, shown while this one needs a staple and has had none.
    former: ArcSwapOption<Timed>,
    subject: Result<Arc<Subject>, Unstapled>,
    required: bool,
}

/// What is shown until a certain moment, with its staple.
struct Timed {
    key: Arc<CertifiedKey>,
    revoked: bool,
    /// Since when its staple is right, and when it ends to be shown.
    since: SystemTime,
    until: SystemTime,
}

/// Why a certificate is never stapled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unstapled {
    /// It is not to be.
    Off,
    /// It names no responder, and nothing else was named.
    NoResponder,
    /// Its issuer's certificate is not there: no response could be verified.
    NoIssuer,
}

impl Stapled {
    /// A certificate that is shown as it is, for good.
    pub fn never(key: Arc<CertifiedKey>, why: Unstapled) -> Self {
        Self {
            bare: key,
            staple: ArcSwapOption::empty(),
            former: ArcSwapOption::empty(),
            subject: Err(why),
            required: false,
        }
    }

    /// A certificate that is shown without a staple, for good. What `key` has as a response itself
    /// is not shown: nobody has verified it, and nobody would take it away.
    pub fn bare(key: &Arc<CertifiedKey>, why: Unstapled) -> Self {
        Self::never(with(key, None), why)
    }

    /// A certificate that is stapled once there is a staple; with `required` it is not to be shown
    /// before. What `key` has as a response itself is not shown: nobody has verified it.
    pub fn awaiting(key: &Arc<CertifiedKey>, subject: Arc<Subject>, required: bool) -> Self {
        Self {
            subject: Ok(subject),
            required,
            ..Self::bare(key, Unstapled::Off)
        }
    }

    /// What a handshake shows at the moment that `now` gives, which is asked only if a staple may
    /// have ended.
    ///
    /// A staple ends by the clock, whether or not anybody has come to take it away; and should the
    /// clock go back, it holds again.
    pub fn current(&self, now: impl FnOnce() -> SystemTime) -> Arc<CertifiedKey> {
        let (staple, former) = (self.staple.load(), self.former.load());
        if staple.is_none() && former.is_none() {
            return Arc::clone(&self.bare);
        }
        let now = now();
        let mut shown = [&*staple, &*former].into_iter().flatten();
        let shown = shown.find(|shown| now < shown.until);
        Arc::clone(shown.map_or(&self.bare, |shown| &shown.key))
    }

    /// Whether there is something that may be shown at the moment that `now` gives: one that
    /// requires a staple has to have one.
    pub fn may_be_shown(&self, now: impl FnOnce() -> SystemTime) -> bool {
        !self.required || self.showable(now()).is_some()
    }

    /// What is shown with a staple at `now`.
    fn showable(&self, now: SystemTime) -> Option<Arc<Timed>> {
        let holds = |shown: &Arc<Timed>| now < shown.until;
        let staple = self.staple.load_full().filter(holds);
        staple.or_else(|| self.former.load_full().filter(holds))
    }

    /// What the staple says that is shown at the moment that `now` gives, which is asked only if
    /// there is one: `good`, `revoked`. `None` without one.
    pub fn says(&self, now: impl FnOnce() -> SystemTime) -> Option<&'static str> {
        if self.staple.load().is_none() && self.former.load().is_none() {
            return None;
        }
        let shown = self.showable(now())?;
        Some(if shown.revoked { "revoked" } else { "good" })
    }

    /// Shows this staple from now on.
    pub fn show(&self, staple: &Staple) {
        let key = with(&self.bare, Some(staple.der.to_vec()));
        self.staple.store(Some(Arc::new(Timed {
            key,
            revoked: staple.is_revoked(),
            since: staple.this_update,
            until: staple.next_update,
        })));
        self.former.store(None);
    }

    /// Since when the staple that is shown at `now` is right, and when it ends to be shown; `None`
    /// without one. It is the former one's while that stands in.
    pub fn dates(&self, now: SystemTime) -> Option<(SystemTime, SystemTime)> {
        let shown = self.showable(now)?;
        Some((shown.since, shown.until))
    }

    /// Has what `former` shows be shown until there is a first staple, if this one needs a staple
    /// and has none: so long as the former one's staple holds and its certificate is valid, but
    /// not where that staple says it is revoked. Tells whether it will be.
    pub fn stand_in(&self, former: &Self, now: SystemTime) -> bool {
        if !self.required || self.staple.load().is_some() {
            return false;
        }
        // Who renews at once may have lost the former one's key: better nothing than that one.
        let shown = former.showable(now).filter(|shown| !shown.revoked);
        let Some(shown) = shown else {
            return false;
        };
        let leaf = shown
            .key
            .cert
            .first()
            .and_then(|leaf| Leaf::read(leaf).ok());
        let Some(leaf) = leaf else {
            return false;
        };
        let until = shown.until.min(leaf.not_after);
        self.former.store(Some(Arc::new(Timed {
            key: Arc::clone(&shown.key),
            revoked: shown.revoked,
            since: shown.since,
            until,
        })));
        if self.staple.load().is_some() {
            // It has come meanwhile.
            self.former.store(None);
        }
        now < until
    }

    /// The certificate and its key, as they are shown now but for a former one.
    pub fn key(&self) -> Arc<CertifiedKey> {
        let staple = self.staple.load_full();
        let staple = staple.filter(|staple| SystemTime::now() < staple.until);
        staple.map_or_else(|| Arc::clone(&self.bare), |shown| Arc::clone(&shown.key))
    }

    /// What can be asked about it; `None` if it is never stapled.
    pub fn subject(&self) -> Option<&Arc<Subject>> {
        self.subject.as_ref().ok()
    }

    /// Why it is never stapled; `None` if it is, once there is a staple.
    pub fn unstapled(&self) -> Option<Unstapled> {
        self.subject.as_ref().err().copied()
    }

    /// A hash over what is said of its staples: equal means that they are come by alike.
    pub fn tag(&self) -> Tag {
        let subject = self.subject().map(|subject| subject.tag().0);
        let subject = subject.as_ref().map_or(&[][..], |tag| &tag[..]);
        Tag::of(&[b"cutwater stapled 1", &[u8::from(self.required)], subject])
    }

    /// Whether it needs a staple to be shown.
    pub fn is_required(&self) -> bool {
        self.required
    }
}

/// The same certificate and key with another response.
fn with(key: &Arc<CertifiedKey>, ocsp: Option<Vec<u8>>) -> Arc<CertifiedKey> {
    if key.ocsp == ocsp {
        return Arc::clone(key);
    }
    let mut key = CertifiedKey::clone(key);
    key.ocsp = ocsp;
    Arc::new(key)
}

impl fmt::Debug for Stapled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stapled")
            .field("subject", &self.subject)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}
