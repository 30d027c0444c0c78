//! What the connection task and hyper share: the TLS stream, and plaintext on its way to hyper.
//!
//! The lock is held for one read or one write, never across a poll of hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::{Read as HyperRead, ReadBufCursor, Write as HyperWrite};

use crate::http::framing::{Limits, Scanner, Violation};
use crate::tls::stream::{Read, StreamError, TlsStream};

/// Early data that nobody reads yet is bounded by TLS; this bounds what else may be taken while
/// the client's Finished is awaited.
const MAX_WAITING: usize = 64 * 1024;

/// Plaintext taken in one step. Were it one record, a client that sends a byte in each would have
/// us copy what else it sent for every one of them.
const ENOUGH: usize = 16 * 1024;

/// How the client's side ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// close_notify.
    Closed,
    /// The TCP connection ended without one.
    Truncated,
    /// The stream failed.
    Failed(StreamError),
}

/// The state shared between the connection task and hyper's IO.
pub(super) struct Link {
    pub(super) tls: TlsStream,
    /// Plaintext that hyper has not taken. The first `approved` bytes may go to hyper.
    plain: Vec<u8>,
    approved: usize,
    /// HTTP/1.1 only.
    scanner: Option<Scanner>,
    /// HTTP/2: no scanner approves. Until either is known, nothing is approved.
    passes: bool,
    pub(super) violation: Option<Violation>,
    /// The status of `violation`, where requests can see it.
    violated: Arc<AtomicU16>,
    pub(super) ended: Option<Ended>,
    /// hyper's last read found nothing: it will read what comes.
    reading: bool,
    /// hyper's last write found no room: it holds the rest of an answer.
    stalled: bool,
}

impl Link {
    pub(super) fn new(tls: TlsStream) -> Self {
        Self {
            tls,
            plain: Vec::new(),
            approved: 0,
            scanner: None,
            passes: false,
            violation: None,
            violated: Arc::default(),
            ended: None,
            reading: false,
            stalled: false,
        }
    }

    /// From here on the plaintext is HTTP/1.1 and is scanned.
    pub(super) fn scan_with(&mut self, limits: Limits) {
        if self.scanner.is_none() {
            self.scanner = Some(Scanner::new(limits));
            self.approve();
        }
    }

    /// From here on the plaintext is passed on as it is.
    pub(super) fn pass_on(&mut self) {
        self.passes = true;
        self.approve();
    }

    pub(super) fn scanner(&self) -> Option<&Scanner> {
        self.scanner.as_ref()
    }

    /// Whether an answer is not sent whole: some of it waits here, or in hyper for room here.
    pub(super) fn holds_output(&self) -> bool {
        self.stalled || self.tls.is_blocked()
    }

    /// Whether nobody reads the client's side: hyper does not while a request without a body (or
    /// with one that has come whole) is answered, and would not see its client vanish.
    pub(super) fn is_unread(&self) -> bool {
        !self.reading && !self.scanner().is_some_and(Scanner::in_body)
    }

    /// Whether the client is held back: what it sends stays in the socket until a handler or an
    /// origin takes more of a body.
    pub(super) fn holds_back(&self) -> bool {
        !self.reading
            && self
                .scanner()
                .is_some_and(|scanner| self.is_full() || scanner.in_body())
    }

    /// Whether no more is to be taken. An unfinished head does not count: the scanner bounds it,
    /// by limits that may be larger.
    fn is_full(&self) -> bool {
        let bounded = self.scanner.is_some() && self.violation.is_none();
        let counts = if bounded {
            self.approved
        } else {
            self.plain.len()
        };
        counts > MAX_WAITING
    }

    /// Asks the socket whether the client has reset it, behind bytes that nobody reads yet.
    pub(super) fn probe(&mut self) {
        if let Ok(Some(error)) = self.tls.socket().take_error() {
            self.ended = Some(Ended::Failed(StreamError::Io(error)));
        }
    }

    /// Whether the client's side ended in a way after which it takes no answer.
    pub(super) fn has_vanished(&self) -> bool {
        matches!(self.ended, Some(Ended::Truncated | Ended::Failed(_)))
    }

    /// Whether plaintext waits for hyper.
    pub(super) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Whether there is something whole for hyper.
    pub(super) fn has_approved(&self) -> bool {
        self.approved > 0
    }

    /// Where the status of broken framing will stand.
    pub(super) fn violation_status(&self) -> Arc<AtomicU16> {
        Arc::clone(&self.violated)
    }

