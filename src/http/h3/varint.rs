//! Integers of variable length (RFC 9000 §16).

/// The largest.
pub const MAX: u64 = (1 << 62) - 1;

/// Appends `value`, which is at most [`MAX`], in as few bytes as it takes.
pub fn encode(value: u64, out: &mut Vec<u8>) {
    match value {
        0..=0x3f => out.push(value as u8),
        0x40..=0x3fff => out.extend_from_slice(&(0x4000 | value as u16).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(0x8000_0000 | value as u32).to_be_bytes()),
        _ => out.extend_from_slice(&(0xc000_0000_0000_0000 | value).to_be_bytes()),
    }
}

/// Takes one from the front of `bytes`; `None` if it is cut short.
pub fn decode(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let length = 1usize << (first >> 6);
    let (own, rest) = bytes.split_at_checked(length)?;
    let mut value = u64::from(first & 0x3f);
    for byte in own.iter().skip(1) {
        value = value << 8 | u64::from(*byte);
    }
    *bytes = rest;
    Some(value)
}

/// One that comes in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefix {
    bytes: [u8; 8],
    have: usize,
}

impl Prefix {
    /// Takes bytes from the front of `input` until it is whole.
    pub fn take(&mut self, input: &mut bytes::Bytes) -> Option<u64> {
        use bytes::Buf;
        while input.has_remaining() {
            let byte = input.get_u8();
            if let Some(place) = self.bytes.get_mut(self.have) {
                *place = byte;
                self.have += 1;
            }
            if self.have == 1usize << (self.bytes[0] >> 6) {
                let value = decode(&mut self.bytes.get(..self.have).unwrap_or_default());
                *self = Self::default();
                return value;
            }
        }
        None
    }

    /// Whether a part of one is there.
    pub fn is_partial(&self) -> bool {
        self.have > 0
    }
}
