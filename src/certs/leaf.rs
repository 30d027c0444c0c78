//! What a site needs to know of its own leaf certificate: names and dates.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::names::SiteName;

/// How long before its end a certificate is warned about.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A leaf certificate, read.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The DNS names of its subjectAltName that a site can have.
    pub names: Vec<SiteName>,
    /// The first moment that it is valid.
    pub not_before: SystemTime,
    /// The last.
    pub not_after: SystemTime,
}

/// A certificate's dates, seen from one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It begins later.
    NotYet,
    /// Good for more than [`EXPIRY_WARNING`].
    Good,
    /// Ends after this long, in less than [`EXPIRY_WARNING`].
    EndsIn(Duration),
    /// It has ended.
    Expired,
}

impl Leaf {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let certificate = Certificate::from_der(der)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let certificate = certificate.tbs_certificate;
        let alternative = certificate
            .get::<SubjectAltName>()
            .map_err(|error| format!("its subjectAltName cannot be read: {error}"))?;
        let names = match &alternative {
            Some((_, SubjectAltName(names))) => names.as_slice(),
            None => &[],
        };
        let names = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DnsName(name) => SiteName::parse(name.as_str()).ok(),
                _ => None,
            })
            .collect();
        Ok(Self {
            names,
            not_before: certificate.validity.not_before.to_system_time(),
            not_after: certificate.validity.not_after.to_system_time(),
        })
    }

    /// Whether a client that wants `name` accepts this certificate (RFC 9525 §6.3: one label for
    /// `*`). A wildcard name is covered by the same wildcard alone.
    pub fn covers(&self, name: &SiteName) -> bool {
        self.names.iter().any(|own| {
            own == name || (own.is_wildcard() && !name.is_wildcard() && own.matches(name.base()))
        })
    }

    /// Its dates, seen from `now`.
    pub fn validity(&self, now: SystemTime) -> Validity {
        if now < self.not_before {
            return Validity::NotYet;
        }
        match self.not_after.duration_since(now) {
            Err(_) => Validity::Expired,
            Ok(left) if left < EXPIRY_WARNING => Validity::EndsIn(left),
            Ok(_) => Validity::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(names: &[&str]) -> Leaf {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2027, 1, 1);
        Leaf::read(parameters.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn a_wildcard_covers_one_label_and_itself() {
        let leaf = leaf(&["Example.com", "*.example.org"]);
        let covers = |name: &str| leaf.covers(&SiteName::parse(name).unwrap());
        assert!(covers("example.com"));
        assert!(covers("*.example.org"));
        assert!(covers("a.example.org"));
        assert!(!covers("example.org"));
        assert!(!covers("a.b.example.org"));
        assert!(!covers("*.example.com"));
        assert!(!covers("*.a.example.org"));
    }

    #[test]
    fn dates_are_seen_from_the_moment_that_is_asked_about() {
        let leaf = leaf(&["example.com"]);
        let day = Duration::from_secs(86_400);
        assert_eq!(leaf.validity(leaf.not_before - day), Validity::NotYet);
        assert_eq!(leaf.validity(leaf.not_before + day), Validity::Good);
        let left = Duration::from_secs(86_400 * 3);
        assert_eq!(leaf.validity(leaf.not_after - left), Validity::EndsIn(left));
        assert_eq!(leaf.validity(leaf.not_after + day), Validity::Expired);
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Leaf::read(&CertificateDer::from(vec![0x30, 0x82, 1])).is_err());
    }
}
