//! Metrics of certificates.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntGauge, Result};

use crate::telemetry::family::{Counters, Families, NamedGauges};
use crate::telemetry::labels::CertificateCompression;

/// How many certificates have series of their own. A site more costs a monitor eight series, and
/// whoever has thousands watches the first end.
const MOST_SERIES: usize = 1000;

/// Metrics of the certificates of the sites.
#[derive(Debug)]
pub struct Certificates {
    /// Sent compressed, by algorithm.
    pub compressed: Counters<CertificateCompression>,
    /// Bytes that were not sent for that.
    pub bytes_saved: Counters<CertificateCompression>,
    /// How many sites show, each counted for each site.
    shown: IntGauge,
    first_end: IntGauge,
    not_before: NamedGauges<2>,
    not_after: NamedGauges<2>,
    scts: NamedGauges<2>,
    problems: NamedGauges<2>,
    info: NamedGauges<3>,
    staple_this_update: NamedGauges<2>,
    staple_next_update: NamedGauges<2>,
    staple_revoked: NamedGauges<2>,
    /// The staples that are told, by site and key.
    staples: Mutex<Staples>,
}

/// The dates of staples and whether they say revoked, by site and key.
type Staples = BTreeMap<(String, &'static str), [i64; 3]>;

/// What is told of the staple that one certificate of one site is shown with.
#[derive(Clone, Copy, Debug)]
pub struct StapleSeries<'a> {
    /// The site's first name.
    pub site: &'a str,
    /// The kind of its key.
    pub key: &'static str,
    /// When what it says was known to be right.
    pub this_update: SystemTime,
    /// When it ends.
    pub next_update: SystemTime,
    /// Whether it says that the certificate is revoked.
    pub revoked: bool,
}

/// What is told of one certificate of one site.
#[derive(Clone, Debug)]
pub struct CertificateSeries<'a> {
    /// The site's first name.
    pub site: &'a str,
    /// The kind of its key.
    pub key: &'a str,
    /// Its issuer.
    pub issuer: String,
    /// The first second that it is valid.
    pub not_before: SystemTime,
    /// The last.
    pub not_after: SystemTime,
    /// How many certificate timestamps are in it.
    pub scts: usize,
    /// How much is wrong with it and its chain.
    pub problems: usize,
}

impl Certificates {
    pub(super) fn new(families: &Families<'_>) -> Result<Self> {
        let labels = ["site", "key"];
        Ok(Self {
            compressed: families.counters(
                "certificates_compressed_total",
                "Certificates sent compressed (RFC 8879)",
                "algorithm",
            )?,
            bytes_saved: families.counters(
                "certificate_bytes_saved_total",
                "Bytes that compressed certificates were shorter by",
                "algorithm",
            )?,
            shown: families.gauge("certificates", "Certificates of all sites")?,
            first_end: families.gauge(
                "certificates_first_end_seconds",
                "When the first certificate of all sites ends, in seconds since the Unix epoch",
            )?,
            not_before: families.named_gauges(
                "certificate_not_before_seconds",
                "When a certificate begins, in seconds since the Unix epoch",
                labels,
            )?,
            not_after: families.named_gauges(
                "certificate_not_after_seconds",
                "When a certificate ends, in seconds since the Unix epoch",
                labels,
            )?,
            scts: families.named_gauges(
                "certificate_scts",
                "Certificate timestamps (RFC 6962) in a certificate",
                labels,
            )?,
            problems: families.named_gauges(
                "certificate_problems",
                "What cutwater check warns of in a certificate and its chain",
                labels,
            )?,
            info: families.named_gauges(
                "certificate_info",
                "Always 1; the labels tell a certificate's issuer",
                ["site", "key", "issuer"],
            )?,
            staple_this_update: families.named_gauges(
                "certificate_staple_this_update_seconds",
                "Since when a certificate's staple is right, in seconds since the Unix epoch",
                labels,
            )?,
            staple_next_update: families.named_gauges(
                "certificate_staple_next_update_seconds",
                "When a certificate's staple ends, in seconds since the Unix epoch",
                labels,
            )?,
            staple_revoked: families.named_gauges(
                "certificate_staple_revoked",
                "1 if a certificate's staple says that it is revoked, 0 if it says good",
                labels,
            )?,
            staples: Mutex::default(),
        })
    }

