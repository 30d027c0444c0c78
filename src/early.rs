//! What a route allows early data to do. Shared vocabulary: no decision is taken here.

use http::HeaderName;

/// `Early-Data` (RFC 8470 §5.1).
pub const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// How a route treats requests that arrive before the client's Finished is verified, and
/// requests that an upstream marked with `Early-Data` (EARLY-DATA R13, R18).
///
/// The variants are ordered from the strictest to the loosest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EarlyDataPolicy {
    /// Answer 425 Too Early.
    Refuse,
    /// Hold the request until the handshake is confirmed. The default.
    #[default]
    Wait,
    /// Let safe requests without content through at once, hold the others.
    Safe,
    /// Let the handler, or an origin that understands `Early-Data`, decide.
    Allow,
}

impl EarlyDataPolicy {
    /// The word that the configuration file uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Wait => "wait",
            Self::Safe => "safe",
            Self::Allow => "allow",
        }
    }

    /// Whether any request may be answered before the handshake is confirmed.
    pub fn answers_early(self) -> bool {
        matches!(self, Self::Safe | Self::Allow)
    }
}
