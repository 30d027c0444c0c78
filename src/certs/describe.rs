//! What a certificate and its chain are like, in words: of our own sites and of any server.
//!
//! Pure: the time, the authorities that are trusted and what is known of the staple come in as
//! arguments. Nothing here decides whether a connection is good; a verifier does that. This says
//! what an operator should know.

mod certificate;
mod chain;
mod key;
mod problem;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde::{Serialize, Serializer};
use x509_cert::der::DateTime;

use self::certificate::Certificate;
pub use self::key::{KeyDescription, Weakness};
pub use self::problem::ChainProblem;
use super::transparency::{self, LogList, Sct, Shortfall};

/// A day, in which the life of certificates is told.
pub const DAY: Duration = Duration::from_secs(86_400);

/// How many certificates of a chain are looked at. The longest that are in use have five or six.
const MOST_CERTIFICATES: usize = 16;

/// The authorities that somebody trusts: their keys by their names, both the contents of a SEQUENCE.
#[derive(Clone, Debug, Default)]
pub struct Anchors(HashMap<Vec<u8>, Vec<Vec<u8>>>);

impl Anchors {
    /// The authorities of a store.
    #[must_use]
    pub fn new(store: &RootCertStore) -> Self {
        let mut anchors: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for root in &store.roots {
            let keys = anchors.entry(root.subject.as_ref().to_vec()).or_default();
            keys.push(root.subject_public_key_info.as_ref().to_vec());
        }
        Self(anchors)
    }

    /// Those that this system trusts; `None` if it has none.
    #[must_use]
    pub fn of_system() -> Option<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        (added > 0).then(|| Self::new(&roots))
    }

    /// Whether this certificate is one of them or signed by one.
    fn vouch_for(&self, certificate: &Certificate<'_>) -> bool {
        let keys = |name| self.0.get(name).into_iter().flatten();
        keys(certificate.subject).any(|key| key == certificate.spki)
            || keys(certificate.issuer).any(|key| certificate.is_signed_by_key(key) != Some(false))
    }
}

/// What is known beside the chain itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'k> {
    /// The authorities that are trusted; without them nothing is said about trust.
    pub anchors: Option<&'k Anchors>,
    /// The logs of Certificate Transparency; without them timestamps are only counted.
    pub logs: Option<&'k LogList>,
}

/// A certificate and its chain, described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The DNS names and addresses of its subjectAltName.
    pub names: Vec<String>,
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub sha256: String,
    /// Its key.
    pub key: KeyDescription,
    /// What it is signed with.
    pub signature: String,
    /// The first second that it is valid.
    #[serde(serialize_with = "time")]
    pub not_before: SystemTime,
    /// The last.
    #[serde(serialize_with = "time")]
    pub not_after: SystemTime,
    /// Whole days until its end; negative once it has ended.
    pub days_left: i64,
    /// Where its OCSP responder is.
    pub responder: Option<String>,
    /// Whether it asks for a staple (RFC 7633).
    pub must_staple: bool,
    /// Whether its issuer says that the CA/Browser Forum's rules hold for it, as that of every
    /// publicly trusted certificate has to.
    pub public: bool,
    /// The certificate timestamps in it (RFC 6962).
    pub scts: Vec<Sct>,
    /// What these lack for browsers; nothing is asked of certificates that are not public.
    pub shortfall: Option<Shortfall>,
    /// The certificates that follow it, in their order.
    pub chain: Vec<Link>,
    /// Whether the chain ends at an authority that is trusted; `None` if nobody said which are.
    pub anchored: Option<bool>,
    /// What is wrong with the chain, or odd.
    pub problems: Vec<ChainProblem>,
}

/// A certificate that follows the leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Its key.
    pub key: KeyDescription,
    /// What it is signed with.
    pub signature: String,
    /// The last second that it is valid.
    #[serde(serialize_with = "time")]
    pub not_after: SystemTime,
}

