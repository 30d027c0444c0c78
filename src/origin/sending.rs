//! The request's way to the origin.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncWrite;

use super::fields;
use super::head::Head;
use super::request_body::{Piece, Upload};
use super::socket::Socket;
use crate::body::BoxError;

/// Pieces of a body up to this size are copied behind what else is to be sent; larger ones are sent
/// from where they lie.
const SMALL: usize = 4 * 1024;

/// What is kept of the buffer between requests.
const KEPT: usize = 4 * 1024;

/// What is sent of the request, and what is to come.
///
/// An origin may answer before it has read the request and close (413, 401). Writing then fails; the
/// rest of the request is given up, and reading tells what became of the exchange.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The head, what frames the body, and small pieces of it; the first `sent` bytes are sent.
    out: Vec<u8>,
    sent: usize,
    /// A large piece of the body: comes behind `out`.
    data: Bytes,
    /// CRLF is due behind `data`.
    in_chunk: bool,
    framing: Framing,
    upload: Option<Upload>,
    failed: bool,
    /// Bytes taken by the socket, ever.
    written: u64,
    /// `written` when the request began.
    began: u64,
}

/// How the body is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    /// There is none, or it was taken whole.
    #[default]
    Over,
    /// So many bytes are to come.
    Length(u64),
    Chunked,
}

impl Sending {
    /// Begins with another request.
    pub(super) fn start(&mut self, request: &Head, upload: &Upload) {
        self.out.clear();
        self.sent = 0;
        self.began = self.written;
        let parts = &request.parts;
        let body = (!upload.is_empty()).then(|| upload.clone());
        self.framing = match body {
            Some(_) => framing(&parts.headers),
            None => Framing::Over,
        };
        self.upload = body;
        let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        for piece in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            self.out.extend_from_slice(piece.as_bytes());
        }
        self.put_fields(request.fields());
    }

    fn put_fields<'f>(
        &mut self,
        fields: impl IntoIterator<Item = (&'f HeaderName, &'f HeaderValue)>,
    ) {
        // One after the other: what `chain` gives costs less so than piece by piece.
        fields.into_iter().for_each(|(name, value)| {
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            self.out.reserve(name.len() + value.len() + 4);
            for piece in [name, b": ", value, b"\r\n"] {
                self.out.extend_from_slice(piece);
            }
        });
        self.out.extend_from_slice(b"\r\n");
    }

    /// Sends what the socket takes. Ready once the request is sent whole.
    ///
    /// # Errors
    /// The request's body broke off, is shorter than its head says, or has a piece that reaches
    /// beyond that.
    pub(super) fn poll(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BoxError>> {
        loop {
            if self.failed {
                // Do not pull from the client what nobody gets.
                return Poll::Pending;
            }
            self.pull(cx)?;
            if self.is_flushed() {
                // What TLS has not handed to the kernel yet.
                if std::task::ready!(Pin::new(&mut *socket).poll_flush(cx)).is_err() {
                    self.failed = true;
                    continue;
                }
                return match self.framing {
                    Framing::Over => Poll::Ready(Ok(())),
                    Framing::Length(_) | Framing::Chunked => Poll::Pending,
                };
            }
            match std::task::ready!(self.poll_write(socket, cx)) {
                Ok(count) if count > 0 => self.advance(count),
                _ => {
                    self.failed = true;
                    self.data = Bytes::new();
                }
            }
        }
    }

    fn poll_write(&self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let out = self.out.get(self.sent..).unwrap_or_default();
        if self.data.is_empty() {
            return Pin::new(socket).poll_write(cx, out);
        }
        let both = [IoSlice::new(out), IoSlice::new(&self.data)];
        Pin::new(socket).poll_write_vectored(cx, &both)
    }

    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        let of_out = count.min(self.out.len() - self.sent);
        self.sent += of_out;
        self.data.advance(count - of_out);
        if self.data.is_empty() {
            // Lets go of its buffer, which can then be filled anew.
            self.data = Bytes::new();
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            if self.data.is_empty() && std::mem::take(&mut self.in_chunk) {
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Takes from the request's body what there is room for.
    fn pull(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        while self.framing != Framing::Over
            && self.data.is_empty()
            && self.out.len() - self.sent < SMALL
        {
            let Some(upload) = &self.upload else {
                return Ok(());
            };
            match upload.poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(piece)) => match piece? {
                    Piece::Data(bytes) => self.put(bytes)?,
                    Piece::Trailers(fields) => self.end(&fields)?,
                },
                Poll::Ready(None) => self.end(&HeaderMap::new())?,
            }
        }
        if self.framing == Framing::Over {
            self.upload = None;
        }
        Ok(())
    }

    fn put(&mut self, bytes: Bytes) -> Result<(), BoxError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Over => return Ok(()),
            Framing::Length(left) => {
                *left = left
                    .checked_sub(bytes.len() as u64)
                    .ok_or("the request's body is longer than its Content-Length")?;
                if *left == 0 {
                    self.framing = Framing::Over;
                }
            }
            Framing::Chunked => {
                // Writing to memory does not fail.
                let _ = write!(self.out, "{:x}\r\n", bytes.len());
                self.in_chunk = true;
            }
        }
        if bytes.len() > SMALL {
            self.data = bytes;
        } else {
            self.out.extend_from_slice(&bytes);
            if std::mem::take(&mut self.in_chunk) {
                self.out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), BoxError> {
        match std::mem::take(&mut self.framing) {
            Framing::Over => {}
            Framing::Length(_) => {
                return Err("the request's body is shorter than its Content-Length".into());
            }
            Framing::Chunked => {
                self.out.extend_from_slice(b"0\r\n");
                self.put_fields(trailers);
            }
        }
        Ok(())
    }

    /// Whether all that there was is sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.len() == self.sent && self.data.is_empty()
    }

    /// Whether the request is sent whole; gives memory back if so.
    pub(super) fn is_over(&mut self) -> bool {
        let over = !self.failed && self.framing == Framing::Over && self.is_flushed();
        if over && self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        over
    }

    /// Whether the origin takes no more bytes.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Bytes taken by the socket, ever.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether the socket took nothing of this request.
    pub(super) fn sent_nothing(&self) -> bool {
        self.written == self.began
    }
}

/// The framing that the edge gave the request (RFC 9112 §6).
fn framing(headers: &HeaderMap) -> Framing {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    match headers.get(CONTENT_LENGTH).and_then(fields::length) {
        // There may be a body all the same: an empty one, whose end is still to come.
        None | Some(0) => Framing::Over,
        Some(length) => Framing::Length(length),
    }
}
