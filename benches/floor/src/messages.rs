//! The least that a proxy must know of the messages it passes on: where a head ends, which of its
//! fields are for this hop, how much content follows. Chunks are not understood.

use memchr::memmem;

use crate::requests::{MOST, begins, length};

/// What a gateway adds to each head (RFC 9110 §7.6.3).
const VIA: &[u8] = b"via: 1.1 floor\r\n\r\n";

/// The messages of one direction.
#[derive(Debug, Default)]
pub struct Messages {
    /// Of a head that is not whole.
    held: Vec<u8>,
    /// Bytes of content that are still to come.
    content: usize,
}

impl Messages {
    /// Whether so many bytes are content, to be passed on as they are; they are taken for passed.
    pub fn are_content(&mut self, count: usize) -> bool {
        let all = count <= self.content;
        if all {
            self.content -= count;
        }
        all
    }

    /// Writes to `to` what is to be passed on of a piece. False if a head grows beyond 16 KiB.
    pub fn pass(&mut self, piece: &[u8], to: &mut Vec<u8>) -> bool {
        if self.held.is_empty() {
            let used = self.read(piece, to);
            self.held
                .extend_from_slice(piece.get(used..).unwrap_or_default());
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(piece);
            let used = self.read(&held, to);
            held.drain(..used);
            self.held = held;
        }
        self.held.len() <= MOST
    }

    fn read(&mut self, bytes: &[u8], to: &mut Vec<u8>) -> usize {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let content = self.content.min(rest.len());
            to.extend_from_slice(rest.get(..content).unwrap_or_default());
            self.content -= content;
            used += content;
            let rest = rest.get(content..).unwrap_or_default();
            let Some(end) = memmem::find(rest, b"\r\n\r\n") else {
                return used;
            };
            self.head(rest.get(..end + 2).unwrap_or_default(), to);
            used += end + 4;
        }
    }

    /// Passes a head on, with the empty line that it comes without.
    fn head(&mut self, head: &[u8], to: &mut Vec<u8>) {
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            if !begins(line, b"connection:") {
                to.extend_from_slice(line);
            }
            self.content = length(line).unwrap_or(self.content);
        }
        to.extend_from_slice(VIA);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 6\r\nConnection: close\r\n\r\nab\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    const PASSED: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 6\r\nvia: 1.1 floor\r\n\r\nab\r\n\r\nGET / HTTP/1.1\r\nvia: 1.1 floor\r\n\r\n";

    #[test]
    fn messages_are_passed_on_however_they_are_cut() {
        for at in 0..BOTH.len() {
            let (front, back) = BOTH.split_at(at);
            let mut messages = Messages::default();
            let mut passed = Vec::new();
            assert!(messages.pass(front, &mut passed) && messages.pass(back, &mut passed));
            assert_eq!(passed, PASSED, "cut at {at}");
        }
    }

    #[test]
    fn content_alone_is_told_from_what_follows_it() {
        let mut messages = Messages::default();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert!(messages.pass(head, &mut Vec::new()));
        assert!(messages.are_content(3));
        assert!(!messages.are_content(3));
        assert!(messages.are_content(2));
        assert!(!messages.are_content(1));
    }

    #[test]
    fn a_head_without_end_is_refused() {
        assert!(!Messages::default().pass(&[b'a'; MOST + 1], &mut Vec::new()));
    }
}
