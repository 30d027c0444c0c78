//! Everything that can be wrong with a chain, in words.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use super::{date, time};

/// Something that is wrong with a chain, or odd. Certificates are counted from 1, the leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum ChainProblem {
    /// The leaf's issuer is missing.
    MissingIntermediate {
        /// Its name.
        issuer: String,
        /// Where it can be had.
        at: Option<String>,
    },
    /// They do not follow each other in the order of issue.
    WrongOrder,
    /// One that signs none of the others.
    Unrelated {
        /// Which.
        position: usize,
        /// Its name.
        subject: String,
    },
    /// One that has been there before.
    Duplicate {
        /// Which.
        position: usize,
        /// Its name.
        subject: String,
    },
    /// An authority's own self-issued certificate, which clients have or do not trust: bytes for
    /// nothing.
    RootIncluded {
        /// Which.
        position: usize,
        /// Its name.
        subject: String,
    },
    /// One that has ended.
    Expired {
        /// Which.
        position: usize,
        /// Its name.
        subject: String,
        /// When.
        #[serde(serialize_with = "time")]
        not_after: SystemTime,
    },
    /// One that begins later.
    NotYetValid {
        /// Which.
        position: usize,
        /// Its name.
        subject: String,
        /// When.
        #[serde(serialize_with = "time")]
        not_before: SystemTime,
    },
    /// A key that clients refuse.
    WeakKey {
        /// Whose.
        position: usize,
        /// Its name.
        subject: String,
        /// What it is.
        key: String,
    },
    /// A signature over a hash that has been broken.
    WeakSignature {
        /// Whose.
        position: usize,
        /// Its name.
        subject: String,
        /// What it is.
        algorithm: String,
    },
    /// A signature that the next certificate's key did not make.
    BadSignature {
        /// Whose.
        position: usize,
        /// Its name.
        subject: String,
    },
    /// One that signs another, and may not.
    NoAuthority {
        /// Which.
        position: usize,
        /// Its name.
        subject: String,
    },
    /// One that cannot be read.
    Unreadable {
        /// Which.
        position: usize,
        /// Why.
        error: String,
    },
    /// A leaf without a subjectAltName: clients look nowhere else (RFC 9525 §6.3).
    NoNames,
    /// A leaf that is not for servers.
    NotForServers,
    /// A leaf that nobody else vouches for.
    SelfSigned,
    /// More certificates than a chain has: the last ones were not looked at.
    TooMany {
        /// How many came.
        count: usize,
        /// How many of them were looked at.
        examined: usize,
    },
    /// So many of one name that it was not found out which signed which.
    Tangled,
    /// It ends at an issuer that is not trusted here: a private authority, or one more
    /// intermediate is missing.
    UnknownIssuer {
        /// Its name.
        issuer: String,
    },
}

impl ChainProblem {
    /// Whether it may well be meant so: private authorities and self-signed certificates work for
    /// whoever trusts them.
    #[must_use]
    pub fn may_be_meant(&self) -> bool {
        matches!(self, Self::SelfSigned | Self::UnknownIssuer { .. })
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::MissingIntermediate { .. } => {
                "add the issuer's certificate behind the leaf: many clients do not fetch it"
            }
            Self::WrongOrder => {
                "write the leaf first, then each certificate's issuer (RFC 5246 §7.4.2)"
            }
            Self::Unrelated { .. } | Self::Duplicate { .. } => "leave it out",
            Self::TooMany { .. } | Self::Tangled => {
                "send the leaf, its issuer, and that one's up to a root, and nothing else"
            }
            Self::RootIncluded { .. } => "leave it out: clients trust their own copy or none",
            Self::Expired { position: 1, .. } => "renew it",
            Self::Expired { .. } => "take the chain that the authority gives out now",
            Self::NotYetValid { .. } => "see what this machine takes for the time",
            Self::WeakKey { .. } => "make an ECDSA key on P-256, or RSA of 2048 bits or more",
            Self::WeakSignature { .. } => "have it issued anew, with SHA-256 or better",
            Self::BadSignature { .. } => {
                "it is another authority's of the same name: take the right one"
            }
            Self::NoAuthority { .. } => "clients refuse it: have the leaf issued by an authority",
            Self::Unreadable { .. } => "write X.509 certificates in PEM",
            Self::NoNames => "have it issued with the site's names in its subjectAltName",
            Self::NotForServers => "have it issued for serverAuth",
            Self::SelfSigned => "clients have to be told to trust this very certificate",
            Self::UnknownIssuer { .. } => {
                "if the authority is not a private one, an intermediate is missing"
            }
        }
    }
}

impl fmt::Display for ChainProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |f: &mut fmt::Formatter<'_>, position: &usize, subject: &str, what: &str| {
            match position {
                1 => write!(f, "the certificate {what}"),
                position => write!(f, "certificate {position} of the chain, {subject}, {what}"),
            }
        };
        match self {
            Self::MissingIntermediate { issuer, at: None } => {
                write!(f, "the intermediate {issuer} is missing from the chain")
            }
            Self::MissingIntermediate {
                issuer,
                at: Some(at),
            } => write!(
                f,
                "the intermediate {issuer} is missing from the chain; it is at {at}"
            ),
            Self::WrongOrder => f.write_str("the chain is in the wrong order"),
            Self::Unrelated { position, subject } => {
                of(f, position, subject, "belongs to no other of it")
            }
            Self::Duplicate { position, subject } => of(f, position, subject, "is there twice"),
            Self::RootIncluded { position, subject } => {
                of(f, position, subject, "is a root, which need not be sent")
            }
            Self::Expired {
                position,
                subject,
                not_after,
            } => {
                let what = format!("has expired on {}", date(*not_after));
                of(f, position, subject, &what)
            }
            Self::NotYetValid {
                position,
                subject,
                not_before,
            } => {
                let what = format!("is not valid before {}", date(*not_before));
                of(f, position, subject, &what)
            }
            Self::WeakKey {
                position,
                subject,
                key,
            } => of(f, position, subject, &format!("has a weak key: {key}")),
            Self::WeakSignature {
                position,
                subject,
                algorithm,
            } => {
                let what = format!("has a weak signature: {algorithm}");
                of(f, position, subject, &what)
            }
            Self::BadSignature { position, subject } => of(
                f,
                position,
                subject,
                "is not signed by the one that follows",
            ),
            Self::NoAuthority { position, subject } => {
                of(f, position, subject, "signs another, but is no authority's")
            }
            Self::Unreadable { position, error } => {
                write!(
                    f,
                    "certificate {position} of the chain cannot be read: {error}"
                )
            }
            Self::TooMany { count, examined } => write!(
                f,
                "there are {count} certificates in the chain: only {examined} were looked at"
            ),
            Self::Tangled => f.write_str(
                "the chain has too many certificates of one name to find out which signed which",
            ),
            Self::NoNames => f.write_str("the certificate has no names in a subjectAltName"),
            Self::NotForServers => f.write_str("the certificate is not for servers"),
            Self::SelfSigned => f.write_str("the certificate is self-signed"),
            Self::UnknownIssuer { issuer } => {
                write!(f, "the chain ends at {issuer}, which is not trusted here")
            }
        }
    }
}
