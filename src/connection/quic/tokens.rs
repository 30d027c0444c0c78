//! Address validation tokens (RFC 9000 §8.1): the keys that seal them, and which were used.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::{hkdf, rand};
use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey};
use quinn_proto::{TokenLog, TokenReuseError};

/// How long a token of an earlier connection proves its client's address: until its key is gone, at
/// the latest.
pub(super) const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How long a key seals. It opens for as long again.
const ROTATION: Duration = Duration::from_secs(12 * 3600);

/// How many used tokens are remembered for each half of [`LIFETIME`]; 16 bytes each and some. Past
/// that none is believed, and clients prove their address anew.
const REMEMBERED: usize = 256 * 1024;

/// The key that seals tokens and the one before it.
pub(super) struct TokenKeys(Mutex<Keys>);

struct Keys {
    current: hkdf::Prk,
    former: hkdf::Prk,
    since: Instant,
}

impl TokenKeys {
    /// New ones.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(super) fn new() -> io::Result<Self> {
        let new = || random().ok_or_else(|| io::Error::other("no random bytes"));
        Ok(Self(Mutex::new(Keys {
            current: new()?,
            former: new()?,
            since: Instant::now(),
        })))
    }
}

fn random() -> Option<hkdf::Prk> {
    let mut secret = [0; 64];
    rand::fill(&mut secret).ok()?;
    Some(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret))
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
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(Instant::now());
        Box::new(Both {
            current: keys.current.aead_from_hkdf(nonce),
            former: keys.former.aead_from_hkdf(nonce),
        })
    }
}

/// Seals with the current key, opens with either.
struct Both {
    current: Box<dyn AeadKey>,
    former: Box<dyn AeadKey>,
}

impl AeadKey for Both {
    fn seal(&self, data: &mut Vec<u8>, context: &[u8]) -> Result<(), CryptoError> {
        self.current.seal(data, context)
    }

    fn open<'a>(&self, data: &'a mut [u8], context: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        // A failed attempt leaves nothing to try again with.
        let mut copy = data.to_vec();
        let key = match self.current.open(&mut copy, context) {
            Ok(_) => &self.current,
            Err(_) => &self.former,
        };
        key.open(data, context)
    }
}

/// The tokens of earlier connections that were shown, so that each counts once: whoever sees one must
/// not use us as an amplifier with it.
#[derive(Default)]
pub(super) struct UsedTokens(Mutex<Used>);

#[derive(Default)]
struct Used {
    current: HashSet<u128>,
    former: HashSet<u128>,
    since: Option<Instant>,
}

impl UsedTokens {
    fn take(&self, nonce: u128, now: Instant) -> Result<(), TokenReuseError> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *used.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= LIFETIME {
            used.former = std::mem::take(&mut used.current);
            used.since = Some(now);
        }
        let known = used.former.contains(&nonce) || used.current.len() >= REMEMBERED;
        match !known && used.current.insert(nonce) {
            true => Ok(()),
            false => Err(TokenReuseError),
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

    #[test]
    fn a_key_opens_for_as_long_as_it_has_sealed() {
        let keys = TokenKeys::new().unwrap();
        let mut sealed = b"token".to_vec();
        assert!(keys.aead_from_hkdf(b"nonce").seal(&mut sealed, b"").is_ok());
        let opens = || {
            let key = keys.aead_from_hkdf(b"nonce");
            key.open(&mut sealed.clone(), b"")
                .map(|plain| plain.to_vec())
                .ok()
        };
        let rotate = |times: u32| {
            let mut keys = keys.0.lock().unwrap();
            for _ in 0..times {
                let later = keys.since + ROTATION;
                keys.rotate(later);
            }
        };
        assert_eq!(opens().as_deref(), Some(&b"token"[..]));
        rotate(1);
        assert_eq!(opens().as_deref(), Some(&b"token"[..]));
        rotate(1);
        assert_eq!(opens(), None);
    }

    #[test]
    fn a_token_counts_once_as_long_as_it_lives() {
        let used = UsedTokens::default();
        let start = Instant::now();
        assert!(used.take(1, start).is_ok());
        assert!(used.take(1, start).is_err());
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
