//! Address validation tokens (RFC 9000 §8.1): the keys that seal them, and which were used.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use prometheus::IntCounter;
use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey};
use quinn_proto::{TokenLog, TokenReuseError};

/// How long a token of an earlier connection proves its client's address: until its key is gone, at
/// the latest.
pub(super) const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How long a key seals. It opens for as long again.
const ROTATION: Duration = Duration::from_secs(12 * 3600);

/// How many used tokens are remembered for each [`LIFETIME`]; 16 bytes each and some. Past that
/// none is believed, and clients prove their address anew.
const REMEMBERED: usize = 256 * 1024;

/// The key that seals tokens and the one before it.
pub(super) struct TokenKeys {
    keys: Mutex<Keys>,
    /// Counts tokens that neither opens.
    unknown: IntCounter,
}

struct Keys {
    current: Arc<LessSafeKey>,
    former: Arc<LessSafeKey>,
    since: Instant,
}

impl TokenKeys {
    /// New ones. `unknown` counts tokens that they have not sealed.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(super) fn new(unknown: IntCounter) -> io::Result<Self> {
        let new = || random().ok_or_else(|| io::Error::other("no random bytes"));
        Ok(Self {
            keys: Mutex::new(Keys {
                current: new()?,
                former: new()?,
                since: Instant::now(),
            }),
            unknown,
        })
    }
}

fn random() -> Option<Arc<LessSafeKey>> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).ok()?;
    let key = UnboundKey::new(&AES_256_GCM_SIV, &secret).ok()?;
    Some(Arc::new(LessSafeKey::new(key)))
}

impl Keys {
    fn rotate(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) < ROTATION {
            return;
        }
        // Without random bytes the old key goes on; a later call tries again.
        if let Some(new) = random() {
            self.former = std::mem::replace(&mut self.current, new);
            self.since = now;
        }
    }
}

impl HandshakeTokenKey for TokenKeys {
    fn aead_from_hkdf(&self, nonce: &[u8]) -> Box<dyn AeadKey> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(Instant::now());
        Box::new(Key {
            unknown: self.unknown.clone(),
            current: Arc::clone(&keys.current),
            former: Arc::clone(&keys.former),
            nonce: nonce.to_owned(),
        })
    }
}

/// Seals with the current key, opens with either.
///
/// quinn means a key to be derived for each token, and seals with a nonce of zeros. That costs more
/// than the rest of the token, and each connection has one sealed for it. Here all tokens have one key,
/// and the nonce is what quinn draws at random for each. The cipher takes 12 of its 16 bytes: of so many
/// tokens as a flood has us make in half a day two may have the same, which the key of AES-GCM would
/// not survive. With AES-GCM-SIV (RFC 8452) it tells whether those two are equal, and nothing else. The
/// other 4 bytes are authenticated, since it is by all 16 that a token which was used is known again.
struct Key {
    current: Arc<LessSafeKey>,
    former: Arc<LessSafeKey>,
    nonce: Vec<u8>,
    unknown: IntCounter,
}

impl Key {
    fn nonce(&self, context: &[u8]) -> Result<(Nonce, Aad<Vec<u8>>), CryptoError> {
        let (nonce, rest) = self.nonce.split_first_chunk().ok_or(CryptoError)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        Ok((nonce, Aad::from([rest, context].concat())))
    }
}

impl AeadKey for Key {
    fn seal(&self, data: &mut Vec<u8>, context: &[u8]) -> Result<(), CryptoError> {
        let (nonce, rest) = self.nonce(context)?;
        Ok(self.current.seal_in_place_append_tag(nonce, rest, data)?)
    }

    fn open<'a>(&self, data: &'a mut [u8], context: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        for key in [&self.current, &self.former] {
            let (nonce, rest) = self.nonce(context)?;
            // A failed attempt leaves nothing to try again with.
            let mut copy = data.to_vec();
            if let Ok(opened) = key.open_in_place(nonce, rest, &mut copy) {
                // What was opened begins where the sealed began.
                let place = data.get_mut(..opened.len()).ok_or(CryptoError)?;
                place.copy_from_slice(opened);
                return Ok(place);
            }
        }
        self.unknown.inc();
        Err(CryptoError)
    }
}

