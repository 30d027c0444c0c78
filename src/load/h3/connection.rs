//! One connection: its streams, its requests, its end.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use quinn::{ConnectionError, Endpoint, ReadError, RecvStream, SendStream, TransportConfig};
use rustls::AlertDescription;
use rustls::pki_types::ServerName;

use super::answer::{Answer, Came};
use super::close;
use super::session::{Crypto, Progress};
use super::stream::{Receiving, Stream};
use crate::http::h3::{Code, Frames, Piece, Prefix, data_header, headers, settings, stream_type};
use crate::load::stats::{ErrorKind, TimedOut};

/// Flow-control windows that a fast server does not fill, in bytes.
const WINDOW: u32 = 16 * 1024 * 1024;
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
/// Errors of QUIC that are alerts of TLS. RFC 9000 §20.1
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// A port for connections to addresses of this family, within a runtime.
pub fn endpoint(to: SocketAddr) -> io::Result<Endpoint> {
    Endpoint::client(match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    })
}

fn transport(probes: Probes) -> Arc<TransportConfig> {
    static SHARED: OnceLock<[Arc<TransportConfig>; 2]> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        [Probes::Sent, Probes::None].map(|probes| {
            let mut config = TransportConfig::default();
            config
                .stream_receive_window(WINDOW.into())
                .receive_window(WINDOW.into())
                .send_window(WINDOW.into())
                // A connection's end is its user's affair, or the server's.
                .max_idle_timeout(None);
            if matches!(probes, Probes::None) {
                config.mtu_discovery_config(None);
            }
            Arc::new(config)
        })
    });
    Arc::clone(&shared[probes as usize])
}

/// Whether a connection tries how large datagrams may be (RFC 9000 §14.3). What it sends for that is
/// as large as they, and 1-RTT.
#[derive(Clone, Copy, Debug)]
pub enum Probes {
    /// It does.
    Sent,
    /// All of its datagrams have 1200 bytes at most, which every path takes.
    None,
}

/// What a connection with this name begins with; `progress` is told of it.
pub(crate) fn config(
    tls: &Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    progress: &Arc<Progress>,
) -> quinn::ClientConfig {
    let crypto = Arc::new(Crypto {
        tls: Arc::clone(tls),
        name,
        progress: Arc::clone(progress),
    });
    quinn::ClientConfig::new(crypto)
}

/// A handshake that has begun.
pub struct Opening {
    connecting: quinn::Connecting,
    progress: Arc<Progress>,
}

impl Opening {
    /// Sends the first flight. A ticket, if the configuration has one, is taken within this call.
    ///
    /// # Errors
    /// There is nothing to send, or nothing to send it to.
    pub fn begin(
        endpoint: &Endpoint,
        tls: &Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
        address: SocketAddr,
    ) -> Result<Self, ErrorKind> {
        Self::begin_with(endpoint, tls, name, address, Probes::Sent)
    }

    /// The same, with or without probes of the path.
    ///
    /// # Errors
    /// As there.
    pub fn begin_with(
        endpoint: &Endpoint,
        tls: &Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
        address: SocketAddr,
        probes: Probes,
    ) -> Result<Self, ErrorKind> {
        let progress = Arc::new(Progress::default());
        let mut config = config(tls, name, &progress);
        config.transport_config(transport(probes));
        match endpoint.connect_with(config, address, "") {
            Ok(connecting) => Ok(Self {
                connecting,
                progress,
            }),
            Err(_) => Err(progress
                .facts()
                .failure
                .unwrap_or(ErrorKind::Io(io::ErrorKind::AddrNotAvailable))),
        }
    }

    /// Completes the handshake.
    ///
    /// # Errors
    /// How it failed.
    pub async fn complete(self) -> Result<Connection, ErrorKind> {
        match self.connecting.await {
            Ok(quic) => Connection::on(quic, self.progress).await,
            Err(error) => Err(kind(&error, &self.progress, false)),
        }
    }

    /// Completes the handshake of a connection that does not speak HTTP/3.
    ///
    /// # Errors
    /// How it failed.
    pub async fn complete_bare(self) -> Result<quinn::Connection, ErrorKind> {
        let quic = self.connecting.await;
        quic.map_err(|error| kind(&error, &self.progress, false))
    }

