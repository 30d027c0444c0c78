//! The heads that a client writes and reads.

use http::header::HOST;
use http::{HeaderMap, Method, StatusCode};

use super::head::{Malformed, NoHead, append, length_of};
use super::qpack::{self, Encoder};

/// The field section of a request for `path` of `authority`, over TLS. A Host field is left out:
/// `authority` stands for it. A length is added for content that has none in `headers`.
pub fn asking(
    method: &Method,
    authority: &str,
    path: &str,
    headers: &HeaderMap,
    content: usize,
) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.field(":method", method.as_str().as_bytes(), false);
    encoder.field(":scheme", b"https", false);
    encoder.field(":authority", authority.as_bytes(), false);
    encoder.field(":path", path.as_bytes(), false);
    if content > 0 && !headers.contains_key(http::header::CONTENT_LENGTH) {
        let length = content.to_string();
        encoder.field("content-length", length.as_bytes(), false);
    }
    let mut headers = headers.clone();
    headers.remove(HOST);
    append(&mut encoder, &headers);
    encoder.finish()
}

/// The status of an answer, final or informational, and the length that its head announces.
///
/// # Errors
/// Its head is none.
pub fn answered(section: &[u8]) -> Result<(StatusCode, Option<u64>), NoHead> {
    let (mut status, mut length) = (None, None);
    qpack::decode(section, |name, value, _| match name.text {
        b":status" if status.is_none() => {
            status = Some(StatusCode::from_bytes(value).map_err(|_| Malformed)?);
            Ok(())
        }
        // RFC 9114 §4.3.2: no other, and not twice.
        [b':', ..] => Err(NoHead::Malformed),
        b"content-length" => {
            length = Some(length_of(value)?);
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok((status.ok_or(Malformed)?, length))
}

#[cfg(test)]
mod tests {
    use super::super::{request, response};
    use super::*;

    #[test]
    fn a_server_reads_what_is_asked() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "other.test".parse().unwrap());
        headers.insert("x-one", "1".parse().unwrap());
        headers.insert("connection", "close".parse().unwrap());
        let section = asking(&Method::POST, "a.test", "/x?y", &headers, 5);
        let head = request(&section, 1000, None).unwrap();
        assert_eq!(head.request.uri(), "https://a.test/x?y");
        assert_eq!(head.request.method(), Method::POST);
        assert_eq!(head.length, Some(5));
        assert_eq!(head.request.headers()["x-one"], "1");
        assert_eq!(head.request.headers().len(), 2);
    }

    #[test]
    fn the_status_of_an_answer_is_read() {
        let mut headers = HeaderMap::new();
        let section = response(StatusCode::EARLY_HINTS, &headers).finish();
        assert_eq!(answered(&section), Ok((StatusCode::EARLY_HINTS, None)));
        headers.insert("content-length", "12".parse().unwrap());
        let section = response(StatusCode::NOT_FOUND, &headers).finish();
        assert_eq!(answered(&section), Ok((StatusCode::NOT_FOUND, Some(12))));
        headers.insert("content-length", "1x".parse().unwrap());
        let section = response(StatusCode::OK, &headers).finish();
        assert_eq!(answered(&section), Err(NoHead::Malformed));
        let none = asking(&Method::GET, "a.test", "/", &HeaderMap::new(), 0);
        assert_eq!(answered(&none), Err(NoHead::Malformed));
        assert_eq!(answered(&[0, 0]), Err(NoHead::Malformed));
        assert_eq!(answered(&[1, 0]), Err(NoHead::Failed));
    }
}