/// The tokens of earlier connections that were shown, so that each counts once: whoever sees one must
/// not use us as an amplifier with it.
pub(super) struct UsedTokens {
    used: Mutex<Used>,
    /// Counts those that come again.
    again: IntCounter,
}

#[derive(Default)]
struct Used {
    current: HashSet<u128>,
    former: HashSet<u128>,
    since: Option<Instant>,
}

impl UsedTokens {
    /// None yet. `again` counts those that are not believed.
    pub(super) fn new(again: IntCounter) -> Self {
        Self {
            used: Mutex::default(),
            again,
        }
    }

    fn take(&self, nonce: u128, now: Instant) -> Result<(), TokenReuseError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *used.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= LIFETIME {
            used.former = std::mem::take(&mut used.current);
            used.since = Some(now);
        }
        let known = used.former.contains(&nonce) || used.current.len() >= REMEMBERED;
        match !known && used.current.insert(nonce) {
            true => Ok(()),
            false => {
                self.again.inc();
                Err(TokenReuseError)
            }
        }
    }
}

impl TokenLog for UsedTokens {
    fn check_and_insert(
        &self,
        nonce: u128,
        _issued: SystemTime,
        _lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        self.take(nonce, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("refused", "tokens").unwrap()
    }

    const NONCE: [u8; 16] = *b"drawn at random.";

    #[test]
    fn a_token_with_another_nonce_is_not_opened() {
        let keys = TokenKeys::new(counter()).unwrap();
        let mut sealed = b"token".to_vec();
        assert!(keys.aead_from_hkdf(&NONCE).seal(&mut sealed, b"").is_ok());
        for place in 0..NONCE.len() {
            let mut other = NONCE;
            other[place] ^= 1;
            let key = keys.aead_from_hkdf(&other);
            assert!(key.open(&mut sealed.clone(), b"").is_err(), "{place}");
        }
        let key = keys.aead_from_hkdf(&NONCE);
        assert!(key.open(&mut sealed.clone(), b"context").is_err());
        assert!(key.open(&mut sealed.clone(), b"").is_ok());
        // Too short for the cipher: none of quinn's.
        let key = keys.aead_from_hkdf(&NONCE[..11]);
        assert!(key.seal(&mut sealed, b"").is_err());
    }

    #[test]
    fn a_key_opens_for_as_long_as_it_has_sealed() {
        let keys = TokenKeys::new(counter()).unwrap();
        let mut sealed = b"token".to_vec();
        assert!(keys.aead_from_hkdf(&NONCE).seal(&mut sealed, b"").is_ok());
        let opens = || {
            let key = keys.aead_from_hkdf(&NONCE);
            key.open(&mut sealed.clone(), b"")
                .map(|plain| plain.to_vec())
                .ok()
        };
        let rotate = |times: u32| {
            let mut keys = keys.keys.lock().unwrap();
            for _ in 0..times {
                let later = keys.since + ROTATION;
                keys.rotate(later);
            }
        };
        assert_eq!(opens().as_deref(), Some(&b"token"[..]));
        rotate(1);
        assert_eq!(opens().as_deref(), Some(&b"token"[..]));
        rotate(1);
        assert_eq!(keys.unknown.get(), 0);
        assert_eq!(opens(), None);
        assert_eq!(keys.unknown.get(), 1);
    }

    #[test]
    fn a_token_counts_once_as_long_as_it_lives() {
        let used = UsedTokens::new(counter());
        let start = Instant::now();
        assert!(used.take(1, start).is_ok());
        assert!(used.take(1, start).is_err());
        assert_eq!(used.again.get(), 1);
        assert!(used.take(2, start + LIFETIME / 2).is_ok());
        assert!(
            used.take(1, start + LIFETIME - Duration::from_secs(1))
                .is_err()
        );
        assert!(
            used.take(2, start + LIFETIME + Duration::from_secs(1))
                .is_err()
        );
    }
}
