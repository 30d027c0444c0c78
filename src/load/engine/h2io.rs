//! A [`Stream`] as the `h2` crate wants it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::stream::{Received, Stream};
use crate::load::stats::ErrorKind;

/// What the requests of a connection learn of it besides what `h2` tells them.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Why it failed, if it did: `h2` keeps no more than the kind of an I/O error.
    pub(super) failure: Cell<Option<ErrorKind>>,
    /// Whether the server has closed it.
    pub(super) closed: Cell<bool>,
    /// Whether a ticket came.
    pub(super) ticket: Cell<bool>,
    /// Told when a ticket came or the server closed.
    pub(super) news: Notify,
}

/// The connection that `h2` reads and writes.
pub(super) struct Io {
    stream: Stream,
    plain: Vec<u8>,
    read: usize,
    fate: Rc<Fate>,
}

impl Io {
    pub(super) fn new(stream: Stream, fate: &Rc<Fate>) -> Self {
        Self {
            stream,
            plain: Vec::new(),
            read: 0,
            fate: Rc::clone(fate),
        }
    }

    fn fails(&self, kind: ErrorKind) -> io::Error {
        self.fate.failure.set(Some(kind));
        self.fate.news.notify_one();
        io::ErrorKind::Other.into()
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = ready!(self.stream.poll_flush(cx));
        Poll::Ready(sent.map_err(|kind| self.fails(kind)))
    }

    fn notice(&self, received: Received) {
        let closed = matches!(received, Received::Closed { .. });
        let ticket = self.stream.tickets() > 0 && !self.fate.ticket.get();
        if closed || ticket {
            self.fate.closed.set(closed);
            self.fate.ticket.set(self.stream.tickets() > 0);
            self.fate.news.notify_one();
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let rest = this.plain.get(this.read..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buffer.remaining());
                buffer.put_slice(rest.get(..count).unwrap_or_default());
                this.read += count;
                return Poll::Ready(Ok(()));
            }
            this.plain.clear();
            this.read = 0;
            let plain = &mut this.plain;
            let received = ready!(this.stream.poll_receive(cx, |bytes| {
                plain.extend_from_slice(bytes);
                Ok(())
            }));
            let received = received.map_err(|kind| this.fails(kind))?;
            this.notice(received);
            // Our Finished: `h2` knows nothing of it and might have nothing to flush.
            if let Poll::Ready(Err(error)) = this.poll_sent(cx) {
                return Poll::Ready(Err(error));
            }
            if received != Received::Bytes && this.plain.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let count = this.stream.write(bytes).map_err(|kind| this.fails(kind))?;
            if count > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(count));
            }
            ready!(this.poll_sent(cx))?;
            if this.stream.finished().is_none() {
                this.stream.wake_when_done(cx);
                return Poll::Pending;
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(cx)
    }

    /// Says goodbye and waits for the server's: bytes that nobody read would make it a reset.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.stream.close();
        ready!(this.poll_sent(cx))?;
        loop {
            let received = ready!(this.stream.poll_receive(cx, |_| Ok(())));
            let received = received.map_err(|kind| this.fails(kind))?;
            this.notice(received);
            if received != Received::Bytes {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
