//! One exchange with an origin server at a time: over a connection of its own (HTTP/1.1), or as a
//! stream of a connection that it shares with others (HTTP/2).
//!
//! A pool keeps links that are at rest, whichever they are. A resting link of HTTP/2 is a place on a
//! connection.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::response;
use http_body::Frame;

use super::address::Address;
use super::head::Head;
use super::http1::Http1;
use super::http2::Stream;
use super::receiving::Malformed;
use super::request_body::Upload;
use super::socket::Socket;
use super::tls::TlsError;
use crate::body::BoxError;
use crate::deadline::{Alarm, Ticker};
use crate::interim::Interims;

/// What a request is sent over.
#[derive(Debug)]
pub(super) struct Link {
    wire: Wire,
    /// Bounds whatever this link waits for next; one registration for the link's whole life.
    pub(super) alarm: Alarm,
    pub(super) address: Address,
    /// When it became idle, by the ticker.
    pub(super) idle_since: Duration,
    /// By which answer of DNS its address was found to be one of the server's.
    pub(super) generation: u64,
}

#[derive(Debug)]
enum Wire {
    Http1(Http1),
    Http2(Stream),
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) enum LinkError {
    /// The origin closed before its answer was whole.
    Closed,
    /// The origin reset the connection, or the stream.
    Reset,
    /// The origin says that it did nothing about the request, and will not over this connection
    /// (RFC 9113 §8.7).
    Unprocessed,
    /// What came is not HTTP, or ambiguous.
    Malformed,
    /// TLS broke off.
    Tls(TlsError),
    /// Any other error of the socket.
    Io(io::Error),
    /// The request's own body broke off.
    RequestBody(BoxError),
}

impl From<Malformed> for LinkError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            // TLS ended without close_notify.
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => match TlsError::of_stream(error) {
                Ok(error) => Self::Tls(error),
                Err(error) => Self::Io(error),
            },
        }
    }
}

/// Calls the same of whichever it is.
macro_rules! each {
    ($link:expr, $wire:ident => $does:expr) => {
        match &mut $link.wire {
            Wire::Http1($wire) => $does,
            Wire::Http2($wire) => $does,
        }
    };
}

impl Link {
    /// A new connection of HTTP/1.1.
    pub(super) fn http1(socket: Socket, address: Address, ticker: &Arc<Ticker>) -> Box<Self> {
        Self::new(Wire::Http1(Http1::new(socket)), address, ticker)
    }

    /// A place on a connection of HTTP/2.
    pub(super) fn http2(mut stream: Stream, ticker: &Arc<Ticker>) -> Box<Self> {
        stream.claim();
        let address = stream.address().clone();
        Self::new(Wire::Http2(stream), address, ticker)
    }

    fn new(wire: Wire, address: Address, ticker: &Arc<Ticker>) -> Box<Self> {
        Box::new(Self {
            wire,
            alarm: ticker.alarm(),
            address,
            idle_since: Duration::ZERO,
            generation: 0,
        })
    }

    /// Whether it is a stream of HTTP/2: others may use its connection at the same time.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.wire, Wire::Http2(_))
    }

    /// Whether its connection was there before this link.
    pub(super) fn joined(&self) -> bool {
        match &self.wire {
            Wire::Http1(_) => false,
            Wire::Http2(stream) => stream.joined(),
        }
    }

    /// Whether its connection may have idled before this link: it was used, or opened for whoever comes.
    pub(super) fn may_have_idled(&self) -> bool {
        match &self.wire {
            Wire::Http1(_) => false,
            Wire::Http2(stream) => stream.joined() || stream.rested(Duration::ZERO),
        }
    }

    /// Whether a link that was used before had rested until its exchange began, which was no longer
    /// than `at_once` ago.
    pub(super) fn rested(&self, at_once: Duration) -> bool {
        match &self.wire {
            Wire::Http1(_) => true,
            // Others may be at work on its connection.
            Wire::Http2(stream) => stream.rested(at_once),
        }
    }

    /// Begins an exchange; the one before is over.
    pub(super) fn start(
        &mut self,
        request: &Head,
        upload: &Upload,
        interims: Option<Arc<dyn Interims>>,
    ) {
        each!(self, wire => wire.start(request, upload, interims));
    }

    /// Sends the request and awaits the head of the answer.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, LinkError>> {
        each!(self, wire => wire.poll_head(cx))
    }

    /// Awaits the next frame of the answer's body, and sends what is left of the request.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        each!(self, wire => wire.poll_frame(cx))
    }

    /// The next frame of the answer's body that has come already; `None` if there is none.
    pub(super) fn try_frame(&mut self) -> Option<Option<Result<Frame<Bytes>, LinkError>>> {
        each!(self, wire => wire.try_frame())
    }

    /// Whether the answer is whole.
    pub(super) fn is_whole(&self) -> bool {
        match &self.wire {
            Wire::Http1(wire) => wire.is_whole(),
            Wire::Http2(wire) => wire.is_whole(),
        }
    }

    /// What is left of the answer's body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match &self.wire {
            Wire::Http1(wire) => wire.left(),
            Wire::Http2(wire) => wire.left(),
        }
    }

    /// Bytes that were taken so far: by the kernel, or as the origin's windows allow.
    pub(super) fn written(&self) -> u64 {
        match &self.wire {
            Wire::Http1(wire) => wire.written(),
            Wire::Http2(wire) => wire.written(),
        }
    }

    /// Whether all that the client has sent of the request is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        match &self.wire {
            Wire::Http1(wire) => wire.is_flushed(),
            Wire::Http2(wire) => wire.is_flushed(),
        }
    }

    /// Whether the origin certainly did nothing about the request.
    pub(super) fn sent_nothing(&self) -> bool {
        match &self.wire {
            Wire::Http1(wire) => wire.sent_nothing(),
            Wire::Http2(wire) => wire.sent_nothing(),
        }
    }

    /// Whether nothing of an answer came.
    pub(super) fn is_silent(&self) -> bool {
        match &self.wire {
            Wire::Http1(wire) => wire.is_silent(),
            Wire::Http2(wire) => wire.is_silent(),
        }
    }

    /// Whether it can take a request now.
    pub(super) fn is_ready(&mut self) -> bool {
        each!(self, wire => wire.is_ready())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The origin let a deadline pass. Others who share the connection must not wait as long
        // if it is dead.
        if let Wire::Http2(stream) = &mut self.wire
            && self.alarm.is_due()
            && stream.is_awaited()
        {
            stream.doubt();
        }
    }
}
