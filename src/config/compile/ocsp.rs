//! What a site's certificates are to be stapled with, and whether that can be.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Work;
use super::certificates::Found;
use crate::certs::keys::Pair;
use crate::certs::ocsp::subject::{Demand, Unfit};
use crate::certs::ocsp::{OcspMode, Source, Stapled, Subject, Unstapled, store};
use crate::config::diagnostics::{Diagnostic, Place};
use crate::config::spec::{SiteSpec, Spec, StapleFiles};

/// The certificates as they are shown; `None` if one needs a staple and can never have one, which
/// is then reported.
pub(super) fn staple(
    spec: &Spec,
    site: &SiteSpec,
    found: &Found,
    work: &mut Work<'_>,
) -> Option<Vec<Arc<Stapled>>> {
    let none = StapleFiles::default();
    let mut all = Vec::with_capacity(found.pairs.len());
    for (index, pair) in found.pairs.iter().enumerate() {
        let files = found.files.get(index).unwrap_or(&none);
        all.push(Arc::new(one(spec, site, pair, files, work)?));
    }
    Some(all)
}

fn one(
    spec: &Spec,
    site: &SiteSpec,
    pair: &Pair,
    files: &StapleFiles,
    work: &mut Work<'_>,
) -> Option<Stapled> {
    let key = &pair.key;
    let leaf = key.cert.first()?;
    let place = site.ocsp.place.as_ref().or(site.place.as_ref());
    let label = site.label();
    let demand = match Demand::read(leaf) {
        Ok(demand) => demand,
        Err(error) => {
            warn(
                work,
                place,
                format!("site {label}: {error}"),
                "it is not stapled",
            );
            Demand::default()
        }
    };
    if site.ocsp.value == OcspMode::Off {
        if demand.must_staple {
            let message = format!("the certificate of site {label} demands a staple (RFC 7633)");
            warn(
                work,
                place,
                message,
                "clients refuse it without: take `ocsp = \"off\"` away",
            );
        }
        return Some(Stapled::never(Arc::clone(key), Unstapled::Off));
    }
    let required = site.ocsp.value == OcspMode::Required || demand.must_staple;
    let because = match site.ocsp.value {
        OcspMode::Required => "`ocsp = \"required\"`",
        _ => "its certificate demands a staple (RFC 7633)",
    };
    let source = match (&files.staple, &files.responder) {
        (Some(staple), _) => Some(Source::File(staple.value.clone())),
        (None, Some(responder)) => Some(Source::Responder(responder.value.clone())),
        (None, None) => demand.responder.map(Source::Responder),
    };
    if source.is_none() && key.ocsp.is_none() {
        if !required {
            return Some(Stapled::never(Arc::clone(key), Unstapled::NoResponder));
        }
        let message = format!("site {label}: {because}, but the certificate names no responder");
        let error = Diagnostic::error(place.cloned(), message);
        let hint = "give the certificate a `responder` or a `staple`, or take another certificate";
        work.broken.push(error.hint(hint));
        return None;
    }
    let more = issuers(files, work);
    let mut subject = match Subject::read(&key.cert, &more) {
        Ok(subject) => subject,
        Err(unfit) => {
            let message = format!("site {label} cannot be stapled: {unfit}");
            let hint = "add the issuer to the chain, or name its file: `certificate = { …, issuer = \"issuer.pem\" }`";
            if required {
                let message = format!("{message}; {because}");
                let error = Diagnostic::error(place.cloned(), message);
                work.broken.push(error.hint(hint));
                return None;
            }
            warn(work, place, message, hint);
            let why = match unfit {
                Unfit::NoIssuer => Unstapled::NoIssuer,
                // The load would have refused it.
                Unfit::Unreadable(_) => Unstapled::Off,
            };
            return Some(Stapled::never(Arc::clone(key), why));
        }
    };
    subject.source = source;
    subject.given.clone_from(&key.ocsp);
    look(&subject, files, work);
    if required && spec.ocsp.directory.is_none() && files.staple.is_none() {
        let message = format!(
            "site {label}: {because}, but staples are not kept: after a start it is refused until the responder has answered"
        );
        warn(work, place, message, "add [ocsp] with directory = \"ocsp\"");
    }
    Some(Stapled::awaiting(
        Arc::clone(key),
        Arc::new(subject),
        required,
    ))
}

/// Tells of a staple's file that is of no use now. It costs no site anything: it may become good.
fn look(subject: &Subject, files: &StapleFiles, work: &mut Work<'_>) {
    let Some(staple) = &files.staple else {
        return;
    };
    if let Err(error) = store::read_file(&staple.value, subject, work.now) {
        let message = format!("{}: {error}", staple.value.display());
        let hint = "it has to be an OCSP response in DER, as `openssl ocsp -respout` writes it";
        warn(work, staple.place.as_ref(), message, hint);
    }
}

/// The certificates of `issuer`.
fn issuers(files: &StapleFiles, work: &mut Work<'_>) -> Vec<CertificateDer<'static>> {
    let Some(issuer) = &files.issuer else {
        return Vec::new();
    };
    let path = issuer.value.display();
    let read = std::fs::read(&issuer.value).map_err(|error| format!("cannot read {path}: {error}"));
    let read = read.and_then(|pem| {
        let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        certificates.map_err(|error| format!("{path}: bad PEM: {error}"))
    });
    read.unwrap_or_else(|message| {
        warn(
            work,
            issuer.place.as_ref(),
            message,
            "write the certificate of the issuer in PEM",
        );
        Vec::new()
    })
}

fn warn(work: &mut Work<'_>, place: Option<&Place>, message: String, hint: &str) {
    let warning = Diagnostic::warning(place.cloned(), message);
    work.warnings.push(warning.hint(hint));
}
