//! What was found, for people.

use std::fmt::{self, Write as _};

use super::report::{
    CertificateReport, EarlyData, Http3, Inspection, Resumption, StapleReport, StapleState,
    VersionReport,
};
use crate::certs::foreign::printable;

/// How wide the names of lines are: as in the description of a certificate.
const WIDTH: usize = 9;

/// Where a long list goes on in the next line.
const LINE: usize = 100;

/// All of it, as lines.
pub(super) fn render(inspection: &Inspection) -> String {
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = write(&mut out, inspection);
    out
}

fn write(out: &mut String, inspection: &Inspection) -> fmt::Result {
    let asked = match &inspection.server_name {
        Some(name) => format!("asked for {name}"),
        None => "asked for no name".to_owned(),
    };
    let Inspection {
        target,
        address,
        began,
        seconds,
        connections,
        ..
    } = inspection;
    writeln!(out, "{target} at {address}, {asked}")?;
    writeln!(out, "{began}, {connections} connections in {seconds:.1} s")?;

    writeln!(out, "\nVersions")?;
    for version in &inspection.versions {
        write_version(out, version)?;
    }
    if let Some(usual) = &inspection.usual {
        let parts = [&usual.suite, &usual.group, &usual.alpn];
        let parts = parts.into_iter().flatten().map(String::as_str);
        let parts: Vec<&str> = [&*usual.version].into_iter().chain(parts).collect();
        line(out, "usual", &parts.join(", "))?;
    }

    writeln!(out, "\nSessions")?;
    line(out, "resumed", &resumption(&inspection.resumption))?;
    line(out, "early", &early_data(&inspection.early_data))?;

    writeln!(out, "\nProtocols")?;
    line(out, "ALPN", or_none(&inspection.alpn.join(", ")))?;
    line(out, "HTTP/3", &http3(&inspection.http3))?;

    writeln!(out, "\nCertificates")?;
    let compressions = inspection.certificate_compression.iter();
    let compressions = compressions.map(|it| {
        format!(
            "{} {} of {} bytes",
            it.algorithm, it.compressed, it.uncompressed
        )
    });
    let compressions: Vec<String> = compressions.collect();
    line(out, "packed", or_none(&compressions.join(", ")))?;
    if inspection.client_certificate {
        line(out, "client", "asked for one too")?;
    }
    for certificate in &inspection.certificates {
        write_certificate(out, certificate)?;
    }

    if !inspection.notes.is_empty() {
        writeln!(out, "\nNotes")?;
        for note in &inspection.notes {
            writeln!(out, "  {}", printable(note))?;
        }
    }
    Ok(())
}

fn write_version(out: &mut String, version: &VersionReport) -> fmt::Result {
    let name = version.version;
    if version.spoken != Some(true) {
        return line(out, name, said(version.spoken));
    }
    list(out, name, &version.suites)?;
    if !version.groups.is_empty() {
        list(out, "", &version.groups)?;
    }
    if let Some(bits) = version.dh_bits {
        line(out, "", &format!("Diffie-Hellman with {bits} bits"))?;
    }
    Ok(())
}

fn resumption(resumption: &Resumption) -> String {
    let tickets = match resumption.tickets {
        Some(1) => " (1 ticket)".to_owned(),
        Some(count) => format!(" ({count} tickets)"),
        None => String::new(),
    };
    format!(
        "TLS 1.3 {}{tickets}; TLS 1.2 by session id {}, by ticket {}",
        said(resumption.tls13),
        said(resumption.tls12_session_id),
        said(resumption.tls12_ticket),
    )
}

fn early_data(early_data: &EarlyData) -> String {
    let allowed = match early_data.allowed {
        None => return said(None).to_owned(),
        Some(0) => return said(Some(false)).to_owned(),
        Some(allowed) => format!("tickets allow {allowed} bytes"),
    };
    let Some(answer) = &early_data.answer else {
        return allowed;
    };
    if !answer.accepted {
        return format!("{allowed}; refused");
    }
    let when = if answer.before_finished {
        "before Finished"
    } else {
        "not before Finished"
    };
    match answer.status {
        Some(status) => format!("{allowed}; accepted, answered {when} with {status}"),
        None => format!("{allowed}; accepted, answered {when}"),
    }
}

fn http3(http3: &Http3) -> String {
    match &http3.alt_svc {
        Some(alt_svc) => format!("{}; Alt-Svc: {alt_svc}", said(http3.spoken)),
        None => said(http3.spoken).to_owned(),
    }
}

fn write_certificate(out: &mut String, certificate: &CertificateReport) -> fmt::Result {
    writeln!(out)?;
    match &certificate.description {
        Some(description) => write!(out, "{description}")?,
        None => writeln!(out, "a certificate that cannot be read")?,
    }
    match certificate.shown_for.as_slice() {
        [] => line(out, "shown", "to older versions")?,
        kinds => line(out, "shown for", &kinds.join(", "))?,
    }
    line(out, "staple", &staple(certificate.staple.as_ref()))?;
    if let Some(why) = &certificate.forged {
        line(out, "forged", &format!("the handshake's signature: {why}"))?;
    }
    match (certificate.trusted, &certificate.distrust) {
        (Some(false), Some(why)) => line(out, "trusted", &format!("no: {why}")),
        (trusted, _) => line(out, "trusted", said(trusted)),
    }
}

fn staple(staple: Option<&StapleReport>) -> String {
    let Some(staple) = staple else {
        return "none".to_owned();
    };
    let state = match staple.state {
        StapleState::Good => "good",
        StapleState::Revoked => "the certificate is REVOKED",
        StapleState::Bad => "clients refuse it",
        StapleState::Unverified => "not verified",
    };
    let hours = |seconds: u64| seconds / 3600;
    match (staple.age, staple.left, &staple.why) {
        (Some(age), Some(left), _) => {
            let (age, left) = (hours(age), hours(left));
            format!("{state}, {age} hours old, good for {left} hours more")
        }
        (.., Some(why)) => format!("{state}: {why}"),
        _ => state.to_owned(),
    }
}

/// Whatever the value has of the server's words stays on this line.
fn line(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "  {name:<WIDTH$} {}", printable(value))
}

/// A list with commas, in as many lines as it takes.
fn list(out: &mut String, name: &str, values: &[String]) -> fmt::Result {
    let (mut name, mut row) = (name, String::new());
    for (place, value) in values.iter().enumerate() {
        if !row.is_empty() && row.len() + value.len() > LINE {
            line(out, std::mem::take(&mut name), row.trim_end())?;
            row.clear();
        }
        row += value;
        if place + 1 < values.len() {
            row += ", ";
        }
    }
    line(out, name, &row)
}

fn said(known: Option<bool>) -> &'static str {
    match known {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

#[cfg(test)]
mod tests;
