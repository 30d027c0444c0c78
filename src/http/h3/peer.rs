//! What clients say outside of requests: control stream, QPACK streams.

use bytes::{Buf, Bytes};

use super::frame::{Frames, Piece};
use super::{Code, Priority, varint};

/// What a unidirectional stream of a client is (RFC 9114 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Control.
    Control,
    /// QPACK encoder.
    Encoder,
    /// QPACK decoder.
    Decoder,
    /// Not known: nobody reads it.
    Unknown,
}

/// What is known of the client's side of a connection.
#[derive(Debug, Default)]
pub struct Peer {
    seen: [bool; 3],
    settings: bool,
    /// The least that a GOAWAY of the client has named.
    goaway: Option<u64>,
    /// The most that a MAX_PUSH_ID has named.
    max_push: Option<u64>,
}

impl Peer {
    /// A unidirectional stream with this type was opened.
    ///
    /// # Errors
    /// The code to close the connection with.
    pub fn opened(&mut self, kind: u64) -> Result<StreamKind, Code> {
        let (kind, place) = match kind {
            0x0 => (StreamKind::Control, 0),
            0x2 => (StreamKind::Encoder, 1),
            0x3 => (StreamKind::Decoder, 2),
            // RFC 9114 §6.2.2: only servers push.
            0x1 => return Err(Code::STREAM_CREATION_ERROR),
            _ => return Ok(StreamKind::Unknown),
        };
        match std::mem::replace(&mut self.seen[place], true) {
            true => Err(Code::STREAM_CREATION_ERROR),
            false => Ok(kind),
        }
    }

    /// What came on the control stream. Priorities of requests are handed to `rank`; no stream from
    /// `beyond` on may be opened yet.
    ///
    /// # Errors
    /// The code to close the connection with.
    pub fn control(
        &mut self,
        frames: &mut Frames,
        input: &mut Bytes,
        beyond: u64,
        mut rank: impl FnMut(u64, Priority),
    ) -> Result<(), Code> {
        loop {
            let before = self.settings;
            let piece = match frames.next(input) {
                // RFC 9114 §6.2.1: whatever else is wrong with the first frame.
                Err(Code::FRAME_UNEXPECTED | Code::ID_ERROR) if !before => {
                    return Err(Code::MISSING_SETTINGS);
                }
                piece => piece?,
            };
            let Some(piece) = piece else {
                return match before || !frames.passed_over() {
                    true => Ok(()),
                    false => Err(Code::MISSING_SETTINGS),
                };
            };
            match piece {
                Piece::Settings(payload) if !before && !frames.passed_over() => {
                    self.settings = true;
                    check_settings(&payload)?;
                }
                _ if !before => return Err(Code::MISSING_SETTINGS),
                Piece::Settings(_) => return Err(Code::FRAME_UNEXPECTED),
                Piece::GoAway(payload) => {
                    let id = identifier(&payload)?;
                    // RFC 9114 §5.2: it may be lowered only.
                    if self.goaway.is_some_and(|former| id > former) {
                        return Err(Code::ID_ERROR);
                    }
                    self.goaway = Some(id);
                }
                Piece::MaxPushId(payload) => {
                    let id = identifier(&payload)?;
                    // RFC 9114 §7.2.7: it may be raised only.
                    if self.max_push.is_some_and(|former| id < former) {
                        return Err(Code::ID_ERROR);
                    }
                    self.max_push = Some(id);
                }
                Piece::Priority(payload) => {
                    let mut rest = &payload[..];
                    let stream = varint::decode(&mut rest).ok_or(Code::FRAME_ERROR)?;
                    // RFC 9218 §7.2: a request stream, that is bidirectional and the client's.
                    // §7.1: within its limits.
                    if stream % 4 != 0 || stream >= beyond {
                        return Err(Code::ID_ERROR);
                    }
                    rank(stream, Priority::parse(rest));
                }
                Piece::Headers(_) | Piece::TooLarge | Piece::Data(_) => {
                    return Err(Code::FRAME_UNEXPECTED);
                }
            }
        }
    }
}

/// A payload that is one identifier.
fn identifier(payload: &[u8]) -> Result<u64, Code> {
    let mut rest = payload;
    match varint::decode(&mut rest) {
        Some(id) if rest.is_empty() => Ok(id),
        _ => Err(Code::FRAME_ERROR),
    }
}

/// RFC 9114 §7.2.4: each at most once, none of HTTP/2's.
fn check_settings(payload: &[u8]) -> Result<(), Code> {
    let mut seen = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let setting = varint::decode(&mut rest).ok_or(Code::FRAME_ERROR)?;
        let value = varint::decode(&mut rest).ok_or(Code::FRAME_ERROR)?;
        if matches!(setting, 0x0 | 0x2..=0x5) || seen.contains(&setting) {
            return Err(Code::SETTINGS_ERROR);
        }
        // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 9220) and SETTINGS_H3_DATAGRAM (RFC 9297) are flags.
        if matches!(setting, 0x8 | 0x33) && value > 1 {
            return Err(Code::SETTINGS_ERROR);
        }
        seen.push(setting);
        if seen.len() > 64 {
            return Err(Code::EXCESSIVE_LOAD);
        }
    }
    Ok(())
}

/// What came on the client's QPACK encoder stream: with no table of ours to fill, it may only say
/// that it will not (RFC 9204 §4.3.1).
///
/// # Errors
/// The code to close the connection with.
pub fn encoder(input: &mut Bytes) -> Result<(), Code> {
    while input.has_remaining() {
        // Set Dynamic Table Capacity, to 0.
        if input.get_u8() != 0b0010_0000 {
            return Err(Code::QPACK_ENCODER_STREAM_ERROR);
        }
    }
    Ok(())
}

/// What comes on the client's QPACK decoder stream: we use no table of its, so it can only tell of
/// streams that it has given up (RFC 9204 §4.4.2).
#[derive(Debug, Default)]
pub struct Decoder {
    /// How much of an identifier has come that goes on, in bytes.
    begun: u8,
}

impl Decoder {
    /// # Errors
    /// The code to close the connection with.
    pub fn take(&mut self, input: &mut Bytes) -> Result<(), Code> {
        /// The most that an identifier takes, in bytes: it has 62 bits, and what is longer than anybody
        /// has to read is an error (RFC 7541 §5.1, RFC 9204 §4.1.1).
        const LONGEST: u8 = 10;
        while input.has_remaining() {
            let byte = input.get_u8();
            let goes_on = match self.begun {
                0 if byte & 0b1100_0000 == 0b0100_0000 => byte & 0x3f == 0x3f,
                0 => return Err(Code::QPACK_DECODER_STREAM_ERROR),
                _ => byte & 0x80 != 0,
            };
            self.begun = if goes_on { self.begun + 1 } else { 0 };
            if self.begun == LONGEST {
                return Err(Code::QPACK_DECODER_STREAM_ERROR);
            }
        }
        Ok(())
    }
}
