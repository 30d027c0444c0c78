//! Joins TLS records to a ClientHello.

use bytes::Bytes;

use super::message::ClientHello;
use super::{HelloError, parse};

/// The longest ClientHello taken, in bytes of its body: what rustls takes too.
pub const MAX_HELLO_SIZE: usize = 0xffff;

/// The most records a ClientHello may come in.
///
/// Enough for a post-quantum hello in records of one byte each. A bound is needed because the
/// connection keeps every record's five bytes of header too.
pub const MAX_HELLO_RECORDS: u32 = 4096;

/// RFC 9846 §5.1: a plaintext record's content is at most 2^14 bytes.
const MAX_FRAGMENT: usize = 1 << 14;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Reads one ClientHello from the first bytes of a connection.
///
/// The connection keeps every byte it received and shows all of them at each call; the reader
/// remembers how far it has come, so a peer that dribbles single bytes causes constant work per
/// byte. Bytes after the ClientHello (early data, say) are neither looked at nor in the way.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// Where the first record that is not yet complete begins.
    at: usize,
    /// Complete records so far.
    records: u32,
    /// The message so far, unless it came whole in one record.
    partial: Vec<u8>,
    finished: bool,
}

impl HelloReader {
    /// Looks at `bytes`, everything received from the start of the connection.
    ///
    /// `Ok(None)`: more bytes are needed. The ClientHello is returned once; later calls give
    /// `Ok(None)`.
    ///
    /// # Errors
    /// [`HelloError`] as soon as the bytes cannot become an acceptable ClientHello. The reader is
    /// of no use afterwards.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        while !self.finished {
            let rest = bytes.get(self.at..).unwrap_or_default();
            self.check_header(rest)?;
            let Some((&[_, _, _, high, low], after)) = rest.split_first_chunk::<RECORD_HEADER>()
            else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(fragment) = after.get(..length) else {
                return Ok(None);
            };
            self.records += 1;
            if self.records > MAX_HELLO_RECORDS {
                return Err(HelloError::TooManyRecords);
            }
            self.at += RECORD_HEADER + length;
            if let Some(message) = self.join(fragment)? {
                self.finished = true;
                let mut hello = parse::client_hello(message)?;
                hello.arrived(self.records, self.at);
                return Ok(Some(hello));
            }
        }
        Ok(None)
    }

    /// How many bytes of the connection belong to complete records of the ClientHello so far.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// Judges as much of a record's start as is there, so that what is plainly wrong is refused at
    /// its first byte instead of waited for.
    fn check_header(&self, rest: &[u8]) -> Result<(), HelloError> {
        let first = self.at == 0;
        match rest.first() {
            None | Some(&HANDSHAKE) => {}
            // RFC 9846 §5.1: other known types are no place for, nor between parts of, a
            // ClientHello; change_cipher_spec is let through only after it (§5).
            Some(20 | 21 | 23 | 24) => return Err(HelloError::UnexpectedRecord),
            Some(_) if first => return Err(HelloError::NotTls),
            Some(_) => return Err(HelloError::UnexpectedRecord),
        }
        match rest.get(1) {
            None | Some(3) => {}
            Some(_) if first => return Err(HelloError::NotTls),
            Some(_) => return Err(HelloError::RecordVersion),
        }
        if let Some(&[high, low]) = rest.get(3..RECORD_HEADER) {
            match usize::from(u16::from_be_bytes([high, low])) {
                0 => return Err(HelloError::EmptyRecord),
                length if length > MAX_FRAGMENT => return Err(HelloError::RecordOverflow),
                _ => {}
            }
        }
        match rest.get(RECORD_HEADER) {
            Some(&kind) if first && kind != CLIENT_HELLO => Err(HelloError::UnexpectedMessage),
            _ => Ok(()),
        }
    }

    /// Adds a record's content; returns the message when it is whole.
    fn join(&mut self, fragment: &[u8]) -> Result<Option<Bytes>, HelloError> {
        if self.partial.is_empty() && message_length(fragment)? == Some(fragment.len()) {
            return Ok(Some(Bytes::copy_from_slice(fragment)));
        }
        self.partial.extend_from_slice(fragment);
        let have = self.partial.len();
        match message_length(&self.partial)? {
            Some(length) if have == length => {
                Ok(Some(Bytes::from(std::mem::take(&mut self.partial))))
            }
            // RFC 9846 §5.1: early data is under other keys, so the ClientHello ends its record.
            Some(length) if have > length => Err(HelloError::Misaligned),
            _ => Ok(None),
        }
    }
}

/// The whole length of the message that starts with `bytes`, its header included; `None` while the
/// header is cut short.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, HelloError> {
    let Some(&[_, high, mid, low]) = bytes.first_chunk::<MESSAGE_HEADER>() else {
        return Ok(None);
    };
    match u32::from_be_bytes([0, high, mid, low]) as usize {
        length if length > MAX_HELLO_SIZE => Err(HelloError::TooLarge),
        length => Ok(Some(MESSAGE_HEADER + length)),
    }
}
