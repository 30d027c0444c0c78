//! OCSP stapling (RFC 6960, RFC 6066 §8): what an authority says of a certificate now, fetched,
//! verified, kept and shown.
//!
//! Pure, with the time as an argument: [`request`], [`verify`], [`schedule`], [`book`]. I/O is in
//! [`store`], [`fetch`] and [`keeper`], which is the thread that drives the rest.

pub mod book;
mod entry;
pub mod fetch;
pub mod keeper;
mod line;
pub mod request;
pub mod schedule;
pub mod stapled;
pub mod store;
pub mod subject;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod verify;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::stapled::{Current, Stapled, Unstapled};
pub use self::subject::{Source, Subject};

/// The largest response that is read, in bytes. Those of public authorities have 300 to 2500.
pub const MAX_RESPONSE: usize = 64 * 1024;

/// Whether a site's certificates are stapled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OcspMode {
    /// Where a certificate names a responder; required where it demands a staple itself (RFC 7633).
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always: without a valid staple a certificate is not shown.
    Required,
}

impl OcspMode {
    /// Its word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Required => "required",
        }
    }
}

/// How staples are come by: `[ocsp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where they are kept over a restart. Default is nowhere.
    pub directory: Option<PathBuf>,
    /// The HTTP proxy that responders are asked through, HOST:PORT. Default is none.
    pub proxy: Option<Arc<str>>,
    /// How long one attempt may take, redirects and a second method included. Default is 10 s.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: None,
            proxy: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A response that was verified for one certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Staple {
    /// The OCSPResponse in DER, as it is stapled.
    pub der: Arc<[u8]>,
    /// When what it says was known to be right.
    pub this_update: SystemTime,
    /// When it ends: its nextUpdate, or before that the end of the delegated responder's
    /// certificate.
    pub next_update: SystemTime,
    /// What it says.
    pub status: StapleStatus,
}

/// What a response says of its certificate. One that says "unknown" is no staple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StapleStatus {
    /// It is not revoked.
    Good,
    /// It is revoked, since then.
    Revoked(SystemTime),
}

impl Staple {
    /// Whether it may be shown at `now`.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        now < self.next_update
    }

    /// Whether half of its life is over at `now`.
    pub fn is_past_half(&self, now: SystemTime) -> bool {
        let whole = self.next_update.duration_since(self.this_update);
        self.this_update + whole.unwrap_or_default() / 2 < now
    }

    /// Whether it says that the certificate is revoked.
    pub fn is_revoked(&self) -> bool {
        matches!(self.status, StapleStatus::Revoked(_))
    }
}

impl fmt::Debug for Staple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staple")
            .field("bytes", &self.der.len())
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("status", &self.status)
            .finish()
    }
}
