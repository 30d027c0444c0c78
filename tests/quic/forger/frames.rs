//! Frames (RFC 9000 §19), as they are sent and as they come.

use std::collections::{BTreeMap, BTreeSet};

pub const PING: &[u8] = &[1];

/// What CONNECTION_CLOSE says that is not the application's, with one of the codes of RFC 9000 §20.1.
pub fn by_transport(code: u64) -> (u64, bool) {
    (code, false)
}

/// Of RFC 9000 §20.1.
pub const INTERNAL_ERROR: u64 = 0x1;

/// An integer of variable length (RFC 9000 §16).
pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![value as u8],
        0x40..=0x3fff => (0x4000 | value as u16).to_be_bytes().to_vec(),
        0x4000..=0x3fff_ffff => (0x8000_0000 | value as u32).to_be_bytes().to_vec(),
        _ => (0xc000_0000_0000_0000 | value).to_be_bytes().to_vec(),
    }
}

pub fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (own, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let value = own[1..].iter();
    Some(value.fold(u64::from(first & 0x3f), |value, byte| {
        value << 8 | u64::from(*byte)
    }))
}

/// A CRYPTO frame.
pub fn crypto(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let head = [vec![6], varint(offset), varint(bytes.len() as u64)].concat();
    [&head, bytes].concat()
}

/// A STREAM frame that is all of its stream.
pub fn whole(id: u64, bytes: &[u8]) -> Vec<u8> {
    let head = [vec![0x0b], varint(id), varint(bytes.len() as u64)].concat();
    [&head, bytes].concat()
}

/// A STREAM frame that does not end its stream.
pub fn stream(id: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let head = [vec![0x0e], varint(id), varint(offset)].concat();
    [&head, &varint(bytes.len() as u64)[..], bytes].concat()
}

/// An ACK of one packet.
pub fn ack(number: u64) -> Vec<u8> {
    [vec![2], varint(number), vec![0, 0, 0]].concat()
}

/// An id that the server has given out.
#[derive(Clone, Debug)]
pub struct Id {
    pub id: Vec<u8>,
    pub reset: Vec<u8>,
}

/// An ACK of all these packets, of which there is one at least.
pub fn acks(numbers: &BTreeSet<u64>) -> Vec<u8> {
    // From the newest down, the first and the last of each range.
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers.iter().rev() {
        match ranges.last_mut() {
            Some((first, _)) if *first == number + 1 => *first = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let (mut first, newest) = ranges[0];
    let count = ranges.len() as u64 - 1;
    let mut frame = [vec![2], varint(newest), vec![0], varint(count)].concat();
    frame.extend(varint(newest - first));
    for (start, end) in &ranges[1..] {
        frame.extend([varint(first - end - 2), varint(end - start)].concat());
        first = *start;
    }
    frame
}

/// What came of a server.
#[derive(Debug, Default)]
pub struct Got {
    pub bytes: usize,
    /// By type.
    pub frames: BTreeMap<u64, usize>,
    /// By their number.
    pub ids: BTreeMap<u64, Id>,
    /// The most streams that MAX_STREAMS allows, by the type of the frame.
    pub allowed: BTreeMap<u64, u64>,
    /// What came of each stream, as it came.
    pub streams: BTreeMap<u64, Vec<u8>>,
    /// The code of CONNECTION_CLOSE, and whether the application closed.
    pub close: Option<(u64, bool)>,
}

impl Got {
    /// Frames of this type.
    pub fn count(&self, kind: u64) -> usize {
        self.frames.get(&kind).copied().unwrap_or_default()
    }

    /// Reads the frames of a packet; gives what CRYPTO frames say, where.
    pub fn read(&mut self, payload: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut crypto = Vec::new();
        let mut rest = payload;
        while !rest.is_empty() {
            self.frame(&mut rest, &mut crypto)
                .unwrap_or_else(|| panic!("no frame: {rest:x?}"));
        }
        crypto
    }

    fn frame(&mut self, rest: &mut &[u8], crypto: &mut Vec<(u64, Vec<u8>)>) -> Option<()> {
        let kind = read_varint(rest)?;
        *self.frames.entry(kind).or_default() += 1;
        match kind {
            // PADDING, PING, HANDSHAKE_DONE.
            0x0 | 0x1 | 0x1e => {}
            // ACK.
            0x2 | 0x3 => {
                numbers(rest, 2)?;
                let ranges = read_varint(rest)?;
                let counts = if kind == 3 { 3 } else { 0 };
                numbers(rest, 1 + 2 * ranges as usize + counts)?;
            }
            // RESET_STREAM, STOP_SENDING.
            0x4 => numbers(rest, 3)?,
            0x5 => numbers(rest, 2)?,
            0x6 => {
                let offset = read_varint(rest)?;
                crypto.push((offset, bytes(rest)?.to_vec()));
            }
            // NEW_TOKEN.
            0x7 => drop(bytes(rest)?),
            0x8..=0xf => {
                let id = read_varint(rest)?;
                if kind & 4 != 0 {
                    read_varint(rest)?;
                }
                let content = match kind & 2 {
                    0 => std::mem::take(rest),
                    _ => bytes(rest)?,
                };
                self.streams.entry(id).or_default().extend(content);
            }
            // MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS, and the like of being blocked.
            0x10 | 0x14 | 0x16 | 0x17 | 0x19 => numbers(rest, 1)?,
            0x12 | 0x13 => {
                let count = read_varint(rest)?;
                let allowed = self.allowed.entry(kind).or_default();
                *allowed = count.max(*allowed);
            }
            0x11 | 0x15 => numbers(rest, 2)?,
            0x18 => {
                let sequence = read_varint(rest)?;
                read_varint(rest)?;
                let (length, after) = rest.split_first()?;
                let (id, after) = after.split_at_checked(usize::from(*length))?;
                let (reset, after) = after.split_at_checked(16)?;
                *rest = after;
                let (id, reset) = (id.to_vec(), reset.to_vec());
                self.ids.insert(sequence, Id { id, reset });
            }
            // PATH_CHALLENGE, PATH_RESPONSE.
            0x1a | 0x1b => *rest = rest.get(8..)?,
            0x1c | 0x1d => {
                let code = read_varint(rest)?;
                if kind == 0x1c {
                    read_varint(rest)?;
                }
                bytes(rest)?;
                self.close = Some((code, kind == 0x1d));
            }
            other => panic!("frame {other:#x}"),
        }
        Some(())
    }
}

fn numbers(rest: &mut &[u8], count: usize) -> Option<()> {
    for _ in 0..count {
        read_varint(rest)?;
    }
    Some(())
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = read_varint(rest)?;
    let (bytes, after) = rest.split_at_checked(length as usize)?;
    *rest = after;
    Some(bytes)
}
