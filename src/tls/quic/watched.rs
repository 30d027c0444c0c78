//! Packet keys that tell what was authentic under them: quinn tells of streams, not of packets.
//! What they open they give on without its PADDING.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use prometheus::IntCounter;
use quinn_proto::crypto::{CryptoError, PacketKey};

use super::padding;

/// How many Initial packets of one connection are read, and how many of the handshake: a client needs
/// a few, a dozen where many are lost. Whoever sees an Initial packet can make more, since their keys
/// are no secret (RFC 9001 §5.2); and to each of the handshake quinn answers with new tokens.
const HANDSHAKE: u64 = 256;

/// So many packets of a handshake are signs of life: a client that has sent its flight has no more to
/// say, and one packet a second must not keep it from eviction.
const SIGNS: u64 = 3;

/// After how many packets a connection is looked at, what its client does with them.
pub const PACKETS: u64 = 128;

/// A key that asks `came` about each packet that was authentic, and its frames: one that it does not want
/// is as one that was not.
pub(super) struct Watched<F> {
    key: Box<dyn PacketKey>,
    came: F,
}

/// Counts packets up to [`HANDSHAKE`], and takes no more.
#[derive(Debug, Default)]
pub(super) struct Few(AtomicU64);

impl Few {
    /// Whether it is a sign of life. Tells `beyond` of the first that is too many.
    ///
    /// # Errors
    /// There were so many.
    pub(super) fn one_more(&self, beyond: impl FnOnce()) -> Result<bool, CryptoError> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        if number == HANDSHAKE {
            beyond();
        }
        match number {
            HANDSHAKE.. => Err(CryptoError),
            _ => Ok(number < SIGNS),
        }
    }
}

impl<F> Watched<F>
where
    F: Fn(&[u8]) -> Result<(), CryptoError> + Send + Sync + 'static,
{
    pub(super) fn boxed(key: Box<dyn PacketKey>, came: F) -> Box<dyn PacketKey> {
        Box::new(Self { key, came })
    }
}

impl<F> PacketKey for Watched<F>
where
    F: Fn(&[u8]) -> Result<(), CryptoError> + Send + Sync,
{
    fn encrypt(&self, packet: u64, buffer: &mut [u8], header: usize) {
        self.key.encrypt(packet, buffer, header);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.key.decrypt(packet, header, payload)?;
        (self.came)(payload)?;
        padding::take_off(payload);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.key.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.key.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.key.integrity_limit()
    }
}

/// A CONNECTION_CLOSE that begins so says INVALID_TOKEN (RFC 9000 §19.19, §20.1).
const INVALID_TOKEN: [u8; 2] = [0x1c, 0x0b];

/// A key for what is said to clients without a connection. quinn tells nobody that it has refused the
/// token of a Retry, so this one counts what says so.
pub(super) struct Refusing {
    pub(super) key: Box<dyn PacketKey>,
    pub(super) refused: IntCounter,
}

impl PacketKey for Refusing {
    fn encrypt(&self, packet: u64, buffer: &mut [u8], header: usize) {
        let frames = buffer.get(header..).unwrap_or_default();
        if frames.starts_with(&INVALID_TOKEN) {
            self.refused.inc();
        }
        self.key.encrypt(packet, buffer, header);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.key.decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.key.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.key.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.key.integrity_limit()
    }
}
