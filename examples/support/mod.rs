//! What the examples share: a certificate, a small client, and the choice between serving and
//! checking. Nothing here is about Cutwater.

// Each example uses a part of it.
#![allow(dead_code)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use cutwater::Edge;
use cutwater::rustls::crypto::{CryptoProvider, aws_lc_rs};
use cutwater::rustls::pki_types::{CertificateDer, ServerName};
use cutwater::rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, Stream};

/// How an example ends.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Serves until Ctrl-C; with `--once`, only until `check` has made its requests.
pub async fn run(
    edge: Edge,
    check: impl FnOnce(SocketAddr) -> Outcome + Send + 'static,
) -> Outcome {
    let address = edge.addresses()[0];
    println!("listening on {address}");
    if std::env::args().all(|argument| argument != "--once") {
        edge.run(async { drop(tokio::signal::ctrl_c().await) })
            .await?;
        return Ok(());
    }
    let checks = tokio::task::spawn_blocking(move || check(address));
    let mut outcome = Ok(());
    edge.run(async { outcome = checks.await.unwrap_or_else(|panic| Err(panic.into())) })
        .await?;
    outcome
}

/// A certificate that signed itself, and its key.
pub struct Identity {
    pub chain: String,
    pub key: String,
    der: CertificateDer<'static>,
}

pub fn identity(name: &str) -> Result<Identity, rcgen::Error> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
    Ok(Identity {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    })
}

/// A client that remembers its tickets.
pub struct Client(Arc<ClientConfig>);

/// What it got.
#[derive(Debug)]
pub struct Answer {
    pub status: String,
    pub body: String,
    pub resumed: bool,
    /// Whether the request went out, and was taken, before the handshake was finished.
    pub early: bool,
}

impl Client {
    pub fn new(trusts: &Identity) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Self::with(trusts, aws_lc_rs::default_provider(), &[b"http/1.1"])
    }

    pub fn with(
        trusts: &Identity,
        provider: CryptoProvider,
        alpn: &[&[u8]],
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusts.der.clone())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_early_data = true;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Self(Arc::new(config)))
    }

    fn connect(
        &self,
        address: SocketAddr,
        name: &'static str,
    ) -> io::Result<(ClientConnection, TcpStream)> {
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok((tls, TcpStream::connect(address)?))
    }

    /// One request on a connection of its own, as early data where a ticket allows it.
    pub fn request(
        &self,
        address: SocketAddr,
        name: &'static str,
        line: &str,
    ) -> io::Result<Answer> {
        let (mut tls, mut tcp) = self.connect(address, name)?;
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {name}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let mut sent = 0;
        if let Some(mut early) = tls.early_data() {
            sent = early.write(request.as_bytes())?;
        }
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let early = tls.is_early_data_accepted();
        if !early {
            sent = 0;
        }
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut stream = Stream::new(&mut tls, &mut tcp);
        stream.write_all(&request.as_bytes()[sent..])?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        Ok(Answer {
            status: head.split(' ').nth(1).unwrap_or_default().to_owned(),
            body: body.to_owned(),
            resumed,
            early,
        })
    }

    /// The ALPN protocol that a handshake agrees on.
    pub fn protocol(&self, address: SocketAddr, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        let (mut tls, mut tcp) = self.connect(address, name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(tls.alpn_protocol().map(<[u8]>::to_vec))
    }
}
