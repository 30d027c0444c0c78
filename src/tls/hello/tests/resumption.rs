//! A client that comes back: what its hello says, beside what rustls makes of it.

use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
};

use crate::certs::chooser::{CertificateChooser, CertificateKind};
use crate::tls::hello::{ClientHello, HelloReader};

/// A store that writes down which identities were asked for.
#[derive(Debug)]
struct Recording {
    store: Arc<ServerSessionMemoryCache>,
    taken: Mutex<Vec<Vec<u8>>>,
}

impl StoresServerSessions for Recording {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.store.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.store.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.taken.lock().expect("unpoisoned").push(key.to_vec());
        self.store.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

struct Pair {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    store: Arc<Recording>,
    chooser: Arc<CertificateChooser>,
}

/// A server that takes early data, with certificates of two kinds, and a client that trusts it.
fn pair() -> Pair {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let certified = [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256].map(|algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let params = rcgen::CertificateParams::new(["example.com".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        roots.add(certificate.der().clone()).expect("a root");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
        let key = aws_lc_rs::sign::any_supported_type(&key).expect("a signing key");
        let chain = vec![certificate.der().clone()];
        Arc::new(rustls::sign::CertifiedKey::new(chain, key))
    });
    let chooser = CertificateChooser::new(certified.to_vec()).expect("usable keys");
    let chooser = Arc::new(chooser);
    let store = Arc::new(Recording {
        store: ServerSessionMemoryCache::new(16),
        taken: Mutex::default(),
    });
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(chooser.clone());
    server.session_storage = store.clone();
    server.max_early_data_size = 16_384;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_early_data = true;
    Pair {
        client: Arc::new(client),
        server: Arc::new(server),
        store,
        chooser,
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("example.com").expect("a name")
}

/// Runs a handshake to its end; gives the client's first flight, and the server.
fn handshake(pair: &Pair) -> (Vec<u8>, ServerConnection, ClientConnection) {
    let mut client = ClientConnection::new(pair.client.clone(), name()).expect("a client");
    let mut server = ServerConnection::new(pair.server.clone()).expect("a server");
    let mut flight = Vec::new();
    for turn in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a Vec takes all");
        }
        if turn == 0 {
            flight.clone_from(&wire);
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("room");
            server.process_new_packets().expect("a good client");
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("a Vec takes all");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("room");
            client.process_new_packets().expect("a good server");
        }
    }
    (flight, server, client)
}

fn read(flight: &[u8]) -> ClientHello {
    let hello = HelloReader::default().advance(flight).expect("good");
    hello.expect("whole")
}

#[test]
fn a_returning_client_offers_the_identity_that_rustls_takes() {
    let pair = pair();
    let (first, _, _) = handshake(&pair);
    let hello = read(&first);
    assert!(!hello.offers_psk() && !hello.offers_early_data());
    assert!(pair.store.taken.lock().expect("unpoisoned").is_empty());

    let (second, server, _) = handshake(&pair);
    let hello = read(&second);
    assert!(hello.offers_psk() && hello.offers_early_data());
    assert_eq!((hello.identity_count(), hello.binder_count()), (1, 1));
    assert_eq!(hello.psk_modes(), [1]);
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Resumed));
    let offered: Vec<Vec<u8>> = hello.identities().map(|id| id.identity.to_vec()).collect();
    assert_eq!(*pair.store.taken.lock().expect("unpoisoned"), offered);
}

#[test]
fn early_data_behind_the_hello_is_not_part_of_it() {
    let pair = pair();
    handshake(&pair);
    let mut client = ClientConnection::new(pair.client.clone(), name()).expect("a client");
    let mut early = client.early_data().expect("a ticket that allows it");
    std::io::Write::write_all(&mut early, b"GET / HTTP/1.1\r\n\r\n").expect("within the limit");
    let mut flight = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut flight).expect("a Vec takes all");
    }
    let hello = read(&flight);
    assert!(hello.offers_early_data());
    assert!(hello.wire_length() < flight.len());
}

#[test]
fn the_certificate_that_goes_out_is_the_one_foretold() {
    let pair = pair();
    let (flight, _, client) = handshake(&pair);
    let hello = read(&flight);
    let foretold = pair
        .chooser
        .certificate_for(|| hello.signature_schemes(), || hello.cipher_suites());
    assert_eq!(foretold, Some(CertificateKind::EcdsaP256));
    let sent = client.peer_certificates().and_then(|chain| chain.first());
    let known = pair.chooser.certificates();
    let ecdsa = known.get(1).and_then(|key| key.cert.first());
    assert!(sent.is_some() && sent == ecdsa);
}
