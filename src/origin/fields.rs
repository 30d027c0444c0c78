//! Which fields go on to the other side, and which are ours to write.
//!
//! RFC 9110 §7.6.1, RFC 9112 §6 and EARLY-DATA R17. The framing of what is sent is always made
//! anew from what was received, never copied.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, Entry, FORWARDED, HOST, TE, TRANSFER_ENCODING, VIA,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::EarlyForward;
use crate::early::EARLY_DATA;
use crate::forwarded::{self, Fields, Told};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the edge says about a request on its way to an origin.
pub(super) struct Edge {
    pub(super) host: HeaderValue,
    pub(super) request_id: HeaderValue,
    pub(super) client: HeaderValue,
    pub(super) peer: IpAddr,
    pub(super) told: Option<Arc<Told>>,
    /// In which fields it says who the client is.
    pub(super) fields: Fields,
    pub(super) early: EarlyForward,
    pub(super) has_body: bool,
    /// The length of the body, where it is known though no field says so.
    pub(super) length: Option<u64>,
}

/// Makes of a received request's head the one that is sent.
///
/// # Errors
/// [`Ambiguous`] for lengths that differ or are none: HTTP/1.1's scanner lets none through, but
/// HTTP/2 has other rules.
pub(super) fn prepare_request(parts: &mut Parts, edge: Edge) -> Result<(), Ambiguous> {
    let via = match parts.version {
        Version::HTTP_2 => "2 cutwater",
        Version::HTTP_3 => "3 cutwater",
        Version::HTTP_10 => "1.0 cutwater",
        _ => "1.1 cutwater",
    };
    let headers = &mut parts.headers;
    let wants_trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| lists(value, "trailers"));
    strip(headers, is_dropped_from_requests);
    join_cookies(headers);
    frame_request(headers, &parts.method, &edge)?;
    if wants_trailers {
        // RFC 9110 §10.1.4: TE is hop-by-hop and says so. This hop too can take trailers.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    // EARLY-DATA R17: the inbound field is never removed; any value of it counts as 1.
    if edge.early != EarlyForward::No || headers.contains_key(EARLY_DATA) {
        headers.insert(EARLY_DATA, HeaderValue::from_static("1"));
    }
    headers.insert(X_REQUEST_ID, edge.request_id);
    let told = edge.told.as_deref();
    if matches!(edge.fields, Fields::Rfc7239 | Fields::Both) {
        let value = forwarded::forwarded(told, edge.peer, &edge.host);
        headers.insert(FORWARDED, value);
    }
    if matches!(edge.fields, Fields::X | Fields::Both) {
        let http = told.is_some_and(|told| told.http);
        let proto = if http { "http" } else { "https" };
        headers.insert(X_FORWARDED_FOR, edge.client);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        headers.insert(X_FORWARDED_HOST, edge.host.clone());
    }
    headers.insert(HOST, edge.host);
    // RFC 9110 §7.6.3: a gateway MUST send Via in requests, and MAY in responses: there it would
    // only tell strangers what stands here.
    headers.append(VIA, HeaderValue::from_static(via));
    parts.uri = origin_form(&mut parts.uri);
    parts.version = Version::HTTP_11;
    // What the client's connection left there (an upgrade, the spelling of names) is not ours.
    parts.extensions = http::Extensions::new();
    Ok(())
}

/// RFC 9112 §3.2.1: path and query alone. HTTP/2 requests come with scheme and authority.
fn origin_form(uri: &mut Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return std::mem::take(uri);
    }
    let path = std::mem::take(uri).into_parts().path_and_query;
    Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

/// RFC 9112 §6.2 and §6.1: a length if there was one, else chunks if there is a body.
fn frame_request(headers: &mut HeaderMap, method: &Method, edge: &Edge) -> Result<(), Ambiguous> {
    if edge.has_body {
        match one_length(headers)?.or(edge.length) {
            Some(length) => headers.insert(CONTENT_LENGTH, length.into()),
            None => headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        };
        return Ok(());
    }
    // RFC 9110 §8.6: methods that expect content say that there is none.
    let expects = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    match headers.entry(CONTENT_LENGTH) {
        Entry::Occupied(mut length) => {
            length.insert(HeaderValue::from_static("0"));
        }
        Entry::Vacant(length) if expects => {
            length.insert(HeaderValue::from_static("0"));
        }
        Entry::Vacant(_) => {}
    }
    Ok(())
}

