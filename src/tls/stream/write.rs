//! The way out: encrypting, flushing, closing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};
use tokio::io::ReadBuf;

use super::TlsStream;
use super::buffers::{Outgoing, READ, ahead, with_gather, with_scratch};
use super::socket::Socket;

/// Pieces below this size are gathered into one record; a larger one goes straight.
const GATHER: usize = 4 * 1024;

/// Below this much room the buffer is flushed before more is taken.
const MIN_ROOM: usize = 8 * 1024;

/// How bytes are given to a socket.
type Send<S> = fn(Pin<&mut S>, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>;

impl<S: Socket> TlsStream<S> {
    /// Encrypts as much of `pieces` as there is room for; returns the number of bytes taken.
    /// Pending while the peer takes nothing and the buffer is full.
    ///
    /// # Errors
    /// `NotConnected` before half-RTT data may be sent and after the stream failed or closed.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.failed || self.close_sent {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if self.out.room() < MIN_ROOM {
            ready!(self.poll_flush(cx))?;
        }
        let room = self.out.room();
        let mut taken = 0;
        let mut rest = pieces.iter().filter(|piece| !piece.is_empty()).peekable();
        while let Some(piece) = rest.next() {
            if taken >= room {
                break;
            }
            if piece.len() >= GATHER || rest.peek().is_none() {
                let count = piece.len().min(room - taken);
                let (first, rest) = piece[..count].split_at(ahead(&piece[..count]));
                if !first.is_empty() {
                    self.with_traffic(|traffic, out| out.encrypt(traffic, first))?;
                }
                self.with_traffic(|traffic, out| out.encrypt(traffic, rest))?;
                taken += count;
                if count < piece.len() {
                    break;
                }
                continue;
            }
            let gathered = with_gather(|buffer| {
                buffer.extend_from_slice(&piece[..piece.len().min(room - taken)]);
                while let Some(next) = rest.peek() {
                    let limit = (room - taken).min(2 * GATHER);
                    if buffer.len() + next.len() > limit {
                        break;
                    }
                    buffer.extend_from_slice(next);
                    rest.next();
                }
                self.with_traffic(|traffic, out| out.encrypt(traffic, buffer))?;
                Ok::<_, io::Error>(buffer.len())
            })?;
            taken += gathered;
            if gathered < piece.len() {
                break;
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Sends what is queued. Gives the write buffer back once it is empty.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx, S::poll_write)
    }

    /// As [`poll_flush`](Self::poll_flush), where our side of the TCP connection ends next: what
    /// is queued may leave only with that end.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush_last(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx, S::poll_write_last)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, send: Send<S>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let sent = match ready!(send(Pin::new(&mut self.socket), cx, self.out.unsent())) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                other => other,
            };
            match sent {
                Ok(sent) => {
                    self.facts.bytes_out += sent as u64;
                    self.out.advance(sent);
                }
                Err(error) => {
                    self.failed = true;
                    self.settler = None;
                    self.out.release();
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether ciphertext waits for the socket.
    pub fn is_blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether the socket failed or the peer broke the protocol.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Queues a close_notify, once. After a failure there is none: the alert said it.
    pub fn close(&mut self) {
        if self.failed || self.close_sent || self.engine.is_none() {
            return;
        }
        // An engine that cannot write yet has nothing to close.
        let _ = self.with_traffic(|traffic, out| out.close_notify(traffic));
        self.close_sent = true;
    }

    /// Ends our side of the TCP connection.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Reads and discards until the peer's side ends, so that closing does not reset what the
    /// peer has not read yet.
    pub fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let ended = with_scratch(READ, |scratch| {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(())) => Poll::Ready(buffer.filled().is_empty()),
                    Poll::Ready(Err(_)) => Poll::Ready(true),
                }
            });
            if ready!(ended) {
                return Poll::Ready(());
            }
        }
    }

    /// Brings the engine to where it can encrypt, and lets `f` do so.
    fn with_traffic(
        &mut self,
        mut f: impl FnMut(
            &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut Outgoing,
        ) -> Result<(), rustls::Error>,
    ) -> io::Result<()> {
        loop {
            let Some(engine) = self.engine.as_mut() else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            // The engine must see what it holds. While early data is skipped it holds nothing, and
            // what it was not shown stays hidden.
            let shown = match &self.skipping {
                Some(_) => 0,
                None => self.stash.len(),
            };
            let mut done = None;
            let UnbufferedStatus { discard, state, .. } =
                engine.process_tls_records(&mut self.stash[..shown]);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    done = Some(f(&mut traffic, &mut self.out));
                }
                Ok(ConnectionState::TransmitTlsData(mut transmit)) => {
                    if let Some(mut traffic) = transmit.may_encrypt_app_data() {
                        done = Some(f(&mut traffic, &mut self.out));
                    }
                    transmit.done();
                }
                Ok(ConnectionState::EncodeTlsData(mut record)) => {
                    self.out.encode(&mut record);
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    if let Some(settler) = self.settler.take() {
                        settler.confirm();
                    }
                    while let Some(Ok(record)) = traffic.next_record() {
                        self.overflow.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::ReadEarlyData(mut early)) => {
                    while let Some(Ok(record)) = early.next_record() {
                        self.facts.early_bytes += record.payload.len() as u64;
                        self.overflow.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(_) => done = Some(Err(rustls::Error::HandshakeNotComplete)),
                Err(error) => {
                    let mut stash = std::mem::take(&mut self.stash);
                    let discard = discard.min(stash.len());
                    let _ = self.fail(error, &mut stash[discard..]);
                    return Err(io::ErrorKind::NotConnected.into());
                }
            }
            if !engine.is_handshaking()
                && let Some(settler) = self.settler.take()
            {
                settler.confirm();
            }
            if self.peer_closed {
                self.settler = None;
            }
            if discard > 0 {
                self.stash.drain(..discard.min(self.stash.len()));
            }
            match done {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(_)) => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }

    /// Gives up: whoever awaits the client's Finished awaits it in vain.
    pub fn give_up(&mut self) {
        self.failed = true;
        self.settler = None;
    }
}
