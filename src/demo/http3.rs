//! The demo's client for HTTP/3: a connection for each request, with tickets between them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, version};

use crate::http::h3::asking;
use crate::load::client::Moment;
use crate::load::h3::{Ask, Connection, Lost, Opening, endpoint};

/// A client with tickets of its own.
pub(super) struct Http3 {
    eager: Arc<ClientConfig>,
    patient: Arc<ClientConfig>,
}

/// An answer and how it came.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) kind: Option<HandshakeKind>,
    pub(super) early_accepted: bool,
    /// From the first datagram to the head of the answer.
    pub(super) first_byte: Duration,
}

impl Http3 {
    pub(super) fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h3".to_vec()];
        config.resumption = Resumption::in_memory_sessions(64);
        // A clone shares the tickets and the verifier, without which rustls would not use them.
        let mut eager = config.clone();
        eager.enable_early_data = true;
        Ok(Self {
            eager: Arc::new(eager),
            patient: Arc::new(config),
        })
    }

    /// Connects, asks for `/`, and waits for a ticket before it leaves.
    pub(super) async fn fetch(
        &self,
        to: SocketAddr,
        name: &str,
        moment: Moment,
    ) -> io::Result<Reply> {
        let endpoint = endpoint(to)?;
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tls = match moment {
            Moment::AfterHandshake => &self.patient,
            Moment::Early => &self.eager,
        };
        let begin = Instant::now();
        let opening = Opening::begin(&endpoint, tls, server, to).map_err(failed)?;
        let connection = match moment {
            Moment::AfterHandshake => opening.complete().await,
            Moment::Early => opening.early().await,
        }
        .map_err(failed)?;
        let (mut first, mut body) = (None, Vec::new());
        let status = ask(&connection, name, &mut first, &mut body).await?;
        let first = first.unwrap_or_else(Instant::now);
        connection.progress().ticket().await;
        let facts = connection.progress().facts();
        connection.close();
        // The close leaves before the socket goes.
        endpoint.wait_idle().await;
        Ok(Reply {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            kind: facts.kind,
            early_accepted: facts.early_accepted,
            first_byte: first.saturating_duration_since(begin),
        })
    }
}

async fn ask(
    connection: &Connection,
    name: &str,
    first: &mut Option<Instant>,
    body: &mut Vec<u8>,
) -> io::Result<u16> {
    let ask = Ask {
        section: asking(&Method::GET, name, "/", &HeaderMap::new(), 0),
        body: Bytes::new(),
        is_head: false,
    };
    loop {
        let content = |piece: &[u8]| body.extend_from_slice(piece);
        match connection.exchange(&ask, first, content).await {
            Ok(status) => return Ok(status),
            // Early data was refused: behind the handshake it is not.
            Err(Lost::Refused) => connection.greet().await.map_err(failed)?,
            Err(Lost::Again) => return Err(io::Error::other("the edge says goodbye")),
            Err(Lost::Failed(kind)) => return Err(failed(kind)),
        }
    }
}

fn failed(kind: crate::load::stats::ErrorKind) -> io::Error {
    io::Error::other(format!("HTTP/3: {kind}"))
}
