//! CRC-32C (Castagnoli), which a header of version 2 may carry.

/// The polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut remainder = index as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (POLYNOMIAL * (remainder & 1));
            bit += 1;
        }
        table[index] = remainder;
        index += 1;
    }
    table
};

/// The checksum of some bytes.
pub(super) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |sum: u32, byte: u8| {
        let [low, ..] = sum.to_le_bytes();
        // An index of one byte is always in the table.
        let entry = TABLE.get(usize::from(low ^ byte)).copied();
        (sum >> 8) ^ entry.unwrap_or(0)
    };
    !bytes.fold(u32::MAX, step)
}
