//! TLS towards origins: the handshake, and whom a failure blames.
//!
//! Early data is never offered to an origin (EARLY-DATA R21 allows it for early requests only).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{DnsName, ServerName};
use rustls::{CertificateError, Error};
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

/// Whether HTTP/2 was negotiated.
pub(super) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
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
            CertificateError::UnknownIssuer => OriginError::TlsUnknownIssuer,
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
            None => f.write_str("a file of the origin's `tls` cannot be used"),
        }
    }
}

impl std::error::Error for TlsError {}
