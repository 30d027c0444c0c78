//! Which fields go on to the other side, and which are ours to write.
//!
//! RFC 9110 §7.6.1, RFC 9112 §6 and EARLY-DATA R17. The framing of what is sent is always made
//! anew from what was received, never copied.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, TE, TRANSFER_ENCODING, VIA,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::EarlyForward;
use super::head::Head;
use crate::config::snapshot::{is_dropped_from_requests, is_hop_by_hop};
use crate::early::EARLY_DATA;
use crate::forwarded::{self, Fields, Told};
use crate::interim::Interims;

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
pub(super) fn prepare_request(mut parts: Parts, edge: Edge) -> Result<Head, Ambiguous> {
    let via = match parts.version {
        Version::HTTP_2 => "2 cutwater",
        Version::HTTP_3 => "3 cutwater",
        Version::HTTP_10 => "1.0 cutwater",
        _ => "1.1 cutwater",
    };
    let headers = &mut parts.headers;
    let asked = Asked::of(headers, &edge.host);
    let mut own = Vec::with_capacity(OWN);
    if asked.dropped {
        let wants_trailers = headers
            .get_all(TE)
            .iter()
            .any(|value| lists(value, "trailers"));
        strip(headers, is_dropped_from_requests);
        if wants_trailers {
            // RFC 9110 §10.1.4: TE is hop-by-hop and says so. This hop too can take trailers.
            own.push((TE, HeaderValue::from_static("trailers")));
            own.push((CONNECTION, HeaderValue::from_static("te")));
        }
    }
    if asked.cookies > 1 {
        join_cookies(headers);
    }
    if edge.has_body || asked.length {
        frame_request(headers, &edge)?;
    } else if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        // RFC 9110 §8.6: methods that expect content say that there is none.
        own.push((CONTENT_LENGTH, HeaderValue::from_static("0")));
    }
    // EARLY-DATA R17: the inbound field is never removed; any value of it counts as 1.
    if asked.marked {
        headers.insert(EARLY_DATA, HeaderValue::from_static("1"));
    } else if edge.early != EarlyForward::No {
        own.push((EARLY_DATA, HeaderValue::from_static("1")));
    }
    own.push((X_REQUEST_ID, edge.request_id));
    let told = edge.told.as_deref();
    if matches!(edge.fields, Fields::Rfc7239 | Fields::Both) {
        let value = forwarded::forwarded(told, edge.peer, &edge.host);
        own.push((FORWARDED, value));
    }
    if matches!(edge.fields, Fields::X | Fields::Both) {
        let http = told.is_some_and(|told| told.http);
        let proto = if http { "http" } else { "https" };
        own.push((X_FORWARDED_FOR, edge.client));
        own.push((X_FORWARDED_PROTO, HeaderValue::from_static(proto)));
        own.push((X_FORWARDED_HOST, edge.host.clone()));
    }
    match asked.hosts {
        0 => own.push((HOST, edge.host)),
        // Written in its place already.
        1 => {}
        _ => {
            headers.insert(HOST, edge.host);
        }
    }
    // RFC 9110 §7.6.3: a gateway MUST send Via in requests, and MAY in responses: there it would
    // only tell strangers what stands here.
    own.push((VIA, HeaderValue::from_static(via)));
    parts.uri = origin_form(&mut parts.uri);
    parts.version = Version::HTTP_11;
    // What the client's connection left there (an upgrade, the spelling of names) is not ours.
    parts.extensions = http::Extensions::new();
    Ok(Head { parts, own })
}

/// The fields that the edge writes into a request, at most.
const OWN: usize = 10;

/// What of a request's fields needs more than to be passed on. Found in one pass, since to look for a
/// name in the map costs more than to look at a few fields.
#[derive(Debug, Default)]
struct Asked {
    /// Whether any is for this hop, or the edge's to write.
    dropped: bool,
    hosts: usize,
    cookies: usize,
    length: bool,
    marked: bool,
}

impl Asked {
    /// Puts `host` where the client's is.
    fn of(headers: &mut HeaderMap, host: &HeaderValue) -> Self {
        let mut asked = Self::default();
        for (name, value) in headers.iter_mut() {
            if *name == HOST {
                asked.hosts += 1;
                value.clone_from(host);
            } else if *name == COOKIE {
                asked.cookies += 1;
            } else if *name == CONTENT_LENGTH {
                asked.length = true;
            } else if *name == EARLY_DATA {
                asked.marked = true;
            } else {
                asked.dropped |= is_dropped_from_requests(name.as_str());
            }
        }
        asked
    }
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
fn frame_request(headers: &mut HeaderMap, edge: &Edge) -> Result<(), Ambiguous> {
    if !edge.has_body {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        return Ok(());
    }
    match one_length(headers)?.or(edge.length) {
        Some(length) => headers.insert(CONTENT_LENGTH, length.into()),
        None => headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
    };
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

/// The number that a Content-Length gives, if it is said as everybody says it.
fn plain_length(value: &HeaderValue) -> Option<u64> {
    let plain = value.len() == 1 || value.as_bytes().first() != Some(&b'0');
    length(value).filter(|_| plain)
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
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Ambiguous);
    }
    // In one pass, as a request's.
    let (mut dropped, mut codings, mut lengths, mut plain) = (false, 0, 0, None);
    for (name, value) in headers.iter() {
        if *name == CONTENT_LENGTH {
            lengths += 1;
            plain = plain_length(value);
        } else {
            codings += usize::from(*name == TRANSFER_ENCODING);
            dropped |= is_dropped_from_responses(name.as_str());
        }
    }
    let framing = if codings > 0 {
        let coding = headers.get(TRANSFER_ENCODING).map(HeaderValue::as_bytes);
        let chunked = coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if codings > 1 || !chunked {
            // RFC 9112 §6.1: no other coding was offered to the origin in TE.
            return Err(Ambiguous);
        }
        // RFC 9112 §6.3: it overrides a length, which must not be passed on.
        match headers.remove(CONTENT_LENGTH) {
            Some(_) => Framing::Overridden,
            None => Framing::Chunked,
        }
    } else if parts.status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: no length in a 204.
        headers.remove(CONTENT_LENGTH);
        Framing::Length(0)
    } else if let (1, Some(length)) = (lengths, plain) {
        Framing::Length(length)
    } else {
        match one_length(headers)? {
            None => Framing::UntilClose,
            Some(length) => {
                headers.insert(CONTENT_LENGTH, length.into());
                Framing::Length(length)
            }
        }
    };
    if dropped {
        strip(headers, is_dropped_from_responses);
    }
    parts.version = Version::HTTP_11;
    Ok(framing)
}

/// Passes an interim answer on. Not 100, which was not asked for: who asks the edge for it gets its
/// own.
pub(super) fn pass_interim(status: StatusCode, mut headers: HeaderMap, interims: &dyn Interims) {
    // 101 would end HTTP, and HTTP/3 has none (RFC 9114 §4.5).
    if matches!(
        status,
        StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS
    ) {
        return;
    }
    // RFC 9110 §8.6, RFC 9112 §6.1: it has no content.
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    strip(&mut headers, is_dropped_from_responses);
    interims.pass(status, &headers);
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

fn is_dropped_from_responses(name: &str) -> bool {
    is_hop_by_hop(name) || name == "early-data"
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
