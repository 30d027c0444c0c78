//! Field sections as they go.

use super::fields::named;
use super::{huffman, integer};
use crate::http::h3::headers;

/// What the head of a frame takes: its type, and a length of two bytes.
const FRAME: usize = 3;

/// The longest section whose length two bytes can tell, and how they begin (RFC 9000 §16).
const SHORT: usize = (1 << 14) - 1;
const LENGTH_OF_TWO: u16 = 0x4000;

/// The type of the frame, in one byte.
const HEADERS: u8 = 0x1;

/// Writes one field section (RFC 9204 §4.5), behind room for the head of its frame.
#[derive(Debug)]
pub struct Encoder(Vec<u8>);

impl Default for Encoder {
    fn default() -> Self {
        // Most sections take no more than this, and a little content fits behind them.
        let mut section = Vec::with_capacity(256);
        section.extend_from_slice(&[0; FRAME]);
        // Required Insert Count and Base: no table is used.
        section.extend_from_slice(&[0, 0]);
        Self(section)
    }
}

impl Encoder {
    /// Appends a field. A `sensitive` one is never put into a table by anybody on its way.
    pub fn field(&mut self, name: &str, value: &[u8], sensitive: bool) {
        let mut alike = named(name);
        let Some((first, known)) = alike.next() else {
            let flags = if sensitive { 0b0011_0000 } else { 0b0010_0000 };
            self.string(flags, 3, name.as_bytes());
            self.string(0, 7, value);
            return;
        };
        let mut all = std::iter::once((first, known)).chain(alike);
        if !sensitive && let Some((index, _)) = all.find(|(_, known)| known.as_bytes() == value) {
            integer::encode(0b1100_0000, 6, index, &mut self.0);
            return;
        }
        let flags = if sensitive { 0b0111_0000 } else { 0b0101_0000 };
        integer::encode(flags, 4, first, &mut self.0);
        self.string(0, 7, value);
    }

    /// Appends what [`line`] has made.
    pub fn line(&mut self, line: &[u8]) {
        self.0.extend_from_slice(line);
    }

    /// The section.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.split_off(FRAME)
    }

    /// The section as a HEADERS frame (RFC 9114 §7.2.2).
    pub fn frame(mut self) -> Vec<u8> {
        let length = self.0.len() - FRAME;
        if length > SHORT {
            return headers(&self.finish());
        }
        if length < 1 << 6 {
            // One byte tells it.
            self.0.remove(0);
            self.0[..2].copy_from_slice(&[HEADERS, length as u8]);
        } else {
            let [high, low] = (LENGTH_OF_TWO | length as u16).to_be_bytes();
            self.0[..FRAME].copy_from_slice(&[HEADERS, high, low]);
        }
        self.0
    }

    fn string(&mut self, flags: u8, bits: u8, text: &[u8]) {
        let coded = huffman::encoded_length(text);
        if coded < text.len() {
            integer::encode(flags | 1 << bits, bits, coded, &mut self.0);
            huffman::encode(text, &mut self.0);
        } else {
            integer::encode(flags, bits, text.len(), &mut self.0);
            self.0.extend_from_slice(text);
        }
    }
}

/// A field that is appended to many sections.
pub fn line(name: &str, value: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder(Vec::new());
    encoder.field(name, value, false);
    encoder.0
}
