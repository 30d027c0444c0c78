//! The answer to a request, as it goes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use quinn::{SendStream, VarInt, WriteError, Written};

use super::code;
use super::content::Between;
use super::http3::Http3;
use super::ranks::{Rank, Ranks, Room, Waits, shares};
use super::section::section;
use crate::connection::bodies::ResponseBody;
use crate::connection::service::{Answer, Answered};
use crate::connection::stage::Stage;
use crate::http::h3::{self, Code, Encoder};

/// Content of at most so many bytes is copied behind what comes before it, which costs less than a piece
/// of its own.
const SMALL: usize = 1024;

/// How much an answer takes at a time that shares what room there is with others.
const SHARE: usize = 16 * 1024;

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
    http09: bool,
}

impl Sending {
    pub(super) fn new(stream: SendStream, http09: bool) -> Self {
        Self {
            stream,
            rest: Bytes::new(),
            ended: false,
            wrong: Code::REQUEST_CANCELLED,
            order: 0,
            room: None,
            http09,
        }
    }

    /// The stream that it goes on.
    pub(super) fn id(&self) -> u64 {
        VarInt::from(self.stream.id()).into_inner()
    }

    /// What a reset says, should it come to that.
    pub(super) fn end_with(&mut self, wrong: Code) {
        self.wrong = wrong;
    }

    /// Whether all of the answer is with quinn.
    pub(super) fn is_finished(&self) -> bool {
        self.ended
    }

