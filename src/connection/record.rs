//! The words of logs and metrics for what other modules name otherwise.

use rustls::ProtocolVersion;

use crate::state::Protocol;
use crate::telemetry::labels;

pub(super) fn protocol(protocol: Protocol) -> labels::Protocol {
    match protocol {
        Protocol::Http1 => labels::Protocol::H1,
        Protocol::Http2 => labels::Protocol::H2,
        Protocol::Http3 => labels::Protocol::H3,
    }
}

pub(super) fn version(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_3 => Some("1.3"),
        ProtocolVersion::TLSv1_2 => Some("1.2"),
        _ => None,
    }
}