/// The one number that all Content-Length fields give (RFC 9110 §8.6).
fn one_length(headers: &HeaderMap) -> Result<Option<u64>, Ambiguous> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(length);
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    match first.filter(|first| lengths.all(|length| length == Some(*first))) {
        Some(length) => Ok(Some(length)),
        None => Err(Ambiguous),
    }
}

/// Whether the length is said once, and as everybody says it.
fn is_plain(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next().map_or(&[][..], HeaderValue::as_bytes);
    lengths.next().is_none() && (first.len() == 1 || first.first() != Some(&b'0'))
}

/// RFC 9113 §8.2.3: HTTP/2 clients may send a cookie in pieces.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut whole = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(whole) = HeaderValue::from_maybe_shared(bytes::Bytes::from(whole)) {
        headers.insert(COOKIE, whole);
    }
}

/// An answer whose framing can be read in two ways, or that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// How a response says where its body ends, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By a length.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By chunks, though a length is there too: the connection must not be used again.
    Overridden,
    /// By the end of the connection.
    UntilClose,
}

/// Makes of a received response's head the one that is sent.
///
/// # Errors
/// [`Ambiguous`] for 101, which was never asked for, for a transfer coding other than chunked, and
/// for lengths that differ or are none.
pub(super) fn prepare_response(parts: &mut http::response::Parts) -> Result<Framing, Ambiguous> {
    let headers = &mut parts.headers;
    let framing;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Ambiguous);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        // RFC 9112 §6.1: no other coding was offered to the origin in TE.
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Ambiguous);
        }
        // RFC 9112 §6.3: it overrides a length, which must not be passed on.
        framing = match headers.remove(CONTENT_LENGTH) {
            Some(_) => Framing::Overridden,
            None => Framing::Chunked,
        };
    } else if parts.status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: no length in a 204.
        headers.remove(CONTENT_LENGTH);
        framing = Framing::Length(0);
    } else {
        framing = match one_length(headers)? {
            None => Framing::UntilClose,
            Some(length) => {
                if !is_plain(headers) {
                    headers.insert(CONTENT_LENGTH, length.into());
                }
                Framing::Length(length)
            }
        };
    }
    strip(headers, is_dropped_from_responses);
    parts.version = Version::HTTP_11;
    Ok(framing)
}

/// Takes out of a trailer section what must not be there: framing, routing and connection fields
/// (RFC 9110 §6.5.1), and `Early-Data` (EARLY-DATA R17).
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers, |name| {
        is_dropped_from_requests(name)
            || matches!(
                name,
                "early-data" | "content-length" | "host" | "cookie" | "trailer"
            )
    });
}

fn strip(headers: &mut HeaderMap, is_dropped: fn(&str) -> bool) {
    // RFC 9110 §7.6.1: what Connection names is for this hop. Protected are the fields that no
    // client may make us lose: framing, Host, and the mark (EARLY-DATA R17).
    let mut doomed: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',') {
            match HeaderName::from_bytes(option.trim_ascii()) {
                Ok(name) if name == CONTENT_LENGTH || name == HOST || name == EARLY_DATA => {}
                Ok(name) => doomed.push(name),
                Err(_) => {}
            }
        }
    }
    doomed.extend(
        headers
            .keys()
            .filter(|name| is_dropped(name.as_str()))
            .cloned(),
    );
    for name in &doomed {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade"
    ) || name.starts_with("proxy-")
}

fn is_dropped_from_requests(name: &str) -> bool {
    is_hop_by_hop(name)
        // The edge answers Expect itself. `Proxy` becomes HTTP_PROXY in CGI programs.
        || matches!(name, "expect" | "http2-settings" | "proxy")
        || name == FORWARDED
        || is_forwarded(name)
        || (name.len() == X_REQUEST_ID.as_str().len() && begins(name, b"x-request-id"))
}

fn is_dropped_from_responses(name: &str) -> bool {
    is_hop_by_hop(name) || name == "early-data"
}

fn is_forwarded(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    name.len() > PREFIX.len() && begins(name, PREFIX)
}

/// Whether a name begins so, with `_` read as `-`: CGI and WSGI cannot tell the two apart.
fn begins(name: &str, prefix: &[u8]) -> bool {
    prefix
        .iter()
        .zip(name.bytes())
        .all(|(want, is)| *want == is || (*want == b'-' && is == b'_'))
}

/// The number that a Content-Length gives.
pub(super) fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    // `parse` takes a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

pub(super) fn lists(value: &HeaderValue, wanted: &str) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests;
