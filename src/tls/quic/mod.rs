//! TLS inside QUIC (RFC 9001): a crypto session that waits for the whole ClientHello, so that the
//! site is chosen by it, as over TCP.
//!
//! quinn asks for the TLS configuration before it has read a byte. So it gets a session that keeps
//! the CRYPTO bytes until the ClientHello is whole, asks [`Hellos`], and starts rustls then, with
//! the configuration that was chosen.
//!
//! What is chosen must be there at once: a QUIC session is driven by packets and has nobody to wake
//! it, whereas the choice costs two look-ups.

mod early;
mod frame;
mod padding;
mod session;
mod watched;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus::IntCounter;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{Keys, ServerConfig, Session, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, crypto};
use rustls::crypto::aws_lc_rs;
use rustls::quic::{KeyChange, PacketKeySet, Secrets};
use rustls::server::{ClientHello as RustlsHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CipherSuite, HandshakeKind, NamedGroup};

pub use self::padding::before_padding;
use self::session::Waiting;
pub use self::watched::PACKETS;
use self::watched::Refusing;
use crate::certs::compression::Compressed;
use crate::confirm::Settler;
use crate::telemetry::labels::Limit;
use crate::tls::hello::{ClientHello, HelloError};
use crate::tls::session::ConnectionSessions;

/// The only version of QUIC that is spoken (RFC 9000).
pub const VERSION: u32 = 1;

/// Chooses for one connection, once its ClientHello is whole.
pub trait Hellos: Send + Sync + 'static {
    /// How the handshake goes on, or the alert that it ends with.
    ///
    /// # Errors
    /// The alert.
    fn choose(&self, hello: Arc<ClientHello>) -> Result<Start, AlertDescription>;

    /// The handshake would show a certificate without the staple that it needs, and ends.
    fn no_staple(&self);

    /// There will be no ClientHello: what came cannot become one.
    fn refused(&self, error: &HelloError);

    /// A packet came that only who holds the handshake's keys can have made, or who has recorded it:
    /// of the handshake after the ClientHello, or of early data.
    fn heard(&self);

    /// [`PACKETS`] more came, early ones or such after the handshake.
    fn came(&self);

    /// More packets came than are read; told once for each kind.
    fn beyond(&self, limit: Limit);

    /// A second ClientHello was answered: no fact is to come any more that the first left open.
    fn settled(&self);
}

/// What a handshake goes by.
pub struct Start {
    /// TLS 1.3 alone, and early data of 0 or `u32::MAX` (RFC 9001 §4.6.1).
    pub config: Arc<rustls::ServerConfig>,
    /// What was taken for it, to be settled (EARLY-DATA R9).
    pub sessions: Option<Arc<ConnectionSessions>>,
    /// Told of the client's Finished.
    pub settler: Settler,
}

/// What is known of a handshake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Full or resumed, once that is known.
    pub kind: Option<HandshakeKind>,
    /// The cipher suite.
    pub suite: Option<CipherSuite>,
    /// The key exchange group.
    pub group: Option<NamedGroup>,
    /// Whether early data was accepted: then its packets are decrypted.
    pub early_accepted: bool,
    /// Whether one was.
    pub early_bytes: bool,
    /// Whether HTTP/0.9 was agreed on, and not HTTP/3.
    pub http09: bool,
    /// ClientHellos: two after a HelloRetryRequest.
    pub hellos: u8,
    /// Whether a certificate was sent.
    pub certificate_sent: bool,
    /// What the staple says of the certificate that a full handshake shows.
    pub staple: Option<&'static str>,
    /// How the certificate was compressed that was sent.
    pub compressed: Option<Compressed>,
    /// The alert that the handshake ended with.
    pub alert: Option<AlertDescription>,
}

impl Facts {
    /// Whether a HelloRetryRequest was sent, and nothing yet that answers a second ClientHello: until
    /// then protocol, group and resumption are not known, and no request can come.
    pub fn awaits_hello(&self) -> bool {
        // rustls knows the group from the ServerHello on.
        self.kind == Some(HandshakeKind::FullWithHelloRetryRequest) && self.group.is_none()
    }
}

/// Where a session tells what it knows, and who awaits the client's Finished is told.
///
/// The session cannot be the only one who fails the confirmation: quinn keeps it as long as anybody
/// has a handle of the connection, and those who wait have one.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    state: Mutex<State>,
    /// Authentic packets of the client.
    packets: AtomicU64,
    /// The first stream for a request that no packet of early data was about.
    first_confirmed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    facts: Facts,
    settler: Option<Settler>,
}

impl Progress {
    /// What is known now.
    pub fn facts(&self) -> Facts {
        self.lock().facts
    }

    /// The connection has ended: a handshake that is not confirmed has failed.
    pub fn give_up(&self) {
        let settler = self.lock().settler.take();
        drop(settler);
    }

    fn confirm(&self) {
        let settler = self.lock().settler.take();
        if let Some(settler) = settler {
            settler.confirm();
        }
    }

    /// How many packets of the client were authentic.
    pub fn packets(&self) -> u64 {
        self.0.packets.load(Ordering::Relaxed)
    }

