//! The half of a stream that an answer goes on.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use quinn::{SendStream, VarInt, WriteError, Written};

use super::code;
use super::ranks::{Rank, Ranks, Room, Waits, shares};
use crate::connection::stage::Stage;
use crate::http::h3::{self, Code, Encoder};

/// Content of at most so many bytes is copied behind what comes before it, which costs less than a piece
/// of its own.
const SMALL: usize = 1024;

/// How much an answer takes at a time that shares what room there is with others.
const SHARE: usize = 16 * 1024;

/// The half of a stream that an answer goes on. Dropped before its end, it is reset.
pub(super) struct Sending {
    pub(super) stream: SendStream,
    /// What is left of an interim answer that was begun.
    pub(super) rest: Bytes,
    ended: bool,
    pub(super) wrong: Code,
    order: i32,
    /// Once it has waited for room.
    room: Option<Arc<Room>>,
    /// HTTP/0.9: content and nothing around it.
    pub(super) http09: bool,
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
    pub(super) async fn around(
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
    pub(super) fn head(&self, section: Encoder) -> Vec<u8> {
        match self.http09 {
            true => Vec::new(),
            false => section.frame(),
        }
    }

    /// Content, behind what was not sent yet.
    pub(super) async fn content(
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

    pub(super) fn rank(&mut self, rank: &Rank) {
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
