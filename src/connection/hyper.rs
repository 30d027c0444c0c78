//! The hyper connection of a client, made with its first plaintext and dropped while it is idle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::server::conn::{http1, http2};

use crate::config::snapshot::Site;
use crate::connection::link::Io;
use crate::connection::service::Http;
use crate::connection::shared::Shared;
use crate::connection::stage::Streams;
use crate::http::framing::Limits;
use crate::state::Protocol;

/// What one HTTP/2 stream may have under way to us before its handler reads.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What all of a connection's streams may.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Streams at once.
const STREAMS: u32 = 128;

/// What hyper takes of a body at a time: all that one read from the socket can bring. Also when it sends
/// instead of asking for more of an answer: two pieces.
const READ: usize = 7 * 16 * 1024;

/// hyper's own bound on fields: told another one, even a smaller one, it allocates and clears two
/// tables for every request.
const HEADERS: usize = 100;

/// What hyper buffers of one stream's answer.
const SEND_BUFFER: usize = 64 * 1024;

pub(super) enum Hyper {
    Http1(Box<http1::Connection<Io, Http>>),
    Http2(Box<http2::Connection<Io, Http, Streams>>),
}

/// The scanner's limits: what a head may have before its route is known.
pub(super) fn limits(site: &Site) -> Limits {
    Limits {
        // The request line comes on top of the fields.
        head: site.max_header_bytes + site.max_uri + 64,
        headers: site.max_headers,
        uri: site.max_uri,
    }
}

impl Hyper {
    pub(super) fn new(io: Io, shared: &Arc<Shared>) -> Self {
        let service = Http(Arc::clone(shared));
        let site = &shared.site;
        match shared.state.protocol {
            Protocol::Http1 => {
                let limits = limits(site);
                let mut builder = http1::Builder::new();
                builder
                    // A client may end its side and still wait for the answer; one that vanished
                    // without close_notify is an error of the IO.
                    .half_close(true)
                    // The connection task owns the phases.
                    .header_read_timeout(None)
                    // The scanner is stricter, so hyper's own bounds are never met. Below what one
                    // read brings, hyper would take every body in two pieces for each read.
                    .max_buf_size((limits.head + 16 * 1024).max(READ));
                if limits.headers > HEADERS {
                    builder.max_headers(limits.headers);
                }
                Self::Http1(Box::new(builder.serve_connection(io, service)))
            }
            // A connection of TCP never speaks HTTP/3.
            Protocol::Http2 | Protocol::Http3 => {
                let mut builder = http2::Builder::new(Streams(Arc::clone(shared)));
                builder
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_concurrent_streams(STREAMS)
                    .max_send_buf_size(SEND_BUFFER)
                    // RFC 9113 §6.5.2 counts 32 more for each field.
                    .max_header_list_size(
                        u32::try_from(site.max_header_bytes + site.max_uri + 32 * site.max_headers)
                            .unwrap_or(u32::MAX),
                    );
                Self::Http2(Box::new(builder.serve_connection(io, service)))
            }
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            // Not `poll_without_shutdown`: that is ready with the rest of an answer still in hyper's
            // buffer. The IO takes no notice of being shut down, which is the task's to do.
            Self::Http1(http) => Pin::new(&mut **http).poll(cx),
            Self::Http2(http) => Pin::new(&mut **http).poll(cx),
        }
    }

    /// HTTP/2: GOAWAY, then the streams under way. HTTP/1.1 answers with `Connection: close`,
    /// which is the service's.
    pub(super) fn go_away(&mut self) {
        if let Self::Http2(http) = self {
            Pin::new(&mut **http).graceful_shutdown();
        }
    }

    pub(super) fn is_http1(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// Takes hyper down; what it had read and not used comes back.
    pub(super) fn take_down(self) -> Bytes {
        match self {
            Self::Http1(http) => http.into_parts().read_buf,
            Self::Http2(_) => Bytes::new(),
        }
    }
}
