//! Sessions: what lets a client come back without a full handshake, and what decides whether its
//! early data may count.
//!
//! Sites with early data keep their sessions in one single-use [`Store`]; the others get stateless
//! tickets. Nothing here does any I/O, and time comes in as an argument: `now`, in seconds of a
//! clock that does not run backwards. [`Sessions::now`] is such a clock.

mod connection;
mod recent;
mod shard;
mod store;
#[cfg(test)]
mod tests;
mod tickets;

use std::sync::Arc;
use std::time::Instant;

use rustls::{HandshakeKind, ServerConfig};

pub use self::connection::ConnectionSessions;
pub use self::recent::REMEMBERED;
pub use self::store::{Id, MAX_AGE, Miss, Session, Stats, Store, Tags, Use};
pub use self::tickets::{KEPT, ROTATION, SiteTicketer, TicketKeys};
use crate::config::site_tls::SiteTls;
use crate::tags::Tag;

/// How many identities a hello may offer and still resume (EARLY-DATA R9).
pub const MAX_IDENTITIES: usize = 2;

/// How a site's sessions work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SitePolicy {
    /// What a ticket must share with the site to resume at all.
    pub trust: Tag,
    /// What a ticket must share with the site to be taken for early data.
    pub early: Tag,
    /// Whether it takes early data: single-use sessions instead of stateless tickets.
    pub early_data: bool,
}

impl From<&SiteTls> for SitePolicy {
    fn from(site: &SiteTls) -> Self {
        Self {
            trust: site.trust,
            early: site.early,
            early_data: site.early_data,
        }
    }
}

/// What a ClientHello offers to resume with.
#[derive(Clone, Debug)]
pub struct HelloOffer<I> {
    /// The identities of its `pre_shared_key` extension, in order.
    pub identities: I,
    /// Whether it has the `early_data` extension.
    pub early_data: bool,
    /// Whether the site was chosen as the default one, its names not being asked for.
    pub by_default: bool,
}

/// Why offered early data was refused (EARLY-DATA P4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The ticket is not in the store: used up long ago, evicted, expired, of another process.
    UnknownTicket,
    /// The ticket is among those taken last.
    ReplaySuspected,
    /// A HelloRetryRequest was needed.
    Hrr,
    /// The site takes no early data.
    SiteOff,
    /// The ticket is bound to something else: early-data policy, trust, name, suite; or the site
    /// was chosen by default.
    Policy,
    /// More than two identities.
    TooManyIdentities,
    /// Too much to do.
    Pressure,
    /// Resumed, but not for early data: a stale age, another ALPN, or not the first identity.
    ResumedRefused,
}

impl Refusal {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 8] = [
        Self::UnknownTicket,
        Self::ReplaySuspected,
        Self::Hrr,
        Self::SiteOff,
        Self::Policy,
        Self::TooManyIdentities,
        Self::Pressure,
        Self::ResumedRefused,
    ];

    /// The label of metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownTicket => "unknown_ticket",
            Self::ReplaySuspected => "replay_suspected",
            Self::Hrr => "hrr",
            Self::SiteOff => "site_off",
            Self::Policy => "policy",
            Self::TooManyIdentities => "too_many_identities",
            Self::Pressure => "pressure",
            Self::ResumedRefused => "resumed_refused",
        }
    }
}

impl From<Miss> for Refusal {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Unknown | Miss::Expired => Self::UnknownTicket,
            Miss::ReplaySuspected => Self::ReplaySuspected,
            Miss::OtherTrust | Miss::OtherPolicy => Self::Policy,
        }
    }
}

/// The sessions of the process.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<Store>,
    keys: Arc<TicketKeys>,
    started: Instant,
}

