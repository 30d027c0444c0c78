//! The socket below a TLS stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

/// A socket that can be told which bytes are its last.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// As `poll_write`, for bytes behind which this side ends: whoever sends them shuts the socket
    /// down next. Default: as all others.
    fn poll_write_last(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, bytes)
    }
}

impl Socket for TcpStream {
    /// The kernel holds the bytes back until the end is known (`MSG_MORE`), so that answer,
    /// close_notify and FIN leave in one segment.
    fn poll_write_last(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let sent = self.try_io(Interest::WRITABLE, || {
                SockRef::from(&*self).send_with_flags(bytes, libc::MSG_MORE | libc::MSG_NOSIGNAL)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}
