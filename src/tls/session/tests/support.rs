//! A site, a client and the wire between them, in memory.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
    SupportedProtocolVersion,
};

use super::super::{HelloOffer, Outcome, Prepared, Refusal, Sessions, SitePolicy};
use crate::certs::chooser::CertificateChooser;
use crate::config::site_tls::SiteTls;

pub(super) const NAME: &str = "example.com";
/// The index of X25519 among the configurations of a site.
pub(super) const X25519: usize = 1;
/// The index of P-256: the client has no share for it, so it costs a HelloRetryRequest.
pub(super) const P256: usize = 2;

pub(super) struct World {
    pub(super) sessions: Arc<Sessions>,
    pub(super) site: SiteTls,
    pub(super) policy: SitePolicy,
    pub(super) client: ClientConfig,
    pub(super) by_default: bool,
    pub(super) pressure: bool,
    pub(super) group: usize,
    pub(super) now: u64,
}

impl World {
    pub(super) fn new(early_data: bool) -> Self {
        Self::with_versions(early_data, &[&rustls::version::TLS13])
    }

    pub(super) fn with_versions(
        early_data: bool,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let chain = vec![made.cert.der().clone()];
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let key = any_supported_type(&key).unwrap();
        let certified = CertifiedKey::new(chain.clone(), key);
        let mut site = SiteTls::new(
            NAME,
            Arc::new(CertificateChooser::new(vec![Arc::new(certified)]).unwrap()),
        );
        site.early_data = early_data;
        site.tls12 = true;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain);
        let mut client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_early_data = true;
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let policy = SitePolicy::from(&site);
        Self {
            sessions: Sessions::new(100),
            site,
            policy,
            client,
            by_default: false,
            pressure: false,
            group: X25519,
            now: 0,
        }
    }

    /// A client's first flight, with early data if its ticket allows that.
    pub(super) fn client(&self) -> (ClientConnection, Vec<u8>) {
        let name = ServerName::try_from(NAME).unwrap();
        let mut client = ClientConnection::new(Arc::new(self.client.clone()), name).unwrap();
        if let Some(mut early) = client.early_data() {
            early.write_all(b"GET / early").unwrap();
        }
        let flight = written(&mut client);
        (client, flight)
    }

    /// Lets a new server connection answer a first flight, as far as it goes.
    pub(super) fn serve(&self, flight: &[u8]) -> Served {
        let hello = Hello::parse(flight);
        let offer = HelloOffer {
            identities: hello.identities.iter().map(Vec::as_slice),
            early_data: hello.early_data,
            by_default: self.by_default,
        };
        let trust = self.policy.trust;
        let base = self
            .site
            .server_config(self.group, || self.sessions.ticketer(trust));
        let prepared = self
            .sessions
            .prepare(&base, &self.policy, offer, self.pressure, self.now);
        let mut served = Served {
            server: ServerConnection::new(prepared.config.clone()).unwrap(),
            prepared,
            early: Vec::new(),
            accepted: false,
            hellos: 1,
            failed: false,
        };
        served.read(flight);
        served
    }

    /// A whole connection of a well-behaved client.
    pub(super) fn connect(&self) -> Served {
        let (mut client, flight) = self.client();
        let mut served = self.serve(&flight);
        served.finish(&mut client);
        assert!(!served.failed && !served.server.is_handshaking() && !client.is_handshaking());
        served
    }
}

pub(super) struct Served {
    pub(super) server: ServerConnection,
    pub(super) prepared: Prepared,
    pub(super) early: Vec<u8>,
    pub(super) accepted: bool,
    pub(super) hellos: usize,
    pub(super) failed: bool,
}

