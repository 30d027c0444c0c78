//! Recorded flights and the outer shape of TLS records.

/// EndOfEarlyData, and Finished with SHA-256 and SHA-384, as encrypted: a header of 4 bytes, the
/// verify data, the inner content type and a tag of 16 bytes. RFC 9846 §4.4.4, §5.2.
const FINISHED_LENGTHS: [usize; 3] = [21, 53, 69];
const HEADER: usize = 5;
const APPLICATION_DATA: u8 = 23;

/// What a client sent before it had an answer, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flight {
    /// The bytes as they came: the ClientHello and any early data. Under
    /// [`Withhold::Finished`](super::Withhold::Finished) everything before the withheld record.
    pub bytes: Vec<u8>,
    /// Nothing will be added: the server has answered or the connection has ended.
    pub whole: bool,
}

impl Flight {
    /// The TLS records in it.
    pub fn records(&self) -> Records<'_> {
        Records::of(&self.bytes)
    }
}

/// A TLS record as it stands on the wire. RFC 9846 §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// 20 change_cipher_spec, 21 alert, 22 handshake, 23 application_data.
    pub kind: u8,
    /// Where its header begins in the bytes read.
    pub at: usize,
    /// What follows the 5 bytes of header.
    pub body: &'a [u8],
}

/// The complete TLS records at the beginning of some bytes.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Reads records from the beginning of `bytes`. Ends before the first incomplete one.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes that have not been returned yet: at the end, an incomplete record.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let rest = self.rest();
        let (kind, length) = header(rest)?;
        let body = rest.get(HEADER..HEADER + length)?;
        let at = self.at;
        self.at += HEADER + length;
        Some(Record { kind, at, body })
    }
}

/// The type and length that a record header names.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let &[kind, _, _, high, low] = bytes.first_chunk::<HEADER>()?;
    Some((kind, usize::from(u16::from_be_bytes([high, low]))))
}

/// Follows a client's records until one looks like EndOfEarlyData or Finished.
#[derive(Debug, Default)]
pub(super) struct FinishedFinder {
    /// Bytes still to come of a record that passes.
    body: usize,
}

/// What [`FinishedFinder::scan`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// So many bytes pass. If nothing was found the rest, at most 4 bytes, is the beginning of a
    /// header and wants to be shown again with what follows.
    pub(super) pass: usize,
    pub(super) found: bool,
}

impl FinishedFinder {
    /// Looks at the next bytes of the stream. Not to be called again after it has found.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Scan {
        let mut pass = 0;
        let mut found = false;
        loop {
            let rest = bytes.get(pass..).unwrap_or_default();
            let step = self.body.min(rest.len());
            self.body -= step;
            pass += step;
            let Some((kind, length)) = rest.get(step..).and_then(header) else {
                break;
            };
            if kind == APPLICATION_DATA && FINISHED_LENGTHS.contains(&length) {
                found = true;
                break;
            }
            pass += HEADER;
            self.body = length;
        }
        Scan { pass, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend(length.to_be_bytes());
        bytes.resize(HEADER + usize::from(length), 0xaa);
        bytes
    }

    #[test]
    fn records_end_before_an_incomplete_one() {
        let mut bytes = record(22, 300);
        bytes.extend(record(20, 1));
        bytes.extend([23, 3, 3, 0]);
        let mut records = Records::of(&bytes);
        let kinds: Vec<_> = records.by_ref().map(|each| (each.kind, each.at)).collect();
        assert_eq!(kinds, [(22, 0), (20, 305)]);
        assert_eq!(records.rest(), [23, 3, 3, 0]);
    }

    #[test]
    fn finished_is_found_at_its_first_byte_however_the_stream_is_cut() {
        let mut bytes = record(22, 300);
        bytes.extend(record(20, 1));
        bytes.extend(record(23, 16_401));
        bytes.extend(record(22, 53));
        let expected = bytes.len();
        bytes.extend(record(23, 21));
        bytes.extend(record(23, 53));
        for size in [1, 2, 3, 4, 5, 7, 100, bytes.len()] {
            let mut finder = FinishedFinder::default();
            let mut passed = 0;
            let mut carry = Vec::new();
            let found = bytes.chunks(size).any(|piece| {
                carry.extend_from_slice(piece);
                let scan = finder.scan(&carry);
                assert!(scan.pass <= carry.len());
                assert!(scan.found || carry.len() - scan.pass < HEADER);
                passed += scan.pass;
                carry.drain(..scan.pass);
                scan.found
            });
            assert!(found, "in pieces of {size}");
            assert_eq!(passed, expected, "in pieces of {size}");
        }
    }
}
