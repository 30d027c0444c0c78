//! An answer as it comes. No I/O.

use bytes::Bytes;
use http::StatusCode;

use crate::http::h3::{Frames, Piece, answered};
use crate::load::stats::ErrorKind;

/// The longest head that is taken, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// What came of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Its head.
    Head,
    /// A piece of its content.
    Content(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Head,
    Content,
    /// Trailers have come.
    End,
}

/// One answer.
pub(super) struct Answer {
    frames: Frames,
    awaits: Awaits,
    status: Option<u16>,
    /// How much of the announced content is still to come.
    left: Option<u64>,
    is_of_head: bool,
    has_begun: bool,
}

impl Answer {
    /// An answer to be; `is_of_head` if the request is a HEAD.
    pub(super) fn new(is_of_head: bool) -> Self {
        Self {
            frames: Frames::of_request(MAX_HEAD),
            awaits: Awaits::Head,
            status: None,
            left: None,
            is_of_head,
            has_begun: false,
        }
    }

    /// Whether any of it has come.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The next of `input`, or `None` if more is needed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Came>, ErrorKind> {
        self.has_begun |= !input.is_empty();
        while let Some(piece) = self.frames.next(input).map_err(|_| ErrorKind::Http)? {
            match (self.awaits, piece) {
                (Awaits::Head, Piece::Headers(section)) => {
                    let (status, length) = answered(&section).map_err(|_| ErrorKind::Http)?;
                    if status.is_informational() {
                        continue;
                    }
                    self.awaits = Awaits::Content;
                    self.status = Some(status.as_u16());
                    self.left = length.filter(|_| self.has_content(status));
                    return Ok(Some(Came::Head));
                }
                (Awaits::Content, Piece::Data(data)) => {
                    if let Some(left) = &mut self.left {
                        // RFC 9114 §4.1.2: no more than was announced.
                        let rest = left.checked_sub(data.len() as u64);
                        *left = rest.ok_or(ErrorKind::Http)?;
                    }
                    return Ok(Some(Came::Content(data)));
                }
                // Nothing in trailers is measured.
                (Awaits::Content, Piece::Headers(_)) => self.awaits = Awaits::End,
                _ => return Err(ErrorKind::Http),
            }
        }
        Ok(None)
    }

    /// Whether a length says what comes. RFC 9110 §6.4.1, §8.6
    fn has_content(&self, status: StatusCode) -> bool {
        let never = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        !self.is_of_head && !never.contains(&status)
    }

    /// Its status, if it may end here.
    ///
    /// # Errors
    /// None came, or a part.
    pub(super) fn end(&self) -> Result<u16, ErrorKind> {
        match self.status {
            // RFC 9114 §4.1.2: no less than was announced. §7.1: nor half a frame.
            Some(status) if self.frames.is_between() && self.left.unwrap_or(0) == 0 => Ok(status),
            _ if self.has_begun => Err(ErrorKind::HalfAnswer),
            _ => Err(ErrorKind::NoAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::http::h3::{data_header, headers, response};

    #[test]
    fn an_answer_may_come_behind_interim_ones_and_in_pieces() {
        let head = |status| headers(&response(status, &HeaderMap::new()).finish());
        let mut answer = Answer::new(false);
        assert_eq!(answer.end(), Err(ErrorKind::NoAnswer));
        let mut came = Vec::new();
        let mut take = |answer: &mut Answer, bytes: Vec<u8>| {
            for byte in bytes {
                let mut piece = Bytes::from(vec![byte]);
                while let Some(it) = answer.next(&mut piece).unwrap() {
                    came.push(it);
                }
            }
        };
        take(&mut answer, head(StatusCode::EARLY_HINTS));
        assert_eq!(answer.end(), Err(ErrorKind::HalfAnswer));
        let mut rest = head(StatusCode::OK);
        data_header(3, &mut rest);
        rest.extend_from_slice(b"abc");
        take(&mut answer, rest);
        let content = |byte: &'static [u8]| Came::Content(Bytes::from_static(byte));
        assert_eq!(
            came,
            [Came::Head, content(b"a"), content(b"b"), content(b"c")]
        );
        assert_eq!(answer.end(), Ok(200));
    }
}
