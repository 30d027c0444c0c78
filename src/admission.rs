//! Whether a route admits a client's address: by network, and by how often it asks.
//!
//! Pure: the address and the time come in as arguments. EARLY-DATA R15: who calls this sees to it
//! that the address is proved.

mod networks;
mod rate;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::networks::{BadNetwork, Network, Networks};
pub use self::rate::{Rate, RateLimit};

/// Who may ask for a route.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The networks that may; `None` is all.
    pub allow: Option<Networks>,
    /// The networks that may not, though they may be part of the others.
    pub deny: Networks,
    /// How often each address may.
    pub rate: Option<Arc<RateLimit>>,
}

/// Why a client is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Its network may not ask: 403.
    Network,
    /// It asked too often: 429.
    TooOften {
        /// When it may ask again.
        retry_after: Duration,
    },
}

impl Admission {
    /// Judges one request of `client`; one that is admitted counts against its rate.
    ///
    /// `now` is asked only where there is a rate: the time since a moment that stays the same.
    ///
    /// # Errors
    /// The reason why it is not admitted.
    pub fn admit(&self, client: IpAddr, now: impl FnOnce() -> Duration) -> Result<(), NotAdmitted> {
        let client = client.to_canonical();
        let allowed = self.allow.as_ref();
        if self.deny.contains(client) || allowed.is_some_and(|allow| !allow.contains(client)) {
            return Err(NotAdmitted::Network);
        }
        match &self.rate {
            Some(rate) => rate
                .take(client, now())
                .map_err(|retry_after| NotAdmitted::TooOften { retry_after }),
            None => Ok(()),
        }
    }
}
