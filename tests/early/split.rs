//! Records that no library sends: handshake messages split behind the handshake, encrypted by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use rustls::{ClientConnection, ConnectionTrafficSecrets, KeyLog, Stream};

use crate::early::scene::{NAME, Scene, get};
use crate::support::client::Client;
use crate::support::origin::{Origin, Reply, When};
use crate::support::setup::ClientSetup;

const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// KeyUpdate, update_not_requested. RFC 9846 §4.6.3.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// A client that encrypts its records itself, once the handshake is over.
struct ByHand {
    tcp: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl ByHand {
    /// Shakes hands as any client; blocks.
    fn open(address: SocketAddr, setup: &ClientSetup) -> Self {
        let suite = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
        let mut config = (*setup.clone().fresh().suites(&[suite]).config()).clone();
        config.enable_secret_extraction = true;
        let mut tls = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Stream::new(&mut tls, &mut tcp).flush().unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut tcp).unwrap();
        }
        let (sequence, secrets) = tls.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            panic!("another suite than the one offered");
        };
        Self {
            tcp,
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap()),
            iv: iv.as_ref().try_into().unwrap(),
            sequence,
        }
    }

    /// Sends a ClientHello and early data, reads the server's flight, and is ready to send under
    /// the keys of the handshake; blocks.
    fn handshake(address: SocketAddr, setup: &ClientSetup) -> Self {
        let suite = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
        let secrets = Arc::new(Secrets::default());
        let mut config = (*setup.clone().suites(&[suite]).config()).clone();
        config.key_log = Arc::clone(&secrets) as Arc<_>;
        let mut tls = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tls.early_data().unwrap().write_all(b"refused").unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut tcp).unwrap();
        }
        while tls.is_handshaking() {
            tls.read_tls(&mut tcp).unwrap();
            tls.process_new_packets().unwrap();
        }
        assert!(!tls.is_early_data_accepted());
        let secret = secrets.0.lock().unwrap().clone();
        let secret = Prk::new_less_safe(HKDF_SHA256, &secret);
        let mut iv = [0; 12];
        expand(&secret, "iv", &mut iv);
        let mut key = [0; 16];
        expand(&secret, "key", &mut key);
        Self {
            tcp,
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap()),
            iv,
            sequence: 0,
        }
    }

    /// Sends one record of this inner type. RFC 9846 §5.2.
    fn send(&mut self, kind: u8, plaintext: &[u8]) {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence += 1;
        let mut body = [plaintext, &[kind]].concat();
        let length = u16::try_from(body.len() + 16).unwrap().to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, length[0], length[1]];
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut body)
            .unwrap();
        self.tcp.write_all(&[&header[..], &body].concat()).unwrap();
    }

    /// Reads so many bytes of ciphertext, or to the end.
    fn read(&mut self, count: usize) -> usize {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.tcp.read(&mut bytes[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => filled += more,
            }
        }
        filled
    }

    fn local_address(&self) -> String {
        self.tcp.local_addr().unwrap().to_string()
    }
}

/// Keeps the client's handshake traffic secret.
#[derive(Debug, Default)]
struct Secrets(Mutex<Vec<u8>>);

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_HANDSHAKE_TRAFFIC_SECRET" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label with no context. RFC 9846 §7.1.
fn expand(secret: &Prk, label: &str, out: &mut [u8]) {
    let label = format!("tls13 {label}");
    let length = u16::try_from(out.len()).unwrap().to_be_bytes();
    let size = [u8::try_from(label.len()).unwrap()];
    let info: [&[u8]; 4] = [&length, &size, label.as_bytes(), &[0]];
    let okm = secret.expand(&info, Length(out.len())).unwrap();
    okm.fill(out).unwrap();
}

