//! The answer to a request, as it goes.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;
use quinn::{SendStream, WriteError, Written};

use super::code;
use super::content::Between;
use super::http3::Http3;
use super::ranks::{Rank, Ranks, Room, Waits};
use crate::body::PIECE;
use crate::connection::bodies::ResponseBody;
use crate::connection::service::{Answer, Answered};
use crate::connection::stage::Stage;
use crate::http::h3::{self, Code};

/// The half of a stream that an answer goes on. Dropped before its end, it is reset.
pub(super) struct Sending {
    stream: SendStream,
    /// What is left of an interim answer that was begun.
    rest: Bytes,
    ended: bool,
    wrong: Code,
    order: i32,
    /// Once it has waited for room.
    room: Option<Arc<Room>>,
    /// HTTP/0.9: content and nothing around it.
    bare: bool,
}

impl Sending {
    pub(super) fn new(stream: SendStream, bare: bool) -> Self {
        Self {
            stream,
            rest: Bytes::new(),
            ended: false,
            wrong: Code::REQUEST_CANCELLED,
            order: 0,
            room: None,
            bare,
        }
    }

    /// What a reset says, should it come to that.
    pub(super) fn end_with(&mut self, wrong: Code) {
        self.wrong = wrong;
    }

    /// An answer with nothing but a status.
    pub(super) async fn bare(&mut self, ranks: &Ranks, status: StatusCode) {
        let section = self.section(&h3::informational(status));
        if self.write(ranks, &mut [section]).await.is_ok() {
            self.finish();
        }
    }

    /// Writes all of this, after those whose place is before ours.
    async fn write(&mut self, ranks: &Ranks, pieces: &mut [Bytes]) -> Result<(), WriteError> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            self.stream.write_chunk(rest).await?;
        }
        if pieces.iter().all(Bytes::is_empty) {
            return Ok(());
        }
        let waits = ranks.waits(self.order);
        let (mut done, mut had, mut stood_back) = (0, false, false);
        while let Some(left) = pieces.get_mut(done..)
            && let Some(first) = left.first_mut()
        {
            // Who shares takes no more than a piece at a time.
            let mut part = match waits.shares() && first.len() > PIECE {
                true => Some([first.slice(..PIECE)]),
                false => None,
            };
            let written = poll_fn(|cx| {
                if had && waits.shares() && !stood_back || waits.is_preceded() {
                    stood_back = true;
                    // Behind all that were woken with us.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                stood_back = false;
                let next = part.as_mut().map_or(&mut *left, |part| &mut part[..]);
                self.try_write(&waits, next, cx.waker())
            });
            let written = written.await?;
            match (part, left.first_mut()) {
                (Some(_), Some(first)) => first.advance(written.bytes),
                _ => done += written.chunks,
            }
            waits.again();
            had = true;
        }
        Ok(())
    }

    /// Writes of these pieces what there is room for now; where there is none, `task` is woken when
    /// there may be some.
    fn try_write(
        &mut self,
        waits: &Waits<'_>,
        pieces: &mut [Bytes],
        task: &Waker,
    ) -> Poll<Result<Written, WriteError>> {
        let stream = &mut self.stream;
        // The future keeps nothing of its own: the stream remembers who waits.
        let mut write = |task: &Waker| {
            let writing = std::pin::pin!(stream.write_chunks(pieces));
            writing.poll(&mut Context::from_waker(task))
        };
        // Most find room at once and need no more.
        if self.room.is_none()
            && let Poll::Ready(written) = write(task)
        {
            return Poll::Ready(written);
        }
        let room = self.room.get_or_insert_default();
        room.look(task);
        let written = write(&Waker::from(Arc::clone(room)));
        if written.is_pending() {
            waits.found_none(room);
        }
        written
    }

    /// A field section as a frame, where there are such.
    fn section(&self, section: &[u8]) -> Bytes {
        match self.bare {
            true => Bytes::new(),
            false => h3::headers(section),
        }
    }

    /// Content, behind what was not sent yet.
    async fn content(
        &mut self,
        ranks: &Ranks,
        before: Bytes,
        data: Bytes,
    ) -> Result<(), WriteError> {
        let header = match self.bare {
            true => Bytes::new(),
            false => h3::data_header(data.len()),
        };
        self.write(ranks, &mut [before, header, data]).await
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
    stage: Stage,
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
            let wrong = between.wrong();
            send.end_with(wrong.unwrap_or(code));
            if wrong.is_some() {
                http3.given_up();
            }
            return;
        }
    };
    send.rank(&rank);
    if let Some(()) = pass_on(&http3, response, &mut send, &rank, &stage, is_head).await {
        send.finish();
        stage.sent();
        // Until the client has it, it is under way: the connection must not be closed on it.
        let _ = send.stream.stopped().await;
    } else if send.wrong == Code::REQUEST_CANCELLED {
        // Half an answer costs as much as none.
        http3.given_up();
    }
}