    /// Throws away what nobody will read.
    pub(super) fn forget_plain(&mut self) {
        self.plain = Vec::new();
        self.approved = 0;
    }

    /// Takes back what a hyper connection had read and not used.
    pub(super) fn push_back(&mut self, bytes: &[u8]) {
        self.plain.splice(0..0, bytes.iter().copied());
        self.approved += bytes.len();
    }

    /// Reads and processes TLS while hyper does not: before there is plaintext, and while the
    /// client's Finished is awaited. Plaintext is kept.
    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.is_some() || self.is_full() {
            return Poll::Pending;
        }
        let plain = &mut self.plain;
        let enough = plain.len() + ENOUGH;
        let read = self.tls.poll_read(cx, &mut |bytes| {
            plain.extend_from_slice(bytes);
            plain.len() < enough
        });
        let read = std::task::ready!(read);
        self.note(read);
        self.approve();
        Poll::Ready(())
    }

    fn note(&mut self, read: Result<Read, StreamError>) {
        match read {
            Ok(Read::Progress) => {}
            Ok(Read::Closed) => self.ended = Some(Ended::Closed),
            Ok(Read::Truncated) => self.ended = Some(Ended::Truncated),
            Err(error) => self.ended = Some(Ended::Failed(error)),
        }
    }

    fn approve(&mut self) {
        match &mut self.scanner {
            None if self.passes => self.approved = self.plain.len(),
            None => {}
            Some(scanner) if self.violation.is_none() => {
                match scanner.scan(&self.plain[self.approved..]) {
                    Ok(count) => self.approved += count,
                    Err(violation) => {
                        self.approved += violation.deliver;
                        self.violated
                            .store(violation.status().as_u16(), Ordering::Relaxed);
                        self.violation = Some(violation);
                    }
                }
                self.discard_after_last();
            }
            Some(_) => {}
        }
    }

    /// What follows a message that said it is the last one is thrown away (RFC 9112 §9.6).
    fn discard_after_last(&mut self) {
        if self.scanner.as_ref().is_some_and(Scanner::finished) {
            self.plain.truncate(self.approved);
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.reading = false;
        loop {
            if self.approved > 0 {
                let count = self.approved.min(cursor.remaining());
                cursor.put_slice(&self.plain[..count]);
                self.approved -= count;
                if count == self.plain.len() {
                    // An idle connection holds no buffer.
                    self.plain = Vec::new();
                } else {
                    self.plain.drain(..count);
                }
                return Poll::Ready(Ok(()));
            }
            if self.violation.is_some() {
                return match &self.scanner {
                    Some(scanner) if scanner.in_body() => {
                        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
                    }
                    // hyper answers what was complete; the task answers the violation.
                    _ => Poll::Pending,
                };
            }
            match &self.ended {
                Some(Ended::Closed) => return Poll::Ready(Ok(())),
                Some(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => {}
            }
            let before = cursor.remaining();
            let plain = &mut self.plain;
            let approved = &mut self.approved;
            let scanner = &mut self.scanner;
            let violation = &mut self.violation;
            let violated = &self.violated;
            let read = self.tls.poll_read(cx, &mut |bytes| {
                let good = if !plain.is_empty() {
                    0
                } else {
                    match scanner.as_mut().map(|scanner| scanner.scan(bytes)) {
                        None => bytes.len(),
                        Some(Ok(count)) => count,
                        Some(Err(found)) => {
                            let count = found.deliver;
                            violated.store(found.status().as_u16(), Ordering::Relaxed);
                            *violation = Some(found);
                            count
                        }
                    }
                };
                // Straight to hyper what fits; the rest waits in the same order.
                let direct = good.min(cursor.remaining());
                cursor.put_slice(&bytes[..direct]);
                *approved += good - direct;
                plain.extend_from_slice(&bytes[direct..]);
                plain.is_empty() && cursor.remaining() > 0
            });
            self.reading = read.is_pending();
            let read = std::task::ready!(read);
            self.note(read);
            self.approve();
            if cursor.remaining() < before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.tls.poll_write(cx, pieces);
        self.stalled = written.is_pending();
        written
    }
}

/// hyper's view of a connection. Flushing and closing are the task's: it flushes once per turn.
#[derive(Clone)]
pub(super) struct Io(Arc<Mutex<Link>>);

impl Io {
    pub(super) fn new(link: Link) -> Self {
        Self(Arc::new(Mutex::new(link)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HyperRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().poll_read(cx, &mut cursor)
    }
}

impl HyperWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
