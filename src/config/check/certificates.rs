//! What a check tells of every certificate.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use serde::Serialize;

use super::staples::StapleState;
use crate::certs::describe::{Anchors, ChainProblem, Description, Known, describe};
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
    #[serde(flatten)]
    pub description: Description,
}

/// The certificates of a configuration, in its order and each once, and what is wrong with them.
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
    let mut seen: HashMap<Vec<CertificateDer<'_>>, usize> = HashMap::new();
    for (site, typed) in snapshot.sites.iter().zip(&spec.sites) {
        let Some(tls) = &site.tls else { continue };
        for (index, stapled) in tls.certificates.staples().iter().enumerate() {
            let chain = stapled.key().cert.clone();
            if let Some(&known) = seen.get(&chain) {
                told[known].sites.push(site.name.to_string());
                continue;
            }
            // The load has refused what cannot be read.
            let Ok(description) = describe(&chain, now, &known) else {
                continue;
            };
            let place = place(typed, index);
            warn(&description, place.as_ref(), &mut warnings);
            let staple = StapleState::look(stapled, spec.ocsp.directory.as_deref(), now);
            if staple.is_revoked() {
                let message = format!("{}: the certificate is revoked", site.name);
                let warning = Diagnostic::warning(place, message);
                warnings.push(warning.hint("take another one: clients refuse it"));
            }
            seen.insert(chain, told.len());
            told.push(Told {
                sites: vec![site.name.to_string()],
                staple,
                description,
            });
        }
    }
    (told, warnings)
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
        let _ = writeln!(text, "  {:<9} {}\n", "sites", one.sites.join(", "));
    }
    if let more @ 1.. = told.len().saturating_sub(MOST_SHOWN) {
        let _ = writeln!(text, "and {more} certificates more: --json tells of them\n");
    }
    text
}
