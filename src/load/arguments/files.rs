//! Files that options name.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::load::plan::{Identity, PlanError};

/// Where distributions keep the authorities they trust.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Certificates of a PEM file: at least one.
pub(crate) fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, PlanError> {
    let error = |what: String| {
        let hint = "hint: a PEM file with BEGIN CERTIFICATE is needed";
        PlanError::new(format!("{}: {what}\n{hint}", file.display()))
    };
    let found: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(file) {
        Ok(found) => found.collect(),
        Err(fault) => return Err(error(fault.to_string())),
    };
    match found {
        Ok(found) if found.is_empty() => Err(error("no certificate in it".into())),
        Ok(found) => Ok(found),
        Err(fault) => Err(error(fault.to_string())),
    }
}

/// The authorities that this machine trusts.
pub(crate) fn system_authorities() -> Result<Vec<CertificateDer<'static>>, PlanError> {
    let file = SYSTEM.iter().map(Path::new).find(|file| file.exists());
    match file {
        Some(file) => authorities(file),
        None => Err(PlanError::new(
            "this machine has no list of authorities\nhint: --ca FILE, or --insecure",
        )),
    }
}

/// A chain with its key.
pub(super) fn identity(chain: &Path, key: &Path) -> Result<Identity, PlanError> {
    let certificates = authorities(chain)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|fault| {
        let hint = "hint: --key FILE, a PEM file with BEGIN PRIVATE KEY";
        PlanError::new(format!("{}: {fault}\n{hint}", key.display()))
    })?;
    Ok(Identity {
        chain: certificates,
        key: Arc::new(private),
    })
}
