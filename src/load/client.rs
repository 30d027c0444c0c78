//! A small TLS 1.3 client that measures one request for each connection.
//!
//! It speaks HTTP/1.1, keeps tickets, and sends its request as early data if it is told to and a
//! ticket allows it. Every moment is counted from the beginning of the TCP connect.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer that is kept, in bytes.
const MOST: usize = 1 << 20;

/// A client with tickets of its own. Clones share them.
#[derive(Clone, Debug)]
pub struct Client {
    eager: Arc<ClientConfig>,
    patient: Arc<ClientConfig>,
}

/// When a request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Behind the client's Finished.
    AfterHandshake,
    /// With the ClientHello, as early data, if a ticket allows it.
    Early,
}

/// An answer and how it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Everything behind the head, as it came.
    pub body: String,
    /// Full or resumed.
    pub kind: HandshakeKind,
    /// Whether the server took the early data. If it refused, the request was sent again.
    pub early_accepted: bool,
    /// Connect → our Finished sent.
    pub finished: Duration,
    /// Connect → first byte of the answer.
    pub first_byte: Duration,
    /// Connect → end of the connection.
    pub took: Duration,
}

impl Answer {
    /// Whether the answer began too soon to be an answer to our Finished, on a line with this
    /// round trip: it was sent before the server had seen that (EARLY-DATA R10).
    pub fn is_before_finished(&self, round_trip: Duration) -> bool {
        self.first_byte < self.finished + round_trip
    }
}

impl Client {
    /// A client that trusts these roots.
    ///
    /// # Errors
    /// rustls's, if its provider does not speak TLS 1.3.
    pub fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut patient = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        patient.alpn_protocols = vec![b"http/1.1".to_vec()];
        patient.cert_decompressors = Vec::new();
        patient.resumption = Resumption::in_memory_sessions(64);
        // A clone shares the tickets and the verifier, without which rustls would not use them.
        let mut eager = patient.clone();
        eager.enable_early_data = true;
        Ok(Self {
            eager: Arc::new(eager),
            patient: Arc::new(patient),
        })
    }

    /// Connects and sends the first flight of a request, which must ask for `Connection: close`:
    /// its answer ends with the connection.
    ///
    /// # Errors
    /// No connection, a name that is none, or early data that does not fit its ticket.
    pub async fn begin(
        &self,
        to: SocketAddr,
        name: &str,
        request: &str,
        moment: Moment,
    ) -> io::Result<Pending> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = match moment {
            Moment::Early => &self.eager,
            Moment::AfterHandshake => &self.patient,
        };
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let began = Instant::now();
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let mut pending = Pending {
            tcp,
            tls,
            request: request.as_bytes().to_vec(),
            early: false,
            sent: false,
            finished: None,
            plain: Vec::new(),
            first: None,
            began,
        };
        if let Some(mut early) = pending.tls.early_data() {
            early.write_all(request.as_bytes())?;
            pending.early = true;
        }
        pending.flush().await?;
        Ok(pending)
    }

    /// [`begin`](Self::begin) and [`Pending::answer`].
    ///
    /// # Errors
    /// Theirs.
    pub async fn fetch(
        &self,
        to: SocketAddr,
        name: &str,
        request: &str,
        moment: Moment,
    ) -> io::Result<Answer> {
        let pending = self.begin(to, name, request, moment).await?;
        pending.answer().await
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Pending {
    tcp: TcpStream,
    tls: ClientConnection,
    request: Vec<u8>,
    early: bool,
    sent: bool,
    finished: Option<Duration>,
    plain: Vec<u8>,
    first: Option<Duration>,
    began: Instant,
}

impl Pending {
    /// Reads for this long; whether no byte of an answer came.
    ///
    /// # Errors
    /// The connection's.
    pub async fn is_silent_for(&mut self, time: Duration) -> io::Result<bool> {
        let end = Instant::now() + time;
        while self.plain.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            // Only the wait is cancelled: half a write would be lost.
            match tokio::time::timeout(left, self.tcp.readable()).await {
                Err(_) => return Ok(true),
                Ok(ready) => ready?,
            }
            if !self.step().await? {
                break;
            }
        }
        Ok(self.plain.is_empty())
    }

    /// Waits for the answer and the end of the connection; tickets that come are kept.
    ///
    /// # Errors
    /// The connection's, or no HTTP answer came.
    pub async fn answer(mut self) -> io::Result<Answer> {
        while self.step().await? {}
        self.tls.send_close_notify();
        // The server has closed already: it need not hear this.
        let _ = self.flush().await;
        let took = self.began.elapsed();
        let no_answer = || io::Error::new(ErrorKind::UnexpectedEof, "the server gave no answer");
        let first_byte = self.first.ok_or_else(no_answer)?;
        let text = String::from_utf8_lossy(&self.plain);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(no_answer)?;
        Ok(Answer {
            status: head
                .strip_prefix("HTTP/1.1 ")
                .and_then(|line| line.get(..3)?.parse().ok())
                .ok_or_else(no_answer)?,
            body: body.to_owned(),
            kind: self.tls.handshake_kind().ok_or_else(no_answer)?,
            early_accepted: self.tls.is_early_data_accepted(),
            finished: self.finished.ok_or_else(no_answer)?,
            first_byte,
            took,
        })
    }

    /// Reads once and sends what that asks for; whether the connection goes on.
    async fn step(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.tcp.read(&mut buffer).await?;
        let mut bytes = buffer.get(..count).unwrap_or_default();
        let mut open = count > 0;
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            let state = self
                .tls
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            open &= !state.peer_has_closed();
            match self.tls.reader().read_to_end(&mut self.plain) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if self.plain.len() > MOST {
            return Err(io::Error::other("the answer is too long"));
        }
        if self.first.is_none() && !self.plain.is_empty() {
            self.first = Some(self.began.elapsed());
        }
        if open {
            self.flush().await?;
        }
        Ok(open)
    }

    async fn flush(&mut self) -> io::Result<()> {
        let ready = !self.tls.is_handshaking();
        if ready && !self.sent {
            self.sent = true;
            // Refused early data is sent again (EARLY-DATA R7).
            if !(self.early && self.tls.is_early_data_accepted()) {
                self.tls.writer().write_all(&self.request)?;
            }
        }
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out)?;
        }
        if !out.is_empty() {
            self.tcp.write_all(&out).await?;
        }
        if ready && self.finished.is_none() {
            self.finished = Some(self.began.elapsed());
        }
        Ok(())
    }
}
