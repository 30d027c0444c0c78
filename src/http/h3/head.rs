//! The heads of requests and answers, and trailers (RFC 9114 §4.2, §4.3).

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::qpack::{self, Encoder, Failed, Name};

/// A message that breaks the rules of HTTP: its stream ends with H3_MESSAGE_ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Why a field section is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHead {
    /// It cannot be decoded: the connection ends.
    Failed,
    /// It is malformed: its stream ends.
    Malformed,
    /// It is larger than allowed: 431.
    TooLarge,
}

impl From<Failed> for NoHead {
    fn from(Failed: Failed) -> Self {
        Self::Failed
    }
}

impl From<Malformed> for NoHead {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// The head of a request.
#[derive(Debug)]
pub struct Head {
    /// The request without its content.
    pub request: Request<()>,
    /// The length that Content-Length announces.
    pub length: Option<u64>,
}

#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
}

impl Pseudo {
    fn take(
        &mut self,
        name: &[u8],
        value: &[u8],
        usual: Option<&Authority>,
    ) -> Result<(), Malformed> {
        // RFC 9114 §4.3: each once, and no others. `:protocol` is one of the others as long as our
        // SETTINGS do not allow extended CONNECT (RFC 9220 §3).
        match name {
            b":method" => set(&mut self.method, method(value)),
            b":scheme" => set(&mut self.scheme, scheme(value)),
            b":authority" => {
                let usual = usual.filter(|usual| usual.as_str().as_bytes() == value);
                let authority = usual.cloned().or_else(|| Authority::try_from(value).ok());
                set(&mut self.authority, authority)
            }
            b":path" => set(&mut self.path, path(value)),
            _ => Err(Malformed),
        }
    }

    /// RFC 9114 §4.3.1, §4.4.
    fn uri(self, headers: &HeaderMap) -> Result<(Method, Uri), Malformed> {
        let method = self.method.ok_or(Malformed)?;
        let mut parts = http::uri::Parts::default();
        if method == Method::CONNECT {
            if self.scheme.is_some() || self.path.is_some() {
                return Err(Malformed);
            }
            parts.authority = Some(self.authority.ok_or(Malformed)?);
        } else {
            let scheme = self.scheme.ok_or(Malformed)?;
            let path = self.path.ok_or(Malformed)?;
            match path.as_str().as_bytes() {
                [b'/', ..] => {}
                b"*" if method == Method::OPTIONS => {}
                _ => return Err(Malformed),
            }
            let is_known = |scheme: &Scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP;
            match self.authority {
                Some(authority) => {
                    parts.scheme = Some(scheme);
                    parts.authority = Some(authority);
                }
                None if is_known(&scheme) && headers.contains_key(HOST) => {}
                None => return Err(Malformed),
            }
            parts.path_and_query = Some(path);
        }
        let uri = Uri::from_parts(parts).map_err(|_| Malformed)?;
        Ok((method, uri))
    }
}

/// What nearly all requests have is compared before anything is parsed or copied.
fn method(value: &[u8]) -> Option<Method> {
    match value {
        b"GET" => Some(Method::GET),
        _ => Method::from_bytes(value).ok(),
    }
}

fn scheme(value: &[u8]) -> Option<Scheme> {
    match value {
        b"https" => Some(Scheme::HTTPS),
        _ => Scheme::try_from(value).ok(),
    }
}

