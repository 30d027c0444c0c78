//! Writing what an origin is told.

use std::fmt::Write;
use std::net::IpAddr;

use http::HeaderValue;

use super::Told;

/// X-Forwarded-For: the client first, our peer last.
pub fn x_forwarded_for(told: Option<&Told>, peer: IpAddr) -> HeaderValue {
    let mut text = String::new();
    for node in told.map_or(&[][..], |told| &told.nodes) {
        // Writing to a String does not fail.
        let _ = write!(text, "{node}, ");
    }
    let _ = write!(text, "{}", peer.to_canonical());
    value(text)
}

/// Forwarded (RFC 7239): an element for each node of the way, the client's first. Ours is the last
/// one: it names our peer, and the host that was asked for.
pub fn forwarded(told: Option<&Told>, peer: IpAddr, host: &HeaderValue) -> HeaderValue {
    let http = told.is_some_and(|told| told.http);
    let proto = if http { "http" } else { "https" };
    let mut text = String::new();
    let nodes = told.map_or(&[][..], |told| &told.nodes);
    for (index, node) in nodes.iter().enumerate() {
        named(*node, &mut text);
        if index == 0 {
            let _ = write!(text, ";proto={proto}");
        }
        text.push_str(", ");
    }
    named(peer.to_canonical(), &mut text);
    text.push_str(";host=");
    quoted_if_needed(host.as_bytes(), &mut text);
    // What came between a proxy and us was TLS, whatever the client spoke to the proxy.
    let ours = if nodes.is_empty() { proto } else { "https" };
    let _ = write!(text, ";proto={ours}");
    value(text)
}

fn named(node: IpAddr, text: &mut String) {
    let _ = match node {
        IpAddr::V4(address) => write!(text, "for={address}"),
        // RFC 7239 §6: in brackets, and those in quotation marks.
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\""),
    };
}

/// A token as it is, anything else as a quoted string (RFC 9110 §5.6.4).
fn quoted_if_needed(bytes: &[u8], text: &mut String) {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let plain = !bytes.is_empty() && bytes.iter().all(token);
    if !plain {
        text.push('"');
    }
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            text.push('\\');
        }
        text.push(char::from(*byte));
    }
    if !plain {
        text.push('"');
    }
}

fn value(text: String) -> HeaderValue {
    // Addresses and a host are printable: the other branch is never taken.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