/// Awaits the answer, and sends interim ones meanwhile. `None` if the client has given up.
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
        let mut interim = std::pin::pin!(interims(&mut send.stream, between, &mut rest));
        tokio::select! {
            biased;
            answered = &mut answer => Some(answered),
            stopped = &mut stopped => {
                if stopped.is_err() {
                    http3.lost();
                }
                None
            }
            // The answer goes on beside it: a client that takes nothing must not hold it up.
            _ = &mut interim => None,
        }
    };
    // What was said before the answer stands before it.
    while let Some(frame) = between.try_interim() {
        rest = [&rest[..], &frame].concat().into();
    }
    send.rest = rest;
    answered
}

/// Sends interim answers, as they come, until that fails. `rest` is what is still to be written of one
/// that was begun, however far this has come.
async fn interims(stream: &mut SendStream, between: &Between, rest: &mut Bytes) -> WriteError {
    loop {
        let mut frame = between.interim().await;
        while !frame.is_empty() {
            rest.clone_from(&frame);
            match stream.write(&frame).await {
                Ok(written) => frame.advance(written),
                Err(error) => return error,
            }
        }
        rest.clear();
    }
}

/// Sends head, content and trailers. `None` if it broke off: the stream is then reset.
async fn pass_on(
    http3: &Http3,
    response: Response<ResponseBody>,
    send: &mut Sending,
    rank: &Rank,
    stage: &Stage,
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
    if !parts.headers.contains_key(DATE)
        && let Some(now) = date()
    {
        parts.headers.insert(DATE, now);
    }
    if send.bare && !parts.status.is_success() {
        // There is no other way to say so, and it is not the client who gave up.
        send.end_with(Code::INTERNAL_ERROR);
        return None;
    }
    let ranks = &http3.ranks;
    // Until it is sent: what there is of the content at once goes with it.
    let mut head = send.section(&h3::response(parts.status, &parts.headers));
    if empty {
        send.write(ranks, &mut [head]).await.ok()?;
        return Some(());
    }
    // Who leaves while the answer pauses is not waited for, nor is what it would have got.
    let mut stopped = std::pin::pin!(send.stream.stopped());
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending if !head.is_empty() => Poll::Ready(None),
            Poll::Pending => stopped.as_mut().poll(cx).map(|stopped| Some(Err(stopped))),
            frame => frame.map(|frame| Some(Ok(frame))),
        });
        let frame = match frame.await {
            None => {
                // Now it is the client that is waited for.
                stage.client();
                let head = std::mem::take(&mut head);
                send.write(ranks, &mut [head]).await.ok()?;
                // So that it leaves, whatever the content comes to.
                tokio::task::yield_now().await;
                continue;
            }
            Some(Ok(Some(frame))) => frame,
            Some(Ok(None)) => break,
            Some(Err(stopped)) => {
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
                let head = std::mem::take(&mut head);
                send.content(ranks, head, data).await.ok()?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let section = send.section(&h3::fields(&trailers));
                    let head = std::mem::take(&mut head);
                    send.write(ranks, &mut [head, section]).await.ok()?;
                }
                break;
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    if !head.is_empty() {
        send.write(ranks, &mut [head]).await.ok()?;
    }
    Some(())
}

/// The time as a field says it. Made once a second, as it is the same for all answers until then.
fn date() -> Option<HeaderValue> {
    thread_local! {
        static LAST: RefCell<(u64, Option<HeaderValue>)> = const { RefCell::new((0, None)) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    LAST.with_borrow_mut(|(last, field)| {
        if *last != second || field.is_none() {
            *last = second;
            *field = HeaderValue::try_from(httpdate::fmt_http_date(now)).ok();
        }
        field.clone()
    })
}
