//! The answer to a request, as it goes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;
use quinn::{SendStream, WriteError};

use super::code;
use super::content::Between;
use super::http3::Http3;
use super::ranks::Rank;
use crate::connection::bodies::ResponseBody;
use crate::connection::service::{Answer, Answered};
use crate::http::h3::{self, Code};

/// The half of a stream that an answer goes on. Dropped before its end, it is reset.
pub(super) struct Sending {
    stream: SendStream,
    /// What is left of an interim answer that was begun.
    rest: Bytes,
    ended: bool,
    wrong: Code,
    order: i32,
}

impl Sending {
    pub(super) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            rest: Bytes::new(),
            ended: false,
            wrong: Code::REQUEST_CANCELLED,
            order: 0,
        }
    }

    /// What a reset says, should it come to that.
    pub(super) fn end_with(&mut self, wrong: Code) {
        self.wrong = wrong;
    }

    /// An answer with nothing but a status.
    pub(super) async fn bare(&mut self, status: StatusCode) {
        let section = h3::informational(status);
        if self.write(&mut [h3::headers(&section)]).await.is_ok() {
            self.finish();
        }
    }

    async fn write(&mut self, pieces: &mut [Bytes]) -> Result<(), WriteError> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            self.stream.write_chunk(rest).await?;
        }
        self.stream.write_all_chunks(pieces).await
    }

    fn finish(&mut self) {
        self.ended = self.stream.finish().is_ok();
    }

    fn rank(&mut self, rank: &Rank) {
        let order = rank.order();
        if order != self.order {
            self.order = order;
            let _ = self.stream.set_priority(order);
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.stream.reset(code(self.wrong));
        }
    }
}

/// Awaits the answer and sends it. Somebody else watches over its progress.
pub(super) async fn respond(
    http3: Arc<Http3>,
    answer: Answer,
    mut send: Sending,
    between: Arc<Between>,
    rank: Rank,
    is_head: bool,
) {
    let Some(answered) = wait(&http3, answer, &mut send, &between).await else {
        http3.given_up();
        return;
    };
    let response = match answered {
        Ok(response) => response,
        Err(none) => {
            let code = match none.is_internal() {
                true => Code::INTERNAL_ERROR,
                false => Code::REQUEST_CANCELLED,
            };
            send.end_with(between.wrong().unwrap_or(code));
            return;
        }
    };
    send.rank(&rank);
    if let Some(()) = pass_on(&http3, response, &mut send, &rank, is_head).await {
        send.finish();
        // Until the client has it, it is under way: the connection must not be closed on it.
        let _ = send.stream.stopped().await;
    }
}

/// Awaits the answer, and says 100 Continue meanwhile if the content is asked for. `None` if the
/// client has given up.
async fn wait(
    http3: &Http3,
    answer: Answer,
    send: &mut Sending,
    between: &Between,
) -> Option<Answered> {
    let mut answer = std::pin::pin!(answer);
    let mut stopped = std::pin::pin!(send.stream.stopped());
    let mut rest = Bytes::new();
    let answered = {
        let mut interim = std::pin::pin!(go_on(&mut send.stream, between, &mut rest));
        let mut said = false;
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => break Some(answered),
                stopped = &mut stopped => {
                    if stopped.is_err() {
                        http3.lost();
                    }
                    break None;
                }
                // The answer goes on beside it: a client that takes nothing must not hold it up.
                written = &mut interim, if !said => match written {
                    Ok(()) => said = true,
                    Err(_) => break None,
                },
            }
        }
    };
    send.rest = rest;
    answered
}

/// Says 100 Continue once the content is asked for. `rest` is what is still to be written of it,
/// however far this has come.
async fn go_on(
    stream: &mut SendStream,
    between: &Between,
    rest: &mut Bytes,
) -> Result<(), WriteError> {
    between.asked().await;
    let mut frame = h3::headers(&h3::informational(StatusCode::CONTINUE));
    while !frame.is_empty() {
        let written = stream.write(&frame).await?;
        frame.advance(written);
        rest.clone_from(&frame);
    }
    Ok(())
}

/// Sends head, content and trailers. `None` if it broke off: the stream is then reset.
async fn pass_on(
    http3: &Http3,
    response: Response<ResponseBody>,
    send: &mut Sending,
    rank: &Rank,
    is_head: bool,
) -> Option<()> {
    let (mut parts, mut body) = response.into_parts();
    let empty = body.is_end_stream();
    if !empty
        && !is_head
        && let Some(length) = body.size_hint().exact()
        && !parts.headers.contains_key(CONTENT_LENGTH)
    {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    // RFC 9110 §6.6.1: whoever has a clock says the time.
    if !parts.headers.contains_key(DATE) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        if let Ok(now) = HeaderValue::try_from(now) {
            parts.headers.insert(DATE, now);
        }
    }
    let section = h3::response(parts.status, &parts.headers);
    send.write(&mut [h3::headers(&section)]).await.ok()?;
    if empty {
        return Some(());
    }
    // Who leaves while the answer pauses is not waited for, nor is what it would have got.
    let mut stopped = std::pin::pin!(send.stream.stopped());
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending => stopped.as_mut().poll(cx).map(Err),
            frame => frame.map(Ok),
        });
        let frame = match frame.await {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(stopped) => {
                if stopped.is_err() {
                    http3.lost();
                }
                return None;
            }
        };
        let Ok(frame) = frame else {
            send.end_with(Code::INTERNAL_ERROR);
            return None;
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                send.rank(rank);
                let mut pieces = [h3::data_header(data.len()), data];
                send.write(&mut pieces).await.ok()?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let section = h3::fields(&trailers);
                    send.write(&mut [h3::headers(&section)]).await.ok()?;
                }
                return Some(());
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    Some(())
}
