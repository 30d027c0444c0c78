//! A request as it comes on its stream.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::{ReadError, RecvStream};

use super::code;
use super::head::Unserved;
use super::http3::{Held, Http3};
use crate::http::h3::{Code, Message, Received, Wrong};

/// What one read may bring, in bytes.
const READ: usize = 64 * 1024;

/// The half of a stream that a request comes on. Dropped before its end, it asks the client to stop.
pub(super) struct Receiving {
    stream: RecvStream,
    ended: bool,
}

impl Receiving {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            ended: false,
        }
    }

    /// The next bytes; `None` at the end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        // It keeps nothing of its own: the stream remembers who waits.
        let mut read = std::pin::pin!(self.stream.read_chunk(READ, true));
        let read = ready!(read.as_mut().poll(cx));
        let chunk = read.map(|chunk| chunk.map(|chunk| chunk.bytes));
        if !matches!(chunk, Ok(Some(_))) {
            self.ended = true;
        }
        Poll::Ready(chunk)
    }

    /// Asks the client to stop.
    pub(super) fn stop(&mut self, why: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            let _ = self.stream.stop(code(why));
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // RFC 9114 §4.1: the answer stands without the rest.
        self.stop(Code::NO_ERROR);
    }
}

/// What has come of a request, and what is still to come.
pub(super) struct Arriving {
    recv: Receiving,
    message: Message,
    /// What was read and not looked at yet.
    chunk: Bytes,
    /// Its head, as long as that is not whole.
    held: Option<Held>,
}

impl Arriving {
    /// A request whose field sections take at most `limit` bytes each.
    pub(super) fn new(recv: RecvStream, limit: usize) -> Self {
        Self {
            recv: Receiving::new(recv),
            message: Message::new(limit),
            chunk: Bytes::new(),
            held: None,
        }
    }

    /// The stream, to be read in another way: what this has is a request without content then.
    pub(super) fn read_otherwise(&mut self) -> &mut Receiving {
        self.message = Message::without_content();
        &mut self.recv
    }

    /// The field section of the head, once it is whole.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        http3: &Arc<Http3>,
    ) -> Poll<Result<Bytes, Unserved>> {
        loop {
            let length = self.chunk.len();
            let received = self.message.next(&mut self.chunk);
            http3.beside(self.message.idle());
            match received? {
                Some(Received::Head(section)) => {
                    self.held = None;
                    return Poll::Ready(Ok(section));
                }
                Some(_) => {
                    // Nothing of it is kept while its answer goes.
                    self.held = None;
                    self.chunk.clear();
                    return Poll::Ready(Err(Unserved::TooLarge));
                }
                None => {}
            }
            if length > 0 && !self.held.get_or_insert_with(|| http3.hold()).add(length) {
                return Poll::Ready(Err(Unserved::NoRoom));
            }
            match ready!(self.recv.poll(cx)) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => {
                    self.message.end()?;
                    let wrong = Wrong::Stream(Code::REQUEST_INCOMPLETE);
                    return Poll::Ready(Err(wrong.into()));
                }
                Err(_) => return Poll::Ready(Err(Unserved::GivenUp)),
            }
        }
    }

    /// The head announced so much content.
    pub(super) fn announce(&mut self, length: Option<u64>) {
        self.message.announce(length);
    }

    /// How much content is left to come, if that was announced.
    pub(super) fn left(&self) -> Option<u64> {
        self.message.left()
    }

    /// What comes next behind the head; `None` at the end.
    pub(super) fn poll_received(
        &mut self,
        cx: &mut Context<'_>,
        http3: &Http3,
    ) -> Poll<Result<Option<Received>, Wrong>> {
        loop {
            let received = self.message.next(&mut self.chunk);
            http3.beside(self.message.idle());
            if let Some(received) = received? {
                return Poll::Ready(Ok(Some(received)));
            }
            match ready!(self.recv.poll(cx)) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => {
                    self.message.end()?;
                    return Poll::Ready(Ok(None));
                }
                Err(error) => {
                    if matches!(error, ReadError::ConnectionLost(_)) {
                        http3.lost();
                    }
                    return Poll::Ready(Err(Wrong::Stream(Code::REQUEST_CANCELLED)));
                }
            }
        }
    }

    /// Asks the client to stop.
    pub(super) fn stop(&mut self, why: Code) {
        self.recv.stop(why);
    }
}
