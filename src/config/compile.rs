//! From what was asked for to what runs: every rule that concerns more than one value.

mod certificates;
mod listeners;
mod ocsp;
mod origin_tls;
mod routes;
mod site;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::diagnostics::{At, Diagnostic, sort};
use super::snapshot::{OriginSpec, Site, Snapshot};
use super::spec::{OriginTable, Spec};
use crate::certs::transparency::LogList;
use crate::tags::Tag;

/// What became of a [`Spec`].
#[derive(Debug)]
pub struct Compiled {
    /// What can run, or every reason why nothing can.
    pub result: Result<Snapshot, Vec<Diagnostic>>,
    /// Certificates and keys that cannot be used. Each costs one site: at start that site is
    /// refused, on a reload it keeps what it had.
    pub broken: Vec<Diagnostic>,
    /// What can run, but hardly as it was meant.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a specification. Sites that say what they said in `previous` are shared with it.
///
/// `now` is what the dates of certificates are compared with.
pub fn compile(spec: &Spec, previous: Option<&Snapshot>, now: SystemTime) -> Compiled {
    let mut work = Work::new(previous, now);
    let (mut listeners, listener_names) = listeners::compile(spec, &mut work);
    for (name, table) in &spec.origins {
        // Also of those that no route names: a broken file is told.
        origin_tls::compile(name, table, &mut work);
    }
    let logs = log_list(spec, previous, &mut work);
    let identities = identities(spec);
    let mut certificates = certificates::Source::new(spec, &mut work);
    let sites: Vec<Arc<Site>> = spec
        .sites
        .iter()
        .zip(identities)
        .map(|(site, identity)| site::compile(spec, site, &identity, &mut certificates, &mut work))
        .collect();
    listeners::assign(spec, &sites, &mut listeners, &listener_names, &mut work);
    if spec.sites.is_empty() {
        let warning = Diagnostic::warning(None, "no site: every connection will be refused");
        work.warnings.push(warning.hint("add a [[site]]"));
    }
    let Work {
        mut errors,
        mut broken,
        mut warnings,
        ..
    } = work;
    for told in [&mut errors, &mut broken, &mut warnings] {
        sort(told);
        for one in told {
            *one = one.clone().concealed(&spec.environment);
        }
    }
    let result = if errors.is_empty() {
        Ok(Snapshot {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            server: spec.server.clone(),
            limits: spec.limits.clone(),
            log: spec.log.clone(),
            listeners,
            admin: spec.admin.as_ref().map(|admin| admin.value.clone()),
            sessions: spec.sessions.clone(),
            ocsp: spec.ocsp.clone(),
            resolver: spec.resolver.clone(),
            logs,
            sites,
        })
    } else {
        Err(errors)
    };
    Compiled {
        result,
        broken,
        warnings,
    }
}

/// The list of logs. One that cannot be used costs no site anything: the former one stays.
fn log_list(spec: &Spec, previous: Option<&Snapshot>, work: &mut Work<'_>) -> Option<Arc<LogList>> {
    let At { value: path, place } = spec.log_list.as_ref()?;
    let read = std::fs::read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        (message, "a path is relative to the file that it stands in")
    });
    let parsed = read.and_then(|json| {
        let hint = "take https://www.gstatic.com/ct/log_list/v3/log_list.json, or Apple's";
        LogList::parse(&json).map_err(|error| (format!("{}: {error}", path.display()), hint))
    });
    match parsed {
        Ok(logs) => Some(Arc::new(logs)),
        Err((message, hint)) => {
            let error = Diagnostic::error(place.clone(), message);
            work.broken.push(error.hint(hint));
            previous.and_then(|previous| previous.logs.clone())
        }
    }
}

/// What the rules read and write while a specification is compiled.
struct Work<'p> {
    now: SystemTime,
    /// Former sites by name.
    former: HashMap<&'p str, Vec<&'p Arc<Site>>>,
    origins: HashSet<Arc<OriginSpec>>,
    tls: origin_tls::Source,
    errors: Vec<Diagnostic>,
    broken: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl<'p> Work<'p> {
    fn new(previous: Option<&'p Snapshot>, now: SystemTime) -> Self {
        let sites = previous.map_or(&[][..], |previous| &previous.sites);
        let mut former: HashMap<&str, Vec<&Arc<Site>>> = HashMap::new();
        for site in sites {
            former.entry(&site.name).or_default().push(site);
        }
        Self {
            now,
            former,
            // What is equal to a former origin is that one: its pool lives on.
            origins: previous.map_or_else(HashSet::new, |previous| {
                previous.origins().map(Arc::clone).collect()
            }),
            tls: origin_tls::Source::default(),
            errors: Vec::new(),
            broken: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The site that this one was before.
    fn former(&self, name: &str, trust: &Tag) -> Option<&'p Arc<Site>> {
        let named = self.former.get(name)?;
        let trusted =
            |site: &&&'p Arc<Site>| site.tls.as_ref().is_some_and(|tls| tls.trust == *trust);
        match &named[..] {
            [only] => Some(only),
            several => several.iter().find(trusted).copied(),
        }
    }

    /// Equal origins are one, and share one pool.
    fn origin(&mut self, name: Arc<str>, table: &OriginTable) -> Arc<OriginSpec> {
        let tls = origin_tls::compile(&name, table, self);
        let origin = Arc::new(OriginSpec {
            name,
            servers: table.servers.clone(),
            early_data_aware: table.early_data_aware,
            host: table.host,
            pool: (*table.pool).clone(),
            forwarded: table.forwarded,
            proxy_protocol: table.proxy_protocol,
            tls,
        });
        match self.origins.get(&origin) {
            Some(known) => Arc::clone(known),
            None => {
                self.origins.insert(Arc::clone(&origin));
                origin
            }
        }
    }
}

/// What the sessions of each site are bound to: its first name. Where sites on different listeners
/// share that, their listeners tell them apart (EARLY-DATA R6).
fn identities(spec: &Spec) -> Vec<String> {
    let mut count: HashMap<String, usize> = HashMap::new();
    for site in &spec.sites {
        *count.entry(site.label()).or_default() += 1;
    }
    let identity = |site: &super::spec::SiteSpec| {
        let label = site.label();
        if count.get(&label) == Some(&1) {
            return label;
        }
        let listen: Vec<&str> = site.listen.iter().map(|name| &*name.value).collect();
        format!("{label}@{}", listen.join(","))
    };
    spec.sites.iter().map(identity).collect()
}