/// Describes a chain as a server sends it, leaf first, seen from `now`. The first 16 certificates
/// are looked at, whoever made the rest; how many there are is told.
///
/// # Errors
/// What is wrong, for people, if there is no leaf that can be read. Other certificates that cannot
/// be read are among the problems.
pub fn describe(
    chain: &[CertificateDer<'_>],
    now: SystemTime,
    known: &Known<'_>,
) -> Result<Description, String> {
    let examined = &chain[..chain.len().min(MOST_CERTIFICATES)];
    let read: Vec<Result<Certificate<'_>, String>> =
        examined.iter().map(|der| Certificate::read(der)).collect();
    let leaf = match read.first() {
        Some(Ok(leaf)) => leaf,
        Some(Err(error)) => return Err(format!("the certificate cannot be read: {error}")),
        None => return Err("there is no certificate".to_owned()),
    };
    let mut examined = chain::examine(&read, now, known.anchors);
    if chain.len() > read.len() {
        examined.problems.push(ChainProblem::TooMany {
            count: chain.len(),
            examined: read.len(),
        });
    }
    let issuer = examined.issuer.and_then(|index| read[index].as_ref().ok());
    let scts = transparency::embedded(
        &leaf.parsed,
        leaf.tbs,
        issuer.map(|issuer| &issuer.parsed.subject_public_key_info),
        known.logs,
        now,
    );
    let public = leaf.public && examined.anchored != Some(false);
    let shortfall = transparency::shortfall(&scts, leaf.not_before(), leaf.not_after());
    Ok(Description {
        names: leaf.names.clone(),
        subject: leaf.subject_text(),
        issuer: leaf.issuer_text(),
        serial: hexadecimal(leaf.serial()),
        sha256: hexadecimal(leaf.sha256().as_ref()),
        key: leaf.key.clone(),
        signature: leaf.signature_name(),
        not_before: leaf.not_before(),
        not_after: leaf.not_after(),
        days_left: days_between(now, leaf.not_after()),
        responder: leaf.responder.clone(),
        must_staple: leaf.must_staple,
        public: leaf.public,
        scts,
        shortfall: shortfall.filter(|_| public),
        chain: read.iter().skip(1).flatten().map(link).collect(),
        anchored: examined.anchored,
        problems: examined.problems,
    })
}

impl Description {
    /// What an operator should be told, each with what to do about it. What may well be meant so
    /// is not among it; dates of the leaf are, if it ended or has not begun.
    #[must_use]
    pub fn complaints(&self) -> Vec<(String, &'static str)> {
        const UNLOGGED: &str = "have it issued anew: its authority embeds them";
        let problems = self.problems.iter().filter(|one| !one.may_be_meant());
        let told = problems.map(|problem| (problem.to_string(), problem.hint()));
        let shortfall = self.shortfall.iter();
        told.chain(shortfall.map(|one| (one.to_string(), UNLOGGED)))
            .collect()
    }

    /// Whether it ends in less than `left` after `now`, or has ended.
    #[must_use]
    pub fn ends_within(&self, left: Duration, now: SystemTime) -> bool {
        self.not_after
            .duration_since(now)
            .map_or(true, |rest| rest < left)
    }
}

fn link(certificate: &Certificate<'_>) -> Link {
    Link {
        subject: certificate.subject_text(),
        issuer: certificate.issuer_text(),
        key: certificate.key.clone(),
        signature: certificate.signature_name(),
        not_after: certificate.not_after(),
    }
}

/// Whole days from one time to another, rounded down: -1 for what has just ended.
fn days_between(from: SystemTime, to: SystemTime) -> i64 {
    let days = |duration: Duration| i64::try_from(duration.as_secs() / DAY.as_secs());
    match to.duration_since(from) {
        Ok(left) => days(left).unwrap_or(i64::MAX),
        Err(past) => days(past.duration()).map_or(i64::MIN, |days| -1 - days),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time as RFC 3339 writes it, to the second.
pub(crate) fn date(time: SystemTime) -> String {
    DateTime::from_system_time(time)
        .map_or_else(|_| "out of range".to_owned(), |time| time.to_string())
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date(*time))
}
