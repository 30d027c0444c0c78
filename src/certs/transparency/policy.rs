//! Whether browsers would be content with a certificate's timestamps.
//!
//! The rules are those that Chrome's and Apple's policies share for embedded timestamps
//! (github.com/GoogleChrome/CertificateTransparency `ct_policy.md`, support.apple.com/103214), and
//! Firefox enforces too. They hold for publicly trusted certificates only.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::log_list::LogState;
use super::sct::{Sct, SctVerdict};
use crate::certs::describe::DAY;

/// A certificate that is valid longer needs three timestamps in place of two.
const SHORT_LIFE: Duration = Duration::from_secs(180 * DAY.as_secs());

/// Why browsers would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "shortfall", rename_all = "snake_case")]
pub enum Shortfall {
    /// Too few timestamps of different logs that count.
    TooFew {
        /// How many count.
        counted: usize,
        /// How many there have to be.
        wanted: usize,
    },
    /// All of them are of one operator.
    OneOperator,
    /// None is of a log that is approved now.
    NoCurrentLog,
    /// None is of a log of RFC 6962 itself.
    TiledOnly,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { counted, wanted } => write!(
                f,
                "it has {counted} certificate timestamps that count, browsers want {wanted}"
            ),
            Self::OneOperator => {
                f.write_str("its certificate timestamps are all of one operator, browsers want two")
            }
            Self::NoCurrentLog => f.write_str(
                "none of its certificate timestamps is of a log that browsers approve of now",
            ),
            Self::TiledOnly => f.write_str(
                "none of its certificate timestamps is of a log of RFC 6962, browsers want one",
            ),
        }
    }
}

/// What a certificate of this life lacks, if anything. What was not checked for want of a list of
/// logs or of the issuer counts: nothing is known against it.
#[must_use]
pub fn shortfall(scts: &[Sct], not_before: SystemTime, not_after: SystemTime) -> Option<Shortfall> {
    // RFC 5280 §4.1.2.5: both ends belong to it.
    let life = not_after
        .duration_since(not_before)
        .unwrap_or_default()
        .saturating_add(Duration::from_secs(1));
    let wanted = if life <= SHORT_LIFE { 2 } else { 3 };
    let counting: Vec<&Sct> = scts.iter().filter(|sct| counts(sct)).collect();
    let logs: HashSet<&str> = counting.iter().map(|sct| &*sct.log_id).collect();
    if logs.len() < wanted {
        let counted = logs.len();
        return Some(Shortfall::TooFew { counted, wanted });
    }
    let operators: Option<HashSet<&str>> =
        counting.iter().map(|sct| sct.operator.as_deref()).collect();
    if operators.is_some_and(|operators| operators.len() < 2) {
        return Some(Shortfall::OneOperator);
    }
    let mut states = counting.iter().map(|sct| sct.state);
    if !states.any(|state| matches!(state, None | Some(LogState::Current))) {
        return Some(Shortfall::NoCurrentLog);
    }
    let mut kinds = counting.iter().map(|sct| sct.rfc6962);
    (!kinds.any(|rfc6962| rfc6962 != Some(false))).then_some(Shortfall::TiledOnly)
}

fn counts(sct: &Sct) -> bool {
    let signed = matches!(
        sct.verdict,
        SctVerdict::Good | SctVerdict::Unchecked | SctVerdict::NoIssuer
    );
    signed
        && match sct.state {
            None | Some(LogState::Current) => true,
            Some(LogState::Retired(since)) => sct.timestamp < since,
            Some(LogState::NotApproved) => false,
        }
}
