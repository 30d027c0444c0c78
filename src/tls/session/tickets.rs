//! Stateless tickets, for sites that take no early data: they can be used more than once
//! (EARLY-DATA R5).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use rustls::server::ProducesTickets;

use crate::tags::Tag;

/// A secret makes tickets this long, in seconds: 6 h.
pub const ROTATION: u64 = 6 * 60 * 60;
/// A secret opens tickets this long after it was made, in seconds: 12 h.
pub const KEPT: u64 = 2 * ROTATION;

const NAME_LEN: usize = 8;
const HEAD_LEN: usize = NAME_LEN + NONCE_LEN;

/// The process's rotating secret, from which every site's ticket keys are derived.
///
/// It lives in memory only: no ticket of an earlier process opens (EARLY-DATA R3), and what is
/// older than 12 h can't be opened by anyone who takes the machine later.
pub struct TicketKeys {
    secrets: ArcSwap<Secrets>,
    /// When [`TicketKeys::tick`] next has something to do.
    due: AtomicU64,
    rotating: Mutex<()>,
    rotations: AtomicU64,
}

struct Secrets {
    /// None only if the system gave no randomness: then there are no tickets.
    current: Option<Arc<Secret>>,
    previous: Option<Arc<Secret>>,
}

/// Keeps the keys derived from it, so that they go when it goes, used lately or not.
struct Secret {
    /// Random, so that a ticket does not tell how long the process has been up.
    name: [u8; NAME_LEN],
    key: hkdf::Prk,
    made: u64,
    sites: RwLock<HashMap<Tag, Arc<LessSafeKey>>>,
}

impl TicketKeys {
    /// Makes the first secret at `now`, in seconds of a clock that does not run backwards.
    pub fn new(now: u64) -> Arc<Self> {
        let secrets = Secrets {
            current: Secret::generate(now),
            previous: None,
        };
        let due = AtomicU64::new(secrets.due(now));
        Arc::new(Self {
            secrets: ArcSwap::from_pointee(secrets),
            due,
            rotating: Mutex::new(()),
            rotations: AtomicU64::new(0),
        })
    }

    /// Rotates if it is time: every 6 h, and once more to forget the former secret if that came
    /// late.
    ///
    /// Costs one atomic load otherwise. Call it with every handshake and, so that an idle process
    /// forgets too, now and then.
    pub fn tick(&self, now: u64) {
        if now < self.due.load(Ordering::Relaxed) {
            return;
        }
        let _rotating = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        if now < self.due.load(Ordering::Relaxed) {
            return;
        }
        let last = self.secrets.load();
        let next = last.at(now);
        let name = |secrets: &Secrets| secrets.current.as_ref().map(|secret| secret.name);
        if name(&next) != name(&last) {
            self.rotations.fetch_add(1, Ordering::Relaxed);
        }
        self.due.store(next.due(now), Ordering::Relaxed);
        self.secrets.store(Arc::new(next));
    }

    /// How often a new secret took the place of the former one.
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    /// A ticketer whose tickets open only for this `trust` tag, on this process.
    pub fn site(self: &Arc<Self>, trust: Tag) -> Arc<SiteTicketer> {
        Arc::new(SiteTicketer {
            keys: Arc::clone(self),
            trust,
        })
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys")
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// What is left of these secrets at `now`, with a fresh one if the current is spent.
    fn at(&self, now: u64) -> Self {
        let opens = |secret: &Arc<Secret>| now < secret.made.saturating_add(KEPT);
        let seals = |secret: &Arc<Secret>| now < secret.made.saturating_add(ROTATION);
        if self.current.as_ref().is_some_and(seals) {
            let previous = self.previous.clone().filter(opens);
            return Self {
                current: self.current.clone(),
                previous,
            };
        }
        Self {
            current: Secret::generate(now),
            previous: self.current.clone().filter(opens),
        }
    }

    fn due(&self, now: u64) -> u64 {
        // Without a secret, the next tick tries again.
        let current = self
            .current
            .as_ref()
            .map_or(now, |secret| secret.made.saturating_add(ROTATION));
        let previous = self
            .previous
            .as_ref()
            .map_or(u64::MAX, |secret| secret.made.saturating_add(KEPT));
        current.min(previous)
    }
}

impl Secret {
    fn generate(now: u64) -> Option<Arc<Self>> {
        let mut name = [0; NAME_LEN];
        let mut input = [0; 32];
        rand::fill(&mut name).ok()?;
        rand::fill(&mut input).ok()?;
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"cutwater tickets").extract(&input);
        Some(Arc::new(Self {
            name,
            key,
            made: now,
            sites: RwLock::default(),
        }))
    }

    /// The key of one site's tickets, derived at its first use.
    fn site(&self, trust: &Tag) -> Option<Arc<LessSafeKey>> {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = sites.get(trust) {
            return Some(Arc::clone(key));
        }
        drop(sites);
        let info: [&[u8]; 2] = [b"site ticket ", &trust.0];
        let key = UnboundKey::from(self.key.expand(&info, &AES_256_GCM).ok()?);
        // Two threads may both derive: the keys are the same.
        let key = Arc::new(LessSafeKey::new(key));
        let mut sites = self.sites.write().unwrap_or_else(PoisonError::into_inner);
        sites.insert(*trust, Arc::clone(&key));
        Some(key)
    }

