//! Reading what a trusted proxy says.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Told, TrustedHeader};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Proxies that are followed back. A longer way is not one that anybody meant.
const NODES: usize = 32;

/// The longest request id that is taken over.
const REQUEST_ID: usize = 128;

/// What the fields of a trusted peer say.
///
/// Addresses are followed back from the right, where our peer wrote: through those that are trusted
/// too, up to the first that is not, which is the client. What stands left of it was said by somebody
/// whom nobody trusts, and so does not count (RFC 7239 §8.1). An address that cannot be read
/// (`unknown`, a hidden one) ends the way as well.
pub fn told(
    headers: &HeaderMap,
    header: TrustedHeader,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Told {
    let mut told = Told::default();
    match header {
        TrustedHeader::XForwardedFor => {
            let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
            let elements = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
            let nodes = elements.map(|element| Some((node(element.trim_ascii())?, false)));
            follow(nodes, &mut told, is_trusted);
            let mut protos = headers.get_all(X_FORWARDED_PROTO).iter();
            told.http = match (protos.next(), protos.next()) {
                (Some(proto), None) => proto.as_bytes().eq_ignore_ascii_case(b"http"),
                _ => false,
            };
        }
        TrustedHeader::Forwarded => {
            let values = headers.get_all(FORWARDED).iter().rev();
            let elements = values.flat_map(|value| Elements(Some(value.as_bytes())));
            follow(elements.map(element), &mut told, is_trusted);
        }
    }
    // From the client to us.
    told.nodes.reverse();
    told
}

/// Follows nodes, the last one first; each with whether it came over plain HTTP.
fn follow(
    nodes: impl Iterator<Item = Option<((IpAddr, Option<u16>), bool)>>,
    told: &mut Told,
    is_trusted: impl Fn(IpAddr) -> bool,
) {
    for node in nodes.take(NODES) {
        let Some(((address, port), http)) = node else {
            return;
        };
        told.nodes.push(address);
        told.port = port;
        told.http = http;
        if !is_trusted(address) {
            return;
        }
    }
}

/// An address, with or without a port; IPv6 with or without brackets.
fn node(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, port) = if let Ok(address) = text.parse::<IpAddr>() {
        (address, None)
    } else if let Ok(address) = text.parse::<SocketAddr>() {
        (address.ip(), Some(address.port()))
    } else {
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        (IpAddr::V6(inside.parse::<Ipv6Addr>().ok()?), None)
    };
    Some((address.to_canonical(), port))
}

/// The elements of a Forwarded field, the last one first. From the right, because a quotation mark
/// that a client left open on the left must not swallow what a proxy wrote behind it.
struct Elements<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let mut quoted = false;
        let comma = rest.iter().rposition(|&byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        let (before, element) = match comma {
            Some(at) => {
                let (before, element) = rest.split_at(at);
                (Some(before), element.get(1..).unwrap_or_default())
            }
            None => (None, rest),
        };
        self.0 = before;
        Some(element)
    }
}

/// The `for` and the `proto` of one element (RFC 7239 §4); `None` if there is no address in it.
fn element(element: &[u8]) -> Option<((IpAddr, Option<u16>), bool)> {
    let mut named = None;
    let mut http = false;
    let mut quoted = false;
    let pairs = element.split(|&byte| {
        quoted ^= byte == b'"';
        byte == b';' && !quoted
    });
    for pair in pairs {
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = pair.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // No address and no scheme needs an escape within its quotes.
        let value = match value {
            [b'"', inside @ .., b'"'] => inside,
            plain => plain,
        };
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"for") {
            // RFC 7239 §4: each parameter at most once.
            if named.is_some() {
                return None;
            }
            named = Some(node(value)?);
        } else if name.eq_ignore_ascii_case(b"proto") {
            http = value.eq_ignore_ascii_case(b"http");
        }
    }
    Some((named?, http))
}

/// The request id of a trusted peer, if it is one that can stand in a log and a field as it is.
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
    let fine = (1..=REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(plain);
    fine.then_some(value)
}
