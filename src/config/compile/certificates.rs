//! A site's certificates: found, paired, checked against its names and the clock.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Work;
use crate::certs::keys::Pair;
use crate::certs::leaf::Validity;
use crate::certs::store::{Loaded, Store};
use crate::config::diagnostics::{At, Diagnostic, Place};
use crate::config::names::SiteName;
use crate::config::spec::{CertificateFiles, Certificates, SiteSpec, Spec, StapleFiles};
use crate::tags::Tag;

/// Where certificates come from while one specification is compiled.
pub(super) struct Source {
    store: Store,
    directory: Vec<(PathBuf, Loaded)>,
    /// Which of them have a name: few of thousands are looked at for each site.
    by_name: HashMap<SiteName, Vec<usize>>,
}

/// A site's certificates, ready for use.
pub(super) struct Found {
    pub(super) pairs: Vec<Pair>,
    /// What is said of the staple of each, if anything is.
    pub(super) files: Vec<StapleFiles>,
    /// A hash over all of them.
    pub(super) tag: Tag,
}

impl Source {
    pub(super) fn new(spec: &Spec, work: &mut Work<'_>) -> Self {
        let mut source = Self {
            store: Store::default(),
            directory: Vec::new(),
            by_name: HashMap::new(),
        };
        let Some(At { value: path, place }) = &spec.certificate_directory else {
            return source;
        };
        let mut broken = |message, hint| {
            let error = Diagnostic::error(place.clone(), message);
            work.broken.push(error.hint(hint));
        };
        let found = match source.store.directory(path) {
            Ok(found) => found,
            Err(error) => {
                broken(error.message, error.hint);
                return source;
            }
        };
        for (path, loaded) in found {
            match loaded {
                Ok(loaded) => {
                    for name in &loaded.pair.leaf.names {
                        let having = source.by_name.entry(name.clone()).or_default();
                        having.push(source.directory.len());
                    }
                    source.directory.push((path, loaded));
                }
                Err(errors) => {
                    for error in errors {
                        broken(error.message, error.hint);
                    }
                }
            }
        }
        source
    }

    /// The pairs of the directory that cover `name`.
    fn covering(&self, name: &SiteName) -> impl Iterator<Item = &(PathBuf, Loaded)> {
        let exact = self.by_name.get(name);
        let wildcard = match name.is_wildcard() {
            true => None,
            false => name.base().split_once('.').and_then(|(_, parent)| {
                let wildcard = SiteName::parse(&format!("*.{parent}")).ok()?;
                self.by_name.get(&wildcard)
            }),
        };
        let indices = exact.into_iter().chain(wildcard).flatten();
        indices.filter_map(|&index| self.directory.get(index))
    }

    /// The certificates of `site`; `None` if they cannot be used, which is then reported.
    pub(super) fn find(
        &mut self,
        spec: &Spec,
        site: &SiteSpec,
        work: &mut Work<'_>,
    ) -> Option<Found> {
        match &site.certificates {
            Certificates::Files(files) => self.of_files(site, files, work),
            Certificates::Directory => self.of_directory(spec, site, work),
            Certificates::Keys(keys) => from_keys(site, keys, work),
            Certificates::Unusable => None,
        }
    }

    fn of_files(
        &mut self,
        site: &SiteSpec,
        files: &[CertificateFiles],
        work: &mut Work<'_>,
    ) -> Option<Found> {
        let mut pairs = Vec::with_capacity(files.len());
        let mut tags = Vec::with_capacity(files.len());
        for CertificateFiles { chain, key, .. } in files {
            match self.store.pair(&chain.value, &key.value) {
                Ok(loaded) => {
                    let place = chain.place.as_ref();
                    if covers(site, &loaded.pair, place, work) {
                        check_dates(
                            &loaded.pair,
                            &chain.value.display().to_string(),
                            place,
                            work,
                        );
                        pairs.push(loaded.pair);
                        tags.push(loaded.tag);
                    }
                }
                Err(errors) => {
                    for error in errors {
                        let place = if error.chain { chain } else { key }.place.clone();
                        let told = Diagnostic::error(place, error.message);
                        work.broken.push(told.hint(error.hint));
                    }
                }
            }
        }
        // One broken pair of several breaks the set: with fewer kinds of key, clients that could
        // connect before cannot.
        (pairs.len() == files.len() && !pairs.is_empty()).then(|| Found {
            files: files.iter().map(|files| (*files.ocsp).clone()).collect(),
            ..Found::new(pairs, &tags)
        })
    }

