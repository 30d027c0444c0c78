//! The protection of Initial and Handshake packets. RFC 9001 §5

use std::fmt;

use aws_lc_rs::aead::quic::{AES_128, AES_256, CHACHA20, HeaderProtectionKey};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::cipher::{self, Iv, NONCE_LEN};
use rustls::crypto::tls13::OkmBlock;
use rustls::{CipherSuite, Tls13CipherSuite};

use crate::load::replay::catch;
use crate::load::replay::keys::{aead, derive_secret, expand_label};

/// RFC 9001 §5.2
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];

/// The length of what header protection takes of a packet, in bytes; it begins where it would if the
/// packet number had four. RFC 9001 §5.4.2
const SAMPLE: usize = 16;
const LONGEST_NUMBER: usize = 4;

/// Who protects a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sender {
    Client,
    Server,
}

/// The keys of one direction.
pub(super) struct Protection {
    header: HeaderProtectionKey,
    key: LessSafeKey,
    iv: Iv,
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protection")
    }
}

impl Protection {
    /// That of Initial packets, by the connection id that the client made up.
    pub(super) fn initial(id: &[u8], sender: Sender) -> Option<Self> {
        let suite = catch::suite(CipherSuite::TLS13_AES_128_GCM_SHA256)?;
        let initial = suite.hkdf_provider.extract_from_secret(Some(&SALT[..]), id);
        let label: &[u8] = match sender {
            Sender::Client => b"client in",
            Sender::Server => b"server in",
        };
        Self::new(suite, &derive_secret(&*initial, label, b""))
    }

    /// That of packets which this secret protects.
    pub(super) fn new(suite: &Tls13CipherSuite, secret: &OkmBlock) -> Option<Self> {
        let algorithm = aead(suite)?;
        let mask = match suite.common.suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => &AES_128,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => &AES_256,
            _ => &CHACHA20,
        };
        let expander = suite.hkdf_provider.expander_for_okm(secret);
        let mut key = vec![0; algorithm.key_len()];
        expand_label(&*expander, b"quic key", &[], &mut key)?;
        let mut header = vec![0; mask.key_len()];
        expand_label(&*expander, b"quic hp", &[], &mut header)?;
        let mut iv = [0; NONCE_LEN];
        expand_label(&*expander, b"quic iv", &[], &mut iv)?;
        Some(Self {
            header: HeaderProtectionKey::new(mask, &header).ok()?,
            key: LessSafeKey::new(UnboundKey::new(algorithm, &key).ok()?),
            iv: Iv::new(iv),
        })
    }

    /// The number and the frames of a packet with a long header, whose number stands at `place`.
    /// `None` if these keys do not open it.
    pub(super) fn open(&self, packet: &[u8], place: usize) -> Option<(u64, Vec<u8>)> {
        let mut packet = packet.to_vec();
        let mask = self.mask(&packet, place)?;
        let first = packet.first_mut()?;
        *first ^= mask[0] & 0x0f;
        let length = usize::from(*first & 3) + 1;
        let mut number = 0;
        let bytes = packet.get_mut(place..place + length)?;
        for (byte, mask) in bytes.iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
            // A first flight's numbers are so small that they are whole.
            number = number << 8 | u64::from(*byte);
        }
        let mut body = packet.split_off(place + length);
        let plain = self
            .key
            .open_in_place(self.nonce(number), Aad::from(&packet), &mut body);
        let length = plain.ok()?.len();
        body.truncate(length);
        Some((number, body))
    }

    /// A packet of these frames, its header ending with the four bytes of its number.
    pub(super) fn seal(&self, header: Vec<u8>, frames: &[u8]) -> Option<Vec<u8>> {
        let (_, number) = header.split_last_chunk::<LONGEST_NUMBER>()?;
        let nonce = self.nonce(u32::from_be_bytes(*number).into());
        let place = header.len() - LONGEST_NUMBER;
        let mut body = frames.to_vec();
        let aad = Aad::from(&header);
        self.key
            .seal_in_place_append_tag(nonce, aad, &mut body)
            .ok()?;
        let mut packet = header;
        packet.append(&mut body);
        let mask = self.mask(&packet, place)?;
        *packet.first_mut()? ^= mask[0] & 0x0f;
        let number = packet.get_mut(place..place + LONGEST_NUMBER)?;
        for (byte, mask) in number.iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        Some(packet)
    }

    fn mask(&self, packet: &[u8], place: usize) -> Option<[u8; 5]> {
        let begin = place + LONGEST_NUMBER;
        let sample = packet.get(begin..begin + SAMPLE)?;
        self.header.new_mask(sample).ok()
    }

    fn nonce(&self, number: u64) -> Nonce {
        Nonce::assume_unique_for_key(cipher::Nonce::new(&self.iv, number).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::replay::trace::hex;

    /// RFC 9001 appendix A.
    const ID: &str = "8394c8f03e515708";
    const SERVER_INITIAL: &str = "\
        cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554\
        780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b\
        562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee";
    const FRAMES: &str = "\
        02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a04\
        5a1200130100002e00330024001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bcf32b\
        b9da1a002b00020304";

    #[test]
    fn the_initial_packet_of_rfc_9001_opens() {
        let keys = Protection::initial(&hex(ID), Sender::Server).unwrap();
        let packet = hex(SERVER_INITIAL);
        assert_eq!(keys.open(&packet, 18), Some((1, hex(FRAMES))));
        let theirs = Protection::initial(&hex(ID), Sender::Client).unwrap();
        assert_eq!(theirs.open(&packet, 18), None);
        assert_eq!(keys.open(&packet[..30], 18), None);
    }

    #[test]
    fn what_is_sealed_opens() {
        let keys = Protection::initial(&hex(ID), Sender::Client).unwrap();
        let header = [&[0xc3][..], &[7; 10], &300_u32.to_be_bytes()].concat();
        let packet = keys.seal(header, &[1; 20]).unwrap();
        assert_eq!(keys.open(&packet, 11), Some((300, vec![1; 20])));
    }
}
