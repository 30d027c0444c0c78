//! A TLS client whose every step is a call of its own, so that a test can stop, vanish, reorder
//! or break things between any two of them.
//!
//! Nothing is sent but by a call that says so. What rustls wants to write is collected in
//! `pending`; receiving flushes it unless [`Client::hold_finished`] was called.
//!
//! ```ignore
//! let mut client = Client::connect(address, "example.com", &setup).await;
//! client.early(b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n");
//! client.hold_finished();
//! client.send_pending().await;                 // ClientHello and early data
//! let answer = client.response().await;        // half-RTT data
//! client.finish().await;                       // EndOfEarlyData and Finished
//! assert!(client.early_accepted());
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection, Error, HandshakeKind, ProtocolVersion};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::http1::Response;
use super::setup::ClientSetup;
use super::within;

/// How the server's side ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// close_notify came.
    CloseNotify,
    /// FIN without close_notify.
    Truncated,
    /// RST.
    Reset,
    /// A fatal alert came.
    Alert(AlertDescription),
    /// The server broke the protocol.
    Broken(Error),
}

/// A connection of the test client.
pub struct Client {
    tcp: TcpStream,
    tls: ClientConnection,
    pending: BytesMut,
    plain: Vec<u8>,
    early: Vec<u8>,
    hold: bool,
    deaf: bool,
    ending: Option<Ending>,
}

impl Client {
    /// Opens a TCP connection and prepares a ClientHello. Nothing is sent.
    pub async fn connect(address: SocketAddr, name: &str, setup: &ClientSetup) -> Self {
        let tcp = within("connect", TcpStream::connect(address))
            .await
            .unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(setup.config(), name).unwrap();
        tls.set_buffer_limit(None);
        Self {
            tcp,
            tls,
            pending: BytesMut::new(),
            plain: Vec::new(),
            early: Vec::new(),
            hold: false,
            deaf: false,
            ending: None,
        }
    }

    /// [`Client::connect`] and [`Client::handshake`].
    pub async fn open(address: SocketAddr, name: &str, setup: &ClientSetup) -> Self {
        let mut client = Self::connect(address, name, setup).await;
        client.handshake().await.unwrap();
        client
    }

    /// A whole handshake, the wait for a ticket, and a clean close.
    pub async fn fetch_ticket(address: SocketAddr, name: &str, setup: &ClientSetup) {
        let before = setup.tickets().seen().len();
        let mut client = Self::open(address, name, setup).await;
        let any = |_: &mut Self| (setup.tickets().seen().len() > before).then_some(());
        client.until("a ticket", any).await.unwrap();
        client.close_notify().await;
    }

    // --- the first flight

    /// Whether a ticket allows early data now, and how many bytes of it.
    pub fn early_room(&mut self) -> usize {
        self.tls.early_data().map_or(0, |early| early.bytes_left())
    }

    /// Adds early data to what is pending: one record for each call, up to 16,384 bytes.
    pub fn early(&mut self, data: &[u8]) {
        let mut writer = self.tls.early_data().expect("a ticket for early data");
        writer.write_all(data).expect("room for early data");
        self.early.extend_from_slice(data);
    }

    /// Bytes that rustls wants to send, without sending them.
    pub fn pending(&mut self) -> &[u8] {
        self.collect();
        &self.pending
    }

    /// Takes them away: the test sends them itself, changed or in part, or never.
    pub fn take_pending(&mut self) -> Vec<u8> {
        self.collect();
        self.pending.split().to_vec()
    }

    /// Sends everything pending.
    pub async fn send_pending(&mut self) {
        within("send", self.flush()).await;
    }

    /// Sends as much as the server takes in this time; whether that was all.
    pub async fn send_pending_for(&mut self, time: Duration) -> bool {
        timeout(time, self.flush()).await.is_ok()
    }

