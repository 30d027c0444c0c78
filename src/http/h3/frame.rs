//! Frames (RFC 9114 §7), as they come and as they go.

use bytes::{Buf, Bytes};

use super::Code;
use super::varint::{self, Prefix};
use crate::config::site_tls::QUIC;

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const CANCEL_PUSH: u64 = 0x3;
const SETTINGS: u64 = 0x4;
const PUSH_PROMISE: u64 = 0x5;
const GOAWAY: u64 = 0x7;
const MAX_PUSH_ID: u64 = 0xd;
/// RFC 9218 §7.2.
const PRIORITY_UPDATE: u64 = 0xf0700;
const PRIORITY_UPDATE_PUSH: u64 = 0xf0701;

/// Frame types of HTTP/2 that have no counterpart here (RFC 9114 §7.2.8).
const OF_HTTP2: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// The most that a frame of the control stream may have: SETTINGS are a handful of pairs.
const MAX_CONTROL: u64 = 4096;

/// What a stream yields.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole field section.
    Headers(Bytes),
    /// A field section longer than allowed; nothing of it is kept.
    TooLarge,
    /// A piece of content.
    Data(Bytes),
    /// SETTINGS.
    Settings(Bytes),
    /// GOAWAY.
    GoAway(Bytes),
    /// MAX_PUSH_ID.
    MaxPushId(Bytes),
    /// PRIORITY_UPDATE of a request.
    Priority(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Headers,
    Settings,
    GoAway,
    MaxPushId,
    Priority,
}

#[derive(Debug)]
enum State {
    Type,
    Length(u64),
    Whole(Kind, usize),
    Data(u64),
    Skip(u64),
}

/// Cuts the bytes of one stream into frames. It keeps what a frame needs to be whole, up to a
/// bound, and never content or unknown frames.
#[derive(Debug)]
pub struct Frames {
    state: State,
    prefix: Prefix,
    held: Vec<u8>,
    /// The most that a field section may take; `None` on the control stream.
    limit: Option<usize>,
    /// Whether a frame that nobody knows was passed over.
    passed_over: bool,
    /// Frames that brought neither fields nor content, since somebody asked.
    idle: u64,
}

impl Frames {
    /// For a request stream whose field sections have at most `limit` bytes.
    pub fn of_request(limit: usize) -> Self {
        Self::new(Some(limit))
    }

    /// For a control stream.
    pub fn of_control() -> Self {
        Self::new(None)
    }

    fn new(limit: Option<usize>) -> Self {
        Self {
            state: State::Type,
            prefix: Prefix::default(),
            held: Vec::new(),
            limit,
            passed_over: false,
            idle: 0,
        }
    }

    /// Whether a frame that nobody knows has come.
    pub(super) fn passed_over(&self) -> bool {
        self.passed_over
    }

    /// How many frames have begun since the last call that bring neither fields nor content: each
    /// takes two bytes at least, and nothing else bounds them.
    pub fn idle(&mut self) -> u64 {
        std::mem::take(&mut self.idle)
    }

    /// Whether the stream may end here.
    pub fn is_between(&self) -> bool {
        let whole = matches!(self.state, State::Type | State::Data(0) | State::Skip(0));
        whole && !self.prefix.is_partial()
    }

