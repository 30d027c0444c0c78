//! What is wrong with a chain as a server sends it.

use std::time::SystemTime;

use super::Anchors;
use super::certificate::Certificate;
use super::problem::ChainProblem;

/// How many signatures of a chain are checked to find its way. One in order takes one for each
/// certificate; where all have one name it would be as many as the square of their number, and who
/// made the chain may mean harm.
const MOST_SIGNATURES: usize = 32;

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
    let mut left = MOST_SIGNATURES;
    let (path, signed) = path(chain, &mut left);
    if left == 0 {
        problems.push(ChainProblem::Tangled);
    }
    links(chain, &path, &signed, &mut problems);
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

/// The way from the leaf to its issuer, that one's issuer and so on, as far as they are there; and
/// whether the one signed the other, step by step. `left` is how many signatures may still be
/// checked.
fn path(
    chain: &[Result<Certificate<'_>, String>],
    left: &mut usize,
) -> (Vec<usize>, Vec<Option<bool>>) {
    let (mut path, mut signed) = (vec![0], Vec::new());
    while let Some(Ok(current)) = path.last().map(|&last| &chain[last]) {
        if current.is_self_issued() {
            break;
        }
        // Authorities renew their keys under one name: the first that signed is meant, or else the
        // first.
        let mut step = None;
        for (index, next) in chain.iter().enumerate().skip(1) {
            let Ok(next) = next else { continue };
            if path.contains(&index) || next.subject != current.issuer {
                continue;
            }
            let signs = left.checked_sub(1).and_then(|rest| {
                *left = rest;
                current.is_signed_by(next)
            });
            if signs == Some(true) {
                step = Some((index, signs));
                break;
            }
            step.get_or_insert((index, signs));
        }
        let Some((next, signs)) = step else { break };
        path.push(next);
        signed.push(signs);
    }
    (path, signed)
}

/// How the certificates of a chain go with each other.
fn links(
    chain: &[Result<Certificate<'_>, String>],
    path: &[usize],
    signed: &[Option<bool>],
    problems: &mut Vec<ChainProblem>,
) {
    for (pair, signed) in path.windows(2).zip(signed) {
        let (Ok(one), Ok(next)) = (&chain[pair[0]], &chain[pair[1]]) else {
            continue;
        };
        if *signed == Some(false) {
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
