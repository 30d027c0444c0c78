//! The tokens that clients show to one port, and which of them quinn did not believe: it tells nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey};
use quinn_proto::{TokenLog, TokenReuseError};

use super::tokens::{TokenKeys, UsedTokens};

/// What a token of an earlier connection begins with, once it is opened; one of a Retry has zero.
const EARLIER: u8 = 1;

/// The keys and the log of all ports, as one of them has them.
pub(super) struct ShownTokens {
    keys: Arc<TokenKeys>,
    used: Arc<UsedTokens>,
    opened: Arc<Unasked>,
}

/// Whether a token of an earlier connection was opened, and nobody has asked yet whether it was used:
/// quinn does so before it takes another packet, unless the token is from another address, or too old
/// while its key still opens it.
pub(super) struct Unasked {
    waits: AtomicBool,
    elsewhere: IntCounter,
}

impl Unasked {
    /// Counts it, if nobody has asked. For the port's own thread, between packets.
    pub(super) fn settle(&self) {
        if self.waits.swap(false, Ordering::Relaxed) {
            self.elsewhere.inc();
        }
    }

    fn open(&self) {
        self.settle();
        self.waits.store(true, Ordering::Relaxed);
    }

    fn asked(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }
}

impl ShownTokens {
    /// None yet. `elsewhere` counts those of earlier connections that are from another address.
    pub(super) fn new(
        keys: Arc<TokenKeys>,
        used: Arc<UsedTokens>,
        elsewhere: IntCounter,
    ) -> Arc<Self> {
        Arc::new(Self {
            keys,
            used,
            opened: Arc::new(Unasked {
                waits: AtomicBool::new(false),
                elsewhere,
            }),
        })
    }

    /// Whether one was opened that nobody asked about.
    pub(super) fn opened(&self) -> Arc<Unasked> {
        Arc::clone(&self.opened)
    }
}

impl HandshakeTokenKey for ShownTokens {
    fn aead_from_hkdf(&self, nonce: &[u8]) -> Box<dyn AeadKey> {
        Box::new(Key {
            key: self.keys.aead_from_hkdf(nonce),
            opened: self.opened(),
        })
    }
}

impl TokenLog for ShownTokens {
    fn check_and_insert(
        &self,
        nonce: u128,
        issued: SystemTime,
        lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        self.opened.asked();
        self.used.check_and_insert(nonce, issued, lifetime)
    }
}

struct Key {
    key: Box<dyn AeadKey>,
    opened: Arc<Unasked>,
}

impl AeadKey for Key {
    fn seal(&self, data: &mut Vec<u8>, context: &[u8]) -> Result<(), CryptoError> {
        self.key.seal(data, context)
    }

    fn open<'a>(&self, data: &'a mut [u8], context: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        let token = self.key.open(data, context)?;
        if token.first() == Some(&EARLIER) {
            self.opened.open();
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    use prometheus::Registry;
    use quinn_proto::crypto::rustls::QuicClientConfig;
    use quinn_proto::{ClientConfig, Connection, DatagramEvent, Endpoint, TimeSource};
    use rustls::RootCertStore;
    use rustls::crypto::aws_lc_rs;

    use super::*;
    use crate::connection::quic::Secrets;
    use crate::connection::quic::port::server_config;
    use crate::telemetry::labels::TokenRefusal;
    use crate::telemetry::metrics::Metrics;
    use crate::tls::quic::Crypto;

    /// Seconds that have gone by.
    #[derive(Default)]
    struct Clock(AtomicU64);

    impl TimeSource for Clock {
        fn now(&self) -> SystemTime {
            let begin = Duration::from_secs(1_800_000_000);
            SystemTime::UNIX_EPOCH + begin + Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    fn client() -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }

    /// The next datagram of a connection.
    fn next(connection: &mut Connection) -> Vec<u8> {
        let mut datagram = Vec::new();
        let sent = connection.poll_transmit(Instant::now(), 1, &mut datagram);
        datagram.truncate(sent.expect("a datagram").size);
        datagram
    }

    #[test]
    fn the_token_of_a_retry_lasts_for_a_moment() {
        let address: SocketAddr = ([127, 0, 0, 1], 1234).into();
        let now = Instant::now();
        for (age, is_late) in [(14, false), (17, true)] {
            let metrics = Metrics::new(&Registry::new()).unwrap();
            let refused = &metrics.quic.tokens_refused;
            let secrets = Secrets::new(refused).unwrap();
            let crypto = Crypto::unopened(refused.child(TokenRefusal::Retry).clone());
            let mut config = server_config(true, crypto, secrets.shown());
            let clock = Arc::new(Clock::default());
            config.time_source(Arc::clone(&clock) as Arc<dyn TimeSource>);
            let mut out = Vec::new();
            let mut edge = Endpoint::new(Arc::default(), Some(Arc::new(config)), true, None);
            let mut client_side = Endpoint::new(Arc::default(), None, true, None);
            let begun = client_side.connect(now, client(), address, "example.com");
            let (_, mut connection) = begun.unwrap();
            let hello = next(&mut connection);
            let first = edge.handle(now, address, None, None, hello[..].into(), &mut out);
            let Some(DatagramEvent::NewConnection(incoming)) = first else {
                panic!("no connection");
            };
            out.clear();
            let retry = edge.retry(incoming, &mut out).unwrap();
            let retry = out[..retry.size].into();
            let told = client_side.handle(now, address, None, None, retry, &mut Vec::new());
            let Some(DatagramEvent::ConnectionEvent(_, event)) = told else {
                panic!("no Retry");
            };
            connection.handle_event(event);
            let again = next(&mut connection);
            out.clear();
            clock.0.store(age, Ordering::Relaxed);
            match edge.handle(now, address, None, None, again[..].into(), &mut out) {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    assert!(incoming.remote_address_validated() && !is_late);
                    edge.ignore(incoming);
                }
                Some(DatagramEvent::Response(_)) => assert!(is_late),
                _ => panic!("no answer"),
            }
            assert_eq!(refused.get(TokenRefusal::Retry), u64::from(is_late));
        }
    }
}
