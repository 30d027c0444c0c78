//! Integers with a prefix (RFC 7541 §5.1).

/// Takes one with a prefix of `bits` from the front of `input`, whose first byte holds flags above
/// the prefix. `None` if it is cut short or larger than any length here can be.
pub(super) fn decode(input: &mut &[u8], bits: u8) -> Option<usize> {
    let mask = (1u32 << bits) - 1;
    let (first, mut rest) = input.split_first()?;
    let mut value = u32::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            // Four bytes make 28 bits: more than any length that is taken.
            if shift > 21 {
                return None;
            }
            value += u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    usize::try_from(value).ok()
}

/// Appends `value` with a prefix of `bits` under `flags`.
pub(super) fn encode(flags: u8, bits: u8, value: usize, out: &mut Vec<u8>) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
