//! The TLS stream: rustls's unbuffered server connection, driven over a socket.
//!
//! It owns the socket, the engine, the ciphertext that is not processed yet and the ciphertext
//! that is not sent yet. It is polled by one task only. It never flushes by itself: whoever
//! drives it calls [`TlsStream::poll_flush`] once per turn, so that a flight, a ticket and an
//! answer leave in one send.
//!
//! The traps of the unbuffered API that are kept away here:
//! - `process_tls_records` must always see the bytes it has not discarded, even to write: with an
//!   empty slice it panics while it holds part of a handshake message.
//! - After an error it answers as if healthy: `failed` remembers.
//! - `ReadEarlyData` and `ReadTraffic` return again if their records are not taken.

mod buffers;
mod outcome;
mod skip;
mod socket;
mod write;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, HandshakeKind, ServerConfig};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use self::buffers::{Outgoing, READ, with_scratch};
pub use self::outcome::{Facts, Read, StreamError};
use self::outcome::{accepts_early_data, alert_for, wants_unexpected_message};
use self::skip::{Skip, Skipping, probe, too_much};
pub use self::socket::Socket;
use crate::certs::shown::Shown;
use crate::confirm::Settler;
use crate::tls::NO_STAPLE;
use crate::tls::hello::{ClientHello, HelloReader, alert_record};

/// The least that is asked of the socket at a time: one record of the largest size.
const MIN_READ: usize = 17 * 1024;

/// A TLS server connection over a socket.
pub struct TlsStream<S = TcpStream> {
    socket: S,
    engine: Option<UnbufferedServerConnection>,
    /// Received and not processed, or held by the engine.
    stash: Vec<u8>,
    /// The stash may hold complete records: process before reading.
    pending: bool,
    /// Plaintext that came out while writing.
    overflow: Vec<u8>,
    out: Outgoing,
    settler: Option<Settler>,
    skipping: Option<Skipping>,
    /// Bytes of the first ClientHello at the front of the stash, until it is processed.
    hello: usize,
    early_offered: bool,
    /// The length of the last handshake record that was encoded.
    last_record: usize,
    shown: Shown,
    peer_closed: bool,
    close_sent: bool,
    failed: bool,
    facts: Facts,
}