/// What follows the first part of a KeyUpdate, after an answer was written in between.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Rest,
    Data,
    Garbage,
    Untyped,
    End,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_leave_while_part_of_a_key_update_is_held() {
    let origin = Origin::start_when(When::AfterHead, |_| {
        Reply::default().held().and(Reply::ok(vec![b'x'; 50_000]))
    })
    .await;
    let scene = Scene::before(&origin).await;
    let mut heads = 0;
    for then in [
        Then::Rest,
        Then::Data,
        Then::Garbage,
        Then::Untyped,
        Then::End,
    ] {
        for cut in 1..KEY_UPDATE.len() {
            origin.hold();
            let address = scene.edge.address();
            let mut client = tokio::task::block_in_place(|| ByHand::open(address, &scene.setup));
            client.send(APPLICATION_DATA, &get("/echo"));
            heads += 1;
            origin.until_heads(heads).await;
            client.send(HANDSHAKE, &KEY_UPDATE[..cut]);
            origin.release();
            let count = tokio::task::block_in_place(|| client.read(50_000));
            assert_eq!(count, 50_000, "{then:?}, cut at {cut}");
            match then {
                Then::Rest => client.send(HANDSHAKE, &KEY_UPDATE[cut..]),
                Then::Data => client.send(APPLICATION_DATA, &get("/")),
                Then::Garbage => client.tcp.write_all(&[23, 3, 3, 0, 2, 0, 0]).unwrap(),
                Then::Untyped => client.send(0, &[0; 8]),
                Then::End => {}
            }
            let address = client.local_address();
            client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
            let line = scene
                .edge
                .until_connection(|line| line["client"] == address.as_str());
            let line = line.await;
            let end = match then {
                Then::Rest | Then::End => "truncated",
                Then::Data | Then::Garbage | Then::Untyped => "alert",
            };
            assert_eq!(line["end"], end, "{then:?}, cut at {cut}: {line}");
            scene.no_panic();
        }
    }
    scene.settle(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_update_in_two_records_is_one() {
    let origin = Origin::echo().await;
    let scene = Scene::before(&origin).await;
    let address = scene.edge.address();
    let mut client = tokio::task::block_in_place(|| ByHand::open(address, &scene.setup));
    // Requests around it would need the next keys; what counts is that none is lost before.
    client.send(APPLICATION_DATA, &get("/echo?1"));
    client.send(HANDSHAKE, &KEY_UPDATE[..2]);
    client.send(HANDSHAKE, &KEY_UPDATE[2..]);
    origin.until_requests(1).await;
    client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
    let address = client.local_address();
    let line = scene
        .edge
        .until_connection(|line| line["client"] == address.as_str());
    assert!(line.await["alert_sent"].is_null());
    scene.settle(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_of_a_message_after_refused_early_data_ends_in_an_alert() {
    // EARLY-DATA R7: what rustls holds on to is told from early data, or it would panic.
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    for size in [4, 20, 36, 52, 100, 111] {
        let setup = scene.setup.clone().fresh();
        Client::fetch_ticket(tickets.address(), NAME, &setup).await;
        let address = scene.edge.address();
        let mut client = tokio::task::block_in_place(|| ByHand::handshake(address, &setup));
        // A Finished of 1,000 bytes begins.
        let mut part = vec![0; size];
        part[..4].copy_from_slice(&[20, 0, 3, 232]);
        client.send(HANDSHAKE, &part);
        client.send(HANDSHAKE, &[0; 20]);
        let address = client.local_address();
        tokio::task::block_in_place(|| client.read(100));
        client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let line = scene
            .edge
            .until_connection(|line| line["client"] == address.as_str());
        let line = line.await;
        assert_eq!(line["early"], "refused_unknown_ticket");
        assert_eq!(
            (&line["end"], &line["alert_sent"]),
            (&"alert".into(), &"bad_record_mac".into()),
            "{size}: {line}"
        );
        scene.no_panic();
    }
    scene.settle(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_without_a_content_type_gets_unexpected_message() {
    // RFC 9846 §5.4. rustls refuses it, but has no alert for it.
    let scene = Scene::start().await;
    let tickets = scene.twin().await;
    for zeros in [0, 1, 100, 1000] {
        for handshaking in [false, true] {
            if handshaking && zeros > 100 {
                // It would be dropped as refused early data (EARLY-DATA R7).
                continue;
            }
            let setup = scene.setup.clone().fresh();
            let address = scene.edge.address();
            let mut client = if handshaking {
                Client::fetch_ticket(tickets.address(), NAME, &setup).await;
                tokio::task::block_in_place(|| ByHand::handshake(address, &setup))
            } else {
                tokio::task::block_in_place(|| ByHand::open(address, &setup))
            };
            client.send(0, &vec![0; zeros]);
            let address = client.local_address();
            // It has to end by itself: the alert, then the end.
            tokio::task::block_in_place(|| client.read(100_000));
            let line = scene
                .edge
                .until_connection(|line| line["client"] == address.as_str());
            let line = line.await;
            assert_eq!(
                (&line["end"], &line["alert_sent"]),
                (&"alert".into(), &"unexpected_message".into()),
                "{zeros}, handshaking: {handshaking}: {line}"
            );
            scene.no_panic();
        }
    }
    scene.settle(0).await;
}
