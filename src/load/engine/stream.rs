//! A client's TLS connection over a socket, polled by one task.
//!
//! It reads whatever the socket has, processes all of it, and only then writes: so plaintext that
//! came together with the server's Finished is seen before ours is sent.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::frames::Frames;
use super::record::Recorder;
use crate::load::compression;
use crate::load::plan::Protocol;
use crate::load::stats::ErrorKind;

/// What is read from a socket at once, in bytes.
const READ: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// One connection.
pub(super) struct Stream {
    tcp: TcpStream,
    tls: ClientConnection,
    protocol: Protocol,
    recorder: Rc<Recorder>,
    /// Whether its handshake belongs to the run.
    measured: bool,
    early: Option<Early>,
    /// Woken when the handshake is done: early data has an end before it.
    blocked: Option<Waker>,
    opened: Instant,
    /// The server's Finished was processed.
    done: bool,
    /// Ours was sent.
    finished: Option<Instant>,
    /// The server's certificate came compressed.
    compressed: bool,
    closed: Option<Received>,
}

/// Early data of which it is not known yet whether it was accepted.
struct Early {
    copy: Vec<u8>,
    /// Sees an answer's beginning.
    answer: Frames,
    answered: bool,
    accepted: bool,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Something.
    Bytes,
    /// The end: with a close_notify, or cut.
    Closed {
        /// With a close_notify.
        notify: bool,
    },
}