fn path(value: &[u8]) -> Option<PathAndQuery> {
    match value {
        b"/" => Some(const { PathAndQuery::from_static("/") }),
        // The http crate would cut a fragment off, which is no part of a path (RFC 9110 §7.1).
        _ if value.contains(&b'#') => None,
        _ => PathAndQuery::try_from(value).ok(),
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Malformed> {
    match (place.is_some(), value) {
        (false, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(Malformed),
    }
}

/// Reads the head of a request whose fields take at most `limit` bytes, 32 more for each counted
/// (RFC 9114 §4.2.2). `usual` is an authority that is known already: most requests of a connection
/// have the same.
///
/// # Errors
/// Why it is none.
pub fn request(section: &[u8], limit: usize, usual: Option<&Authority>) -> Result<Head, NoHead> {
    let mut request = Request::new(());
    let mut pseudo = Pseudo::default();
    let mut fields = Fields::new(request.headers_mut(), limit);
    qpack::decode(section, |name, value, sensitive| {
        fields.count(name.text, value)?;
        if name.text.first() == Some(&b':') {
            // RFC 9114 §4.3: before all others.
            return match fields.headers.is_empty() {
                true => Ok(pseudo.take(name.text, value, usual)?),
                false => Err(NoHead::Malformed),
            };
        }
        fields.take(name, value, sensitive)
    })?;
    let length = match fields.has_length {
        true => length(fields.headers)?,
        false => None,
    };
    let (method, uri) = pseudo.uri(fields.headers)?;
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_3;
    Ok(Head { request, length })
}

/// Reads trailers.
///
/// # Errors
/// Why they are none.
pub fn trailers(section: &[u8], limit: usize) -> Result<HeaderMap, NoHead> {
    let mut headers = HeaderMap::new();
    let mut fields = Fields::new(&mut headers, limit);
    qpack::decode(section, |name, value, sensitive| {
        fields.count(name.text, value)?;
        // No pseudo-headers here (RFC 9114 §4.3): a colon is not allowed in a name anyway.
        fields.take(name, value, sensitive)
    })?;
    Ok(headers)
}

struct Fields<'h> {
    headers: &'h mut HeaderMap,
    left: usize,
    /// Whether there is a Content-Length field: a look-up would hash its name for every request.
    has_length: bool,
}

impl<'h> Fields<'h> {
    fn new(headers: &'h mut HeaderMap, limit: usize) -> Self {
        Self {
            headers,
            left: limit,
            has_length: false,
        }
    }

    fn count(&mut self, name: &[u8], value: &[u8]) -> Result<(), NoHead> {
        let size = name.len() + value.len() + 32;
        self.left = self.left.checked_sub(size).ok_or(NoHead::TooLarge)?;
        Ok(())
    }

    /// What is `sensitive` stays so where it goes over HTTP/2 or 3 (RFC 9204 §7.1.3).
    fn take(&mut self, name: Name<'_>, value: &[u8], sensitive: bool) -> Result<(), NoHead> {
        let name = match name.known() {
            Some(known) => known.clone(),
            // RFC 9114 §4.2: in lower case.
            None if name.text.iter().any(u8::is_ascii_uppercase) => {
                return Err(NoHead::Malformed);
            }
            None => HeaderName::from_bytes(name.text).map_err(|_| Malformed)?,
        };
        if is_of_connection(&name) || name == TE && !value.eq_ignore_ascii_case(b"trailers") {
            return Err(NoHead::Malformed);
        }
        if name == COOKIE
            && let Some(former) = self.headers.get_mut(COOKIE)
        {
            // RFC 9114 §4.2.1: what is behind us may speak HTTP/1.1.
            let sensitive = sensitive || former.is_sensitive();
            let joined = [former.as_bytes(), b"; ", value].concat();
            *former = HeaderValue::from_bytes(&joined).map_err(|_| Malformed)?;
            former.set_sensitive(sensitive);
            return Ok(());
        }
        self.has_length |= name == CONTENT_LENGTH;
        let mut value = HeaderValue::from_bytes(value).map_err(|_| Malformed)?;
        value.set_sensitive(sensitive);
        // It has a bound of its own.
        let added = self.headers.try_append(name, value);
        added.map(|_| ()).map_err(|_| NoHead::TooLarge)
    }
}

/// RFC 9114 §4.2: what speaks of a connection of HTTP/1.1.
fn is_of_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The one length that all Content-Length fields name.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let value = length_of(value.as_bytes())?;
        if length.is_some_and(|length| length != value) {
            return Err(Malformed);
        }
        length = Some(value);
    }
    Ok(length)
}

/// What one Content-Length field says.
pub(super) fn length_of(value: &[u8]) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(value).map_err(|_| Malformed)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

/// The field section of an answer's head, which more fields may be added to.
pub fn response(status: StatusCode, headers: &HeaderMap) -> Encoder {
    let mut encoder = Encoder::default();
    encoder.field(":status", status.as_str().as_bytes(), false);
    append(&mut encoder, headers);
    encoder
}

/// The field section of trailers.
pub fn fields(headers: &HeaderMap) -> Encoder {
    let mut encoder = Encoder::default();
    append(&mut encoder, headers);
    encoder
}

pub(super) fn append(encoder: &mut Encoder, headers: &HeaderMap) {
    for (name, value) in headers {
        // What a handler says of a connection means nothing here.
        if !is_of_connection(name) {
            encoder.field(name.as_str(), value.as_bytes(), value.is_sensitive());
        }
    }
}

#[cfg(test)]
mod tests;