    /// The next piece of `input`, or `None` if more is needed.
    ///
    /// # Errors
    /// The code to close the connection with.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Code> {
        loop {
            match self.state {
                State::Type => match self.prefix.take(input) {
                    None => return Ok(None),
                    Some(kind) => {
                        self.admit(kind)?;
                        self.state = State::Length(kind);
                    }
                },
                State::Length(kind) => match self.prefix.take(input) {
                    None => return Ok(None),
                    Some(length) => {
                        if let Some(piece) = self.begin(kind, length)? {
                            return Ok(Some(piece));
                        }
                    }
                },
                State::Whole(kind, length) => {
                    let left = length - self.held.len();
                    if input.len() < left {
                        self.held.extend_from_slice(input);
                        input.clear();
                        return Ok(None);
                    }
                    let own = input.split_to(left);
                    let whole = if self.held.is_empty() {
                        own
                    } else {
                        self.held.extend_from_slice(&own);
                        std::mem::take(&mut self.held).into()
                    };
                    self.state = State::Type;
                    return Ok(Some(match kind {
                        Kind::Headers => Piece::Headers(whole),
                        Kind::Settings => Piece::Settings(whole),
                        Kind::GoAway => Piece::GoAway(whole),
                        Kind::MaxPushId => Piece::MaxPushId(whole),
                        Kind::Priority => Piece::Priority(whole),
                    }));
                }
                State::Data(0) | State::Skip(0) => self.state = State::Type,
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.state = State::Data(left - take as u64);
                    return Ok(Some(Piece::Data(input.split_to(take))));
                }
                State::Skip(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.state = State::Skip(left - take as u64);
                    input.advance(take);
                }
            }
        }
    }

    /// RFC 9114 §7.2: which frame may come on which stream.
    fn admit(&self, kind: u64) -> Result<(), Code> {
        let wrong = match self.limit {
            Some(_) => matches!(
                kind,
                CANCEL_PUSH
                    | SETTINGS
                    | PUSH_PROMISE
                    | GOAWAY
                    | MAX_PUSH_ID
                    | PRIORITY_UPDATE
                    | PRIORITY_UPDATE_PUSH
            ),
            None => matches!(kind, DATA | HEADERS | PUSH_PROMISE),
        };
        match wrong || OF_HTTP2.contains(&kind) {
            true => Err(Code::FRAME_UNEXPECTED),
            false => Ok(()),
        }
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<Option<Piece>, Code> {
        let kind = match (kind, self.limit) {
            (DATA, _) => {
                self.idle += u64::from(length == 0);
                self.state = State::Data(length);
                return Ok(None);
            }
            (HEADERS, Some(limit)) => {
                if length > limit as u64 {
                    self.state = State::Skip(length);
                    return Ok(Some(Piece::TooLarge));
                }
                Kind::Headers
            }
            // We promise nothing, so there is nothing to cancel or to rank (RFC 9114 §7.2.3).
            (CANCEL_PUSH | PRIORITY_UPDATE_PUSH, _) => return Err(Code::ID_ERROR),
            (SETTINGS, _) => Kind::Settings,
            (GOAWAY, _) => Kind::GoAway,
            (MAX_PUSH_ID, _) => Kind::MaxPushId,
            (PRIORITY_UPDATE, _) => Kind::Priority,
            // RFC 9114 §9: what nobody knows is passed over.
            _ => {
                self.idle += 1;
                self.passed_over = true;
                self.state = State::Skip(length);
                return Ok(None);
            }
        };
        if kind != Kind::Headers {
            self.idle += 1;
            if length > MAX_CONTROL {
                return Err(Code::EXCESSIVE_LOAD);
            }
        }
        // Bounded by the limits above.
        self.state = State::Whole(kind, usize::try_from(length).unwrap_or(usize::MAX));
        Ok(None)
    }
}

/// A HEADERS frame with this field section.
pub fn headers(section: &[u8]) -> Vec<u8> {
    frame(HEADERS, section)
}

/// Appends what comes before `length` bytes of content.
pub fn data_header(length: usize, out: &mut Vec<u8>) {
    varint::encode(DATA, out);
    varint::encode(length as u64, out);
}

/// The beginning of our control stream: its type and SETTINGS.
///
/// They are the same for everybody, because clients keep them for their early data (RFC 9114
/// §7.2.4.2, EARLY-DATA R24), whose tag has them: no dynamic table, no blocked streams, which are
/// the defaults, and a setting that means nothing, so that clients keep knowing how to pass over those.
pub fn settings() -> Bytes {
    const QPACK_MAX_TABLE_CAPACITY: u64 = 0x1;
    const QPACK_BLOCKED_STREAMS: u64 = 0x7;
    const NOTHING: u64 = 0x21 + 0x1f * 7;
    let mut payload = Vec::new();
    for (setting, value) in [
        (QPACK_MAX_TABLE_CAPACITY, u64::from(QUIC.qpack_table)),
        (QPACK_BLOCKED_STREAMS, u64::from(QUIC.qpack_blocked)),
        (NOTHING, 0),
    ] {
        varint::encode(setting, &mut payload);
        varint::encode(value, &mut payload);
    }
    frame(SETTINGS, &payload).into()
}

/// GOAWAY: requests on this stream and later ones are not answered.
pub fn goaway(stream: u64) -> Bytes {
    let mut payload = Vec::new();
    varint::encode(stream.min(varint::MAX), &mut payload);
    frame(GOAWAY, &payload).into()
}

/// The type of a unidirectional stream, as it begins.
pub fn stream_type(kind: u64) -> Bytes {
    let mut out = Vec::new();
    varint::encode(kind, &mut out);
    out.into()
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 9);
    varint::encode(kind, &mut out);
    varint::encode(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}
