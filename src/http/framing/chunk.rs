//! The chunk-size line (RFC 9112 §7.1).

use super::Reason;
use super::head::{has_control, trim};

/// Digits of a size: 16 fill a u64.
const DIGITS: usize = 16;
/// Extension bytes of one chunk, from the semicolon (or the white space before it) on.
const EXTENSION: usize = 256;
/// Bytes of a whole line: size, extension and CRLF.
pub(super) const LINE: usize = DIGITS + EXTENSION + 2;
/// Extension bytes of a whole message. Extensions carry nothing anyone needs; a flood of them costs.
pub(super) const EXTENSIONS: usize = 4 * 1024;

/// The size a line (without CRLF) gives, and the length of its extension.
pub(super) fn size(line: &[u8]) -> Result<(u64, usize), Reason> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > DIGITS {
        return Err(Reason::Chunk);
    }
    let (number, extension) = line.split_at_checked(digits).ok_or(Reason::Chunk)?;
    let size = number.iter().fold(0u64, |size, &digit| {
        size << 4 | u64::from((digit as char).to_digit(16).unwrap_or(0))
    });
    // Nothing, or white space (bad, yet to be parsed by §7.1.1) and a semicolon. No control character
    // and no 8-bit byte: somebody behind us may take one for the end of the line.
    if !extension.is_empty() {
        let fine = trim(extension).first() == Some(&b';')
            && extension.len() <= EXTENSION
            && extension.is_ascii()
            && !has_control(extension);
        if !fine {
            return Err(Reason::Chunk);
        }
    }
    Ok((size, extension.len()))
}
