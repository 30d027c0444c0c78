//! What a check tells of every certificate.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use serde::Serialize;

use super::staples::StapleState;
use crate::certs::describe::{Anchors, ChainProblem, Description, Known, describe};
use crate::certs::ocsp::subject::responder;
use crate::certs::ocsp::{Source, Subject};
use crate::config::diagnostics::{Diagnostic, Place};
use crate::config::snapshot::Snapshot;
use crate::config::spec::{Certificates, SiteSpec, Spec};

/// How many are shown as text. JSON has all of them.
const MOST_SHOWN: usize = 100;

/// A certificate of the configuration.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// The sites that show it, by their first names.
    pub sites: Vec<String>,
    pub staple: StapleState,
    /// Where its staples come from: a responder, its own or another one that was named, or a file.
    pub staple_source: Option<String>,
    #[serde(flatten)]
    pub description: Description,
}

impl Told {
    /// Where its staples come from, if that is not the responder that it names itself.
    fn other_source(&self) -> Option<&str> {
        let own = self.description.responder.as_deref().and_then(responder);
        let own = own.map(|own| own.to_string());
        let source = self.staple_source.as_deref();
        source.filter(|source| own.as_deref() != Some(source))
    }
}

/// The certificates of a configuration, in its order, and what is wrong with them. Each is there
/// once for every way in which it is to be stapled.
pub(super) fn tell(
    spec: &Spec,
    snapshot: &Snapshot,
    now: SystemTime,
) -> (Vec<Told>, Vec<Diagnostic>) {
    let anchors = Anchors::of_system();
    let known = Known {
        anchors: anchors.as_ref(),
        logs: snapshot.logs.as_deref(),
    };
    let mut told: Vec<Told> = Vec::new();
    let mut warnings = Vec::new();
    let mut seen: HashMap<_, usize> = HashMap::new();
    let mut warned: HashSet<Vec<CertificateDer<'_>>> = HashSet::new();
    for (site, typed) in snapshot.sites.iter().zip(&spec.sites) {
        let Some(tls) = &site.tls else { continue };
        for (index, stapled) in tls.certificates.staples().iter().enumerate() {
            let chain = stapled.key().cert.clone();
            let way = (chain.clone(), stapled.tag(), stapled.unstapled());
            if let Some(&known) = seen.get(&way) {
                told[known].sites.push(site.name.to_string());
                continue;
            }
            // The load has refused what cannot be read.
            let Ok(description) = describe(&chain, now, &known) else {
                continue;
            };
            let place = place(typed, index);
            if warned.insert(chain) {
                warn(&description, place.as_ref(), &mut warnings);
            }
            let staple = StapleState::look(stapled, spec.ocsp.directory.as_deref(), now);
            if staple.is_revoked() {
                let message = format!("{}: the certificate is revoked", site.name);
                let warning = Diagnostic::warning(place, message);
                warnings.push(warning.hint("take another one: clients refuse it"));
            }
            seen.insert(way, told.len());
            told.push(Told {
                sites: vec![site.name.to_string()],
                staple,
                staple_source: stapled.subject().and_then(|subject| source(subject)),
                description,
            });
        }
    }
    (told, warnings)
}

fn source(subject: &Subject) -> Option<String> {
    subject.source.as_ref().map(|source| match source {
        Source::Responder(responder) => responder.to_string(),
        Source::File(file) => file.display().to_string(),
    })
}

/// Where the certificate of this number was typed.
fn place(site: &SiteSpec, index: usize) -> Option<Place> {
    match &site.certificates {
        Certificates::Files(files) => files.get(index)?.chain.place.clone(),
        _ => site.place.clone(),
    }
}

fn warn(description: &Description, place: Option<&Place>, warnings: &mut Vec<Diagnostic>) {
    let name = description.names.first().unwrap_or(&description.subject);
    // Of the leaf's dates the load has warned.
    let dated = description.problems.iter().filter(|problem| {
        matches!(
            problem,
            ChainProblem::Expired { position: 1, .. }
                | ChainProblem::NotYetValid { position: 1, .. }
        )
    });
    let dated: Vec<String> = dated.map(ToString::to_string).collect();
    for (message, hint) in description.complaints() {
        if !dated.contains(&message) {
            let warning = Diagnostic::warning(place.cloned(), format!("{name}: {message}"));
            warnings.push(warning.hint(hint));
        }
    }
}

/// As text: a paragraph for each.
pub(super) fn text(told: &[Told]) -> String {
    let mut text = String::new();
    for one in told.iter().take(MOST_SHOWN) {
        // Writing to a String does not fail.
        let _ = write!(text, "{}", one.description);
        let _ = writeln!(text, "  {:<9} {}", "staple", one.staple);
        if let Some(source) = one.other_source() {
            let _ = writeln!(text, "  {:<9} {source}, as configured", "asked");
        }
        let _ = writeln!(text, "  {:<9} {}\n", "sites", one.sites.join(", "));
    }
    if let more @ 1.. = told.len().saturating_sub(MOST_SHOWN) {
        let _ = writeln!(text, "and {more} certificates more: --json tells of them\n");
    }
    text
}
