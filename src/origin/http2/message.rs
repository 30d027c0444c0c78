//! Messages of HTTP/2 out of what HTTP/1.1 would send (RFC 9113 §8), and errors back.

use std::io;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version};

use super::super::fields;
use super::super::head::Head;
use super::super::link::LinkError;

/// How a request's body is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none, or it is over.
    #[default]
    Over,
    /// So many bytes are to come.
    Known(u64),
    /// It ends when it ends.
    Open,
}

/// The request as a stream begins with it.
///
/// `:scheme` is that of this hop: there are servers that refuse any other (RFC 9113 §8.3.1 leaves it
/// open), and what the client used is in `X-Forwarded-Proto`.
///
/// # Errors
/// The Host is no authority: so no client was let in with it, but a configuration may say so.
pub(super) fn request(head: &Head, tls: bool) -> Result<(Request<()>, Length), LinkError> {
    let parts = &head.parts;
    let mut headers = head.map();
    let length = match headers.contains_key(TRANSFER_ENCODING) {
        true => Length::Open,
        false => match headers.get(CONTENT_LENGTH).and_then(fields::length) {
            None | Some(0) => Length::Over,
            Some(length) => Length::Known(length),
        },
    };
    // RFC 9113 §8.2.2. `TE: trailers` stays: it may.
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    // RFC 9113 §8.3.1: `:authority` instead of Host.
    let host = headers.remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let bad = || {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "the Host is no authority");
        LinkError::Io(error)
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority.ok_or_else(bad)?);
    let path = parts.uri.path_and_query().cloned();
    uri.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| bad())?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok((request, length))
}

/// What ended a stream.
pub(super) fn error(error: h2::Error) -> LinkError {
    // RFC 9113 §6.8: the streams that GOAWAY leaves out were not processed. §8.7: neither was a
    // refused one.
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || refused) {
        return LinkError::Unprocessed;
    }
    if error.is_io() {
        return match error.into_io() {
            // h2 says so of every connection that ends.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => LinkError::Closed,
            Some(error) => error.into(),
            None => LinkError::Closed,
        };
    }
    match error.is_remote() {
        true => LinkError::Reset,
        false => LinkError::Malformed,
    }
}
