//! How a certificate stands with its staple, as far as files tell: a check asks no responder.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use crate::certs::describe::{date, time};
use crate::certs::ocsp::store::FileError;
use crate::certs::ocsp::{Source, Staple, StapleStatus, Stapled, Unstapled, store};

/// How a certificate stands with its staple.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum StapleState {
    /// It is not to be stapled.
    Off,
    /// It names no responder, and none was named for it.
    NoResponder,
    /// Its issuer's certificate, without which nothing can be verified, is not there.
    IssuerMissing,
    /// It is to be stapled, and there is none yet.
    Missing {
        /// Why.
        reason: String,
    },
    /// There is one that says it is good.
    Good(Dates),
    /// There is one that says it is revoked.
    Revoked(Dates),
}

/// The dates of a staple.
#[derive(Debug, Serialize)]
pub(super) struct Dates {
    #[serde(serialize_with = "time")]
    this_update: SystemTime,
    #[serde(serialize_with = "time")]
    next_update: SystemTime,
    /// Since `this_update`.
    age_seconds: u64,
}

impl StapleState {
    /// Looks in the certificate's own file, or else where staples are kept.
    pub(super) fn look(stapled: &Stapled, kept: Option<&Path>, now: SystemTime) -> Self {
        let Some(subject) = stapled.subject() else {
            return match stapled.unstapled() {
                Some(Unstapled::NoResponder) => Self::NoResponder,
                Some(Unstapled::NoIssuer) => Self::IssuerMissing,
                Some(Unstapled::Off) | None => Self::Off,
            };
        };
        let found = match (&subject.source, kept) {
            (Some(Source::File(file)), _) => store::read_file(file, subject, now),
            (_, Some(directory)) => match store::read(directory, subject, now) {
                // The file is the edge's own: whoever reads this has never heard of it.
                Err(FileError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                    let reason = "not kept yet".to_owned();
                    return Self::Missing { reason };
                }
                found => found,
            },
            (_, None) => {
                let reason = "[ocsp] has no directory to look in".to_owned();
                return Self::Missing { reason };
            }
        };
        match found {
            Ok(staple) => {
                let dates = Dates::of(&staple, now);
                match staple.status {
                    StapleStatus::Good => Self::Good(dates),
                    StapleStatus::Revoked(_) => Self::Revoked(dates),
                }
            }
            Err(error) => Self::Missing {
                reason: error.to_string(),
            },
        }
    }

    pub(super) fn is_revoked(&self) -> bool {
        matches!(self, Self::Revoked(_))
    }
}

impl Dates {
    fn of(staple: &Staple, now: SystemTime) -> Self {
        Self {
            this_update: staple.this_update,
            next_update: staple.next_update,
            age_seconds: now
                .duration_since(staple.this_update)
                .unwrap_or_default()
                .as_secs(),
        }
    }
}

impl fmt::Display for StapleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, dates) = match self {
            Self::Off => return f.write_str("off"),
            Self::NoResponder => return f.write_str("none: there is no responder to ask"),
            Self::IssuerMissing => {
                return f.write_str("none: its issuer's certificate is missing");
            }
            Self::Missing { reason } => return write!(f, "none: {reason}"),
            Self::Good(dates) => ("good", dates),
            Self::Revoked(dates) => ("REVOKED", dates),
        };
        let hours = dates.age_seconds / 3600;
        let until = date(dates.next_update);
        write!(f, "{what}, {hours} hours old, until {until}")
    }
}
