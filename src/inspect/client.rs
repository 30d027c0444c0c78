//! Whole handshakes, with rustls: what can only be seen behind encryption.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use rustls::client::{Resumption, Tls12Resumption, WebPkiServerVerifier};
use rustls::compress::CertDecompressor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::chains;
use super::line::Fault;
use super::shelf::Shelf;
use super::witness::{Learnt, Witness};

/// What is read behind a handshake, in bytes: enough for tickets and the head of an answer.
const MOST: usize = 256 << 10;

/// The versions that rustls speaks, and each alone.
pub(super) static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
pub(super) static TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];
pub(super) static TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];

/// Whom connections ask for, and whom they would trust.
#[derive(Clone, Debug)]
pub(super) struct Client {
    name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
    /// `None` where nothing is trusted.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

/// What a connection offers.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    pub(super) schemes: Vec<SignatureScheme>,
    pub(super) alpn: &'static [&'static [u8]],
    pub(super) decompressors: Vec<&'static dyn CertDecompressor>,
    /// Where tickets are kept, and which of TLS 1.2's sessions may be resumed.
    pub(super) shelf: Option<(Arc<Shelf>, Tls12Resumption)>,
}

impl Default for Offer {
    /// TLS 1.3 and 1.2, every kind of signature, and nothing else.
    fn default() -> Self {
        let kinds = chains::KINDS.iter();
        Self {
            versions: BOTH,
            schemes: kinds
                .flat_map(|(_, schemes)| schemes.iter().copied())
                .collect(),
            alpn: &[],
            decompressors: Vec::new(),
            shelf: None,
        }
    }
}

/// An offer, ready for connections. rustls resumes only what was begun with the same one.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    config: Arc<ClientConfig>,
    witness: Arc<Witness>,
    name: ServerName<'static>,
}

/// A connection under way.
pub(super) struct Session {
    tcp: TcpStream,
    pub(super) tls: ClientConnection,
    buffer: Vec<u8>,
    read: usize,
    /// What came behind TLS, and was not taken yet.
    pub(super) plain: Vec<u8>,
    closed: bool,
}

impl Client {
    /// A client that asks for this name, and tells whether these roots vouch for it.
    pub(super) fn new(name: ServerName<'static>, roots: Arc<RootCertStore>) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = aws_lc_rs::ALL_CIPHER_SUITES.to_vec();
        provider.kx_groups = aws_lc_rs::ALL_KX_GROUPS.to_vec();
        let provider = Arc::new(provider);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        Self {
            name,
            verifier: verifier.build().ok(),
            provider,
        }
    }

    /// The name that is asked for.
    pub(super) fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Makes an offer ready.
    pub(super) fn setup(&self, offer: &Offer) -> Result<Setup, Fault> {
        let witness = Arc::new(Witness::new(
            offer.schemes.clone(),
            self.verifier.clone(),
            &self.provider,
        ));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(offer.versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as _)
            .with_client_cert_resolver(Arc::clone(&witness) as _);
        config.alpn_protocols = offer.alpn.iter().map(|name| name.to_vec()).collect();
        config.cert_decompressors.clone_from(&offer.decompressors);
        config.resumption = match &offer.shelf {
            Some((shelf, kind)) => {
                Resumption::store(Arc::clone(shelf) as _).tls12_resumption(*kind)
            }
            None => Resumption::disabled(),
        };
        Ok(Setup {
            config: Arc::new(config),
            witness,
            name: self.name.clone(),
        })
    }
}

impl Setup {
    /// The same, and early data with the tickets that allow it.
    pub(super) fn with_early_data(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.enable_early_data = true;
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// rustls's side of it.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// What the last connection learnt of the server.
    pub(super) fn learnt(&self) -> Learnt {
        self.witness.learnt()
    }

    /// Begins on this connection; nothing is sent yet.
    pub(super) fn begin(&self, tcp: TcpStream) -> Result<Session, Fault> {
        let tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone())?;
        Ok(Session {
            tcp,
            tls,
            buffer: vec![0; 16 << 10],
            read: 0,
            plain: Vec::new(),
            closed: false,
        })
    }
}

impl Session {
    /// Goes on until the handshake is done; also our side of it is sent.
    pub(super) async fn handshake(&mut self) -> Result<(), Fault> {
        self.flush().await?;
        while self.tls.is_handshaking() {
            if !self.step().await? {
                return Err(Fault::Closed);
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// Reads once, and sends nothing; whether the connection goes on.
    pub(super) async fn step(&mut self) -> Result<bool, Fault> {
        if self.closed {
            return Ok(false);
        }
        let count = self.tcp.read(&mut self.buffer).await?;
        self.read += count;
        if self.read > MOST {
            return Err(Fault::Wrong("more bytes than were asked for"));
        }
        self.closed = count == 0;
        let mut bytes = self.buffer.get(..count).unwrap_or_default();
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            match self.tls.process_new_packets() {
                Ok(state) => self.closed |= state.peer_has_closed(),
                Err(error) => {
                    // The alert that says so is owed to the server, and matters no more to us.
                    let _ = self.flush().await;
                    return Err(error.into());
                }
            }
            // Ends with "would block", and with the connection.
            let _ = self.tls.reader().read_to_end(&mut self.plain);
        }
        Ok(!self.closed)
    }

    /// Sends what TLS has to say.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out)?;
        }
        if !out.is_empty() {
            self.tcp.write_all(&out).await?;
        }
        Ok(())
    }

    /// Ends it in order, as far as the server lets us.
    pub(super) async fn close(mut self) {
        self.tls.send_close_notify();
        let _ = self.flush().await;
        let _ = self.tcp.shutdown().await;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
