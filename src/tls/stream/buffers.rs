//! Per-thread buffers: a connection owns large memory only while bytes are under way.

use std::cell::RefCell;

use crate::body::PIECE;
use rustls::unbuffered::{EncodeError, EncodeTlsData, EncryptError, WriteTraffic};

/// Room for what one read takes from the socket, behind what was held from before: seven records of
/// TLS 1.3. What they carry is passed on in two packets; that of eight would take three.
pub(super) const READ: usize = 7 * (16 * 1024 + 22);

/// A write buffer: two pieces of a body, with room for a head, a flight, tickets and a KeyUpdate beside.
const WRITE: usize = 2 * PIECE + 4 * 1024 + START;

/// Where a write buffer is begun. A processor takes a load for a load of what was just stored if
/// the two addresses differ by whole pages and little more, and waits: copying from the start of
/// one page-aligned buffer to the start of another takes twice the time.
const START: usize = PAGE / 2;

const PAGE: usize = 4096;

/// Where rustls puts plaintext to encrypt it: behind the header, in a buffer that allocators align
/// to a page.
const HEADER: usize = 5;

/// What a KeyUpdate reply or an alert may need beyond the bytes that rustls asks for.
const SLACK: usize = 1024;

/// Write buffers kept per thread for the next connection that encrypts.
const KEPT: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
    static WRITERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static GATHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's read buffer. A nested call, which does not happen on any path of ours, gets
/// a buffer of its own.
pub(super) fn with_scratch<T>(size: usize, f: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut buffer) if buffer.len() >= size => f(&mut buffer),
        _ => f(&mut vec![0; size]),
    })
}

/// Lends a buffer to gather small pieces into one record.
pub(super) fn with_gather<T>(f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    GATHER.with(|gather| match gather.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            f(&mut buffer)
        }
        Err(_) => f(&mut Vec::new()),
    })
}

/// Ciphertext on its way to the socket. Holds memory from the first byte to the flush.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Option<Box<[u8]>>,
    filled: usize,
    sent: usize,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.filled == self.sent
    }

    pub(super) fn unsent(&self) -> &[u8] {
        self.bytes
            .as_deref()
            .and_then(|bytes| bytes.get(self.sent..self.filled))
            .unwrap_or_default()
    }

    /// How much plaintext certainly fits now.
    pub(super) fn room(&self) -> usize {
        // 22 bytes a record in TLS 1.3, 29 in TLS 1.2: one per 16 KiB begun, and one `ahead` of each
        // piece.
        (WRITE - SLACK).saturating_sub(self.filled.max(START) + 32 * 12)
    }

    pub(super) fn advance(&mut self, sent: usize) {
        self.sent = (self.sent + sent).min(self.filled);
        if self.sent == self.filled {
            self.release();
        }
    }

    /// Forgets everything and gives the buffer back.
    pub(super) fn release(&mut self) {
        self.filled = 0;
        self.sent = 0;
        if let Some(bytes) = self.bytes.take()
            && bytes.len() == WRITE
        {
            WRITERS.with(|kept| {
                if let Ok(mut kept) = kept.try_borrow_mut()
                    && kept.len() < KEPT
                {
                    kept.push(bytes);
                }
            });
        }
    }

    fn spare(&mut self) -> &mut [u8] {
        let bytes = self.bytes.get_or_insert_with(|| {
            self.filled = START;
            self.sent = START;
            WRITERS
                .with(|kept| kept.try_borrow_mut().ok().and_then(|mut kept| kept.pop()))
                .unwrap_or_else(|| vec![0; WRITE].into_boxed_slice())
        });
        &mut bytes[self.filled..]
    }

    fn grow(&mut self, required: usize) {
        let wanted = self.filled + required + SLACK;
        let mut bytes = vec![0; wanted.max(WRITE)].into_boxed_slice();
        bytes[..self.filled].copy_from_slice(
            self.bytes
                .as_deref()
                .and_then(|bytes| bytes.get(..self.filled))
                .unwrap_or_default(),
        );
        self.bytes = Some(bytes);
    }

    /// Takes one handshake record; returns its first byte (the content type), its length and, for
    /// an alert in the clear, its description.
    pub(super) fn encode<Data>(&mut self, record: &mut EncodeTlsData<'_, Data>) -> Encoded {
        loop {
            match record.encode(self.spare()) {
                Ok(length) => {
                    let start = self.filled;
                    self.filled += length;
                    let bytes = self.bytes.as_deref().unwrap_or_default();
                    let alert = (length == 7 && bytes.get(start) == Some(&21))
                        .then(|| bytes.get(start + 6).copied())
                        .flatten();
                    return Encoded { length, alert };
                }
                Err(EncodeError::InsufficientSize(size)) => self.grow(size.required_size),
                Err(EncodeError::AlreadyEncoded) => {
                    return Encoded {
                        length: 0,
                        alert: None,
                    };
                }
            }
        }
    }

    /// Encrypts `plaintext`, whole.
    pub(super) fn encrypt<Data>(
        &mut self,
        traffic: &mut WriteTraffic<'_, Data>,
        plaintext: &[u8],
    ) -> Result<(), rustls::Error> {
        self.put(|spare| traffic.encrypt(plaintext, spare))
    }

    /// Encrypts a close_notify.
    pub(super) fn close_notify<Data>(
        &mut self,
        traffic: &mut WriteTraffic<'_, Data>,
    ) -> Result<(), rustls::Error> {
        self.put(|spare| traffic.queue_close_notify(spare))
    }

    /// Appends bytes that need no encryption: an alert before there is an engine.
    pub(super) fn plain(&mut self, bytes: &[u8]) {
        if self.spare().len() < bytes.len() {
            self.grow(bytes.len());
        }
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    fn put(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        loop {
            match write(self.spare()) {
                Ok(length) => {
                    self.filled += length;
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(size)) => self.grow(size.required_size),
                Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
            }
        }
    }
}

/// How much of a large piece is to be a record of its own, so that rustls copies the rest from where
/// it is fast (see [`START`]): nothing, unless the piece begins where the copy does.
pub(super) fn ahead(piece: &[u8]) -> usize {
    let at = piece.as_ptr().addr() % PAGE;
    let behind = (HEADER + PAGE - at) % PAGE;
    if piece.len() > 4 * PAGE && behind > 0 && behind < PAGE / 4 {
        (PAGE / 2 + PAGE - at) % PAGE
    } else {
        0
    }
}

/// What [`Outgoing::encode`] took.
pub(super) struct Encoded {
    pub(super) length: usize,
    pub(super) alert: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_begins_where_rustls_copies_to_is_begun_with_a_short_record() {
        const LARGE: usize = 64 * 1024;
        let memory = vec![0; LARGE + 2 * PAGE];
        let page = memory.as_ptr().align_offset(PAGE);
        let at = |offset: usize| &memory[page + offset..page + offset + LARGE];
        for offset in [0, 1, 4, PAGE - 1, PAGE - 500] {
            let first = ahead(at(offset));
            assert!(first > 0 && first < 2 * PAGE, "{first} at {offset}");
            assert_eq!((offset + first) % PAGE, START, "at {offset}");
        }
        for offset in [HEADER, 6, 500, START, PAGE - 2000] {
            assert_eq!(ahead(at(offset)), 0, "at {offset}");
        }
        assert_eq!(ahead(&at(0)[..4 * PAGE]), 0, "a record is not worth it");
    }
}