    /// The same for early data.
    ///
    /// # Errors
    /// There was no ticket that allows it.
    pub fn early_bare(self) -> Result<quinn::Connection, ErrorKind> {
        let quic = self.connecting.into_0rtt().map(|(quic, _)| quic);
        quic.map_err(|_| ErrorKind::NoTicket)
    }

    /// What is known of the handshake, also when this is gone.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// A connection for early data.
    ///
    /// # Errors
    /// There was no ticket that allows it.
    pub async fn early(self) -> Result<Connection, ErrorKind> {
        match self.connecting.into_0rtt() {
            Ok((quic, _)) => Connection::on(quic, self.progress).await,
            Err(_) => Err(ErrorKind::NoTicket),
        }
    }
}

/// A request.
pub struct Ask {
    /// The field section of its head.
    pub section: Vec<u8>,
    /// Its content.
    pub body: Bytes,
    /// Whether its method is HEAD: the answer then has no content, whatever length it announces.
    pub is_head: bool,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It was early data and that was refused: it can be sent again on this connection.
    Refused,
    /// The server has said that it has not looked at it: it can be sent again on another one.
    Again,
    /// It failed.
    Failed(ErrorKind),
}

/// A connection that speaks HTTP/3. It closes when it is dropped.
pub struct Connection {
    quic: quinn::Connection,
    progress: Arc<Progress>,
    /// Kept open: its end would be the connection's (RFC 9114 §6.2.1).
    control: Mutex<Option<SendStream>>,
    going: Arc<AtomicBool>,
}

impl Connection {
    async fn on(quic: quinn::Connection, progress: Arc<Progress>) -> Result<Self, ErrorKind> {
        let going = Arc::new(AtomicBool::new(false));
        tokio::spawn(listen(quic.clone(), Arc::clone(&going)));
        let connection = Self {
            quic,
            progress,
            control: Mutex::new(None),
            going,
        };
        connection.greet().await?;
        Ok(connection)
    }

    /// Opens the control stream: once, and again if early data was refused.
    pub async fn greet(&self) -> Result<(), ErrorKind> {
        let opened = self.quic.open_uni().await;
        let mut control = opened.map_err(|error| kind(&error, &self.progress, false))?;
        let mut greeting = [stream_type(CONTROL), settings()];
        // If it was early data and that is refused, the requests learn so too.
        let _ = control.write_all_chunks(&mut greeting).await;
        let mut place = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(control);
        Ok(())
    }

    /// The connection below.
    pub fn quic(&self) -> &quinn::Connection {
        &self.quic
    }

    /// What is known of the handshake.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the server takes no more requests here.
    pub fn is_going(&self) -> bool {
        self.going.load(Ordering::Relaxed) || self.quic.close_reason().is_some()
    }

    /// Bytes of datagrams sent and received so far.
    pub fn bytes(&self) -> (u64, u64) {
        let stats = self.quic.stats();
        (stats.udp_tx.bytes, stats.udp_rx.bytes)
    }

    /// Waits for the connection's end.
    pub async fn closed(&self) {
        self.quic.closed().await;
    }

    /// Says goodbye.
    pub fn close(&self) {
        close(&self.quic, Code::NO_ERROR);
    }

    /// One request and its whole answer: the status. `first` is when that began; `content` is given
    /// its pieces. Dropped before its end, it gives the request up, and nothing else on this connection.
    pub async fn exchange(
        &self,
        ask: &Ask,
        first: &mut Option<Instant>,
        content: impl FnMut(&[u8]),
    ) -> Result<u16, Lost> {
        let opened = self.quic.open_bi().await;
        let mut stream = Stream::new(opened.map_err(|error| self.lost(&error, false))?);
        let Stream { sending, receiving } = &mut stream;
        let mut head = headers(&ask.section);
        if !ask.body.is_empty() {
            data_header(ask.body.len(), &mut head);
        }
        let mut request = [head.into(), ask.body.clone()];
        let mut answer = Answer::new(ask.is_head);
        let mut receive = pin!(self.receive(receiving, &mut answer, first, content));
        tokio::select! {
            biased;
            result = &mut receive => return result,
            () = sending.send(&mut request) => {}
        }
        receive.await
    }

