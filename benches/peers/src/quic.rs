//! The same client over QUIC: quinn and the `h3` crate.

use std::future::{Future, pending, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::{Request, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, TransportConfig};
use rustls::ClientConfig;
use tokio::runtime::{Builder, Handle};

use crate::client::PATIENCE;

/// Makes connections of HTTP/3 and verifies certificates.
pub struct QuicClient {
    /// Of a thread that ends with the program.
    runtime: Handle,
    endpoint: Endpoint,
}

/// A connection that stays open until it is dropped.
pub struct QuicOpen<'a> {
    client: &'a QuicClient,
    requests: SendRequest<OpenStreams, Bytes>,
}

impl QuicClient {
    /// A client with the trust of this configuration.
    ///
    /// # Errors
    /// The system's, rustls's.
    pub fn new(config: &ClientConfig) -> io::Result<Self> {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = QuicClientConfig::try_from(config).map_err(io::Error::other)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(None);
        config.transport_config(Arc::new(transport));
        // A thread of its own: what is kept has to acknowledge what still comes.
        let own = Builder::new_current_thread().enable_all().build()?;
        let runtime = own.handle().clone();
        thread::Builder::new().spawn(move || own.block_on(pending::<()>()))?;
        let mut endpoint = {
            let _within = runtime.enter();
            Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?
        };
        endpoint.set_default_client_config(config);
        Ok(Self { runtime, endpoint })
    }

    /// Connects.
    ///
    /// # Errors
    /// quinn's, or that it takes too long.
    pub fn open(&self, address: SocketAddr, name: &str) -> io::Result<QuicOpen<'_>> {
        let requests = self.within(async {
            let connecting = self.endpoint.connect(address, name);
            let quic = connecting.map_err(io::Error::other)?.await?;
            let quic = h3_quinn::Connection::new(quic);
            let built = h3::client::builder().send_grease(false).build(quic).await;
            let (mut driver, requests) = built.map_err(io::Error::other)?;
            tokio::spawn(async move { poll_fn(|cx| driver.poll_close(cx)).await });
            Ok(requests)
        })?;
        Ok(QuicOpen {
            client: self,
            requests,
        })
    }

    fn within<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        self.runtime.block_on(async {
            let result = tokio::time::timeout(PATIENCE, work).await;
            result.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
        })
    }
}

impl QuicOpen<'_> {
    /// A request; gives the body of its answer.
    ///
    /// # Errors
    /// The `h3` crate's; a status that is not 200.
    pub fn get(&mut self, name: &str, path: &str) -> io::Result<String> {
        let request = Request::get(format!("https://{name}{path}"));
        let request = request.body(()).map_err(io::Error::other)?;
        let requests = &mut self.requests;
        self.client.within(async {
            let sent = requests.send_request(request).await;
            let mut stream = sent.map_err(io::Error::other)?;
            stream.finish().await.map_err(io::Error::other)?;
            let answer = stream.recv_response().await.map_err(io::Error::other)?;
            if answer.status() != StatusCode::OK {
                let message = format!("it answers {}", answer.status());
                return Err(io::Error::other(message));
            }
            let mut body = Vec::new();
            while let Some(mut piece) = stream.recv_data().await.map_err(io::Error::other)? {
                body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
            }
            String::from_utf8(body).map_err(io::Error::other)
        })
    }
}
