//! What the bytes between edge and origin go through.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::Secure;

/// A connected socket, TLS included. An enum, so that plain TCP costs no call through a table.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Secure>),
}

impl Socket {
    /// Whether nothing came on a connection where nothing may come: neither its end nor what
    /// nobody asked for. Tickets of TLS are taken in passing.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        // The noop waker also lets go of the task that last used the connection. Without the
        // budget of tokio's coop: a spent one would make a good connection look busy.
        let poll = std::future::poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut *self).poll_read(cx, &mut buffer).is_pending())
        });
        let mut poll = std::pin::pin!(tokio::task::unconstrained(poll));
        let mut cx = Context::from_waker(Waker::noop());
        matches!(poll.as_mut().poll(&mut cx), Poll::Ready(true))
    }
}

macro_rules! each {
    ($socket:expr, $stream:ident => $does:expr) => {
        match $socket.get_mut() {
            Self::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $does
            }
            Self::Unix($stream) => {
                let $stream = Pin::new($stream);
                $does
            }
            Self::Tls($stream) => {
                let $stream = $stream.writer();
                $does
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => stream.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
