//! TLS towards origins: the handshake, and whom a failure blames.
//!
//! Early data is never offered to an origin (EARLY-DATA R21 allows it for early requests only).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use rustls::pki_types::{DnsName, ServerName};
use rustls::{CertificateError, Error};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::snapshot::{OriginHost, OriginServer, OriginTls};
use crate::telemetry::labels::OriginError;

/// How one server is spoken to over TLS.
pub(super) struct Client {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish()
    }
}

impl Client {
    /// `None` if the files of the origin's `tls` could not be used.
    pub(super) fn new(tls: &OriginTls, server: &OriginServer) -> Option<Self> {
        let config = Arc::clone(tls.client.as_ref()?);
        let name = match (&tls.server_name, &server.host) {
            (Some(name), _) => name.clone(),
            (None, OriginHost::Name(name)) => {
                ServerName::DnsName(DnsName::try_from(name.clone()).ok()?)
            }
            (None, OriginHost::Address(IpAddr::V4(address))) => {
                ServerName::IpAddress((*address).into())
            }
            (None, OriginHost::Address(IpAddr::V6(address))) => {
                ServerName::IpAddress((*address).into())
            }
            (None, OriginHost::Unix(_)) => return None,
        };
        let connector = TlsConnector::from(config);
        Some(Self { connector, name })
    }

    /// The handshake. Whether the server chose HTTP/2 is asked of the stream.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub(super) async fn connect(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.connector.connect(self.name.clone(), socket).await?;
        let alpn = &self.connector.config().alpn_protocols;
        let (_, session) = stream.get_ref();
        // RFC 9113 §3.2: HTTP/2 over TLS is what ALPN says, nothing else.
        if session.alpn_protocol().is_none() && alpn.iter().all(|protocol| protocol == b"h2") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Error::NoApplicationProtocol,
            ));
        }
        Ok(stream)
    }
}

/// A stream of TLS.
#[derive(Debug)]
pub(super) struct Secure {
    stream: TlsStream<TcpStream>,
    fault: Fault,
}

/// What TLS broke off with: noted here, since HTTP/2 passes on no more than that something did.
pub(super) type Fault = Arc<OnceLock<OriginError>>;

impl Secure {
    /// After the handshake.
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Box<Self> {
        let fault = Fault::default();
        Box::new(Self { stream, fault })
    }

    /// Whether HTTP/2 was negotiated.
    pub(super) fn is_http2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    /// Where a fault is noted.
    pub(super) fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The stream, to be written to.
    pub(super) fn writer(&mut self) -> Pin<&mut TlsStream<TcpStream>> {
        Pin::new(&mut self.stream)
    }

    /// Reads what there is.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if let Err(error) = &read
            && let Some(label) = label(error)
        {
            let _ = self.fault.set(label);
        }
        Poll::Ready(read)
    }
}

/// Why TLS with an origin failed.
#[derive(Debug)]
pub struct TlsError {
    /// What metrics call it.
    pub label: OriginError,
    error: Option<io::Error>,
}

impl TlsError {
    /// An error of a handshake.
    pub(super) fn of_handshake(error: io::Error) -> Self {
        let label = label(&error).unwrap_or(OriginError::Tls);
        let error = Some(error);
        Self { label, error }
    }

    /// An error of a connection, if TLS made it: in TLS 1.3 an origin tells only after the
    /// handshake that it does not take the edge's certificate.
    pub(super) fn of_stream(error: io::Error) -> Result<Self, io::Error> {
        match label(&error) {
            Some(label) => Ok(Self {
                label,
                error: Some(error),
            }),
            None => Err(error),
        }
    }

    /// An error whose cause was noted when it occurred.
    pub(super) fn noted(fault: &Fault) -> Option<Self> {
        let label = *fault.get()?;
        Some(Self { label, error: None })
    }

    /// The same for another request.
    pub(super) fn again(&self) -> Self {
        Self {
            label: self.label,
            error: self.error.as_ref().map(super::error::again),
        }
    }

    /// The files of the origin's `tls` could not be used.
    pub(super) fn unusable() -> Self {
        Self {
            label: OriginError::TlsFiles,
            error: None,
        }
    }
}

fn label(error: &io::Error) -> Option<OriginError> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(certificate) => match certificate {
            // An authority that was made anew under its old name is another one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                OriginError::TlsUnknownIssuer
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                OriginError::TlsWrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                OriginError::TlsExpired
            }
            _ => OriginError::TlsCertificate,
        },
        Error::AlertReceived(_) => OriginError::TlsAlert,
        _ => OriginError::Tls,
    })
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => error.fmt(f),
            None => f.write_str(match self.label {
                OriginError::TlsFiles => "a file of the origin's `tls` cannot be used",
                _ => "TLS broke off",
            }),
        }
    }
}

impl std::error::Error for TlsError {}
