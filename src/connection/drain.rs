//! Bodies of requests that were refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http_body::Body as _;

use crate::connection::incoming::Incoming;
use crate::deadline::{Ticker, within};

/// How much of a body that nobody wants is read, so that a small one does not cost the connection.
const SMALL: usize = 16 * 1024;

/// How long the answer waits for such a body.
const DRAIN: Duration = Duration::from_secs(1);

/// Whether a body may be worth reading to its end. Not one that awaits 100-continue: to read it
/// would be to ask for it.
pub(super) fn is_small(parts: &Parts) -> bool {
    let length = parts.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_none_or(|length| length <= SMALL) && !parts.headers.contains_key(EXPECT)
}

/// Reads a body that nobody wants; whether it ended within [`SMALL`] bytes and [`DRAIN`].
pub(super) async fn drained(ticker: &Arc<Ticker>, incoming: Incoming) -> bool {
    matches!(within(ticker, Some(DRAIN), read(incoming)).await, Ok(true))
}

async fn read(mut incoming: Incoming) -> bool {
    let mut left = SMALL;
    std::future::poll_fn(|cx| {
        loop {
            match std::task::ready!(Pin::new(&mut incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len());
                    match left.checked_sub(length) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(false),
                    }
                }
                Some(Err(_)) => return Poll::Ready(false),
                None => return Poll::Ready(true),
            }
        }
    })
    .await
}
