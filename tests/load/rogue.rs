//! A server over QUIC that does as it is told, whatever RFC 9114 says.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cutwater::load::plan::{Plan, Protocol, Trust};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, TransportConfig};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};

use super::stand::{NAME, plan};
use crate::support::pki::Pki;

/// Error codes of RFC 9114 §8.1.
pub const NO_ERROR: u32 = 0x100;
pub const FRAME_UNEXPECTED: u64 = 0x105;
pub const REQUEST_REJECTED: u32 = 0x10b;
pub const REQUEST_CANCELLED: u64 = 0x10c;

/// The beginning of a control stream: its type, and SETTINGS that set nothing.
pub const CONTROL: [u8; 3] = [0, 4, 0];

/// What it is made of.
pub struct Rogue {
    /// Tickets for each connection.
    pub tickets: usize,
    /// Whether it wants a certificate of its clients.
    pub verifies: bool,
    /// How much of each stream it takes without reading it, in bytes.
    pub window: u32,
}

impl Default for Rogue {
    fn default() -> Self {
        Self {
            tickets: 2,
            verifies: false,
            window: 1 << 20,
        }
    }
}

impl Rogue {
    /// Does this with each connection that has shaken hands.
    pub fn serve<F>(self, serve: impl Fn(Connection) -> F + Send + 'static) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let pki = Pki::new();
        let leaf = pki.leaf(&[NAME]);
        let key = PrivateKeyDer::try_from(leaf.key_der).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap();
        let builder = match self.verifies {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(pki.roots_der());
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let mut tls = builder.with_single_cert(leaf.chain, key).unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        tls.send_tls13_tickets = self.tickets;
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(self.window.into());
        config.transport_config(Arc::new(transport));
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let endpoint = quinn::Endpoint::server(config, any).unwrap();
        let address = endpoint.local_addr().unwrap();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                if let Ok(quic) = incoming.await {
                    tokio::spawn(serve(quic));
                }
            }
        });
        address
    }

    /// Answers each request with these bytes and the end of the stream, and says nothing else: no
    /// SETTINGS either.
    pub fn says(self, answer: Vec<u8>) -> SocketAddr {
        self.serve(move |quic| {
            let answer = answer.clone();
            async move {
                while let Ok((mut send, mut receive)) = quic.accept_bi().await {
                    // The client may have gone.
                    let _ = receive.read_to_end(1 << 20).await;
                    let _ = send.write_all(&answer).await;
                    let _ = send.finish();
                }
            }
        })
    }
}

/// Requests over HTTP/3 to such a server.
pub fn plan_for(address: SocketAddr) -> Plan {
    let mut plan = plan(address, "/", Vec::new());
    plan.tls.trust = Trust::Anyone;
    plan.protocol = Protocol::Http3;
    plan
}

/// A frame.
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    assert!(kind < 0x40 && payload.len() < 0x40);
    [&[kind, payload.len() as u8], payload].concat()
}

/// HEADERS with this status, coded, and a length, if there is one.
fn head_with(status: &[u8], length: Option<&str>) -> Vec<u8> {
    let mut section = [&[0, 0], status].concat();
    if let Some(length) = length {
        // The static table's `content-length`, and another value. RFC 9204 §4.5.4
        section.extend_from_slice(&[0x54, length.len() as u8]);
        section.extend_from_slice(length.as_bytes());
    }
    frame(1, &section)
}

/// The same with status 200.
pub fn head(length: Option<&str>) -> Vec<u8> {
    head_with(&[0xd9], length)
}

/// The same with status 204, or 304.
pub fn without_content(not_modified: bool, length: &str) -> Vec<u8> {
    let status: &[u8] = match not_modified {
        true => &[0xda],
        false => &[0xff, 0x01],
    };
    head_with(status, Some(length))
}
