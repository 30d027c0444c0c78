//! Where an answer begins in the plaintext of a connection.

use crate::load::plan::Protocol;

const HEADER: usize = 9;
const HEADERS: u8 = 1;

/// Looks through plaintext for the first byte of an answer: HTTP/1.1, any; HTTP/2, a HEADERS
/// frame (a server's SETTINGS are no answer).
#[derive(Debug)]
pub(super) struct Frames {
    protocol: Protocol,
    header: Vec<u8>,
    /// Bytes of a frame's payload still to come.
    payload: usize,
}

impl Frames {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            header: Vec::new(),
            payload: 0,
        }
    }

    /// Whether an answer begins in these bytes.
    pub(super) fn answers(&mut self, mut bytes: &[u8]) -> bool {
        if self.protocol == Protocol::Http1 {
            return !bytes.is_empty();
        }
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let taken = (HEADER - self.header.len()).min(bytes.len());
            let (part, rest) = bytes.split_at(taken);
            self.header.extend_from_slice(part);
            bytes = rest;
            // RFC 9113 §4.1: length, type, flags, stream.
            if let [a, b, c, kind, ..] = *self.header.as_slice()
                && self.header.len() == HEADER
            {
                if kind == HEADERS {
                    return true;
                }
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.header.clear();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_no_answer_and_headers_are() {
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        let headers = b"\0\0\x01\x01\x05\0\0\0\x01\x88";
        let whole = [settings.as_slice(), headers].concat();
        assert!(!Frames::new(Protocol::Http2).answers(settings));
        assert!(Frames::new(Protocol::Http2).answers(&whole));
        let mut frames = Frames::new(Protocol::Http2);
        let found = whole.iter().position(|byte| frames.answers(&[*byte]));
        assert_eq!(found, Some(settings.len() + HEADER - 1));
        assert!(Frames::new(Protocol::Http1).answers(b"H"));
    }
}
