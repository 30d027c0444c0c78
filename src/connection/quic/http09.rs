//! Requests of HTTP/0.9, as tests between implementations of QUIC send them: a line, and the stream's end.
//!
//! From their head on they go the way of all requests, so that such tests try what serves HTTP/3.

use std::future::poll_fn;
use std::sync::Arc;

use http::{Request, Uri, Version};

use super::arriving::Arriving;
use super::head::Unserved;
use super::http3::Http3;
use crate::deadline::{Elapsed, within};
use crate::http::h3::{Code, Head, Wrong};

/// The longest line, in bytes.
const LINE: usize = 4096;

/// Reads the line and the stream's end.
pub(super) async fn head(http3: &Arc<Http3>, arriving: &mut Arriving) -> Result<Head, Unserved> {
    let recv = arriving.read_otherwise();
    let shared = &http3.shared;
    let limit = shared.site.timeouts.request_headers;
    let mut line = Vec::new();
    let mut held = http3.hold();
    let read = async {
        while let Some(bytes) = poll_fn(|cx| recv.poll(cx))
            .await
            .map_err(|_| Unserved::GivenUp)?
        {
            if line.len() + bytes.len() > LINE {
                return Err(Unserved::TooLarge);
            }
            if !held.add(bytes.len()) {
                return Err(Unserved::NoRoom);
            }
            line.extend_from_slice(&bytes);
        }
        Ok(())
    };
    match within(&shared.worker.ticker, Some(limit), read).await {
        Ok(read) => read?,
        Err(Elapsed) => return Err(Unserved::Late),
    }
    let name = shared.state.server_name.as_deref().unwrap_or("localhost");
    let request = parse(&line, name).ok_or(Wrong::Stream(Code::MESSAGE_ERROR))?;
    Ok(Head {
        request,
        length: None,
    })
}

/// The request that a line makes of this site.
fn parse(line: &[u8], name: &str) -> Option<Request<()>> {
    let line = std::str::from_utf8(line).ok()?.trim_ascii_end();
    let path = line.strip_prefix("GET ").filter(|it| it.starts_with('/'))?;
    let uri = Uri::builder().scheme("https").authority(name);
    let uri = uri.path_and_query(path).build().ok()?;
    // What has an authority and no Host field, as requests on such streams do.
    let request = Request::get(uri).version(Version::HTTP_3);
    request.body(()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_asks_for_a_path() {
        let uri = |line: &[u8]| parse(line, "a.example").map(|request| request.uri().to_string());
        let some = Some("https://a.example/b?c".to_owned());
        for line in [&b"GET /b?c\r\n"[..], b"GET /b?c\n", b"GET /b?c"] {
            assert_eq!(uri(line), some);
        }
        for line in [
            &b""[..],
            b"GET",
            b"GET b",
            b"POST /b\r\n",
            b"GET /b c",
            b"GET /\xff",
        ] {
            assert_eq!(uri(line), None, "{line:?}");
        }
    }
}