    /// Sends bytes past rustls.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let kept = std::mem::replace(&mut self.pending, BytesMut::from(bytes));
        within("send", self.write_out()).await;
        self.pending = kept;
    }

    /// Sends bytes past rustls, so many at a time, reading between them.
    pub async fn send_raw_in_pieces(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            self.send_raw(piece).await;
            tokio::task::yield_now().await;
        }
    }

    // --- the handshake

    /// From now on nothing is sent but by [`Client::finish`] or the raw calls; the server's
    /// flight and half-RTT data are read.
    pub fn hold_finished(&mut self) {
        self.hold = true;
    }

    /// Reads up to the server's Finished. With [`Client::hold_finished`] ours is pending then.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn server_flight(&mut self) -> Result<(), Ending> {
        let done = |client: &mut Self| (!client.tls.is_handshaking()).then_some(());
        self.until("the server's flight", done).await
    }

    /// Sends the Finished that was held and what waits behind it, and holds nothing any more.
    pub async fn finish(&mut self) {
        self.server_flight().await.unwrap();
        self.hold = false;
        self.send_pending().await;
    }

    /// Completes the handshake. The server may not have seen our Finished yet.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn handshake(&mut self) -> Result<(), Ending> {
        self.send_pending().await;
        self.server_flight().await?;
        self.send_pending().await;
        Ok(())
    }

    /// Whether the server took the early data. To be asked after its flight.
    pub fn early_accepted(&self) -> bool {
        self.tls.is_early_data_accepted()
    }

    /// Sends again, in 1-RTT, the early data that was refused.
    pub async fn resend_early(&mut self) {
        let early = std::mem::take(&mut self.early);
        self.send(&early).await;
    }

    // --- application data

    /// Sends data: behind the Finished, and not at all while that is held.
    pub async fn send(&mut self, data: &[u8]) {
        self.queue(data);
        if !self.hold {
            self.send_pending().await;
        }
    }

    /// Adds data to what is pending.
    pub fn queue(&mut self, data: &[u8]) {
        self.tls.writer().write_all(data).unwrap();
    }

    /// Stops reading while it sends, as a client does that takes no answers.
    pub fn deaf(&mut self, on: bool) {
        self.deaf = on;
    }

    /// Takes what has been decrypted so far.
    pub fn take_plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }

    /// Waits for so many bytes of plaintext.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn read(&mut self, bytes: usize) -> Result<Vec<u8>, Ending> {
        let take = |client: &mut Self| {
            (client.plain.len() >= bytes).then(|| client.plain.drain(..bytes).collect())
        };
        self.until("data", take).await
    }

    /// Waits for the end; all plaintext up to it.
    pub async fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let ending = self.ending().await;
        (self.take_plain(), ending)
    }

    /// Waits for a whole HTTP/1.1 answer. Panics if the connection ends before.
    pub async fn response(&mut self) -> Response {
        self.try_response(false).await.unwrap()
    }

    /// Waits for the answer to a HEAD request.
    pub async fn response_to_head(&mut self) -> Response {
        self.try_response(true).await.unwrap()
    }

    /// Waits for a whole HTTP/1.1 answer.
    ///
    /// # Errors
    /// The connection ended before.
    pub async fn try_response(&mut self, to_head: bool) -> Result<Response, Ending> {
        let take = |client: &mut Self| Response::take(&mut client.plain, to_head, false);
        let ended = match self.until("an answer", take).await {
            Ok(response) => return Ok(response),
            Err(ending) => ending,
        };
        Response::take(&mut self.plain, to_head, true).ok_or(ended)
    }

    /// Reads for this long; whether nothing at all was decrypted and nothing ended.
    pub async fn silent_for(&mut self, time: Duration) -> bool {
        let before = self.plain.len();
        let end = Instant::now() + time;
        let mut left = time;
        while self.ending.is_none() && self.plain.len() == before {
            if timeout(left, self.step()).await.is_err() {
                return true;
            }
            left = end.saturating_duration_since(Instant::now());
        }
        false
    }

    /// Replaces the sending keys and asks the server to do the same. RFC 9846 §4.6.3.
    pub async fn key_update(&mut self) {
        self.tls.refresh_traffic_keys().unwrap();
        self.send_pending().await;
    }

    // --- the end

    /// Sends close_notify behind everything pending, a held Finished too; reading goes on.
    pub async fn close_notify(&mut self) {
        self.tls.send_close_notify();
        self.send_pending().await;
    }

    /// Sends FIN; reading goes on. Without close_notify before it this is a truncation.
    pub async fn shutdown_write(&mut self) {
        let socket = socket2::SockRef::from(&self.tcp);
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }

    /// Sends RST.
    pub fn reset(self) {
        self.tcp.set_zero_linger().unwrap();
    }

    /// Waits for the end of the server's side.
    pub async fn ending(&mut self) -> Ending {
        let never = |_: &mut Self| None::<()>;
        self.until("the end", never).await.unwrap_err()
    }

    /// Waits until TCP has ended too, after close_notify or an alert; whether by FIN, not RST.
    pub async fn tcp_closed(&mut self) -> bool {
        if self.ending == Some(Ending::Truncated) {
            return true;
        }
        let mut rest = vec![0; 16 * 1024];
        let read = async {
            loop {
                match tokio::io::AsyncReadExt::read(&mut self.tcp, &mut rest).await {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        };
        within("the end of TCP", read).await
    }

    // --- what was negotiated

    /// The protocol chosen by ALPN.
    pub fn alpn(&self) -> Option<String> {
        let chosen = self.tls.alpn_protocol()?;
        Some(String::from_utf8_lossy(chosen).into_owned())
    }

    /// Full, with HelloRetryRequest, or resumed.
    pub fn kind(&self) -> Option<HandshakeKind> {
        self.tls.handshake_kind()
    }

    /// The TLS version.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.tls.protocol_version()
    }

    /// The rustls connection, for what has no call here.
    pub fn tls(&mut self) -> &mut ClientConnection {
        &mut self.tls
    }

    /// The address of our end, as logs show it.
    pub fn local_address(&self) -> SocketAddr {
        self.tcp.local_addr().unwrap()
    }

    // --- inside; h2.rs drives the same parts

    /// Reads until `done` gives something. Panics past the bound.
    ///
    /// # Errors
    /// The connection ended before.
    #[track_caller]
    pub fn until<T>(
        &mut self,
        what: &'static str,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> impl Future<Output = Result<T, Ending>> {
        within(what, async move {
            loop {
                if let Some(output) = done(self) {
                    return Ok(output);
                }
                if let Some(ending) = &self.ending {
                    return Err(ending.clone());
                }
                self.step().await;
            }
        })
    }

    pub(super) fn ended(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn release(&mut self) {
        self.hold = false;
    }

    pub(super) fn handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Refused early data that has not been sent again.
    pub(super) fn refused_early(&mut self) -> Vec<u8> {
        if self.tls.is_handshaking() || self.tls.is_early_data_accepted() {
            return Vec::new();
        }
        std::mem::take(&mut self.early)
    }

    pub(super) async fn readable(&self) {
        let _ = self.tcp.readable().await;
    }

    /// Reads once and sends what that asks for.
    async fn step(&mut self) {
        self.readable().await;
        self.read_now();
        if !self.hold {
            self.flush().await;
        }
    }

    /// Sends what is pending unless the Finished is held.
    pub(super) async fn flush_unless_held(&mut self) {
        if !self.hold {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        self.collect();
        self.write_out().await;
    }

    fn collect(&mut self) {
        while self.tls.wants_write() {
            let mut out = Vec::new();
            self.tls.write_tls(&mut out).unwrap();
            self.pending.extend_from_slice(&out);
        }
    }

    /// Writes `pending`, reading meanwhile: a server that waits for us to take its answer would
    /// otherwise wait for ever.
    async fn write_out(&mut self) {
        while !self.pending.is_empty() {
            match self.tcp.try_write(&self.pending) {
                Ok(written) => self.pending.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let read = !self.deaf && self.ending.is_none();
                    let interest = if read {
                        Interest::READABLE | Interest::WRITABLE
                    } else {
                        Interest::WRITABLE
                    };
                    let ready = self.tcp.ready(interest).await;
                    if ready.is_ok_and(|ready| ready.is_readable()) && read {
                        self.read_now();
                    }
                }
                // What the server said before it closed is still to be read, and tells more.
                Err(_) => self.pending.clear(),
            }
        }
    }

    /// Reads what is there, without waiting.
    pub(super) fn read_now(&mut self) {
        let mut buffer = [0; 16 * 1024];
        if self.ending.is_some() {
            return;
        }
        match self.tcp.try_read(&mut buffer) {
            Ok(0) => self.ending = Some(Ending::Truncated),
            Ok(count) => self.digest(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.ending = Some(Ending::Reset),
        }
    }

    fn digest(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.tls.read_tls(&mut bytes).is_err() {
                return;
            }
            let processed = self.tls.process_new_packets();
            // What was decrypted before an error counts.
            let _ = self.tls.reader().read_to_end(&mut self.plain);
            match processed {
                Ok(state) if state.peer_has_closed() => {
                    self.ending = Some(Ending::CloseNotify);
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    self.ending = Some(match error {
                        Error::AlertReceived(alert) => Ending::Alert(alert),
                        error => Ending::Broken(error),
                    });
                    return;
                }
            }
        }
    }
}

/// Flips a bit of the last byte: of the tag, if `flight` ends with a record.
pub fn corrupt_end(flight: &mut [u8]) {
    if let Some(last) = flight.last_mut() {
        *last ^= 1;
    }
}
