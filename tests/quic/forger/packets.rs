//! Packets (RFC 9000 §17), sealed and opened.

use rustls::Side;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Keys, Version};

use super::LEAST;
use super::frames::{read_varint, varint};

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Initial = 0,
    Handshake = 1,
    Full = 2,
    /// 0-RTT: of the client alone, and numbered together with what comes after the handshake.
    Early = 3,
}

impl Level {
    /// Which packet numbers it has (RFC 9000 §12.3).
    pub fn space(self) -> usize {
        match self {
            Self::Early => Self::Full as usize,
            other => other as usize,
        }
    }
}

/// Packet numbers are written in so many bytes.
const NUMBER: usize = 4;
/// Where the sample of header protection begins, counted from the packet number (RFC 9001 §5.4.2).
const SAMPLE: usize = 4;
const TAG: usize = 16;

/// The keys of Initial packets to this id, of a client or a server: no secret to anybody.
pub fn initial_keys(id: &[u8], side: Side) -> Keys {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let suite = suite.quic_suite().unwrap();
    suite.keys(id, side, Version::V1)
}

/// A packet between these ids; an Initial has the token, and fills its datagram. The phase is that of keys, which only
/// packets with a short header have (RFC 9001 §6).
pub fn seal(
    (level, phase): (Level, bool),
    keys: &DirectionalKeys,
    (to, from): (&[u8], &[u8]),
    token: &[u8],
    number: u64,
    frames: &[u8],
) -> Vec<u8> {
    let mut header = match level {
        Level::Initial => vec![0xc3, 0, 0, 0, 1],
        Level::Early => vec![0xd3, 0, 0, 0, 1],
        Level::Handshake => vec![0xe3, 0, 0, 0, 1],
        Level::Full => vec![0x43 | u8::from(phase) << 2],
    };
    let mut payload = frames.to_vec();
    // There is to be a sample.
    payload.resize(payload.len().max(SAMPLE), 0);
    if level == Level::Full {
        header.extend(to);
    } else {
        header.push(to.len() as u8);
        header.extend(to);
        header.push(from.len() as u8);
        header.extend(from);
        if level == Level::Initial {
            header.extend(varint(token.len() as u64));
            header.extend(token);
            let rest = header.len() + 2 + NUMBER + TAG;
            payload.resize(payload.len().max(LEAST.saturating_sub(rest)), 0);
        }
        let length = NUMBER + payload.len() + TAG;
        // Two bytes, whatever it is.
        header.extend((0x4000 | length as u16).to_be_bytes());
    }
    let start = header.len();
    header.extend((number as u32).to_be_bytes());
    let tag = keys.packet.encrypt_in_place(number, &header, &mut payload);
    let mut packet = header;
    packet.extend(payload);
    packet.extend(tag.unwrap().as_ref());
    let (head, rest) = packet.split_at_mut(start);
    let (number, rest) = rest.split_at_mut(NUMBER);
    let sample = &rest[SAMPLE - NUMBER..][..keys.header.sample_len()];
    let protected = keys.header.encrypt_in_place(sample, &mut head[0], number);
    protected.unwrap();
    packet
}

/// A packet that was opened.
pub struct Opened {
    pub level: Level,
    /// The sender's id, in a long header.
    pub source: Option<Vec<u8>>,
    pub number: u64,
    pub payload: Vec<u8>,
    /// How much of the datagram it took.
    pub length: usize,
}

/// A number of which so many bytes were sent (RFC 9000 §A.3).
fn expand(cut: u64, width: usize, expected: u64) -> u64 {
    let window = 1 << (8 * width);
    let near = (expected & !(window - 1)) | cut;
    if near + window / 2 <= expected {
        near + window
    } else if near > expected + window / 2 && near >= window {
        near - window
    } else {
        near
    }
}

/// Opens the first packet of a datagram. A short header has an id of `own` bytes, and the number that
/// is `expected` or near it. `None` if its keys are not there, or it is none of ours.
pub fn open<'k>(
    datagram: &mut [u8],
    own: usize,
    expected: u64,
    keys: impl FnOnce(Level) -> Option<&'k DirectionalKeys>,
) -> Option<Opened> {
    let first = *datagram.first()?;
    let (level, source, start, length) = if first & 0x80 == 0 {
        (Level::Full, None, 1 + own, datagram.len())
    } else {
        let level = match (first >> 4) & 3 {
            0 => Level::Initial,
            2 => Level::Handshake,
            _ => return None,
        };
        let mut rest = &datagram[5..];
        skip(&mut rest)?;
        let source = skip(&mut rest)?;
        if level == Level::Initial {
            let token = read_varint(&mut rest)?;
            rest = rest.get(token as usize..)?;
        }
        let length = read_varint(&mut rest)? as usize;
        let start = datagram.len() - rest.len();
        (level, Some(source), start, start + length)
    };
    let keys = keys(level)?;
    let packet = datagram.get_mut(..length)?;
    let (head, rest) = packet.split_at_mut(start);
    let (number, sample) = rest.split_at_mut(SAMPLE);
    let sample = sample[..keys.header.sample_len()].to_vec();
    keys.header
        .decrypt_in_place(&sample, &mut head[0], number)
        .ok()?;
    let width = usize::from(head[0] & 3) + 1;
    let value = number[..width].iter();
    let value = value.fold(0, |value, byte| value << 8 | u64::from(*byte));
    // Of the handshake few enough come that none is cut short.
    let value = match level {
        Level::Full => expand(value, width, expected),
        _ => value,
    };
    let (header, payload) = packet.split_at_mut(start + width);
    let payload = keys.packet.decrypt_in_place(value, header, payload).ok()?;
    Some(Opened {
        level,
        source,
        number: value,
        payload: payload.to_vec(),
        length,
    })
}

/// The server's new id and the token of a Retry, whose tag is not looked at (RFC 9000 §17.2.5).
pub fn retry(datagram: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (head, mut rest) = datagram.split_at_checked(5)?;
    if head[0] & 0xf0 != 0xf0 {
        return None;
    }
    skip(&mut rest)?;
    let id = skip(&mut rest)?;
    let (token, _) = rest.split_last_chunk::<TAG>()?;
    Some((id, token.to_vec()))
}

/// An id behind its length.
fn skip(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, after) = rest.split_first()?;
    let (id, after) = after.split_at_checked(usize::from(*length))?;
    *rest = after;
    Some(id.to_vec())
}
