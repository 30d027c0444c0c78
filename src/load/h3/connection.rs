//! One connection: its streams, its requests, its end.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use quinn::{ConnectionError, Endpoint, ReadError, SendStream, TransportConfig};
use rustls::AlertDescription;
use rustls::pki_types::ServerName;

use super::answer::{Answer, Came};
use super::close;
use super::said::Said;
use super::session::{Crypto, Progress};
use super::stream::{Receiving, Stream};
use crate::http::h3::{Code, data_header, headers, settings, stream_type};
use crate::load::stats::{ErrorKind, TimedOut};

/// Flow-control windows that a fast server does not fill, in bytes.
const WINDOW: u32 = 16 * 1024 * 1024;
const CONTROL: u64 = 0x0;
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
    said: Arc<Said>,
}

impl Connection {
    async fn on(quic: quinn::Connection, progress: Arc<Progress>) -> Result<Self, ErrorKind> {
        let said = Arc::<Said>::default();
        tokio::spawn(Arc::clone(&said).listen(quic.clone()));
        let connection = Self {
            quic,
            progress,
            control: Mutex::new(None),
            said,
        };
        connection.greet().await?;
        Ok(connection)
    }

    /// Opens the control stream: once, and again if early data was refused.
    pub async fn greet(&self) -> Result<(), ErrorKind> {
        let opened = self.quic.open_uni().await;
        let mut control = opened.map_err(|error| self.kind(&error, false))?;
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
        self.said.is_going() || self.quic.close_reason().is_some()
    }

    /// How the connection has ended, if it has.
    pub fn end(&self) -> Option<ErrorKind> {
        let error = self.quic.close_reason()?;
        Some(self.kind(&error, false))
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
        // RFC 9114 §5.2: nothing new begins behind a GOAWAY.
        if self.said.is_going() {
            return Err(Lost::Again);
        }
        let opened = tokio::select! {
            biased;
            opened = self.quic.open_bi() => opened,
            () = self.said.going() => return Err(Lost::Again),
        };
        let opened = opened.map_err(|error| Lost::Failed(self.kind(&error, false)))?;
        let mut stream = Stream::new(opened);
        let id = stream.id();
        let Stream { sending, receiving } = &mut stream;
        let mut head = headers(&ask.section);
        if !ask.body.is_empty() {
            data_header(ask.body.len(), &mut head);
        }
        let mut request = [head.into(), ask.body.clone()];
        let mut answer = Answer::new(ask.is_head);
        let mut receive = pin!(self.receive(id, receiving, &mut answer, first, content));
        tokio::select! {
            biased;
            result = &mut receive => return result,
            () = sending.send(&mut request) => {}
        }
        receive.await
    }

    async fn receive(
        &self,
        id: u64,
        stream: &mut Receiving,
        answer: &mut Answer,
        first: &mut Option<Instant>,
        mut content: impl FnMut(&[u8]),
    ) -> Result<u16, Lost> {
        loop {
            let read = match answer.has_begun() {
                true => stream.next().await,
                false => tokio::select! {
                    biased;
                    read = stream.next() => read,
                    () = self.said.passes_over(id) => return Err(Lost::Again),
                },
            };
            let mut bytes = match read {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return answer.end().map_err(Lost::Failed),
                Err(error) => return Err(self.broken(error, id, answer.has_begun()).await),
            };
            while let Some(came) = answer.next(&mut bytes).map_err(Lost::Failed)? {
                match came {
                    Came::Head => *first = Some(Instant::now()),
                    Came::Content(piece) => content(&piece),
                }
            }
        }
    }

    async fn broken(&self, error: ReadError, id: u64, begun: bool) -> Lost {
        match error {
            ReadError::ZeroRttRejected => Lost::Refused,
            ReadError::ConnectionLost(_) if !begun && self.said.passed_over(id).await => {
                Lost::Again
            }
            ReadError::ConnectionLost(error) => Lost::Failed(self.kind(&error, begun)),
            ReadError::Reset(code) if !begun && code.into_inner() == Code::REQUEST_REJECTED.0 => {
                Lost::Again
            }
            ReadError::Reset(code) => Lost::Failed(ErrorKind::Http3(code.into_inner())),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead => {
                Lost::Failed(ErrorKind::NoAnswer)
            }
        }
    }

    /// The kind of the connection's end.
    fn kind(&self, error: &ConnectionError, begun: bool) -> ErrorKind {
        match (error, self.said.wrong()) {
            (ConnectionError::LocallyClosed, Some(code)) => ErrorKind::Http3(code.0),
            _ => kind(error, &self.progress, begun),
        }
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
