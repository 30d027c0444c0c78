//! The gate: early × policy → proceed, wait, 425. Pure: state comes in as arguments.
//!
//! EARLY-DATA R12–R18 say what comes out; the whole table stands in the tests.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderName, Method};

pub use crate::early::EARLY_DATA;
use crate::early::EarlyDataPolicy;

/// Fields by which a safe method can stand for another one, `_` read as `-`: CGI and WSGI cannot
/// tell the two apart.
const METHOD_OVERRIDES: [&str; 3] = [
    "x-http-method-override",
    "x-method-override",
    "x-http-method",
];

/// What answers the request, as far as the gate cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// The edge itself: `respond`, `redirect`.
    Local,
    /// An origin server.
    Origin {
        /// Whether it understands `Early-Data` and answers 425 (EARLY-DATA R16).
        aware: bool,
    },
    /// A handler of the library's user.
    Handler,
}

/// All that the gate decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateInput {
    /// The policy of the route.
    pub policy: EarlyDataPolicy,
    /// Whether the handshake is unconfirmed at this moment.
    pub early: bool,
    /// Whether the request carries an inbound `Early-Data` field. Repeated and malformed values count as
    /// `1` (EARLY-DATA R17).
    pub marked: bool,
    /// Whether the request is safe and without content ([`is_safe`]).
    pub safe: bool,
    /// Whether the request asks for another protocol ([`is_upgrade_or_connect`]).
    pub upgrade_or_connect: bool,
    /// What will answer.
    pub target: TargetKind,
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request goes on now.
    Proceed {
        /// Whether it may be a replay: it is early or marked, so a handler gets the early type
        /// and an origin gets `Early-Data: 1`.
        early_forward: bool,
    },
    /// The request waits for the client's Finished and then goes on as confirmed.
    Wait,
    /// The edge answers 425 Too Early.
    TooEarly,
}

/// Decides what becomes of one request.
pub fn decide(input: GateInput) -> Decision {
    if !input.early && !input.marked {
        return Decision::Proceed {
            early_forward: false,
        };
    }
    // EARLY-DATA R18: waiting never clears an inbound mark.
    let hold = if input.marked {
        Decision::TooEarly
    } else {
        Decision::Wait
    };
    // EARLY-DATA R13: under every policy. A browser cannot repeat a WebSocket handshake that was
    // answered 425, so this holds for `refuse` too.
    if input.upgrade_or_connect {
        return hold;
    }
    let passes = match input.policy {
        EarlyDataPolicy::Refuse => return Decision::TooEarly,
        EarlyDataPolicy::Wait => false,
        EarlyDataPolicy::Safe => input.safe && understands(input.target),
        EarlyDataPolicy::Allow => match input.target {
            TargetKind::Handler => true,
            TargetKind::Origin { aware } => aware,
            // EARLY-DATA R18: a mark is passed on to those who can judge it; nobody here can.
            TargetKind::Local => input.safe || !input.marked,
        },
    };
    if passes {
        Decision::Proceed {
            early_forward: true,
        }
    } else {
        hold
    }
}

/// EARLY-DATA R16: only an origin that was configured so is trusted with early requests.
fn understands(target: TargetKind) -> bool {
    match target {
        TargetKind::Local | TargetKind::Handler => true,
        TargetKind::Origin { aware } => aware,
    }
}

/// Whether the request asks for another protocol on its connection.
pub fn is_upgrade_or_connect(parts: &Parts) -> bool {
    parts.method == Method::CONNECT || parts.headers.contains_key(UPGRADE)
}

/// Whether the request is safe and has no content (EARLY-DATA R13): GET, HEAD or OPTIONS, no
/// Transfer-Encoding, Content-Length absent or 0, no Upgrade, no field that overrides the method.
///
/// `end_of_stream` says that the request has no body left to come: on HTTP/2 END_STREAM came with
/// the HEADERS, on HTTP/1.1 the framing announces none.
pub fn is_safe(parts: &Parts, end_of_stream: bool) -> bool {
    let headers = &parts.headers;
    end_of_stream
        && matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
        && !headers.contains_key(TRANSFER_ENCODING)
        && !headers.contains_key(UPGRADE)
        && headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .all(|length| length.as_bytes() == b"0")
        && !headers.keys().any(overrides_method)
}

fn overrides_method(name: &HeaderName) -> bool {
    METHOD_OVERRIDES.iter().any(|field| {
        field.len() == name.as_str().len()
            && field
                .bytes()
                .zip(name.as_str().bytes())
                .all(|(field, name)| field == name || (field == b'-' && name == b'_'))
    })
}

#[cfg(test)]
mod tests;