    /// Whether the stream of a request was opened in early data (EARLY-DATA R23).
    pub fn is_early(&self, stream: u64) -> bool {
        stream < self.0.first_confirmed.load(Ordering::Relaxed)
    }

    /// Early data was about streams for requests up to this one.
    fn came_early(&self, stream: u64) {
        let after = stream.saturating_add(4);
        self.0.first_confirmed.fetch_max(after, Ordering::Relaxed);
    }

    /// One more; how many there were before.
    fn count(&self) -> u64 {
        self.0.packets.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The crypto configuration of one connection, or of those that are not accepted yet.
pub struct Crypto {
    hellos: Option<Arc<dyn Hellos>>,
    progress: Progress,
    refused: Option<IntCounter>,
}

impl Crypto {
    /// For packets that belong to no connection: Initial keys, Retry. Its sessions end at once.
    /// `refused` counts clients that are told INVALID_TOKEN.
    pub fn unopened(refused: IntCounter) -> Arc<Self> {
        Arc::new(Self {
            hellos: None,
            progress: Progress::default(),
            refused: Some(refused),
        })
    }

    /// For one connection.
    pub fn new(hellos: Arc<dyn Hellos>, progress: Progress) -> Arc<Self> {
        Arc::new(Self {
            hellos: Some(hellos),
            progress,
            refused: None,
        })
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl ServerConfig for Crypto {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        if version != VERSION {
            return Err(UnsupportedVersion);
        }
        let mut keys = stateless().initial_keys(version, id)?;
        if let Some(refused) = self.refused.clone() {
            let key = keys.packet.local;
            keys.packet.local = Box::new(Refusing { key, refused });
        }
        Ok(keys)
    }

    fn retry_tag(&self, version: u32, id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        stateless().retry_tag(version, id, packet)
    }

    fn start_session(
        self: Arc<Self>,
        _version: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn Session> {
        let mut own = Vec::new();
        parameters.write(&mut own);
        Box::new(Waiting::new(
            self.hellos.clone(),
            self.progress.clone(),
            own,
        ))
    }
}

/// The keys of Initial packets, for either side: anybody can compute them (RFC 9001 §5.2).
pub(crate) fn initial_keys(id: &ConnectionId, side: Side) -> Keys {
    fn swapped<T>(keys: crypto::KeyPair<T>) -> crypto::KeyPair<T> {
        crypto::KeyPair {
            local: keys.remote,
            remote: keys.local,
        }
    }
    match (stateless().initial_keys(VERSION, id), side) {
        (Ok(keys), Side::Server) => keys,
        (Ok(keys), Side::Client) => Keys {
            header: swapped(keys.header),
            packet: swapped(keys.packet),
        },
        (Err(_), _) => unreachable!("the version is spoken"),
    }
}

/// Whether a Retry packet answers a client's Initial to `id` (RFC 9001 §5.8).
pub(crate) fn is_valid_retry(id: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
    let Some((payload, tag)) = payload.split_last_chunk::<16>() else {
        return false;
    };
    let packet = [header, payload].concat();
    stateless().retry_tag(VERSION, id, &packet) == *tag
}

/// What needs no site: Initial keys and the tag of Retry packets, which anybody can compute (RFC
/// 9001 §5.2, §5.8).
fn stateless() -> &'static Arc<QuicServerConfig> {
    static STATELESS: OnceLock<Arc<QuicServerConfig>> = OnceLock::new();
    STATELESS.get_or_init(|| {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider serves TLS 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nothing));
        let config = QuicServerConfig::try_from(config);
        Arc::new(config.expect("the provider has AES-128-GCM for Initial packets"))
    })
}

/// No handshake is made with it.
#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _hello: RustlsHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// That a session's handshake data is there: nothing but that, since who needs the data has it.
#[derive(Clone, Copy, Debug)]
struct Known;

impl Known {
    fn boxed() -> Box<dyn Any> {
        Box::new(Self)
    }
}

/// The keys of the next level as quinn takes them; `next` gets what those after them come from.
pub(crate) fn keys(change: KeyChange, next: &mut Option<Secrets>) -> Keys {
    let keys = match change {
        KeyChange::Handshake { keys } => keys,
        KeyChange::OneRtt { keys, next: later } => {
            *next = Some(later);
            keys
        }
    };
    Keys {
        header: crypto::KeyPair {
            local: header(keys.local.header),
            remote: header(keys.remote.header),
        },
        packet: crypto::KeyPair {
            local: packet(keys.local.packet),
            remote: packet(keys.remote.packet),
        },
    }
}

/// The packet keys after a key update as quinn takes them.
pub(crate) fn pair(keys: PacketKeySet) -> crypto::KeyPair<Box<dyn crypto::PacketKey>> {
    crypto::KeyPair {
        local: packet(keys.local),
        remote: packet(keys.remote),
    }
}

/// A packet key of rustls as quinn takes it.
pub(crate) fn packet(key: Box<dyn rustls::quic::PacketKey>) -> Box<dyn crypto::PacketKey> {
    Box::new(key)
}

/// A header key of rustls as quinn takes it.
pub(crate) fn header(
    key: Box<dyn rustls::quic::HeaderProtectionKey>,
) -> Box<dyn crypto::HeaderKey> {
    Box::new(key)
}
