//! Which site answers a ClientHello. Pure.

use rustls::AlertDescription;

use crate::config::names::{Match, NameIndex};

/// By what a site was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectedBy {
    /// The server name is one of the site's names.
    Exact,
    /// The server name is covered by one of the site's wildcards.
    Wildcard,
    /// No site has the server name, or none came. Such a connection takes no early data.
    Default,
}

/// The chosen site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected<'a, T> {
    /// What the index holds for it.
    pub site: &'a T,
    /// How it was found.
    pub by: SelectedBy,
}

impl<T> Selected<'_, T> {
    /// Whether the client named the site. The default site takes early data only then: the name
    /// is what binds a ticket to the site (EARLY-DATA R6).
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.by != SelectedBy::Default
    }
}

/// Why no site answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No server name came and there is no default site.
    NoServerName,
    /// No site has the name and there is no default site.
    UnknownName,
}

impl Refused {
    /// The alert to send before the connection is closed.
    #[must_use]
    pub fn alert(&self) -> AlertDescription {
        match self {
            // RFC 9846 §9.2: a server may require server_name.
            Self::NoServerName => AlertDescription::MissingExtension,
            // RFC 6066 §3: fatal, or not sent at all.
            Self::UnknownName => AlertDescription::UnrecognisedName,
        }
    }

    /// A stable name for metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoServerName => "no_server_name",
            Self::UnknownName => "unknown_name",
        }
    }
}

/// Chooses a site by server name, as [`ClientHello::server_name`](super::hello::ClientHello::server_name) gives it: exact name, wildcard,
/// default site. At most two hash look-ups.
///
/// # Errors
/// [`Refused`] when nothing matches and there is no default site.
pub fn select<'a, T>(
    server_name: Option<&str>,
    names: &'a NameIndex<T>,
    default: Option<&'a T>,
) -> Result<Selected<'a, T>, Refused> {
    if let Some((site, found)) = server_name.and_then(|name| names.get_with_kind(name)) {
        let by = match found {
            Match::Exact => SelectedBy::Exact,
            Match::Wildcard => SelectedBy::Wildcard,
        };
        return Ok(Selected { site, by });
    }
    match (default, server_name) {
        (Some(site), _) => Ok(Selected {
            site,
            by: SelectedBy::Default,
        }),
        (None, None) => Err(Refused::NoServerName),
        (None, Some(_)) => Err(Refused::UnknownName),
    }
}

#[cfg(test)]
mod tests;
