//! Field sections as they come.

use std::sync::LazyLock;

use http::HeaderName;

use super::fields::FIELDS;
use super::{huffman, integer};

/// A field section that cannot be decoded: the connection ends with QPACK_DECOMPRESSION_FAILED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// How much room there is for a string without an allocation: few are longer.
const FEW: usize = 256;

/// The name of a field.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// As it came.
    pub text: &'a [u8],
    /// Of which entry of the static table it is.
    entry: Option<usize>,
}

impl Name<'_> {
    /// The same without any parsing, if it is one of the static table, as most are. No pseudo-header.
    pub fn known(self) -> Option<&'static HeaderName> {
        KNOWN.get(self.entry?)?.as_ref()
    }
}

/// By entry of the static table.
static KNOWN: LazyLock<[Option<HeaderName>; FIELDS.len()]> = LazyLock::new(|| {
    FIELDS.map(|(name, _)| (!name.starts_with(':')).then(|| HeaderName::from_static(name)))
});

/// Decodes a field section (RFC 9204 §4.5): `field` gets each name and value, and whether they must
/// not be put into a table by anybody on their way (§7.1.3), and may end it.
///
/// # Errors
/// [`Failed`], or what `field` ends it with.
pub fn decode<E: From<Failed>>(
    section: &[u8],
    mut field: impl FnMut(Name<'_>, &[u8], bool) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = section;
    // Required Insert Count: we have no table that anything could be inserted into.
    if integer::decode(&mut rest, 8) != Some(0) {
        return Err(Failed.into());
    }
    // Base: with no insertions it cannot be below 0 (RFC 9204 §4.5.1.2).
    let negative = rest.first().is_some_and(|byte| byte & 0x80 != 0);
    if negative || integer::decode(&mut rest, 7).is_none() {
        return Err(Failed.into());
    }
    let mut name = Room::new();
    let mut value = Room::new();
    while let Some(&first) = rest.first() {
        match first {
            // Indexed, static.
            0b1100_0000.. => {
                let (name, value) = entry(integer::decode(&mut rest, 6))?;
                field(name, value.as_bytes(), false)?;
            }
            // Literal with the name of a static entry.
            0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
                let (name, _) = entry(integer::decode(&mut rest, 4))?;
                let value = string(&mut rest, 7, &mut value).ok_or(Failed)?;
                field(name, value, first & 0b0010_0000 != 0)?;
            }
            // Literal.
            0b0010_0000..=0b0011_1111 => {
                let name = Name {
                    text: string(&mut rest, 3, &mut name).ok_or(Failed)?,
                    entry: None,
                };
                let value = string(&mut rest, 7, &mut value).ok_or(Failed)?;
                field(name, value, first & 0b0001_0000 != 0)?;
            }
            // All else speaks of a dynamic table.
            _ => return Err(Failed.into()),
        }
    }
    Ok(())
}

fn entry(index: Option<usize>) -> Result<(Name<'static>, &'static str), Failed> {
    let index = index.ok_or(Failed)?;
    let (name, value) = FIELDS.get(index).ok_or(Failed)?;
    let name = Name {
        text: name.as_bytes(),
        entry: Some(index),
    };
    Ok((name, value))
}

/// Where a string is decoded.
struct Room {
    few: [u8; FEW],
    many: Vec<u8>,
}

impl Room {
    fn new() -> Self {
        Self {
            few: [0; FEW],
            many: Vec::new(),
        }
    }

    fn of(&mut self, length: usize) -> &mut [u8] {
        if length <= FEW {
            return &mut self.few;
        }
        if self.many.len() < length {
            self.many.resize(length, 0);
        }
        &mut self.many
    }
}

/// A string whose length has a prefix of `bits` under a flag that tells of Huffman coding. `room`
/// holds it if it is decoded: its shortest codes have five bits, so it is less than twice as long
/// as what came.
fn string<'r, 'i: 'r>(input: &mut &'i [u8], bits: u8, room: &'r mut Room) -> Option<&'r [u8]> {
    let coded = input.first()? >> bits & 1 == 1;
    let length = integer::decode(input, bits)?;
    let (own, rest) = input.split_at_checked(length)?;
    *input = rest;
    if !coded {
        return Some(own);
    }
    let room = room.of(own.len() * 2);
    let length = huffman::decode(own, room)?;
    room.get(..length)
}
