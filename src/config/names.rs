//! Host names of sites, and the index that finds a site by name.
//!
//! A name is looked up at most twice: whole, and without its first label. So the cost does not
//! grow with the number of names, and exact beats wildcard.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;

use idna::AsciiDenyList;
use rustls::pki_types::DnsName;

/// The longest DNS name in its textual form without the final dot (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// A name that a site answers to: `example.com`, or `*.example.com` for every name with exactly
/// one more label.
///
/// Held in lower case, without final dot, with A-labels (`xn--…`) for what was not ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteName {
    /// The name, or what follows `*.`.
    base: Box<str>,
    wildcard: bool,
}

/// Why a text is no [`SiteName`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, or only a dot.
    Empty,
    /// Two dots in a row, or a dot at the start.
    EmptyLabel,
    /// A label of more than 63 bytes.
    LabelTooLong(Box<str>),
    /// More than 253 bytes.
    TooLong,
    /// An IP address: clients never name one (RFC 6066 §3).
    IpAddress,
    /// The last label is all digits, which looks like an IP address.
    NumericEnd,
    /// Something other than letters, digits, `-`, `_` and dots.
    BadCharacter(char),
    /// A label that begins or ends with `-`.
    Hyphen(Box<str>),
    /// `*` alone.
    BareWildcard,
    /// `*` anywhere but as the whole first label.
    MisplacedWildcard,
    /// Not ASCII, and no internationalised name either (UTS 46).
    Idna,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::EmptyLabel => {
                f.write_str("a label is empty (two dots in a row, or a leading dot)")
            }
            Self::LabelTooLong(label) => write!(f, "label `{label}` is longer than 63 bytes"),
            Self::TooLong => f.write_str("the name is longer than 253 bytes"),
            Self::IpAddress => {
                f.write_str("an IP address is not a host name; use `default = true`")
            }
            Self::NumericEnd => f.write_str("the last label must not be all digits"),
            Self::BadCharacter(':') => f.write_str("`:` is not allowed; names carry no port"),
            Self::BadCharacter(c) => write!(f, "{c:?} is not allowed in a host name"),
            Self::Hyphen(label) => write!(f, "label `{label}` begins or ends with a hyphen"),
            Self::BareWildcard => f.write_str("`*` alone is not a name; use `default = true`"),
            Self::MisplacedWildcard => {
                f.write_str("`*` must be the whole first label, as in `*.example.com`")
            }
            Self::Idna => f.write_str("not a valid internationalised name"),
        }
    }
}

impl std::error::Error for NameError {}

impl SiteName {
    /// Reads a name as an operator types it.
    ///
    /// Letter case and a final dot do not matter; U-labels become A-labels.
    ///
    /// # Errors
    /// [`NameError`] says what a host name cannot be.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (base, wildcard) = match text.strip_prefix('*') {
            None => (text, false),
            Some("" | ".") => return Err(NameError::BareWildcard),
            Some(rest) => (
                rest.strip_prefix('.').ok_or(NameError::MisplacedWildcard)?,
                true,
            ),
        };
        if base.contains('*') {
            return Err(NameError::MisplacedWildcard);
        }
        let ascii = match base.is_ascii() {
            true => Cow::Borrowed(base),
            false => idna::domain_to_ascii_cow(base.as_bytes(), AsciiDenyList::EMPTY)
                .map_err(|_| NameError::Idna)?,
        };
        let base = ascii
            .strip_suffix('.')
            .unwrap_or(&ascii)
            .to_ascii_lowercase();
        check(&base)?;
        if wildcard && base.len() + 2 > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Self {
            base: base.into_boxed_str(),
            wildcard,
        })
    }

    /// Whether this is `*.` and a name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The name, for a wildcard without `*.`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether `host`, normalised as by [`normalise_host`], is this name or covered by it.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self.wildcard {
            true => parent(host) == Some(&self.base),
            false => host == &*self.base,
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.base)
    }
}

impl std::str::FromStr for SiteName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Accepts what rustls accepts as SNI, and says why not.
fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(NameError::IpAddress);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(c) = name.chars().find(|&c| !allowed(c)) {
        return Err(NameError::BadCharacter(c));
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::LabelTooLong(label.into()));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Hyphen(label.into()));
        }
    }
    // The one rule left: a last label of digits alone.
    DnsName::try_from(name)
        .map(|_| ())
        .map_err(|_| NameError::NumericEnd)
}

/// A host as a client wrote it (SNI, Host, `:authority` without port) in the form that
/// [`NameIndex`] takes: lower case, no final dot. Copies only if it must.
///
/// `None` for what cannot be a host: empty, too long, or with bytes that neither names nor IP
/// literals have. IP addresses pass; no index holds one.
#[must_use]
pub fn normalise_host(host: &str) -> Option<Cow<'_, str>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > MAX_NAME {
        return None;
    }
    let mut upper = false;
    for byte in host.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'[' | b']' | b':' => {}
            b'A'..=b'Z' => upper = true,
            _ => return None,
        }
    }
    Some(match upper {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    })
}

/// How a host was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The host itself is in the index.
    Exact,
    /// `*.` and the host's parent is.
    Wildcard,
}

/// A name is in the index already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name is taken already")
    }
}

impl std::error::Error for Duplicate {}

/// Finds a value by host name with at most two hash look-ups.
///
/// Hosts are given as [`normalise_host`] returns them. `S` is the hasher, SipHash by default.
#[derive(Clone, Debug)]
pub struct NameIndex<T, S = RandomState> {
    exact: HashMap<Box<str>, T, S>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, T, S>,
}

impl<T> NameIndex<T> {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty index with room for `count` exact names.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self {
            exact: HashMap::with_capacity(count),
            wildcard: HashMap::new(),
        }
    }
}

impl<T, S: Default> Default for NameIndex<T, S> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            wildcard: HashMap::default(),
        }
    }
}

impl<T, S: BuildHasher> NameIndex<T, S> {
    /// Adds a name.
    ///
    /// # Errors
    /// [`Duplicate`] if it is there already; the index is then unchanged.
    pub fn insert(&mut self, name: SiteName, value: T) -> Result<(), Duplicate> {
        let map = match name.wildcard {
            true => &mut self.wildcard,
            false => &mut self.exact,
        };
        match map.entry(name.base) {
            Entry::Occupied(_) => Err(Duplicate),
            Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(())
            }
        }
    }

    /// The value for `host`: of the host itself, else of the wildcard that covers it.
    #[must_use]
    pub fn get(&self, host: &str) -> Option<&T> {
        self.get_with_kind(host).map(|(value, _)| value)
    }

    /// [`get`](Self::get), and how it was found.
    #[must_use]
    pub fn get_with_kind(&self, host: &str) -> Option<(&T, Match)> {
        if let Some(value) = self.exact.get(host) {
            return Some((value, Match::Exact));
        }
        let value = self.wildcard.get(parent(host)?)?;
        Some((value, Match::Wildcard))
    }

    /// The value of exactly this name, a wildcard being asked for as a wildcard.
    #[must_use]
    pub fn get_name(&self, name: &SiteName) -> Option<&T> {
        match name.wildcard {
            true => self.wildcard.get(&name.base),
            false => self.exact.get(&name.base),
        }
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// Gives back room that is not used.
    pub fn shrink_to_fit(&mut self) {
        self.exact.shrink_to_fit();
        self.wildcard.shrink_to_fit();
    }
}

/// The host without its first label, which a wildcard stands for and which is never empty.
fn parent(host: &str) -> Option<&str> {
    match host.split_once('.') {
        Some((first, rest)) if !first.is_empty() => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
