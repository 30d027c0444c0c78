//! What is wrong with a chain as a server sends it.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use super::certificate::Certificate;
use super::{Anchors, date, time};

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
            Self::NoNames => f.write_str("the certificate has no names in a subjectAltName"),
            Self::NotForServers => f.write_str("the certificate is not for servers"),
            Self::SelfSigned => f.write_str("the certificate is self-signed"),
            Self::UnknownIssuer { issuer } => {
                write!(f, "the chain ends at {issuer}, which is not trusted here")
            }
        }
    }
}

/// What a chain came to.
pub(super) struct Examined {
    /// Whether it ends at a trusted authority.
    pub anchored: Option<bool>,
    /// Which certificate is the leaf's issuer.
    pub issuer: Option<usize>,
    pub problems: Vec<ChainProblem>,
}

/// Looks at a chain whose leaf could be read.
pub(super) fn examine(
    chain: &[Result<Certificate<'_>, String>],
    now: SystemTime,
    anchors: Option<&Anchors>,
) -> Examined {
    let mut problems = Vec::new();
    for (index, certificate) in chain.iter().enumerate() {
        let position = index + 1;
        match certificate {
            Ok(certificate) => alone(certificate, position, now, &mut problems),
            Err(error) => problems.push(ChainProblem::Unreadable {
                position,
                error: error.clone(),
            }),
        }
    }
    let path = path(chain);
    links(chain, &path, &mut problems);
    let steps = path.iter().filter_map(|&index| chain[index].as_ref().ok());
    let anchored = anchors.map(|anchors| steps.clone().any(|step| anchors.vouch_for(step)));
    end(steps, path.len(), anchored, &mut problems);
    Examined {
        anchored,
        issuer: path.get(1).copied(),
        problems,
    }
}

/// What can be seen in a certificate by itself.
fn alone(
    certificate: &Certificate<'_>,
    position: usize,
    now: SystemTime,
    problems: &mut Vec<ChainProblem>,
) {
    let subject = certificate.label();
    if certificate.not_after() < now {
        problems.push(ChainProblem::Expired {
            position,
            subject: subject.clone(),
            not_after: certificate.not_after(),
        });
    }
    if now < certificate.not_before() {
        problems.push(ChainProblem::NotYetValid {
            position,
            subject: subject.clone(),
            not_before: certificate.not_before(),
        });
    }
    if certificate.key.weakness.is_some() {
        problems.push(ChainProblem::WeakKey {
            position,
            subject: subject.clone(),
            key: certificate.key.to_string(),
        });
    }
    // Nobody checks the signature of a root.
    if certificate.is_weakly_signed() && !certificate.is_self_issued() {
        problems.push(ChainProblem::WeakSignature {
            position,
            subject,
            algorithm: certificate.signature_name(),
        });
    }
    if position == 1 {
        if certificate.names.is_empty() {
            problems.push(ChainProblem::NoNames);
        }
        if !certificate.serves {
            problems.push(ChainProblem::NotForServers);
        }
    }
}

/// The way from the leaf to its issuer, that one's issuer and so on, as far as they are there.
fn path(chain: &[Result<Certificate<'_>, String>]) -> Vec<usize> {
    let mut path = vec![0];
    while let Some(Ok(current)) = path.last().map(|&last| &chain[last]) {
        if current.is_self_issued() {
            break;
        }
        let named = |&index: &usize| {
            let fresh = !path.contains(&index);
            fresh && matches!(&chain[index], Ok(next) if next.subject == current.issuer)
        };
        let signs = |&index: &usize| {
            let next = chain[index].as_ref().ok();
            next.and_then(|next| current.is_signed_by(next)) == Some(true)
        };
        let candidates: Vec<usize> = (1..chain.len()).filter(named).collect();
        // Authorities renew their keys under one name.
        let signing = candidates.iter().copied().find(|index| signs(index));
        match signing.or_else(|| candidates.first().copied()) {
            Some(next) => path.push(next),
            None => break,
        }
    }
    path
}

/// How the certificates of a chain go with each other.
fn links(
    chain: &[Result<Certificate<'_>, String>],
    path: &[usize],
    problems: &mut Vec<ChainProblem>,
) {
    for pair in path.windows(2) {
        let (Ok(one), Ok(next)) = (&chain[pair[0]], &chain[pair[1]]) else {
            continue;
        };
        if one.is_signed_by(next) == Some(false) {
            problems.push(ChainProblem::BadSignature {
                position: pair[0] + 1,
                subject: one.label(),
            });
        }
        if !next.authority {
            problems.push(ChainProblem::NoAuthority {
                position: pair[1] + 1,
                subject: next.label(),
            });
        }
    }
    if !path.is_sorted() {
        problems.push(ChainProblem::WrongOrder);
    }
    for (index, certificate) in chain.iter().enumerate() {
        let Ok(certificate) = certificate else {
            continue;
        };
        let (position, subject) = (index + 1, certificate.label());
        let before = chain[..index].iter().flatten();
        if before.clone().any(|other| other.der == certificate.der) {
            problems.push(ChainProblem::Duplicate { position, subject });
        } else if index > 0 && certificate.is_self_issued() && path.contains(&index) {
            problems.push(ChainProblem::RootIncluded { position, subject });
        } else if !path.contains(&index) {
            problems.push(ChainProblem::Unrelated { position, subject });
        }
    }
}

/// Where it ends.
fn end<'c, 'd: 'c>(
    steps: impl Iterator<Item = &'c Certificate<'d>>,
    length: usize,
    anchored: Option<bool>,
    problems: &mut Vec<ChainProblem>,
) {
    let Some(last) = steps.last() else {
        return;
    };
    if anchored == Some(true) {
        return;
    }
    let issuer = last.issuer_text();
    if last.is_self_issued() && length == 1 {
        problems.push(ChainProblem::SelfSigned);
    } else if length == 1 && last.issuer_at.is_some() {
        // Public authorities never let their roots sign leaves, and say where their
        // intermediates are.
        problems.push(ChainProblem::MissingIntermediate {
            issuer,
            at: last.issuer_at.clone(),
        });
    } else if anchored == Some(false) {
        problems.push(ChainProblem::UnknownIssuer { issuer });
    }
}
