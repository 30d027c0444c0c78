//! One connection to an origin server.
//!
//! Nothing drives it in the background: whoever has a request on it polls it, and so does the
//! body of the answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::request_body::RequestBody;
use crate::deadline::{Alarm, Ticker};

/// What hyper may buffer on a connection in each direction, in bytes. Bounds an answer's head as
/// well as the memory of a request whose origin does not read.
const BUFFER: usize = 64 * 1024;

/// A connection to an origin server, with or without a request on it.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` once the connection is done.
    connection: Option<Connection<Wire, RequestBody>>,
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) gauge: Arc<Gauge>,
    /// Bounds whatever this link waits for next; one registration for the link's whole life.
    pub(super) alarm: Alarm,
    pub(super) address: SocketAddr,
    /// When it became idle, by the ticker.
    pub(super) idle_since: Duration,
}

impl Link {
    /// Connects, within whatever bounds the caller sets.
    pub(super) async fn open(address: SocketAddr, ticker: &Arc<Ticker>) -> io::Result<Box<Self>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let gauge = Arc::new(Gauge::default());
        let wire = Wire {
            stream: TokioIo::new(stream),
            gauge: Arc::clone(&gauge),
        };
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER)
            .handshake(wire)
            .await
            .map_err(io::Error::other)?;
        Ok(Box::new(Self {
            connection: Some(connection),
            sender,
            gauge,
            alarm: ticker.alarm(),
            address,
            idle_since: Duration::ZERO,
        }))
    }

    /// Moves bytes. Ready once the connection is done; what became of the request on it is told
    /// by the request's own future, which must be polled after this.
    ///
    /// Ready yields whether nothing that was received is left unparsed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<bool>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        match connection.poll_without_shutdown(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                // Taken apart also to give a request back that was never begun.
                let parts = self.connection.take().map(Connection::into_parts);
                Poll::Ready(parts.map(|parts| parts.read_buf.is_empty()))
            }
        }
    }

    /// Whether the connection can take a request now: notices what the origin did while idle, and
    /// what is left of the exchange before.
    pub(super) fn is_ready(&mut self) -> bool {
        // The noop waker also lets go of the task that last used the connection. Without the
        // budget of tokio's coop: a spent one would make a good connection look busy.
        let mut poll = std::pin::pin!(tokio::task::unconstrained(std::future::poll_fn(
            |cx| self.poll(cx)
        )));
        let done = poll
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
        !done && self.sender.is_ready()
    }
}

/// What a link's socket tells those who cannot see it.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    written: AtomicU64,
    write_failed: AtomicBool,
}

impl Gauge {
    /// Bytes that the origin's kernel took so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether the origin takes no more bytes.
    pub(super) fn write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Relaxed)
    }
}

/// The socket.
///
/// An origin may answer before it has read the request and close (413, 401). Writing then fails,
/// and hyper would forget the answer for that: so a failed write counts as done, the request's
/// body stops (see [`RequestBody`]), and reading tells what became of the exchange.
#[derive(Debug)]
struct Wire {
    stream: TokioIo<TcpStream>,
    gauge: Arc<Gauge>,
}

impl Wire {
    fn wrote(&self, length: usize, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(written)) => {
                self.gauge
                    .written
                    .fetch_add(written as u64, Ordering::Relaxed);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(_)) => {
                self.gauge.write_failed.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(length))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gauge.write_failed() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(bytes.len(), result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.gauge.write_failed() {
            return Poll::Ready(Ok(length));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(length, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
