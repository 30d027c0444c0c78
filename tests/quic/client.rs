//! A client that speaks HTTP/3: quinn and the `h3` crate, which share no code with the edge's HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::{HeaderMap, Request, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, TransportConfig};

use crate::support::setup::ClientSetup;
use crate::support::within;

/// A stream of a request.
pub type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// An endpoint on a port of its own, for clients of this setup.
pub fn endpoint(setup: &ClientSetup) -> Endpoint {
    let setup = setup.clone().alpn(&["h3"]);
    let crypto = QuicClientConfig::try_from(setup.config()).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(TransportConfig::default()));
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// One connection.
pub struct Client {
    pub endpoint: Endpoint,
    pub quic: Connection,
    pub http: SendRequest<OpenStreams, Bytes>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    /// Connects and completes the handshake.
    pub async fn connect(address: SocketAddr, name: &str, setup: &ClientSetup) -> Self {
        Self::try_connect(address, name, setup).await.unwrap()
    }

    /// Connects and completes the handshake.
    ///
    /// # Errors
    /// How that ended.
    pub async fn try_connect(
        address: SocketAddr,
        name: &str,
        setup: &ClientSetup,
    ) -> Result<Self, ConnectionError> {
        let endpoint = endpoint(setup);
        let connecting = endpoint.connect(address, name).unwrap();
        let quic = within("the handshake", connecting).await?;
        Ok(Self::on(endpoint, quic).await)
    }

    /// Connects by this endpoint, which may be bound elsewhere, and completes the handshake.
    pub async fn by(endpoint: Endpoint, address: SocketAddr, name: &str) -> Self {
        let connecting = endpoint.connect(address, name).unwrap();
        let quic = within("the handshake", connecting).await.unwrap();
        Self::on(endpoint, quic).await
    }

    /// Connects with a ticket, before the handshake; panics without one.
    pub async fn early(address: SocketAddr, name: &str, setup: &ClientSetup) -> (Self, Accepted) {
        let endpoint = endpoint(setup);
        let connecting = endpoint.connect(address, name).unwrap();
        let Ok((quic, accepted)) = connecting.into_0rtt() else {
            panic!("no ticket for early data");
        };
        (Self::on(endpoint, quic).await, Accepted(accepted))
    }

    async fn on(endpoint: Endpoint, quic: Connection) -> Self {
        let own = h3_quinn::Connection::new(quic.clone());
        let (mut driver, http) = h3::client::new(own).await.unwrap();
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Self {
            endpoint,
            quic,
            http,
        }
    }

    /// Begins a request; its content is still to come.
    pub async fn begin(&mut self, request: Request<()>) -> Stream {
        within("a stream", self.http.send_request(request))
            .await
            .unwrap()
    }

    /// A whole exchange.
    pub async fn ask(&mut self, request: Request<()>, content: impl Into<Bytes>) -> Answer {
        let mut stream = self.begin(request).await;
        let content = content.into();
        if !content.is_empty() {
            within("sending", stream.send_data(content)).await.unwrap();
        }
        within("the end", stream.finish()).await.unwrap();
        answer(&mut stream).await
    }

    /// A whole GET.
    pub async fn get(&mut self, url: &str) -> Answer {
        self.ask(get(url), Bytes::new()).await
    }

    /// Says goodbye, and waits until that is sent.
    pub async fn close(self) {
        self.quic.close(0x100u32.into(), b"");
        self.endpoint.wait_idle().await;
    }
}

/// The code with which the edge ends a connection.
pub async fn closed(quic: &Connection) -> u64 {
    match within("the end", quic.closed()).await {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

/// Whether early data was accepted, once that is known.
pub struct Accepted(quinn::ZeroRttAccepted);

impl Accepted {
    pub async fn known(self) -> bool {
        within("the handshake", self.0).await
    }
}

/// Reads an answer to its end.
pub async fn answer(stream: &mut Stream) -> Answer {
    let head = within("an answer", stream.recv_response()).await.unwrap();
    let mut body = Vec::new();
    while let Some(mut data) = within("content", stream.recv_data()).await.unwrap() {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = within("trailers", stream.recv_trailers()).await.unwrap();
    Answer {
        status: head.status(),
        headers: head.headers().clone(),
        body,
        trailers,
    }
}

pub fn get(url: &str) -> Request<()> {
    request("GET", url)
}

pub fn request(method: &str, url: &str) -> Request<()> {
    Request::builder().method(method).uri(url).body(()).unwrap()
}
