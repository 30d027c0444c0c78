//! An origin over TLS: HTTP/2 or HTTP/1.1, as ALPN says. It tells what it saw of the handshake.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pki::Leaf;

/// A running origin.
pub struct SecureOrigin {
    address: SocketAddr,
    seen: watch::Sender<Vec<Handshake>>,
    task: JoinHandle<()>,
}

/// What the origin saw of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub sni: Option<String>,
    pub alpn: Option<String>,
    /// Whether the edge showed a certificate.
    pub certificate: bool,
    pub resumed: bool,
}

impl SecureOrigin {
    /// With this certificate and these protocols.
    pub async fn start(leaf: &Leaf, alpn: &[&str]) -> Self {
        Self::run(leaf, alpn, None).await
    }

    /// As [`SecureOrigin::start`]; it wants a certificate that one of `roots` issued.
    pub async fn mutual(leaf: &Leaf, alpn: &[&str], roots: Arc<RootCertStore>) -> Self {
        Self::run(leaf, alpn, Some(roots)).await
    }

    async fn run(leaf: &Leaf, alpn: &[&str], clients: Option<Arc<RootCertStore>>) -> Self {
        let acceptor = acceptor(leaf, alpn, clients);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = watch::Sender::default();
        let sees: watch::Sender<Vec<Handshake>> = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, sees) = (acceptor.clone(), sees.clone());
                tokio::spawn(async move {
                    let stream = match acceptor.accept(socket).into_fallible().await {
                        Ok(stream) => stream,
                        Err((_, mut socket)) => {
                            // Closed with something unread, the alert would be lost to a reset.
                            let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
                            return;
                        }
                    };
                    let handshake = look(&stream);
                    let http2 = handshake.alpn.as_deref() == Some("h2");
                    sees.send_modify(|seen| seen.push(handshake));
                    match http2 {
                        true => http2_on(stream).await,
                        false => http1_on(stream).await,
                    }
                });
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// Its URL under this host, for a config.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// Handshakes so far.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.seen.borrow().clone()
    }
}

impl Drop for SecureOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What shakes hands with this certificate, and with `clients` wants one that these roots issued.
pub fn acceptor(leaf: &Leaf, alpn: &[&str], clients: Option<Arc<RootCertStore>>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .unwrap(),
        ),
    };
    let key = PrivateKeyDer::try_from(leaf.key_der.clone()).unwrap();
    let mut config = builder.with_single_cert(leaf.chain.clone(), key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn look(stream: &TlsStream<TcpStream>) -> Handshake {
    let (_, session) = stream.get_ref();
    let alpn = session.alpn_protocol();
    Handshake {
        sni: session.server_name().map(str::to_owned),
        alpn: alpn.map(|alpn| String::from_utf8(alpn.to_vec()).unwrap()),
        certificate: session.peer_certificates().is_some(),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

/// One answer for each connection, so that the next request shakes hands again.
async fn http1_on(mut stream: TlsStream<TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nh1";
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn http2_on(stream: TlsStream<TcpStream>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let scheme = request.uri().scheme_str().unwrap_or_default().to_owned();
        let answer = Response::builder().header("x-scheme", scheme);
        let answer = answer.body(()).unwrap();
        if let Ok(mut stream) = respond.send_response(answer, false) {
            let _ = stream.send_data(Bytes::from("h2"), true);
        }
    }
}