impl Sessions {
    /// Room for `capacity` single-use sessions over all sites.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(Store::new(capacity)),
            keys: TicketKeys::new(0),
            started: Instant::now(),
        })
    }

    /// The `now` of a running process: whole seconds since these sessions were made.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Housekeeping, every few seconds or minutes: an idle process, too, forgets its sessions and
    /// ticket secrets when their time is up.
    pub fn tick(&self, now: u64) {
        self.keys.tick(now);
        self.store.clear_expired(now);
    }

    /// Figures of the single-use store.
    pub fn stats(&self) -> Stats {
        self.store.stats()
    }

    /// How often the secret behind stateless tickets was replaced.
    pub fn ticket_key_rotations(&self) -> u64 {
        self.keys.rotations()
    }

    /// The ticketer for a site without early data; those of one `trust` open each other's tickets
    /// (EARLY-DATA R5).
    pub fn ticketer(&self, trust: Tag) -> Arc<SiteTicketer> {
        self.keys.site(trust)
    }

    /// Chooses how one handshake resumes, before rustls sees its ClientHello.
    ///
    /// `base` is the site's configuration: with early data it has neither store nor ticketer, so
    /// that it resumes nothing by itself. `pressure` refuses early data and still resumes
    /// (EARLY-DATA R8).
    pub fn prepare<'a>(
        &self,
        base: &Arc<ServerConfig>,
        policy: &SitePolicy,
        mut offer: HelloOffer<impl Iterator<Item = &'a [u8]>>,
        pressure: bool,
        now: u64,
    ) -> Prepared {
        self.keys.tick(now);
        let offered = offer.early_data;
        if !policy.early_data {
            return Prepared::unchanged(base, offered, Refusal::SiteOff);
        }
        let identities: [Option<&[u8]>; MAX_IDENTITIES] =
            std::array::from_fn(|_| offer.identities.next());
        if offer.identities.next().is_some() {
            // EARLY-DATA R9: rustls would take every one of them. No store: a full handshake, no
            // alert.
            return Prepared::unchanged(base, offered, Refusal::TooManyIdentities);
        }
        let tags = Tags::new(&policy.trust, &policy.early);
        let (refuse, purpose, refusal) = if offer.by_default {
            // Its tickets take no early data either, else the client would offer it in vain each
            // time.
            (true, Use::Resumption, Some(Refusal::Policy))
        } else if !offered {
            (false, Use::Resumption, None)
        } else if pressure {
            (true, Use::Resumption, Some(Refusal::Pressure))
        } else {
            self.classify(&tags, identities.into_iter().flatten(), now)
        };
        let sessions = Arc::new(ConnectionSessions::new(
            self.store.clone(),
            tags,
            purpose,
            now,
        ));
        let mut config = ServerConfig::clone(base);
        config.session_storage = sessions.clone();
        if refuse {
            config.max_early_data_size = 0;
        }
        Prepared {
            config: Arc::new(config),
            sessions: Some(sessions),
            offered,
            refusal: refusal.filter(|_| offered),
        }
    }

    /// Whether early data must be refused, what sessions may be taken for, and the reason that is
    /// known already.
    fn classify<'a>(
        &self,
        tags: &Tags,
        identities: impl Iterator<Item = &'a [u8]>,
        now: u64,
    ) -> (bool, Use, Option<Refusal>) {
        let mut reason = None;
        let mut offered_any = false;
        for identity in identities {
            let found = self.store.classify(identity, tags, now);
            if !offered_any {
                // Only the first identity can carry early data.
                reason = found.err().map(Refusal::from);
                offered_any = true;
            }
            match found {
                Ok(()) => return (false, Use::EarlyData, reason),
                // EARLY-DATA R6, R22: resumed, early data refused.
                Err(Miss::OtherPolicy) => return (true, Use::Resumption, reason),
                Err(_) => {}
            }
        }
        if !offered_any {
            reason = Some(Refusal::UnknownTicket);
        }
        // Nothing to resume. Should a session come back in this moment, it must be of this policy.
        (false, Use::EarlyData, reason)
    }
}

/// What one handshake goes by.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The configuration to make the connection with.
    pub config: Arc<ServerConfig>,
    /// Present if single-use sessions may be taken: then [`ConnectionSessions::settle`] must be
    /// called.
    pub sessions: Option<Arc<ConnectionSessions>>,
    /// Whether the client offered early data.
    pub offered: bool,
    /// Why early data will be refused, as far as it is known beforehand.
    pub refusal: Option<Refusal>,
}

/// How a handshake went, as far as early data is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// rustls accepted early data.
    pub accepted: bool,
    /// A HelloRetryRequest was sent.
    pub retried: bool,
    /// What rustls says of the handshake.
    pub kind: Option<HandshakeKind>,
}

impl Prepared {
    fn unchanged(base: &Arc<ServerConfig>, offered: bool, refusal: Refusal) -> Self {
        Self {
            config: base.clone(),
            sessions: None,
            offered,
            refusal: offered.then_some(refusal),
        }
    }

    /// Why offered early data was refused; None if it was not offered or not refused.
    pub fn refusal_after(&self, outcome: Outcome) -> Option<Refusal> {
        if !self.offered || outcome.accepted {
            return None;
        }
        let missed = || {
            self.sessions
                .as_ref()
                .and_then(|sessions| sessions.first_miss())
                .map(Refusal::from)
        };
        let last = match outcome.kind {
            Some(HandshakeKind::Resumed) => Refusal::ResumedRefused,
            // The session was there and rustls did not want it: another name or suite.
            _ => Refusal::Policy,
        };
        self.refusal
            .or(outcome.retried.then_some(Refusal::Hrr))
            .or_else(missed)
            .or(Some(last))
    }
}
