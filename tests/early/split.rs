//! Records that no library sends: handshake messages split behind the handshake, encrypted by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConnection, ConnectionTrafficSecrets, Stream};

use crate::early::scene::{NAME, Scene, get};
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

/// What follows the first part of a KeyUpdate, after an answer was written in between.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Rest,
    Data,
    Garbage,
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
    for then in [Then::Rest, Then::Data, Then::Garbage, Then::End] {
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
                Then::Data | Then::Garbage => "alert",
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
