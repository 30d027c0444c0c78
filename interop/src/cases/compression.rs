//! Compressed certificates (RFC 8879): whether a stack asks for them, and takes what it gets.

use super::Case;
use super::clients::{answered, edge};
use crate::cell::{Cell, Trouble};

/// The cases, in the order of the report.
pub(super) const CASES: &[Case] = &[Case {
    name: "certificate-compressed",
    title: "compressed certificate",
    play: compressed,
}];

/// A full handshake as the stack makes it by itself.
fn compressed(cell: &mut Cell<'_, '_>) -> Result<(), Trouble> {
    let arguments = edge(cell);
    let talk = cell.talk(&arguments)?;
    let told = cell.both(&talk, 0, &[("handshake", "true"), ("version", "1.3")], &[]);
    answered(cell, &talk, 1);
    let logged = talk.edge.connections.first();
    let algorithm = logged.and_then(|one| one.certificate_compression.clone());
    let Some(algorithm) = algorithm else {
        told?;
        return Err(Trouble::Unsupported(
            "the stack does not ask for a compressed certificate, or for none that the edge makes"
                .into(),
        ));
    };
    cell.note("the certificate was compressed with", [&algorithm]);
    let label = format!("algorithm=\"{algorithm}\"");
    let counted = |name: &str| talk.counted.sum(name, &label);
    let certificates = counted("cutwater_certificates_compressed_total");
    cell.is("edge, compressed certificates counted", certificates, 1.0);
    let saved = counted("cutwater_certificate_bytes_saved_total");
    cell.check("edge, bytes saved", saved > 0.0);
    told
}
