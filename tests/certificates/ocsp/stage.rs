//! An edge whose certificates name responders, and a client that tells what it is shown.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind,
    SignatureScheme, version,
};

use super::authority::{Authority, Status, read};
use crate::support::edge::Edge;
use crate::support::tickets::Tickets;
use crate::support::{polled, within};

pub const NAME: &str = "example.com";

/// A config with the listener, the admin address, and these sites.
pub fn config(top: &str, sites: &[String]) -> String {
    format!(
        "{top}\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{}",
        sites.concat()
    )
}

/// The top of a config whose log has every connection.
pub const LOGGED: &str = "[log]\nconnections = \"all\"";

/// A site that says hello.
pub fn site(name: &str, certificate: &str, more: &str) -> String {
    format!(
        "[[site]]\nnames = [\"{name}\"]\ncertificate = {certificate}\n{more}\n\
         [[site.route]]\npath = \"/\"\nrespond = {{ body = \"hello\\n\" }}\n"
    )
}

/// What a client was shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// What the staple says, and of which certificate.
    pub staple: Option<(Status, u8)>,
    pub bytes: Vec<u8>,
    pub resumed: bool,
}

/// What is peculiar about a client.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Usual,
    Tls12,
    /// It verifies RSA alone.
    Rsa,
    /// Every handshake costs it a HelloRetryRequest.
    Retried,
}

/// A client that keeps its tickets.
#[derive(Clone)]
pub struct Looker {
    config: Arc<ClientConfig>,
    seen: Arc<Mutex<Vec<u8>>>,
    /// Those of QUIC.
    pub tickets: Arc<Tickets>,
}

impl Looker {
    pub fn new(authority: &Authority) -> Self {
        Self::with(authority, Kind::Usual)
    }

    pub fn tls12(authority: &Authority) -> Self {
        Self::with(authority, Kind::Tls12)
    }

    /// A client that verifies RSA alone.
    pub fn rsa(authority: &Authority) -> Self {
        Self::with(authority, Kind::Rsa)
    }

    /// A client that every handshake costs a HelloRetryRequest.
    pub fn retried(authority: &Authority) -> Self {
        Self::with(authority, Kind::Retried)
    }

    fn with(authority: &Authority, kind: Kind) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        if kind == Kind::Retried {
            // A share is sent for the first one, which the edge does not know.
            provider.kx_groups = vec![kx_group::MLKEM1024, kx_group::X25519];
        }
        let provider = Arc::new(provider);
        let webpki =
            WebPkiServerVerifier::builder_with_provider(authority.roots(), Arc::clone(&provider));
        let seen = Arc::default();
        let verifier = Verifier {
            inner: webpki.build().unwrap(),
            algorithms: provider.signature_verification_algorithms,
            seen: Arc::clone(&seen),
            only: (kind == Kind::Rsa).then_some(SignatureScheme::RSA_PSS_SHA256),
        };
        let versions = match kind {
            Kind::Tls12 => &version::TLS12,
            _ => &version::TLS13,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[versions])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(16);
        Self {
            config: Arc::new(config),
            seen,
            tickets: Arc::default(),
        }
    }

    /// A handshake, and a request so that tickets come.
    pub async fn look(&self, address: SocketAddr, name: &str) -> Result<Shown, AlertDescription> {
        let (this, name) = (self.clone(), name.to_owned());
        let looked = move || this.end(this.begin(address, &name), &name);
        let looked = tokio::task::spawn_blocking(looked);
        within("a handshake", looked).await.unwrap()
    }

    /// The same of a client that gets a HelloRetryRequest, and answers it after `meanwhile`.
    pub async fn look_after(
        &self,
        address: SocketAddr,
        name: &str,
        meanwhile: impl Future,
    ) -> Result<Shown, AlertDescription> {
        let (this, name) = (self.clone(), name.to_owned());
        let asked = move || {
            let (mut tls, mut socket) = this.begin(address, &name);
            tls.write_tls(&mut socket).unwrap();
            while !tls.wants_write() {
                tls.read_tls(&mut socket).unwrap();
                tls.process_new_packets().unwrap();
            }
            (this, name, (tls, socket))
        };
        let asked = tokio::task::spawn_blocking(asked);
        let (this, name, begun) = within("a HelloRetryRequest", asked).await.unwrap();
        meanwhile.await;
        let looked = tokio::task::spawn_blocking(move || this.end(begun, &name));
        within("a handshake", looked).await.unwrap()
    }

    fn begin(&self, address: SocketAddr, name: &str) -> (ClientConnection, TcpStream) {
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.config), server).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        (tls, socket)
    }

    fn end(
        &self,
        (mut tls, mut socket): (ClientConnection, TcpStream),
        name: &str,
    ) -> Result<Shown, AlertDescription> {
        self.seen.lock().unwrap().clear();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        let request = format!("GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        let done = stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_string(&mut answer));
        if let Err(error) = done {
            match error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<Error>())
            {
                Some(Error::AlertReceived(alert)) => return Err(*alert),
                _ => panic!("{name}: {error}"),
            }
        }
        assert!(answer.ends_with("hello\n"), "{answer}");
        let bytes = self.seen.lock().unwrap().clone();
        Ok(Shown {
            staple: (!bytes.is_empty()).then(|| read(&bytes)),
            bytes,
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// Looks until what is shown fits.
    pub async fn until(
        &self,
        edge: &Edge,
        name: &str,
        fits: impl Fn(&Result<Shown, AlertDescription>) -> bool,
    ) -> Result<Shown, AlertDescription> {
        polled("what is shown", async || {
            // Each time a full handshake.
            Some(self.fresh().look(edge.address(), name).await).filter(|shown| fits(shown))
        })
        .await
    }

    /// Looks until there is a staple.
    pub async fn until_stapled(&self, edge: &Edge, name: &str) -> Shown {
        let stapled =
            |shown: &Result<Shown, _>| shown.as_ref().is_ok_and(|shown| shown.staple.is_some());
        self.until(edge, name, stapled).await.unwrap()
    }

    /// Its configuration for HTTP/3. What was seen before is forgotten.
    pub fn quic(&self) -> ClientConfig {
        self.seen.lock().unwrap().clear();
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h3".to_vec()];
        config.resumption = Resumption::store(Arc::clone(&self.tickets) as Arc<_>);
        config
    }

    /// What the last handshake showed.
    pub fn staple(&self) -> Option<(Status, u8)> {
        let bytes = self.seen.lock().unwrap();
        (!bytes.is_empty()).then(|| read(&bytes))
    }

    /// The same client without tickets.
    pub fn fresh(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(16);
        Self {
            config: Arc::new(config),
            seen: Arc::clone(&self.seen),
            tickets: Arc::default(),
        }
    }
}

/// Verifies as usual, and keeps the staple.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Arc<Mutex<Vec<u8>>>,
    only: Option<SignatureScheme>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap() = ocsp_response.to_vec();
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self.only {
            // The chain is signed by ECDSA; its signatures are verified whatever is offered.
            Some(scheme) => vec![scheme],
            None => self.algorithms.supported_schemes(),
        }
    }
}
