//! The Huffman code of field names and values (RFC 7541, appendix B).
//!
//! It is canonical: the codes of one length follow each other in the order of what they stand for,
//! and those of the next length go on from there. So the lengths are all of it.

/// The length of each byte's code, in bits.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The longest code. The one of 30 ones means the end and is never sent.
const LONGEST: usize = 30;

/// How many bits the table of short codes is asked with.
const SHORT: u32 = 10;

struct Table {
    /// The code of each byte.
    codes: [u32; 256],
    /// The bytes in the order of their codes.
    bytes: [u8; 256],
    /// For each length, its first code and the place of that code's byte.
    first: [(u32, u16); LONGEST + 1],
    /// For each length, how many codes it has.
    count: [u16; LONGEST + 1],
    /// By the next [`SHORT`] bits: a byte and the length of its code, 0 if that is longer.
    short: [(u8, u8); 1 << SHORT],
}

static TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table {
        codes: [0; 256],
        bytes: [0; 256],
        first: [(0, 0); LONGEST + 1],
        count: [0; LONGEST + 1],
        short: [(0, 0); 1 << SHORT],
    };
    let mut code = 0u32;
    let mut place = 0u16;
    let mut length = 1;
    while length <= LONGEST {
        code <<= 1;
        table.first[length] = (code, place);
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                table.codes[byte] = code;
                table.bytes[place as usize] = byte as u8;
                if length <= SHORT as usize {
                    let free = SHORT - length as u32;
                    let mut low = 0;
                    while low < 1 << free {
                        let index = (code << free | low) as usize;
                        table.short[index] = (byte as u8, length as u8);
                        low += 1;
                    }
                }
                table.count[length] += 1;
                code += 1;
                place += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    table
}

/// Decodes `input` into `out` and tells how many bytes it makes. `None` if it is no code, or too long.
pub(super) fn decode(input: &[u8], out: &mut [u8]) -> Option<usize> {
    let room = out.len();
    let mut out = out.iter_mut();
    // The bits that are left, at the top.
    let mut bits = 0u64;
    let mut have = 0u32;
    let (words, rest) = input.as_chunks();
    for word in words {
        bits |= u64::from(u32::from_be_bytes(*word)) << (32 - have);
        have += 32;
        // With as many bits as the longest code has, the next one is there as a whole.
        while have >= LONGEST as u32 {
            let (byte, length) = next(bits)?;
            *out.next()? = byte;
            bits <<= length;
            have -= length;
        }
    }
    for byte in rest {
        bits |= u64::from(*byte) << (56 - have);
        have += 8;
    }
    loop {
        match next(bits) {
            Some((byte, length)) if length <= have => {
                *out.next()? = byte;
                bits <<= length;
                have -= length;
            }
            // RFC 7541 §5.2: what is left is the beginning of the end's code, of less than a byte.
            _ => return is_padding(bits, have).then_some(room - out.len()),
        }
    }
}

/// The byte whose code comes next, and how many bits that has.
fn next(bits: u64) -> Option<(u8, u32)> {
    match TABLE.short.get((bits >> (64 - SHORT)) as usize) {
        Some(&(byte, length)) if length > 0 => Some((byte, u32::from(length))),
        _ => long(bits),
    }
}

/// A code longer than [`SHORT`].
fn long(bits: u64) -> Option<(u8, u32)> {
    for length in SHORT as usize + 1..=LONGEST {
        let code = (bits >> (64 - length)) as u32;
        let (first, place) = *TABLE.first.get(length)?;
        let nth = code.checked_sub(first)?;
        if nth < u32::from(*TABLE.count.get(length)?) {
            let byte = TABLE.bytes.get(usize::from(place) + nth as usize)?;
            return Some((*byte, length as u32));
        }
    }
    None
}

fn is_padding(bits: u64, have: u32) -> bool {
    have < 8 && (have == 0 || bits >> (64 - have) == (1 << have) - 1)
}

/// How many bytes `input` takes in this code.
pub(super) fn encoded_length(input: &[u8]) -> usize {
    let bits: usize = input
        .iter()
        .map(|byte| usize::from(LENGTHS[usize::from(*byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends `input` in this code.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    let mut bits = 0u64;
    let mut have = 0u32;
    for byte in input {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(TABLE.codes[usize::from(*byte)]);
        have += length;
        // Below 32 there is room for the longest code.
        if have >= 32 {
            have -= 32;
            out.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    while have >= 8 {
        have -= 8;
        out.push((bits >> have) as u8);
    }
    if have > 0 {
        // RFC 7541 §5.2: filled up with ones.
        let free = 8 - have;
        out.push((bits << free) as u8 | ((1u16 << free) - 1) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_come_out() {
        // RFC 7541, appendix C.4.
        for (plain, coded) in [
            (&b"www.example.com"[..], "f1e3c2e5f23a6ba0ab90f4ff"),
            (b"no-cache", "a8eb10649cbf"),
            (b"custom-value", "25a849e95bb8e8b4bf"),
        ] {
            let mut out = Vec::new();
            encode(plain, &mut out);
            let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, coded);
            assert_eq!(out.len(), encoded_length(plain));
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for end in 0..all.len() {
            let mut coded = Vec::new();
            encode(&all[..end], &mut coded);
            let mut plain = vec![0; end];
            assert_eq!(decode(&coded, &mut plain), Some(end));
            assert_eq!(plain, all[..end]);
            if let Some((_, less)) = plain.split_first_mut() {
                assert_eq!(decode(&coded, less), None);
            }
        }
    }

    #[test]
    fn wrong_padding_and_the_end_are_refused() {
        // `0` is 00000; then zeros, a whole byte of ones, the code that means the end.
        for coded in [&[0b0000_0000][..], &[0b0000_0111, 0xff], &[0xff; 4]] {
            assert_eq!(decode(coded, &mut [0; 100]), None, "{coded:x?}");
        }
        assert_eq!(decode(&[0b0000_0111], &mut []), None);
        assert_eq!(decode(&[0b0000_0111], &mut [0]), Some(1));
    }

    #[test]
    fn each_padding_is_right_only_with_all_of_its_ones() {
        // `0` has five bits: so many of them leave each number of bits free.
        for count in 1..=40usize {
            let mut coded = Vec::new();
            encode(&vec![b'0'; count], &mut coded);
            assert_eq!(decode(&coded, &mut [0; 64]), Some(count));
            let free = coded.len() * 8 - count * 5;
            for bit in 0..free {
                let mut wrong = coded.clone();
                *wrong.last_mut().unwrap() ^= 1 << bit;
                // Five bits with a zero may be a byte of their own, with the right padding behind it.
                let found = decode(&wrong, &mut [0; 64]);
                assert!(found.is_none_or(|made| made == count + 1), "{count} {bit}");
                assert!(free >= 5 || found.is_none(), "{count} {bit}");
            }
            coded.push(0xff);
            assert_eq!(decode(&coded, &mut [0; 64]), None, "{count}");
        }
    }
}
