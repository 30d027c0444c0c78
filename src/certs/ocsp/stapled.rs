//! A certificate as it is shown: with a staple that comes, changes and ends while it is in use.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;

use super::{Staple, Subject};
use crate::certs::leaf::Leaf;
use crate::config::names::SiteName;
use crate::tags::Tag;

/// A certificate and its key, with or without a staple. A handshake takes what is current.
pub struct Stapled {
    /// What is shown without a staple.
    bare: Arc<CertifiedKey>,
    staple: ArcSwapOption<Timed>,
    /// Another certificate, shown while this one needs a staple and has had none.
    former: ArcSwapOption<Former>,
    subject: Result<Arc<Subject>, Unstapled>,
    required: bool,
}

/// What is shown until a certain moment, with its staple.
struct Timed {
    key: Arc<CertifiedKey>,
    revoked: bool,
    /// Since when its staple is right, and when that ends to be shown.
    since: SystemTime,
    until: SystemTime,
}

/// A certificate that stands in for another one, with its staples as they come and go.
struct Former {
    stapled: Arc<Stapled>,
    leaf: Leaf,
}

impl Former {
    fn new(stapled: &Arc<Stapled>) -> Option<Self> {
        let leaf = Leaf::read(stapled.bare.cert.first()?).ok()?;
        Some(Self {
            stapled: Arc::clone(stapled),
            leaf,
        })
    }

    /// Whether it is not shown any more, whatever comes.
    fn is_over(&self, now: SystemTime) -> bool {
        let revoked = self.stapled.staple.load();
        now >= self.leaf.not_after || revoked.as_ref().is_some_and(|shown| shown.revoked)
    }

    /// What it shows at `now`: not without a staple, and not one that says it is revoked, since who
    /// renews at once may have lost its key. Better nothing than that one.
    fn shown(&self, now: SystemTime) -> Option<Arc<Timed>> {
        let shown = self.stapled.staple.load_full()?;
        (!shown.revoked && now < shown.until && now < self.leaf.not_after).then_some(shown)
    }
}

/// What a handshake shows.
pub struct Current {
    /// The certificate and its key, with the response that is stapled.
    pub key: Arc<CertifiedKey>,
    /// What the staple says: `good`, `revoked`. `None` without one.
    pub says: Option<&'static str>,
    /// Whether it must not be shown, for want of a staple.
    pub lacks_staple: bool,
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
    pub fn current(&self, now: impl FnOnce() -> SystemTime) -> Current {
        match self.showable(now) {
            Some(shown) => Current {
                key: Arc::clone(&shown.key),
                says: Some(if shown.revoked { "revoked" } else { "good" }),
                lacks_staple: false,
            },
            None => Current {
                key: Arc::clone(&self.bare),
                says: None,
                lacks_staple: self.required,
            },
        }
    }

    /// Whether there is something that may be shown at the moment that `now` gives: one that
    /// requires a staple has to have one.
    pub fn may_be_shown(&self, now: impl FnOnce() -> SystemTime) -> bool {
        !self.required || self.showable(now).is_some()
    }

    /// What is shown with a staple.
    fn showable(&self, now: impl FnOnce() -> SystemTime) -> Option<Arc<Timed>> {
        // In this order: `show` stores a staple first, and lets the former one go then.
        let former = self.former.load();
        let staple = self.staple.load();
        if staple.is_none() && former.is_none() {
            return None;
        }
        let now = now();
        match &*staple {
            Some(shown) if now < shown.until => Some(Arc::clone(shown)),
            _ => former.as_ref()?.shown(now),
        }
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
        let shown = self.showable(|| now)?;
        Some((shown.since, shown.until))
    }

    /// Has `former` be shown until there is a first staple, if this one needs a staple and has none:
    /// so long as the former one has a staple, its certificate is valid and it is not revoked; not
    /// if it does not cover all of `names`. Tells whether it will be.
    pub fn stand_in(&self, former: &Arc<Self>, names: &[SiteName], now: SystemTime) -> bool {
        if !self.required || self.staple.load().is_some() {
            return false;
        }
        // In the order of `showable`. Another renewal may come before the last one has its first.
        let before = former.former.load_full();
        let standing = if former.staple.load().is_some() {
            Former::new(former).map(Arc::new)
        } else {
            before
        };
        let standing = standing.filter(|standing| {
            let mut names = names.iter();
            names.all(|name| standing.leaf.covers(name)) && standing.shown(now).is_some()
        });
        let stood_in_for = standing.is_some();
        self.former.store(standing);
        if self.staple.load().is_some() {
            // It has come meanwhile.
            self.former.store(None);
        }
        stood_in_for
    }

    /// The certificate that stands in for this one, which is to be asked about as long as it does.
    /// One that never can again is let go.
    pub fn former(&self, now: SystemTime) -> Option<Arc<Self>> {
        let former = self.former.load_full()?;
        if former.is_over(now) {
            self.former.store(None);
            return None;
        }
        Some(Arc::clone(&former.stapled))
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
