//! HTTP/3, by a QUIC server beside an edge.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::stage::{NAME, inspect};
use crate::support::edge::Edge;
use crate::support::pki::{Leaf, Pki};

/// QUIC for this protocol.
fn quic(leaf: &Leaf, alpn: &[u8], address: SocketAddr) -> Endpoint {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(leaf.key_der.clone());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain.clone(), key.into())
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = QuicServerConfig::try_from(config).unwrap();
    let endpoint = Endpoint::server(ServerConfig::with_crypto(Arc::new(config)), address).unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            // Kept until the client closes.
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    connection.closed().await;
                }
            });
        }
    });
    endpoint
}

async fn edge(pki: &Pki, alt_svc: &str) -> Edge {
    let certificate = pki.files(&[NAME]).toml();
    Edge::start(&format!(
        "[[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
         [[site]]\nnames = [\"{NAME}\"]\ncertificate = {certificate}\n\
         [[site.route]]\npath = \"/\"\n\
         respond = {{ body = \"\", headers = {{ {alt_svc} }} }}\n"
    ))
    .await
}

#[tokio::test]
async fn http3_is_found_on_the_same_port() {
    let pki = Pki::new();
    let edge = edge(&pki, "").await;
    let _quic = quic(&pki.leaf(&[NAME]), b"h3", edge.address());
    let found = inspect(edge.address(), &pki).await;
    assert_eq!(found.at("/http3/spoken"), true);
}

#[tokio::test]
async fn http3_is_found_where_an_answer_says() {
    let pki = Pki::new();
    let quic = quic(&pki.leaf(&[NAME]), b"h3", ([127, 0, 0, 1], 0).into());
    let port = quic.local_addr().unwrap().port();
    let edge = edge(&pki, &format!("alt-svc = 'h3=\":{port}\"'")).await;
    let found = inspect(edge.address(), &pki).await;
    assert_eq!(found.at("/http3/spoken"), true);
    assert_eq!(found.at("/http3/alt_svc"), format!("h3=\":{port}\""));
}

#[tokio::test]
async fn quic_for_something_else_is_no_http3() {
    let pki = Pki::new();
    let edge = edge(&pki, "").await;
    let _quic = quic(&pki.leaf(&[NAME]), b"other", edge.address());
    let found = inspect(edge.address(), &pki).await;
    assert_eq!(found.at("/http3/spoken"), false);
}

#[tokio::test]
async fn our_own_http3_is_found_and_promised() {
    let pki = Pki::new();
    let certificate = pki.files(&[NAME]).toml();
    let edge = Edge::start(&format!(
        "[[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nquic = true\n\
         [[site]]\nnames = [\"{NAME}\"]\ncertificate = {certificate}\n\
         [[site.route]]\npath = \"/\"\nrespond = {{ body = \"\" }}\n"
    ))
    .await;
    let found = inspect(edge.address(), &pki).await;
    assert_eq!(found.at("/http3/spoken"), true);
    let port = format!("h3=\":{}\"", edge.address().port());
    let alt_svc = super::stage::text(&found.at("/http3/alt_svc"));
    assert!(alt_svc.starts_with(&port), "{alt_svc}");
}
