//! The heads of answers.

use std::cell::RefCell;
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, StatusCode};

use crate::http::h3::{self, Encoder};

/// The field section of an answer's head. `length` is its content's, if that is known.
pub(super) fn section(status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Encoder {
    let mut encoder = h3::response(status, headers);
    if let Some(length) = length.filter(|_| !headers.contains_key(CONTENT_LENGTH)) {
        encoder.field("content-length", length.to_string().as_bytes(), false);
    }
    // RFC 9110 §6.6.1: whoever has a clock says the time.
    if !headers.contains_key(DATE) {
        date(&mut encoder);
    }
    encoder
}

/// Appends the time. Made once a second, as it is the same for all answers until then.
fn date(encoder: &mut Encoder) {
    thread_local! {
        static LAST: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
    }
    let now = SystemTime::now();
    let Ok(since) = now.duration_since(SystemTime::UNIX_EPOCH) else {
        return;
    };
    LAST.with_borrow_mut(|(last, line)| {
        if *last != since.as_secs() || line.is_empty() {
            *last = since.as_secs();
            *line = h3::line(DATE.as_str(), httpdate::fmt_http_date(now).as_bytes());
        }
        encoder.line(line);
    });
}
