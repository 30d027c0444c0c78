//! The order of what comes on a request stream (RFC 9114 §4.1).

use bytes::Bytes;

use super::Code;
use super::frame::{Frames, Piece};
use super::head::Malformed;

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// The field section of its head.
    Head(Bytes),
    /// Its head is longer than allowed.
    TooLarge,
    /// A piece of its content.
    Data(Bytes),
    /// The field section of its trailers: nothing comes after it.
    Trailers(Bytes),
}

/// What is wrong with a request stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The connection ends with this code.
    Connection(Code),
    /// The stream does, and nothing else.
    Stream(Code),
}

impl From<Code> for Wrong {
    fn from(code: Code) -> Self {
        Self::Connection(code)
    }
}

impl From<Malformed> for Wrong {
    fn from(Malformed: Malformed) -> Self {
        Self::Stream(Code::MESSAGE_ERROR)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Content,
    Ended,
}

/// One request as it comes.
#[derive(Debug)]
pub struct Message {
    frames: Frames,
    stage: Stage,
    /// What is left of the announced length.
    left: Option<u64>,
}

impl Message {
    /// A message whose field sections take at most `limit` bytes each.
    pub fn new(limit: usize) -> Self {
        Self {
            frames: Frames::of_request(limit),
            stage: Stage::Head,
            left: None,
        }
    }

    /// Frames since the last call that were no part of the message: see [`Frames::idle`].
    pub fn idle(&mut self) -> u64 {
        self.frames.idle()
    }

    /// A message whose head came in another form, and that has nothing else.
    pub fn without_content() -> Self {
        Self {
            frames: Frames::of_request(0),
            stage: Stage::Content,
            left: Some(0),
        }
    }

    /// The head announced so much content.
    pub fn announce(&mut self, length: Option<u64>) {
        self.left = length;
    }

    /// How much content is left to come, if that was announced.
    pub fn left(&self) -> Option<u64> {
        self.left
    }

    /// The next of `input`, or `None` if more is needed.
    ///
    /// # Errors
    /// What is wrong: frames out of order, or more content than was announced.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Received>, Wrong> {
        let Some(piece) = self.frames.next(input)? else {
            return Ok(None);
        };
        let received = match (self.stage, piece) {
            (Stage::Head, Piece::Headers(section)) => {
                self.stage = Stage::Content;
                Received::Head(section)
            }
            (Stage::Head, Piece::TooLarge) => {
                self.stage = Stage::Ended;
                Received::TooLarge
            }
            (Stage::Content, Piece::Headers(section)) => {
                if self.left.is_some_and(|left| left > 0) {
                    // RFC 9114 §4.1.2: less content than was announced.
                    return Err(Wrong::Stream(Code::MESSAGE_ERROR));
                }
                self.stage = Stage::Ended;
                Received::Trailers(section)
            }
            (Stage::Content, Piece::TooLarge) => return Err(Wrong::Stream(Code::EXCESSIVE_LOAD)),
            (Stage::Content, Piece::Data(data)) => {
                if let Some(left) = &mut self.left {
                    // RFC 9114 §4.1.2.
                    let rest = left.checked_sub(data.len() as u64);
                    *left = rest.ok_or(Wrong::Stream(Code::MESSAGE_ERROR))?;
                }
                Received::Data(data)
            }
            // Content before the head, or anything after the trailers.
            _ => return Err(Code::FRAME_UNEXPECTED.into()),
        };
        Ok(Some(received))
    }

    /// The stream ended.
    ///
    /// # Errors
    /// It should not have, here.
    pub fn end(&self) -> Result<(), Wrong> {
        if !self.frames.is_between() {
            // RFC 9114 §7.1.
            return Err(Code::FRAME_ERROR.into());
        }
        match (self.stage, self.left) {
            (Stage::Head, _) => Err(Wrong::Stream(Code::REQUEST_INCOMPLETE)),
            (_, None | Some(0)) => Ok(()),
            (_, Some(_)) => Err(Wrong::Stream(Code::MESSAGE_ERROR)),
        }
    }
}
