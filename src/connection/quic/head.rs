//! The head of a request, or why there is none.

use std::future::poll_fn;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::arriving::Arriving;
use super::http3::Http3;
use super::http09;
use crate::deadline::{Elapsed, within};
use crate::http::h3::{self, Code, Head, NoHead, Priority, Wrong};

/// The field of RFC 9218 §5.
const PRIORITY: HeaderName = HeaderName::from_static("priority");

/// Why a request is not served.
pub(super) enum Unserved {
    /// Something is wrong with it.
    Wrong(Wrong),
    /// Its head is too large.
    TooLarge,
    /// Too many heads of its connection are not whole.
    NoRoom,
    /// Its client gave it up.
    GivenUp,
    /// Its head did not come in time.
    Late,
}

impl From<Wrong> for Unserved {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Stream(Code::REQUEST_CANCELLED) => Self::GivenUp,
            wrong => Self::Wrong(wrong),
        }
    }
}

/// Awaits the head of a request.
pub(super) async fn arrive(http3: &Arc<Http3>, arriving: &mut Arriving) -> Result<Head, Unserved> {
    if http3.is_http09() {
        return Box::pin(http09::head(http3, arriving)).await;
    }
    let shared = &http3.shared;
    let limit = Some(shared.site.timeouts.request_headers);
    let section = poll_fn(|cx| arriving.poll_head(cx, http3));
    match within(&shared.worker.ticker, limit, section).await {
        Ok(section) => read(http3, &section?, arriving),
        Err(Elapsed) => Err(Unserved::Late),
    }
}

/// Reads the head of a request from its field section.
pub(super) fn read(
    http3: &Http3,
    section: &[u8],
    arriving: &mut Arriving,
) -> Result<Head, Unserved> {
    let usual = http3.authority.get();
    let head = h3::request(section, section_limit(http3), usual).map_err(|why| match why {
        NoHead::Failed => Wrong::Connection(Code::QPACK_DECOMPRESSION_FAILED).into(),
        NoHead::Malformed => Wrong::Stream(Code::MESSAGE_ERROR).into(),
        NoHead::TooLarge => Unserved::TooLarge,
    })?;
    if let (None, Some(authority)) = (usual, head.request.uri().authority()) {
        // Another request may have been quicker.
        let _ = http3.authority.set(authority.clone());
    }
    arriving.announce(head.length);
    Ok(head)
}

/// What a request says of its priority.
pub(super) fn said(head: &Head) -> Priority {
    let said = head.request.headers().get_all(PRIORITY).iter();
    Priority::of_lines(said.map(HeaderValue::as_bytes))
}

/// The most that a field section may take before its route is known. RFC 9114 §4.2.2 counts 32 more
/// for each field.
pub(super) fn section_limit(http3: &Http3) -> usize {
    let site = &http3.shared.site;
    site.max_header_bytes + site.max_uri + 32 * site.max_headers
}