    /// EARLY-DATA R5: site and generation are associated data, beside being in the key.
    fn bound(&self, trust: &Tag) -> Aad<[u8; 32 + NAME_LEN]> {
        let mut bound = [0; 32 + NAME_LEN];
        let (site, generation) = bound.split_at_mut(32);
        site.copy_from_slice(&trust.0);
        generation.copy_from_slice(&self.name);
        Aad::from(bound)
    }
}

/// One site's tickets: name of the secret, nonce, AES-256-GCM ciphertext with its tag.
pub struct SiteTicketer {
    keys: Arc<TicketKeys>,
    trust: Tag,
}

impl ProducesTickets for SiteTicketer {
    fn enabled(&self) -> bool {
        true
    }

    /// What every ticket is good for at least, whenever in its secret's life it was made.
    fn lifetime(&self) -> u32 {
        (KEPT - ROTATION) as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let secrets = self.keys.secrets.load();
        let secret = secrets.current.as_ref()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(HEAD_LEN + plain.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&secret.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let body = ticket.get_mut(HEAD_LEN..)?;
        let key = secret.site(&self.trust)?;
        let tag = key
            .seal_in_place_separate_tag(nonce, secret.bound(&self.trust), body)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let secrets = self.keys.secrets.load();
        let mut secrets = [&secrets.current, &secrets.previous].into_iter().flatten();
        let secret = secrets.find(|secret| secret.name == *name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = secret.site(&self.trust)?;
        let plain = key
            .open_in_place(nonce, secret.bound(&self.trust), &mut opened)
            .ok()?;
        let length = plain.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Debug for SiteTicketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteTicketer")
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"a resumption secret and what belongs to it";

    fn trust() -> Tag {
        Tag::of(&[b"example.com"])
    }

    #[test]
    fn a_ticket_opens_until_its_secret_is_twelve_hours_old() {
        let keys = TicketKeys::new(0);
        let site = keys.site(trust());
        keys.tick(ROTATION - 1);
        let ticket = site.encrypt(PLAIN).unwrap();
        for now in [ROTATION - 1, ROTATION, KEPT - 1] {
            keys.tick(now);
            assert_eq!(site.decrypt(&ticket).as_deref(), Some(PLAIN), "at {now}");
        }
        keys.tick(KEPT);
        assert_eq!(site.decrypt(&ticket), None);
    }

    #[test]
    fn a_late_rotation_keeps_no_secret_past_its_time() {
        let keys = TicketKeys::new(0);
        let site = keys.site(trust());
        let first = site.encrypt(PLAIN).unwrap();
        // The process slept: the first rotation comes at eleven hours.
        keys.tick(11 * 3600);
        assert!(site.decrypt(&first).is_some());
        let second = site.encrypt(PLAIN).unwrap();
        assert_eq!(keys.rotations(), 1);
        // Nothing is made, something is forgotten.
        keys.tick(KEPT);
        assert_eq!(keys.rotations(), 1);
        assert_eq!(site.decrypt(&first), None);
        assert!(site.decrypt(&second).is_some());
        // And longer: nothing is left.
        keys.tick(11 * 3600 + KEPT);
        assert_eq!(site.decrypt(&second), None);
        assert!(site.decrypt(&site.encrypt(PLAIN).unwrap()).is_some());
    }

    #[test]
    fn keys_of_an_idle_site_go_with_their_secret() {
        let keys = TicketKeys::new(0);
        let site = keys.site(trust());
        site.encrypt(PLAIN).unwrap();
        let secrets = keys.secrets.load_full();
        let key = Arc::downgrade(&secrets.current.as_ref().unwrap().site(&trust()).unwrap());
        drop(secrets);
        keys.tick(ROTATION);
        assert!(key.upgrade().is_some());
        keys.tick(KEPT);
        assert!(key.upgrade().is_none());
        drop(site);
    }

    #[test]
    fn a_lifetime_is_never_longer_than_the_secret_is_kept() {
        let keys = TicketKeys::new(0);
        let site = keys.site(trust());
        keys.tick(ROTATION - 1);
        let ticket = site.encrypt(PLAIN).unwrap();
        keys.tick(ROTATION - 1 + u64::from(site.lifetime()));
        assert!(site.decrypt(&ticket).is_some());
    }

    #[test]
    fn a_site_made_anew_opens_tickets_of_the_same_trust_only() {
        let keys = TicketKeys::new(0);
        let ticket = keys.site(trust()).encrypt(PLAIN).unwrap();
        assert_eq!(keys.site(trust()).decrypt(&ticket).as_deref(), Some(PLAIN));
        assert_eq!(keys.site(Tag::of(&[b"example.org"])).decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_of_another_process_does_not_open() {
        let ticket = TicketKeys::new(0).site(trust()).encrypt(PLAIN).unwrap();
        assert_eq!(TicketKeys::new(0).site(trust()).decrypt(&ticket), None);
    }

    #[test]
    fn every_garbled_or_truncated_ticket_is_refused() {
        let site = TicketKeys::new(0).site(trust());
        let ticket = site.encrypt(PLAIN).unwrap();
        for at in 0..ticket.len() {
            let mut garbled = ticket.clone();
            garbled[at] ^= 1;
            assert_eq!(site.decrypt(&garbled), None, "byte {at}");
            assert_eq!(site.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        let mut longer = ticket;
        longer.push(0);
        assert_eq!(site.decrypt(&longer), None);
    }

    #[test]
    fn two_tickets_of_one_session_differ() {
        let site = TicketKeys::new(0).site(trust());
        assert_ne!(site.encrypt(PLAIN), site.encrypt(PLAIN));
    }
}