    async fn receive(
        &self,
        stream: &mut Receiving,
        answer: &mut Answer,
        first: &mut Option<Instant>,
        mut content: impl FnMut(&[u8]),
    ) -> Result<u16, Lost> {
        loop {
            let mut bytes = match stream.next().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return answer.end().map_err(Lost::Failed),
                Err(error) => return Err(self.broken(error, answer.has_begun())),
            };
            while let Some(came) = answer.next(&mut bytes).map_err(Lost::Failed)? {
                match came {
                    Came::Head => *first = Some(Instant::now()),
                    Came::Content(piece) => content(&piece),
                }
            }
        }
    }

    fn broken(&self, error: ReadError, begun: bool) -> Lost {
        match error {
            ReadError::ZeroRttRejected => Lost::Refused,
            ReadError::ConnectionLost(error) => self.lost(&error, begun),
            ReadError::Reset(code) if code.into_inner() == Code::REQUEST_REJECTED.0 => Lost::Again,
            ReadError::Reset(code) => Lost::Failed(ErrorKind::Http3(code.into_inner())),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead => {
                Lost::Failed(ErrorKind::NoAnswer)
            }
        }
    }

    fn lost(&self, error: &ConnectionError, begun: bool) -> Lost {
        if let ConnectionError::ApplicationClosed(close) = error
            && close.error_code.into_inner() == Code::NO_ERROR.0
            && self.going.load(Ordering::Relaxed)
            && !begun
        {
            return Lost::Again;
        }
        Lost::Failed(kind(error, &self.progress, begun))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// The kind of a connection's end.
fn kind(error: &ConnectionError, progress: &Progress, begun: bool) -> ErrorKind {
    let facts = progress.facts();
    if let Some(failure) = facts.failure {
        return failure;
    }
    let ended = match (facts.finished, begun) {
        (None, _) => ErrorKind::ClosedInHandshake,
        (Some(_), false) => ErrorKind::NoAnswer,
        (Some(_), true) => ErrorKind::HalfAnswer,
    };
    match error {
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            0 => ended,
            code if ALERTS.contains(&code) => {
                ErrorKind::alert(AlertDescription::from((code & 0xff) as u8))
            }
            code => ErrorKind::Quic(code),
        },
        ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
            code if code == Code::NO_ERROR.0 => ended,
            code => ErrorKind::Http3(code),
        },
        ConnectionError::TransportError(error) => ErrorKind::Quic(error.code.into()),
        ConnectionError::VersionMismatch => ErrorKind::Tls,
        ConnectionError::Reset => ErrorKind::Reset,
        ConnectionError::TimedOut if facts.finished.is_none() => {
            ErrorKind::Timeout(TimedOut::Handshake)
        }
        ConnectionError::TimedOut => ErrorKind::Timeout(TimedOut::Request),
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => ended,
    }
}

/// Takes the server's own streams until the connection ends.
async fn listen(quic: quinn::Connection, going: Arc<AtomicBool>) {
    while let Ok(stream) = quic.accept_uni().await {
        let (quic, going) = (quic.clone(), Arc::clone(&going));
        tokio::spawn(async move {
            if let Err(code) = heed(stream, &going).await {
                close(&quic, code);
            }
        });
    }
}

/// Reads one of them to its end. Of what is said there only GOAWAY matters here.
async fn heed(mut stream: RecvStream, going: &AtomicBool) -> Result<(), Code> {
    let (mut prefix, mut frames, mut kind) = (Prefix::default(), Frames::of_control(), None);
    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
        let mut bytes = chunk.bytes;
        if kind.is_none() {
            kind = prefix.take(&mut bytes);
        }
        match kind {
            Some(CONTROL) => {
                while let Some(piece) = frames.next(&mut bytes)? {
                    if matches!(piece, Piece::GoAway(_)) {
                        going.store(true, Ordering::Relaxed);
                    }
                }
            }
            // RFC 9114 §4.6: we have allowed none.
            Some(PUSH) => return Err(Code::ID_ERROR),
            // QPACK's streams have nothing to say without its table; others are not known.
            _ => {}
        }
    }
    Ok(())
}
