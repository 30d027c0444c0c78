//! OCSP staples (RFC 6066 §8): whether a stack asks, gets the one of the certificate that it was
//! shown, and takes it for what it is.

use super::arguments::Arguments;
use super::clients::{HELLO, answered, counted_full, full, refused};
use super::{Case, Played};
use crate::cell::{Cell, Talk};
use crate::sites::stapled::{MUST_STAPLE, NEVER, REVOKED, STAPLED};

/// The cases, in the order of the report.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "staple",
        title: "OCSP staple",
        play: |cell| shown(cell, STAPLED),
    },
    Case {
        name: "staple-tls12",
        title: "OCSP staple, TLS 1.2",
        play: tls12,
    },
    Case {
        name: "staple-ecdsa",
        title: "OCSP staple of the ECDSA certificate",
        play: |cell| by_signature(cell, "ecdsa", "ca-ecdsa.pem"),
    },
    Case {
        name: "staple-rsa",
        title: "OCSP staple of the RSA certificate",
        play: |cell| by_signature(cell, "rsa", "ca-rsa.pem"),
    },
    Case {
        name: "staple-not-asked",
        title: "no OCSP staple for who does not ask",
        play: not_asked,
    },
    Case {
        name: "staple-resumption",
        title: "resumption after an OCSP staple",
        play: resumption,
    },
    Case {
        name: "staple-must",
        title: "OCSP staple of a must-staple certificate",
        play: |cell| shown(cell, MUST_STAPLE),
    },
    Case {
        name: "staple-revoked",
        title: "OCSP staple of a revoked certificate is refused",
        play: revoked,
    },
    Case {
        name: "staple-missing",
        title: "no handshake without the OCSP staple that is required",
        play: |cell| {
            // Whether the client asks is of no account.
            let arguments = Arguments::new(cell.lab.ground.edge(false), NEVER);
            let alert = "bad_certificate_status_response";
            refused(cell, arguments, alert, (HELLO, "error=\"no_staple\""))
        },
    },
];

fn asking(cell: &Cell<'_, '_>, name: &str) -> Arguments {
    Arguments::new(cell.lab.ground.edge(false), name).with("status", "yes")
}

const GOOD: (&str, &str) = ("staple", "good");

/// A full handshake with a good staple.
fn shown(cell: &mut Cell<'_, '_>, name: &str) -> Played {
    let arguments = asking(cell, name);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[GOOD])
}

fn tls12(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = asking(cell, STAPLED).with("version", "1.2");
    let talk = cell.talk(&arguments)?;
    let facts = [("handshake", "true"), ("version", "1.2"), GOOD];
    cell.both(&talk, 0, &facts, &["version", "staple"])?;
    answered(cell, &talk, 1);
    counted_full(cell, &talk, "1.2");
    Ok(())
}

/// Two certificates, two staples: a client that got the other one's would not take it for good.
fn by_signature(cell: &mut Cell<'_, '_>, kind: &str, ca: &'static str) -> Played {
    let arguments = asking(cell, STAPLED).with("signatures", kind).ca(ca);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[GOOD, ("certificate", kind)])
}

fn not_asked(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = Arguments::new(cell.lab.ground.edge(false), STAPLED).with("status", "no");
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[("staple", "none")])
}

fn resumption(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = asking(cell, STAPLED).with("mode", "resume");
    let talk = cell.talk(&arguments)?;
    let facts = [("handshake", "true"), ("resumed", "false"), GOOD];
    cell.both(&talk, 0, &facts, &["staple"])?;
    let facts = [("handshake", "true"), ("resumed", "true")];
    cell.both(&talk, 1, &facts, &["resumed"])?;
    // It shows no certificate.
    let staple = |talk: &Talk| Some(talk.edge.connections.get(1)?.staple.clone());
    cell.is("edge, connection 1, staple", staple(&talk), Some(None));
    answered(cell, &talk, 1);
    Ok(())
}

/// The edge shows what there is; the client is the one to turn away.
fn revoked(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = asking(cell, REVOKED);
    let talk = cell.talk(&arguments)?;
    cell.check("the peer did not take it", !talk.complete);
    cell.is("edge, requests", talk.edge.requests, 0);
    cell.both(&talk, 0, &[("staple", "revoked")], &["staple"])
}