    /// The pair whose names cover the site's; of several the one that is valid longest.
    fn of_directory(&mut self, spec: &Spec, site: &SiteSpec, work: &mut Work<'_>) -> Option<Found> {
        let Some(directory) = &spec.certificate_directory else {
            let message = format!("site {} has no certificate", site.label());
            let error = Diagnostic::error(site.place.clone(), message);
            let hint = "add `certificate = { chain = \"…\", key = \"…\" }`, or a \
                        `certificate_directory` at the top of the main file";
            work.errors.push(error.hint(hint));
            return None;
        };
        let first = site.names.first()?;
        let covering = self.covering(&first.value).filter(|(_, loaded)| {
            let leaf = &loaded.pair.leaf;
            site.names.iter().all(|name| leaf.covers(&name.value))
        });
        match covering.max_by_key(|(_, loaded)| loaded.pair.leaf.not_after) {
            Some((path, loaded)) => {
                let place = site.place.as_ref();
                check_dates(&loaded.pair, &path.display().to_string(), place, work);
                Some(Found::new(vec![loaded.pair.clone()], &[loaded.tag]))
            }
            None => {
                let message = format!(
                    "no certificate in {} covers all names of site {}",
                    directory.value.display(),
                    site.label()
                );
                let error = Diagnostic::error(site.place.clone(), message);
                let names: Vec<String> = site.names.iter().map(|n| n.value.to_string()).collect();
                let hint = format!("put NAME.pem and NAME.key there, for {}", names.join(", "));
                work.broken.push(error.hint(hint));
                None
            }
        }
    }
}

impl Found {
    fn new(pairs: Vec<Pair>, tags: &[Tag]) -> Self {
        let parts: Vec<&[u8]> = tags.iter().map(|tag| &tag.0[..]).collect();
        Self {
            pairs,
            files: Vec::new(),
            tag: Tag::of(&parts),
        }
    }
}

fn from_keys(
    site: &SiteSpec,
    keys: &[Arc<rustls::sign::CertifiedKey>],
    work: &mut Work<'_>,
) -> Option<Found> {
    let mut pairs = Vec::with_capacity(keys.len());
    let mut tags = Vec::with_capacity(keys.len());
    for key in keys {
        match Pair::from_certified(Arc::clone(key)) {
            Ok(pair) => {
                if covers(site, &pair, None, work) {
                    check_dates(&pair, &format!("site {}", site.label()), None, work);
                    let chain: Vec<&[u8]> = key.cert.iter().map(AsRef::as_ref).collect();
                    tags.push(Tag::of(&chain));
                    pairs.push(pair);
                }
            }
            Err(error) => {
                let message = format!("site {}: {error}", site.label());
                work.broken.push(Diagnostic::error(None, message));
            }
        }
    }
    if keys.is_empty() {
        let message = format!("site {} has no certificate", site.label());
        work.errors
            .push(Diagnostic::error(site.place.clone(), message));
    }
    (pairs.len() == keys.len() && !pairs.is_empty()).then(|| Found::new(pairs, &tags))
}

fn covers(site: &SiteSpec, pair: &Pair, place: Option<&Place>, work: &mut Work<'_>) -> bool {
    let mut all = true;
    for name in &site.names {
        if !pair.leaf.covers(&name.value) {
            all = false;
            let message = format!("the certificate does not cover `{}`", name.value);
            let error = Diagnostic::error(name.place.clone(), message);
            let names: Vec<String> = pair.leaf.names.iter().map(ToString::to_string).collect();
            let hint = match names.is_empty() {
                true => "it has no DNS names in its subjectAltName".to_owned(),
                false => format!("it is for: {}", names.join(", ")),
            };
            work.broken
                .push(error.other("the certificate is at", place).hint(hint));
        }
    }
    all
}

pub(super) fn check_dates(pair: &Pair, what: &str, place: Option<&Place>, work: &mut Work<'_>) {
    let validity = pair.leaf.validity(work.now);
    let message = match validity {
        Validity::Good => return,
        Validity::NotYet => format!("{what}: the certificate is not valid yet"),
        Validity::Expired => format!("{what}: the certificate has expired"),
        Validity::EndsIn(left) => {
            const DAY: Duration = Duration::from_secs(86_400);
            let days = left.as_secs() / DAY.as_secs();
            match days {
                0 => format!("{what}: the certificate expires within a day"),
                1 => format!("{what}: the certificate expires in 1 day"),
                days => format!("{what}: the certificate expires in {days} days"),
            }
        }
    };
    let hint = match validity {
        Validity::NotYet => "see what this machine takes for the time",
        _ => "renew it",
    };
    work.warnings
        .push(Diagnostic::warning(place.cloned(), message).hint(hint));
}