impl Served {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.server.read_tls(&mut bytes).unwrap();
            self.failed |= self.server.process_new_packets().is_err();
            if let Some(sessions) = &self.prepared.sessions {
                sessions.settle(self.server.handshake_kind());
            }
            if let Some(mut early) = self.server.early_data() {
                self.accepted = true;
                early.read_to_end(&mut self.early).unwrap();
            }
            if self.failed {
                return;
            }
        }
    }

    pub(super) fn finish(&mut self, client: &mut ClientConnection) {
        for _ in 0..4 {
            let mut answer = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut answer).unwrap();
            }
            let mut answer = answer.as_slice();
            while !answer.is_empty() {
                client.read_tls(&mut answer).unwrap();
                client.process_new_packets().unwrap();
            }
            let retried = self.server.handshake_kind()
                == Some(HandshakeKind::FullWithHelloRetryRequest)
                && self.hellos == 1;
            self.hellos += usize::from(retried);
            let bytes = written(client);
            self.read(&bytes);
        }
    }

    pub(super) fn resumed(&self) -> bool {
        self.server.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.prepared.refusal_after(Outcome {
            accepted: self.accepted,
            retried: self.hellos > 1,
            kind: self.server.handshake_kind(),
        })
    }
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What of a ClientHello matters here, and where it stands in the flight.
pub(super) struct Hello {
    pub(super) identities: Vec<Vec<u8>>,
    pub(super) early_data: bool,
    /// Where the length of the extensions stands.
    extensions_at: usize,
    /// Where `pre_shared_key`, the last extension, starts.
    psk_at: usize,
    pub(super) end: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

impl Hello {
    /// Reads a hello that one record holds.
    pub(super) fn parse(flight: &[u8]) -> Self {
        let end = 5 + u16_at(flight, 3);
        let mut at = 5 + 4 + 2 + 32;
        at += 1 + usize::from(flight[at]);
        at += 2 + u16_at(flight, at);
        at += 1 + usize::from(flight[at]);
        let mut hello = Self {
            identities: vec![],
            early_data: false,
            extensions_at: at,
            psk_at: 0,
            end,
        };
        at += 2;
        while at < end {
            match u16_at(flight, at) {
                42 => hello.early_data = true,
                41 => {
                    hello.psk_at = at;
                    let mut next = at + 6;
                    let last = next + u16_at(flight, at + 4);
                    while next < last {
                        let length = u16_at(flight, next);
                        hello
                            .identities
                            .push(flight[next + 2..next + 2 + length].to_vec());
                        next += 2 + length + 4;
                    }
                }
                _ => {}
            }
            at += 4 + u16_at(flight, at + 2);
        }
        hello
    }

    /// The same flight with `extra` more identities before the client's own, and binders that
    /// nobody could verify.
    pub(super) fn with_more_identities(flight: &[u8], extra: usize) -> Vec<u8> {
        let hello = Self::parse(flight);
        let (psk, rest) = (&flight[hello.psk_at..hello.end], &flight[hello.end..]);
        let identities = u16_at(psk, 4);
        let mut list = Vec::new();
        for n in 0..extra {
            list.extend_from_slice(&[0, 32]);
            list.extend_from_slice(&[n as u8; 36]);
        }
        list.extend_from_slice(&psk[6..6 + identities]);
        let mut binders = [32; 33].repeat(extra);
        binders.extend_from_slice(&psk[6 + identities + 2..]);
        let length = |length: usize| (length as u16).to_be_bytes();
        let mut forged = flight[..hello.psk_at].to_vec();
        forged.extend_from_slice(&[0, 41]);
        forged.extend_from_slice(&length(4 + list.len() + binders.len()));
        forged.extend_from_slice(&length(list.len()));
        forged.extend_from_slice(&list);
        forged.extend_from_slice(&length(binders.len()));
        forged.extend_from_slice(&binders);
        let extensions = length(forged.len() - hello.extensions_at - 2);
        let (message, record) = (length(forged.len() - 9), length(forged.len() - 5));
        forged[hello.extensions_at..][..2].copy_from_slice(&extensions);
        forged[7..9].copy_from_slice(&message);
        forged[3..5].copy_from_slice(&record);
        forged.extend_from_slice(rest);
        forged
    }
}
