//! Which versions a server speaks, and with which suites: it is offered what is left until it
//! takes none.

use super::chains::{self, Shown};
use super::line::{Fault, Line};
use super::names::{self, Exchange, Version};
use super::raw;

/// Suites in one hello. Longer lists are seen to be refused whole.
const AT_ONCE: usize = 96;

/// What a server speaks of one version.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    /// Whether it speaks it; `None` if that could not be found out.
    pub(super) version: Option<bool>,
    /// In the order in which the server chose them.
    pub(super) suites: Vec<u16>,
    /// The shortest prime of a Diffie-Hellman key exchange, in bits.
    pub(super) dh_bits: Option<usize>,
    /// Whether it promised a ticket (TLS 1.2 and older).
    pub(super) ticket: bool,
    /// The chains that came in the clear (TLS 1.2 and older), each once: one more than are told, so
    /// that it is seen that there are more.
    pub(super) shown: Vec<Shown>,
    /// What kept the list from being whole.
    pub(super) fault: Option<Fault>,
}

/// Asks for one version.
pub(super) async fn ask(line: &Line, name: Option<&str>, version: Version) -> Spoken {
    let mut spoken = Spoken::default();
    let groups = names::groups(version);
    for part in version.suites().chunks(AT_ONCE) {
        let mut left = part.to_vec();
        while !left.is_empty() {
            let flight = match raw::offer(line, name, version, &left, &groups).await {
                Ok(flight) if flight.version != version.code() => {
                    // An answer in an older version says no, as a kind word.
                    spoken.version.get_or_insert(false);
                    return spoken;
                }
                Ok(flight) => flight,
                Err(Fault::Refused(rustls::AlertDescription::ProtocolVersion)) => {
                    spoken.version.get_or_insert(false);
                    return spoken;
                }
                Err(fault) if fault.is_no() => break,
                Err(fault) => {
                    spoken.fault = Some(fault);
                    return spoken;
                }
            };
            let place = left.iter().position(|suite| *suite == flight.suite);
            let Some(place) = place else {
                spoken.fault = Some(Fault::Wrong("a suite that was not offered"));
                return spoken;
            };
            left.remove(place);
            spoken.version = Some(true);
            spoken.suites.push(flight.suite);
            spoken.ticket |= flight.ticket;
            spoken.dh_bits = match (spoken.dh_bits, flight.dh_bits) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            let seen = spoken.shown.iter().any(|it| it.chain == flight.chain);
            if !seen && !flight.chain.is_empty() && spoken.shown.len() <= chains::MOST {
                spoken.shown.push(Shown {
                    chain: flight.chain,
                    staple: flight.staple,
                });
            }
        }
    }
    spoken.version.get_or_insert(false);
    spoken
}

/// Which groups a server takes with one version, given the suites that it takes.
///
/// The server is offered what is left until it takes none. With an older version this can end too
/// soon: a server may want to see the curve of its certificate among the groups (RFC 8422 §5.1).
pub(super) async fn groups(
    line: &Line,
    name: Option<&str>,
    version: Version,
    suites: &[u16],
) -> (Vec<u16>, Option<Fault>) {
    let of_curves = |suite: &&u16| names::exchange(**suite) == Exchange::Curve;
    let suites: Vec<u16> = match version {
        Version::Tls13 => suites.to_vec(),
        _ => suites.iter().filter(of_curves).copied().collect(),
    };
    let mut found = Vec::new();
    let mut left = names::groups(version);
    while !suites.is_empty() && !left.is_empty() {
        let flight = match raw::offer(line, name, version, &suites, &left).await {
            Ok(flight) => flight,
            Err(fault) if fault.is_no() => break,
            Err(fault) => return (found, Some(fault)),
        };
        let place = left.iter().position(|group| Some(*group) == flight.group);
        let Some(place) = place else {
            return (found, Some(Fault::Wrong("a group that was not offered")));
        };
        found.push(left.remove(place));
    }
    (found, None)
}

/// Whether anything answers to a hello of TLS 1.2 with the suites in use.
pub(super) async fn first_word(line: &Line, name: Option<&str>) -> Result<(), Fault> {
    let version = Version::Tls12;
    let suites = version.suites().chunks(AT_ONCE).next().unwrap_or_default();
    let told = raw::offer(line, name, version, suites, &names::groups(version)).await;
    told.map(|_| ())
}