    /// These are the certificates now. The ones that end first have series of their own, up to a
    /// thousand.
    pub fn replace(&self, mut all: Vec<CertificateSeries<'_>>) {
        all.sort_by_key(|one| one.not_after);
        let ends = |one: &CertificateSeries<'_>| seconds(one.not_after);
        self.shown.set(i64::try_from(all.len()).unwrap_or(i64::MAX));
        self.first_end.set(all.first().map_or(0, ends));
        all.truncate(MOST_SERIES);
        // Of two with the same labels the one that ends first is told: it is the last to be set.
        all.reverse();
        let each = |value: fn(&CertificateSeries<'_>) -> i64| {
            all.iter().map(move |one| ([one.site, one.key], value(one)))
        };
        self.not_before.replace(each(|one| seconds(one.not_before)));
        self.not_after.replace(each(|one| seconds(one.not_after)));
        self.scts.replace(each(|one| count(one.scts)));
        self.problems.replace(each(|one| count(one.problems)));
        self.info
            .replace(all.iter().map(|one| ([one.site, one.key, &*one.issuer], 1)));
    }

    /// These are the staples now. The ones that end first have series, up to a thousand. Called
    /// often: what has not changed is not touched, so that no scrape finds it missing.
    pub fn replace_staples(&self, mut all: Vec<StapleSeries<'_>>) {
        all.sort_by_key(|one| one.next_update);
        all.truncate(MOST_SERIES);
        // As above: of two with the same labels the one that ends first stays.
        let each = all.iter().rev().map(|one| {
            let (begins, ends) = (seconds(one.this_update), seconds(one.next_update));
            let told = [begins, ends, i64::from(one.revoked)];
            ((one.site.to_owned(), one.key), told)
        });
        let now: Staples = each.collect();
        let mut before = self.staples.lock().unwrap_or_else(PoisonError::into_inner);
        for (site, key) in before.keys().filter(|labels| !now.contains_key(*labels)) {
            self.staple_this_update.remove([site, key]);
            self.staple_next_update.remove([site, key]);
            self.staple_revoked.remove([site, key]);
        }
        for ((site, key), [this_update, next_update, revoked]) in &now {
            self.staple_this_update.set([site, key], *this_update);
            self.staple_next_update.set([site, key], *next_update);
            self.staple_revoked.set([site, key], *revoked);
        }
        *before = now;
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::Registry;

    use super::*;

    fn series(registry: &Registry) -> usize {
        let families = registry.gather();
        let of_staples = families
            .iter()
            .filter(|family| family.name().contains("certificate_staple_next"));
        of_staples.map(|family| family.get_metric().len()).sum()
    }

    #[test]
    fn the_staples_that_end_first_have_series_and_one_that_is_gone_has_none() {
        let registry = Registry::new();
        let certificates = Certificates::new(&Families(&registry)).unwrap();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let sites: Vec<String> = (0..1500).map(|site| format!("{site}.test")).collect();
        let all = sites.iter().enumerate().map(|(number, site)| StapleSeries {
            site,
            key: "rsa",
            this_update: at(1),
            // The last site's ends first.
            next_update: at(10_000 - number as u64),
            revoked: number % 2 == 1,
        });
        let all: Vec<_> = all.collect();
        certificates.replace_staples(all.clone());
        assert_eq!(series(&registry), MOST_SERIES);
        let next = |site| certificates.staple_next_update.get([site, "rsa"]);
        assert_eq!(next("1499.test"), 8501);
        let revoked = |site| certificates.staple_revoked.get([site, "rsa"]);
        assert_eq!((revoked("1499.test"), revoked("1498.test")), (1, 0));
        certificates.replace_staples(vec![all[1499]]);
        assert_eq!(series(&registry), 1);
        certificates.replace_staples(Vec::new());
        assert_eq!(series(&registry), 0);
        // Of two with the same labels the one that ends first is told.
        let mut later = all[0];
        later.next_update = at(20_000);
        certificates.replace_staples(vec![later, all[0]]);
        assert_eq!(next("0.test"), 10_000);
    }
}