    /// Whether the client has all of a finished answer, as quinn forgets such streams. That is looked
    /// up faster than [`over`](Self::over) is.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.stream.priority().is_err()
    }

    /// Ends once the client has all of the answer, or wants no more of it, or is gone.
    pub(super) fn over(&self) -> impl Future<Output = ()> + use<> {
        let stopped = self.stream.stopped();
        async move {
            let _ = stopped.await;
        }
    }

    /// What is left of a finished answer is not sent.
    pub(super) fn give_up(&mut self) {
        let _ = self.stream.reset(code(Code::REQUEST_CANCELLED));
    }

    /// Sends an answer with nothing but a status, and ends.
    pub(super) async fn status_alone(&mut self, ranks: &Ranks, status: StatusCode) {
        let head = self.head(h3::response(status, &HeaderMap::new()));
        let nobody = Stage::default();
        if self.around(ranks, &nobody, head).await.is_ok() {
            self.finish();
        }
    }

    /// Writes what stands around content.
    async fn around(
        &mut self,
        ranks: &Ranks,
        stage: &Stage,
        bytes: Vec<u8>,
    ) -> Result<(), WriteError> {
        let length = bytes.len();
        self.write(ranks, stage, length, &mut [bytes.into()]).await
    }

    /// Writes all of this, after those whose place is before ours; `stage` is told whenever the client
    /// has taken some. `before` is how many bytes come before content.
    pub(super) async fn write(
        &mut self,
        ranks: &Ranks,
        stage: &Stage,
        mut before: usize,
        pieces: &mut [Bytes],
    ) -> Result<(), WriteError> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            self.stream.write_chunk(rest).await?;
        }
        if pieces.iter().all(Bytes::is_empty) {
            return Ok(());
        }
        let mut waits = ranks.waits(self.order);
        let shares = shares(self.order);
        let (mut done, mut had, mut stood_back) = (0, false, false);
        while let Some(left) = pieces.get_mut(done..)
            && !left.is_empty()
        {
            let written = poll_fn(|cx| {
                if had && shares && !stood_back || waits.is_preceded() {
                    stood_back = true;
                    // Behind all that were woken with us.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                stood_back = false;
                self.try_write(&mut waits, left, cx.waker())
            });
            let written = written.await?;
            done += written.chunks;
            stage.take(written.bytes.saturating_sub(before));
            before = before.saturating_sub(written.bytes);
            if done < pieces.len() {
                waits.again();
                had = true;
            }
        }
        Ok(())
    }

    /// Writes of these pieces what there is room for now; where there is none, `task` is woken when
    /// there may be some.
    fn try_write(
        &mut self,
        waits: &mut Waits<'_>,
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

    /// Writes of this what there is room for now, unless others wait for that. How much that was.
    pub(super) fn write_at_once(
        &mut self,
        ranks: &Ranks,
        bytes: &mut Bytes,
    ) -> Result<usize, WriteError> {
        if ranks.is_waited_for() {
            return Ok(0);
        }
        let pieces = std::slice::from_mut(bytes);
        let write = std::pin::pin!(self.stream.write_chunks(pieces));
        match write.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(written) => written.map(|written| written.bytes),
            Poll::Pending => Ok(0),
        }
    }

    /// A field section as a frame, where there are such.
    fn head(&self, section: Encoder) -> Vec<u8> {
        match self.http09 {
            true => Vec::new(),
            false => section.frame(),
        }
    }

    /// Content, behind what was not sent yet.
    async fn content(
        &mut self,
        ranks: &Ranks,
        stage: &Stage,
        rank: &Rank,
        mut before: Vec<u8>,
        mut data: Bytes,
    ) -> Result<(), WriteError> {
        if !self.http09 {
            h3::data_header(data.len(), &mut before);
        }
        if data.len() <= SMALL {
            self.rank(rank);
            let length = before.len();
            before.extend_from_slice(&data);
            return self.write(ranks, stage, length, &mut [before.into()]).await;
        }
        let mut before = Bytes::from(before);
        while !data.is_empty() {
            self.rank(rank);
            // Who shares takes a little and is then behind the others.
            let most = match shares(self.order) {
                true => SHARE,
                false => data.len(),
            };
            let part = data.split_to(most.min(data.len()));
            let before = std::mem::take(&mut before);
            let length = before.len();
            self.write(ranks, stage, length, &mut [before, part])
                .await?;
        }
        Ok(())
    }

    /// All of the answer was written.
    pub(super) fn finish(&mut self) {
        self.ended = self.stream.finish().is_ok();
    }

    fn rank(&mut self, rank: &Rank) {
        self.order(rank.order());
    }

    /// Its place among others from now on: see [`Rank::order`].
    pub(super) fn order(&mut self, order: i32) {
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

/// Awaits the answer and hands all of it to quinn. Somebody else watches over its progress.
pub(super) async fn respond(
    http3: &Http3,
    answer: Answer,
    send: &mut Sending,
    between: &Between,
    rank: &Rank,
    stage: &Stage,
    is_head: bool,
) {
    let Some(answered) = wait(http3, answer, send, between).await else {
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
    send.rank(rank);
    if let Some(()) = pass_on(http3, response, send, rank, stage, is_head).await {
        send.finish();
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
    // Most are there at once, and need nothing of what follows.
    let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
    let answered = match first {
        Poll::Ready(answered) => Some(answered),
        // Boxed: all others are spared its size.
        Poll::Pending => Box::pin(meanwhile(http3, answer, send, between)).await,
    };
    // What was said before the answer stands before it.
    while let Some(frame) = between.try_interim() {
        send.rest = [&send.rest[..], &frame].concat().into();
    }
    answered
}

/// Awaits an answer that is not there at once.
async fn meanwhile(
    http3: &Http3,
    mut answer: Pin<&mut Answer>,
    send: &mut Sending,
    between: &Between,
) -> Option<Answered> {
    let mut stopped = std::pin::pin!(send.stream.stopped());
    let mut interim = std::pin::pin!(interims(&mut send.stream, between, &mut send.rest));
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
    let (parts, mut body) = response.into_parts();
    if send.http09 && !parts.status.is_success() {
        // There is no other way to say so, and it is not the client who gave up.
        send.end_with(Code::INTERNAL_ERROR);
        return None;
    }
    let empty = body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !empty && !is_head);
    // Until it is sent: what there is of the content at once goes with it.
    let mut head = send.head(section(parts.status, &parts.headers, length));
    let ranks = &http3.ranks;
    if empty {
        send.around(ranks, stage, head).await.ok()?;
        stage.sent();
        return Some(());
    }
    // Who leaves while the answer pauses is not waited for, nor is what it would have got.
    let mut stopped = std::pin::pin!(None);
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending if !head.is_empty() => Poll::Ready(None),
            Poll::Pending => {
                if stopped.is_none() {
                    stopped.set(Some(send.stream.stopped()));
                }
                let stopped = stopped.as_mut().as_pin_mut();
                let stopped = stopped.map_or(Poll::Pending, |stopped| stopped.poll(cx));
                stopped.map(|stopped| Some(Err(stopped)))
            }
            frame => frame.map(|frame| Some(Ok(frame))),
        });
        let frame = match frame.await {
            None => {
                // Now it is the client that is waited for.
                stage.client();
                let head = std::mem::take(&mut head);
                send.around(ranks, stage, head).await.ok()?;
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
                let head = std::mem::take(&mut head);
                send.content(ranks, stage, rank, head, data).await.ok()?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    head.extend_from_slice(&send.head(h3::fields(&trailers)));
                }
                break;
            }
        }
        if body.is_end_stream() {
            break;
        }
    }
    if !head.is_empty() {
        send.around(ranks, stage, head).await.ok()?;
    }
    // Before the body goes, which tells how the answer ended.
    stage.sent();
    Some(())
}
