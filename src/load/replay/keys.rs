//! The part of the key schedule that opens a server's first encrypted records. RFC 9846 §7.1

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::crypto::cipher::{self, Iv, NONCE_LEN, make_tls13_aad};
use rustls::crypto::tls13::{HkdfExpander, OkmBlock};
use rustls::{CipherSuite, Tls13CipherSuite};

/// Opens the records that a server protects with its handshake traffic key, in order.
pub(super) struct Opener {
    key: LessSafeKey,
    iv: Iv,
    sequence: u64,
}

/// What is in a protected record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inner<'a> {
    /// The content type: 21 alert, 22 handshake, 23 application data.
    pub(super) kind: u8,
    pub(super) content: &'a [u8],
}

/// The secret of all that a server protects in its handshake, from the PSK, the shared secret of the
/// key exchange, and the two Hello messages, each with its message header.
pub(super) fn server_secret(
    suite: &Tls13CipherSuite,
    psk: &[u8],
    shared: &[u8],
    client_hello: &[u8],
    server_hello: &[u8],
) -> OkmBlock {
    let hkdf = suite.hkdf_provider;
    let hash = suite.common.hash_provider;
    let early = hkdf.extract_from_secret(None, psk);
    let derived = derive_secret(&*early, b"derived", hash.hash(b"").as_ref());
    let handshake = hkdf.extract_from_secret(Some(derived.as_ref()), shared);
    let mut transcript = hash.start();
    transcript.update(client_hello);
    transcript.update(server_hello);
    let transcript = transcript.finish();
    derive_secret(&*handshake, b"s hs traffic", transcript.as_ref())
}

/// The AEAD of a suite.
pub(super) fn aead(suite: &Tls13CipherSuite) -> Option<&'static Algorithm> {
    match suite.common.suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(&AES_128_GCM),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(&AES_256_GCM),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(&CHACHA20_POLY1305),
        _ => None,
    }
}

impl Opener {
    /// With the server's secret. RFC 9846 §7.3
    pub(super) fn new(suite: &Tls13CipherSuite, secret: &OkmBlock) -> Option<Self> {
        let algorithm = aead(suite)?;
        let expander = suite.hkdf_provider.expander_for_okm(secret);
        let mut key = vec![0; algorithm.key_len()];
        expand_label(&*expander, b"key", &[], &mut key)?;
        let mut iv = [0; NONCE_LEN];
        expand_label(&*expander, b"iv", &[], &mut iv)?;
        Some(Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, &key).ok()?),
            iv: Iv::new(iv),
            sequence: 0,
        })
    }

    /// Opens the next record's body in place. `None` if it is not what the server sent next.
    pub(super) fn open<'a>(&mut self, body: &'a mut [u8]) -> Option<Inner<'a>> {
        let nonce = cipher::Nonce::new(&self.iv, self.sequence).0;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(make_tls13_aad(body.len()));
        let plain = self.key.open_in_place(nonce, aad, body).ok()?;
        self.sequence += 1;
        // The type is the last byte that is not padding. RFC 9846 §5.4
        let end = plain.iter().rposition(|byte| *byte != 0)?;
        let (content, rest) = plain.split_at_checked(end)?;
        Some(Inner {
            kind: *rest.first()?,
            content,
        })
    }
}

/// Derive-Secret, of a transcript that is hashed already.
pub(super) fn derive_secret(from: &dyn HkdfExpander, label: &[u8], transcript: &[u8]) -> OkmBlock {
    let length = from.hash_len();
    info(label, transcript, length, |info| from.expand_block(info))
}

/// HKDF-Expand-Label.
pub(super) fn expand_label(
    from: &dyn HkdfExpander,
    label: &[u8],
    context: &[u8],
    output: &mut [u8],
) -> Option<()> {
    let length = output.len();
    info(label, context, length, |info| {
        from.expand_slice(info, output)
    })
    .ok()
}

/// HkdfLabel. All labels and contexts here are short, and so are all outputs.
fn info<T>(label: &[u8], context: &[u8], length: usize, expand: impl FnOnce(&[&[u8]]) -> T) -> T {
    const PREFIX: &[u8] = b"tls13 ";
    expand(&[
        &(length as u16).to_be_bytes(),
        &[(PREFIX.len() + label.len()) as u8],
        PREFIX,
        label,
        &[context.len() as u8],
        context,
    ])
}

#[cfg(test)]
mod tests;
