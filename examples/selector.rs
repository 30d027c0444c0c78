//! Choosing the TLS side by the whole ClientHello, as Go's `GetConfigForClient` does: clients that
//! know no post-quantum key exchange get HTTP/1.1 only.
//!
//! `cargo run --example selector`, with `-- --once` to check itself and end.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use cutwater::certs::chooser::CertificateChooser;
use cutwater::config::site_tls::SiteTls;
use cutwater::rustls::crypto::aws_lc_rs::{self, kx_group, sign::any_supported_type};
use cutwater::rustls::pki_types::pem::PemObject;
use cutwater::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use cutwater::rustls::sign::CertifiedKey;
use cutwater::rustls::{AlertDescription, NamedGroup};
use cutwater::tls::hello::ClientHello;
use cutwater::tls::selector::Selection;
use cutwater::{Body, Edge, Site, handler};
use http::Response;

const NAME: &str = "localhost";

#[tokio::main(flavor = "current_thread")]
async fn main() -> support::Outcome {
    let identity = support::identity(NAME)?;
    let chain = vec![CertificateDer::from_pem_slice(identity.chain.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let certified = Arc::new(CertifiedKey::new(chain, any_supported_type(&key)?));

    let mut older = SiteTls::new(
        NAME,
        Arc::new(CertificateChooser::new(vec![Arc::clone(&certified)])?),
    );
    older.alpn = vec![b"http/1.1".to_vec()];
    let older = Arc::new(older);

    let site = Site::new(NAME)
        .certified_key(certified)
        .handler(handler::early(async |_| {
            Ok(Response::new(Body::from("hello\n")))
        }));
    let edge = Edge::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .workers(1)
        .site(site)
        .selector(
            move |hello: Arc<ClientHello>, _: SocketAddr, _: SocketAddr| {
                let older = Arc::clone(&older);
                // A real one might ask a database here.
                async move { select(&hello, older) }
            },
        )
        .build()?;

    support::run(edge, move |address| {
        let both: &[&[u8]] = &[b"h2", b"http/1.1"];
        let new = support::Client::with(&identity, aws_lc_rs::default_provider(), both)?;
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![kx_group::X25519];
        let old = support::Client::with(&identity, provider, both)?;
        assert_eq!(new.protocol(address, NAME)?.as_deref(), Some(&b"h2"[..]));
        assert_eq!(
            old.protocol(address, NAME)?.as_deref(),
            Some(&b"http/1.1"[..])
        );
        assert_eq!(old.request(address, NAME, "GET /")?.body, "hello\n");
        println!("each client got its own");
        Ok(())
    })
    .await
}

fn select(hello: &ClientHello, older: Arc<SiteTls>) -> Selection {
    match hello.server_name() {
        None => Selection::Refuse(AlertDescription::UnrecognisedName),
        Some(_) if hello.supports_group(NamedGroup::X25519MLKEM768) => Selection::ByName,
        Some(_) => Selection::Tls {
            site: NAME.into(),
            tls: older,
        },
    }
}
