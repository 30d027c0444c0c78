//! A certificate as it is shown: with a staple that comes, changes and ends while it is in use.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

use super::{Staple, Subject};
use crate::tags::Tag;

/// A certificate and its key, with or without a staple. A handshake takes what is current.
pub struct Stapled {
    shown: ArcSwap<Shown>,
    subject: Result<Arc<Subject>, Unstapled>,
    required: bool,
}

struct Shown {
    key: Arc<CertifiedKey>,
    /// Since when its staple is right, and when it ends; `None` without one.
    dates: Option<(SystemTime, SystemTime)>,
}

impl Shown {
    fn until(&self) -> Option<SystemTime> {
        self.dates.map(|(_, until)| until)
    }
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
            shown: ArcSwap::from_pointee(Shown { key, dates: None }),
            subject: Err(why),
            required: false,
        }
    }

    /// A certificate that is stapled once there is a staple; with `required` it is not to be shown
    /// before. What `key` has as a response itself is not shown: nobody has verified it.
    pub fn awaiting(key: Arc<CertifiedKey>, subject: Arc<Subject>, required: bool) -> Self {
        Self {
            shown: ArcSwap::from_pointee(Shown {
                key: with(&key, None),
                dates: None,
            }),
            subject: Ok(subject),
            required,
        }
    }

    /// What a handshake shows at the moment that `now` gives, which is asked only if a staple may
    /// have ended.
    ///
    /// A staple ends by the clock, whether or not anybody has come to take it away.
    pub fn current(&self, now: impl FnOnce() -> SystemTime) -> Arc<CertifiedKey> {
        let shown = self.shown.load();
        match shown.until() {
            Some(until) if until <= now() => {
                let bare = with(&shown.key, None);
                let ended = Arc::new(Shown {
                    key: Arc::clone(&bare),
                    dates: None,
                });
                // Not what has come meanwhile.
                self.shown.compare_and_swap(&*shown, ended);
                bare
            }
            _ => Arc::clone(&shown.key),
        }
    }

    /// Whether it may be shown at the moment that `now` gives: one that requires a staple has to
    /// have one.
    pub fn may_be_shown(&self, now: impl FnOnce() -> SystemTime) -> bool {
        !self.required || self.shown.load().until().is_some_and(|until| now() < until)
    }

    /// Shows this staple from now on.
    pub fn show(&self, staple: &Staple) {
        let key = with(&self.shown.load().key, Some(staple.der.to_vec()));
        let dates = Some((staple.this_update, staple.next_update));
        self.shown.store(Arc::new(Shown { key, dates }));
    }

    /// Since when the staple that is shown at `now` is right, and when it ends; `None` without one.
    pub fn dates(&self, now: SystemTime) -> Option<(SystemTime, SystemTime)> {
        self.shown.load().dates.filter(|(_, until)| now < *until)
    }

    /// The certificate and its key, as they are shown now.
    pub fn key(&self) -> Arc<CertifiedKey> {
        self.current(SystemTime::now)
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