impl<S: Socket> TlsStream<S> {
    /// A stream that awaits its ClientHello.
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            engine: None,
            stash: Vec::new(),
            pending: false,
            overflow: Vec::new(),
            out: Outgoing::default(),
            settler: None,
            skipping: None,
            hello: 0,
            early_offered: false,
            last_record: 0,
            shown: Shown::default(),
            peer_closed: false,
            close_sent: false,
            failed: false,
            facts: Facts::default(),
        }
    }

    /// Reads until the ClientHello is whole.
    ///
    /// # Errors
    /// [`StreamError::Hello`] for anything that is not one: its alert is queued;
    /// [`StreamError::Io`] with `UnexpectedEof` if the peer ended first.
    pub fn poll_hello(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut HelloReader,
    ) -> Poll<Result<ClientHello, StreamError>> {
        loop {
            let count = with_scratch(READ, |scratch| {
                let mut buffer = ReadBuf::new(scratch);
                std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
                self.stash.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(buffer.filled().len()))
            });
            let count = match std::task::ready!(count) {
                Ok(count) => count,
                Err(error) => return Poll::Ready(Err(StreamError::Io(error))),
            };
            if count == 0 {
                return Poll::Ready(Err(StreamError::Io(io::ErrorKind::UnexpectedEof.into())));
            }
            self.facts.bytes_in += count as u64;
            match reader.advance(&self.stash) {
                Ok(None) => {}
                Ok(Some(hello)) => {
                    self.facts.hellos = 1;
                    self.hello = reader.consumed();
                    self.early_offered = hello.offers_early_data();
                    return Poll::Ready(Ok(hello));
                }
                Err(error) => {
                    self.refuse(error.alert());
                    return Poll::Ready(Err(StreamError::Hello(error)));
                }
            }
        }
    }

    /// Ends a connection whose client has no keys yet with a fatal alert in the clear.
    pub fn refuse(&mut self, alert: AlertDescription) {
        self.failed = true;
        self.facts.alert_sent = Some(alert);
        self.out.plain(&alert_record(alert));
    }

    /// Starts the engine; the ClientHello that was read is its first input.
    ///
    /// `settler` is settled at the very moment the client's Finished is verified.
    ///
    /// # Errors
    /// rustls's, if the configuration cannot be used.
    pub fn start(
        &mut self,
        config: Arc<ServerConfig>,
        settler: Settler,
    ) -> Result<(), StreamError> {
        let engine = UnbufferedServerConnection::new(config).map_err(StreamError::Tls)?;
        self.engine = Some(engine);
        self.settler = Some(settler);
        self.pending = true;
        Ok(())
    }

    /// Reads from the socket and processes what came. Plaintext goes to `sink`, which takes all
    /// of it and says whether it wants more now.
    ///
    /// # Errors
    /// [`StreamError::Tls`] when the peer broke the protocol: the alert is queued and wants one
    /// more flush; [`StreamError::Io`] when the socket failed.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Poll<Result<Read, StreamError>> {
        if self.failed {
            return Poll::Ready(Err(StreamError::Io(io::ErrorKind::NotConnected.into())));
        }
        if !self.overflow.is_empty() {
            sink(&std::mem::take(&mut self.overflow));
            return Poll::Ready(Ok(Read::Progress));
        }
        if self.peer_closed {
            return Poll::Ready(Ok(Read::Closed));
        }
        let held = self.stash.len();
        with_scratch((held + MIN_READ).max(READ), |scratch| {
            scratch[..held].copy_from_slice(&self.stash);
            let mut filled = held;
            if self.pending {
                self.pending = false;
            } else {
                let mut buffer = ReadBuf::new(&mut scratch[held..]);
                if let Err(error) =
                    std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))
                {
                    self.failed = true;
                    self.settler = None;
                    return Poll::Ready(Err(StreamError::Io(error)));
                }
                let count = buffer.filled().len();
                if count == 0 {
                    self.settler = None;
                    return Poll::Ready(Ok(Read::Truncated));
                }
                self.facts.bytes_in += count as u64;
                filled += count;
            }
            let result = self.process(&mut scratch[..filled], sink);
            Poll::Ready(result.map(|rest| {
                if rest.is_empty() {
                    self.stash = Vec::new();
                } else {
                    self.stash.clear();
                    self.stash.extend_from_slice(rest);
                }
                if self.peer_closed && self.overflow.is_empty() {
                    Read::Closed
                } else {
                    Read::Progress
                }
            }))
        })
    }

    /// Processes `input`; returns what is left of it.
    fn process<'i>(
        &mut self,
        input: &'i mut [u8],
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<&'i [u8], StreamError> {
        let Some(engine) = self.engine.as_mut() else {
            return Ok(input);
        };
        let mut at = 0;
        let filled = input.len();
        loop {
            let mut end = filled;
            let mut exhausted = true;
            if self.hello > 0 {
                // What follows the ClientHello waits until it is known whether early data was
                // accepted.
                end = self.hello.min(filled);
            } else if let Some(skipping) = &mut self.skipping {
                match skipping.next(&input[at..filled]) {
                    Skip::Show(count) => {
                        end = at + count;
                        exhausted = false;
                    }
                    Skip::Drop(count) => {
                        at += count;
                        continue;
                    }
                    Skip::TooMuch => return Err(self.refuse_input(&[])),
                    // Nothing is held back: see `skip`.
                    Skip::Incomplete => end = at,
                }
            }
            let mut more = true;
            let mut idle = false;
            // rustls breaks off at every record of plaintext: `shown` records are never cut.
            let records = &mut input[at..end];
            let UnbufferedStatus { discard, state, .. } = if engine.is_handshaking() {
                self.shown.watch(|| engine.process_tls_records(records))
            } else {
                engine.process_tls_records(records)
            };
            match state {
                Ok(ConnectionState::EncodeTlsData(mut record)) => {
                    let encoded = self.out.encode(&mut record);
                    self.last_record = encoded.length;
                    if let Some(alert) = encoded.alert {
                        self.facts.alert_sent = Some(alert.into());
                    }
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::ReadEarlyData(mut early)) => {
                    while let Some(record) = early.next_record() {
                        let record = record.map_err(StreamError::Tls)?;
                        self.facts.early_bytes += record.payload.len() as u64;
                        more = sink(record.payload);
                    }
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    // Application data follows Finished: settle before it is delivered.
                    if let Some(settler) = self.settler.take() {
                        settler.confirm();
                    }
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(StreamError::Tls)?;
                        more = sink(record.payload);
                    }
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    // Whatever follows close_notify is thrown away (RFC 9846 §6.1).
                    self.peer_closed = true;
                    at = filled;
                }
                Ok(_) => idle = true,
                Err(error) => {
                    at = (at + discard).min(filled);
                    return Err(self.fail(error, &mut input[at..filled]));
                }
            }
            let kind = engine.handshake_kind();
            if self.shown.lacks_staple(kind) {
                // Nothing of this flight was sent yet: the client sees an alert in the clear.
                self.out = Outgoing::default();
                self.settler = None;
                self.refuse(NO_STAPLE);
                return Err(StreamError::Certificate);
            }
            self.facts.certificate_sent = self.shown.is_sent(kind);
            self.facts.staple = self.shown.staple();
            self.facts.compressed = self.shown.compressed();
            if !engine.is_handshaking() {
                self.skipping = None;
                if let Some(settler) = self.settler.take() {
                    settler.confirm();
                }
            }
            if self.peer_closed {
                // Finished may have come in one piece with close_notify: that was looked at first.
                self.settler = None;
                break;
            }
            at += discard;
            if !more {
                self.pending = at < filled;
                break;
            }
            if !idle {
                continue;
            }
            if self.hello > 0 {
                self.hello = 0;
                if kind == Some(HandshakeKind::FullWithHelloRetryRequest) {
                    self.facts.hellos = 2;
                }
                self.facts.early_accepted = self.early_offered
                    && kind == Some(HandshakeKind::Resumed)
                    && accepts_early_data(engine, self.last_record);
                if self.early_offered && !self.facts.early_accepted {
                    self.skipping = Some(Skipping::new(
                        kind == Some(HandshakeKind::FullWithHelloRetryRequest),
                    ));
                }
                continue;
            }
            if self.skipping.as_ref().is_some_and(Skipping::is_over) {
                self.skipping = None;
                continue;
            }
            if self.skipping.is_some() && at < end {
                // EARLY-DATA R7: what rustls has seen and not taken is early data, unless it
                // holds on to it.
                let record = &input[at..end];
                let mut input = probe(record);
                let probed = engine.process_tls_records(&mut input);
                if probed.state.is_err() {
                    return Err(self.refuse_input(record));
                }
                at = end;
            }
            if exhausted {
                break;
            }
        }
        Ok(&input[at..filled])
    }

    /// Has rustls end the connection with an alert: what came behind `held` cannot go on.
    fn refuse_input(&mut self, held: &[u8]) -> StreamError {
        let mut input = too_much(held);
        let error = self
            .engine
            .as_mut()
            .and_then(|engine| engine.process_tls_records(&mut input).state.err())
            .unwrap_or(rustls::Error::DecryptError);
        self.fail(error, &mut input)
    }

    /// Remembers the failure and takes out the alert that rustls has for the peer.
    fn fail(&mut self, error: rustls::Error, rest: &mut [u8]) -> StreamError {
        self.failed = true;
        if let Some(settler) = self.settler.take() {
            settler.fail();
        }
        if let rustls::Error::AlertReceived(alert) = error {
            self.facts.alert_received = Some(alert);
        }
        let mut sent = false;
        if let Some(engine) = &mut self.engine {
            if !engine.wants_write()
                && let Some(mut input) =
                    wants_unexpected_message(&error, rest, engine.is_handshaking())
            {
                let _ = engine.process_tls_records(&mut input);
            }
            // Only while there is something to send: rustls would go on as if healthy.
            while engine.wants_write() {
                match engine.process_tls_records(rest).state {
                    Ok(ConnectionState::EncodeTlsData(mut record)) => {
                        sent = true;
                        if let Some(alert) = self.out.encode(&mut record).alert {
                            self.facts.alert_sent = Some(alert.into());
                        }
                    }
                    Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                    _ => break,
                }
            }
        }
        if sent && self.facts.alert_sent.is_none() {
            self.facts.alert_sent = Some(alert_for(&error));
        }
        StreamError::Tls(error)
    }

    /// What the stream saw so far.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The engine, once the ClientHello was given to it.
    pub fn engine(&self) -> Option<&UnbufferedServerConnection> {
        self.engine.as_ref()
    }

    /// Whether the client's Finished is still awaited.
    pub fn is_unconfirmed(&self) -> bool {
        self.settler.is_some()
    }

    /// The socket, for its addresses and options.
    pub fn socket(&self) -> &S {
        &self.socket
    }
}

#[cfg(test)]
mod tests;