impl Stream {
    /// A client on a fresh TCP connection.
    pub(super) fn new(
        tcp: TcpStream,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        protocol: Protocol,
        recorder: &Rc<Recorder>,
        measured: bool,
    ) -> Result<Self, ErrorKind> {
        let opened = Instant::now();
        let tls = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| ErrorKind::from_tls(&error))?;
        Ok(Self {
            tcp,
            tls,
            protocol,
            recorder: Rc::clone(recorder),
            measured,
            early: None,
            blocked: None,
            opened,
            done: false,
            finished: None,
            compressed: false,
            closed: None,
        })
    }

    /// From now on what is written goes as early data.
    pub(super) fn begin_early(&mut self) -> Result<(), ErrorKind> {
        if self.tls.early_data().is_none() {
            return Err(ErrorKind::NoTicket);
        }
        self.early = Some(Early {
            copy: Vec::new(),
            answer: Frames::new(self.protocol),
            answered: false,
            accepted: false,
        });
        // If it is refused, all of it has to fit there at once.
        self.tls.set_buffer_limit(None);
        Ok(())
    }

    /// When our Finished was sent.
    pub(super) fn finished(&self) -> Option<Instant> {
        self.finished
    }

    /// Tickets that came so far.
    pub(super) fn tickets(&self) -> u32 {
        self.tls.tls13_tickets_received()
    }

    /// Whether the server has closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Takes plaintext to be sent at the next flush; how much of it. Zero: not now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        if let Some(early) = &mut self.early
            && !self.done
        {
            let Some(mut writer) = self.tls.early_data() else {
                return Ok(0);
            };
            let left = writer.bytes_left().min(bytes.len());
            let part = bytes.get(..left).unwrap_or_default();
            let taken = match part {
                [] => 0,
                part => writer.write(part).map_err(|_| ErrorKind::Tls)?,
            };
            early.copy.extend(part.iter().take(taken));
            return Ok(taken);
        }
        self.tls.writer().write(bytes).map_err(|_| ErrorKind::Tls)
    }

    /// Remembers who waits for the handshake's end to write more.
    pub(super) fn wake_when_done(&mut self, cx: &Context<'_>) {
        if !self.done {
            self.blocked = Some(cx.waker().clone());
        }
    }

    /// Says goodbye at the next flush.
    pub(super) fn close(&mut self) {
        self.tls.send_close_notify();
    }

    /// Sends what there is to send.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ErrorKind>> {
        while self.tls.wants_write() {
            let mut socket = Socket {
                tcp: &mut self.tcp,
                cx,
            };
            match self.tls.write_tls(&mut socket) {
                Ok(count) => self.recorder.counts(|it| it.sent += count as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(ErrorKind::from_io(&error))),
            }
        }
        if self.done && self.finished.is_none() {
            self.finish();
        }
        Poll::Ready(Ok(()))
    }

    /// Our Finished is sent: the handshake counts.
    fn finish(&mut self) {
        let now = Instant::now();
        self.finished = Some(now);
        if !self.measured {
            return;
        }
        let kind = self.tls.handshake_kind();
        self.recorder.counts(|counts| {
            match kind {
                Some(HandshakeKind::Resumed) => counts.resumed += 1,
                _ => counts.full += 1,
            }
            // Of a resumed one rustls does not tell.
            let retried = kind == Some(HandshakeKind::FullWithHelloRetryRequest);
            counts.hello_retry_requests += u64::from(retried);
            counts.compressed_certificates += u64::from(self.compressed);
            if let Some(early) = &self.early {
                match early.accepted {
                    true => counts.early_accepted += 1,
                    false => counts.early_refused += 1,
                }
                counts.answered_early += u64::from(early.accepted && early.answered);
            }
        });
        let took = now.saturating_duration_since(self.opened);
        self.recorder.latencies(|it| it.handshake.record(took));
    }

    /// Reads what the socket has, once, and gives the plaintext to `sink`.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut sink: impl FnMut(&[u8]) -> Result<(), ErrorKind>,
    ) -> Poll<Result<Received, ErrorKind>> {
        if let Some(closed) = self.closed {
            return Poll::Ready(Ok(closed));
        }
        let result = SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer));
            Poll::Ready(match read {
                Ok(()) => self.process(buffer.filled(), &mut sink),
                Err(error) => Err(ErrorKind::from_io(&error)),
            })
        });
        let received = ready!(result);
        if matches!(received, Err(ErrorKind::Certificate(_) | ErrorKind::Tls)) {
            // Our alert, as far as the socket takes it.
            let _ = self.poll_flush(cx);
        }
        Poll::Ready(received)
    }

    fn process(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), ErrorKind>,
    ) -> Result<Received, ErrorKind> {
        if bytes.is_empty() {
            if !self.done {
                return Err(ErrorKind::ClosedInHandshake);
            }
            return Ok(*self.closed.insert(Received::Closed { notify: false }));
        }
        self.recorder.counts(|it| it.received += bytes.len() as u64);
        while !bytes.is_empty() {
            self.tls
                .read_tls(&mut bytes)
                .map_err(|error| ErrorKind::from_io(&error))?;
            let state = self.tls.process_new_packets();
            self.compressed |= compression::came();
            let state = state.map_err(|error| ErrorKind::from_tls(&error))?;
            if !self.done && !self.tls.is_handshaking() {
                self.settle()?;
            }
            if state.plaintext_bytes_to_read() > 0 {
                self.drain(sink)?;
            }
            if state.peer_has_closed() {
                return Ok(*self.closed.insert(Received::Closed { notify: true }));
            }
        }
        Ok(Received::Bytes)
    }

    fn drain(
        &mut self,
        sink: &mut impl FnMut(&[u8]) -> Result<(), ErrorKind>,
    ) -> Result<(), ErrorKind> {
        let mut reader = self.tls.reader();
        loop {
            let length = match reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(chunk) => {
                    if let Some(early) = &mut self.early
                        && self.finished.is_none()
                        && !early.answered
                    {
                        early.answered = early.answer.answers(chunk);
                    }
                    sink(chunk)?;
                    chunk.len()
                }
                Err(_) => return Ok(()),
            };
            reader.consume(length);
        }
    }

    /// The server's Finished is here: what it agreed to, and what became of early data.
    fn settle(&mut self) -> Result<(), ErrorKind> {
        self.done = true;
        let h2 = self.tls.alpn_protocol() == Some(Protocol::Http2.alpn());
        if h2 != (self.protocol == Protocol::Http2) {
            return Err(ErrorKind::Alpn);
        }
        if let Some(early) = &mut self.early {
            early.accepted = self.tls.is_early_data_accepted();
            let copy = std::mem::take(&mut early.copy);
            if !early.accepted {
                // Sent again behind the handshake (EARLY-DATA R7).
                let mut writer = self.tls.writer();
                writer.write_all(&copy).map_err(|_| ErrorKind::Tls)?;
            }
        }
        if let Some(waker) = self.blocked.take() {
            waker.wake();
        }
        Ok(())
    }
}

/// What rustls writes to: gathers, and says when it would block.
struct Socket<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, slices) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
