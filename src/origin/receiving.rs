//! The answer's way from the origin: its head, and the frames of its body.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, response};
use http_body::Frame;
use httparse::{Header, ParserConfig, Status};
use memchr::{memchr, memchr_iter};
use tokio::io::AsyncReadExt;

use super::fields::{self, Framing};
use super::socket::Socket;
use crate::body::PIECE;
use crate::interim::Interims;

/// Bytes of an answer's head, or of its trailer section.
const HEAD: usize = 64 * 1024;
/// Fields of either.
const FIELDS: usize = 100;
/// Bytes of a chunk-size line: extensions carry nothing that anybody needs.
const SIZE_LINE: usize = 512;
/// Informational answers before the one that counts.
const INFORMATIONAL: u8 = 32;
/// What is read at a time, at first and at most.
const READ: (usize, usize) = (4 * 1024, 2 * PIECE);

/// Where a large read begins in its buffer: TLS copies slowly what begins with a page.
const OFFSET: usize = 512;

/// What came is not HTTP, or can be read in two ways.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What was received of the answer, and what is to come.
#[derive(Debug)]
pub(super) struct Receiving {
    /// Received and not handed out.
    input: BytesMut,
    state: State,
    /// Bytes of `input` that hold no end of a head.
    searched: usize,
    /// What is read at a time.
    size: usize,
    /// Whether nothing came yet.
    silent: bool,
    /// The request was HEAD.
    no_content: bool,
    informational: u8,
    /// Where those go, until the one that counts has come.
    interims: Option<Arc<dyn Interims>>,
    /// Whether the connection may serve another exchange.
    reusable: bool,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    /// The body ends with the connection.
    UntilClose,
    /// The answer is whole.
    Over,
}

impl Default for Receiving {
    fn default() -> Self {
        Self {
            input: BytesMut::new(),
            state: State::Over,
            searched: 0,
            size: READ.0,
            silent: true,
            no_content: false,
            informational: 0,
            interims: None,
            reusable: true,
        }
    }
}

impl Receiving {
    /// Begins with the answer to another request.
    pub(super) fn start(&mut self, method: &Method, interims: Option<Arc<dyn Interims>>) {
        *self = Self {
            input: std::mem::take(&mut self.input),
            state: State::Head,
            no_content: method == Method::HEAD,
            interims,
            ..Self::default()
        };
    }

    /// Reads what there is; the number of bytes, 0 at the connection's end.
    pub(super) fn poll_fill(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let room = self.input.capacity() - self.input.len();
        let count = ready!(pin!(socket.read_buf(&mut self.input)).poll(cx))?;
        if count == room {
            self.size = (self.size * 2).min(READ.1);
        }
        self.silent &= count == 0;
        if count == 0 && self.state == State::UntilClose {
            self.state = State::Over;
        }
        Poll::Ready(Ok(count))
    }

    /// Makes room for a read: a buffer that nobody holds any more is used again, from its start.
    fn make_room(&mut self) {
        let room = self.input.capacity() - self.input.len();
        if self.size < READ.1 || !self.input.is_empty() {
            if room < READ.0 / 4 {
                self.input.reserve(self.size);
            }
        } else if self.input.try_reclaim(OFFSET + READ.1) || room < READ.0 / 4 {
            self.input.reserve(OFFSET + READ.1);
            self.input.put_bytes(0, OFFSET);
            self.input.advance(OFFSET);
        }
    }

    /// The head of the answer, once it is there. Informational ones are passed on, or over.
    pub(super) fn head(&mut self) -> Result<Option<response::Parts>, Malformed> {
        loop {
            let Some(end) = self.find_end() else {
                return match self.input.len() > HEAD {
                    true => Err(Malformed),
                    false => Ok(None),
                };
            };
            if end > HEAD {
                return Err(Malformed);
            }
            let head = self.input.split_to(end).freeze();
            self.searched = 0;
            let mut parts = parse(&head)?;
            // 101 was never asked for: `prepare_response` says so.
            if parts.status.is_informational() && parts.status != StatusCode::SWITCHING_PROTOCOLS {
                self.informational += 1;
                if self.informational > INFORMATIONAL {
                    return Err(Malformed);
                }
                if let Some(interims) = &self.interims {
                    fields::pass_interim(parts.status, parts.headers, &**interims);
                }
                continue;
            }
            self.interims = None;
            if parts.version == Version::HTTP_10 && parts.headers.contains_key(TRANSFER_ENCODING) {
                // RFC 9112 §6.1
                return Err(Malformed);
            }
            // HTTP/1.0 has other rules for all that follows.
            self.reusable = parts.version == Version::HTTP_11 && !closes(&parts.headers);
            self.reusable &= !announces_content_of_none(&parts);
            let framing = fields::prepare_response(&mut parts).map_err(|_| Malformed)?;
            self.begin_body(parts.status, framing);
            return Ok(Some(parts));
        }
    }

    fn begin_body(&mut self, status: StatusCode, framing: Framing) {
        // RFC 9112 §6.3
        let no_content =
            self.no_content || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.state = match framing {
            _ if no_content => State::Over,
            Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Overridden => {
                // A length is there too: somebody may have read that one.
                self.reusable = false;
                State::ChunkSize
            }
            Framing::UntilClose => {
                self.reusable = false;
                State::UntilClose
            }
        };
    }

    /// Where the head ends that begins the input. Looks at every byte once, however slowly they come.
    fn find_end(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(3);
        let rest = self.input.get(from..).unwrap_or_default();
        let end = memchr_iter(b'\n', rest).find_map(|at| match rest.get(at + 1..)? {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        });
        self.searched = self.input.len();
        Some(from + end?)
    }

    /// The next frame of the body: `None` if it has not come yet, `Some(None)` at the end.
    pub(super) fn frame(&mut self) -> Result<Option<Option<Frame<Bytes>>>, Malformed> {
        loop {
            match self.state {
                State::Head => return Ok(None),
                State::Over => return Ok(Some(None)),
                State::UntilClose => return Ok(self.data(u64::MAX).map(|(data, _)| Some(data))),
                State::Length(left) => {
                    let Some((data, left)) = self.data(left) else {
                        return Ok(None);
                    };
                    self.state = match left {
                        0 => State::Over,
                        left => State::Length(left),
                    };
                    return Ok(Some(Some(data)));
                }
                State::ChunkSize => {
                    let Some((used, size)) = chunk_size(&self.input)? else {
                        return Ok(None);
                    };
                    self.input.advance(used);
                    self.searched = 0;
                    self.state = match size {
                        0 => State::Trailers,
                        size => State::ChunkData(size),
                    };
                }
                State::ChunkData(left) => {
                    let Some((data, left)) = self.data(left) else {
                        return Ok(None);
                    };
                    self.state = match left {
                        0 => State::ChunkEnd,
                        left => State::ChunkData(left),
                    };
                    // The chunk's end, and perhaps the body's, is often here too.
                    self.end_chunk()?;
                    return Ok(Some(Some(data)));
                }
                State::ChunkEnd => {
                    if !self.end_chunk()? {
                        return Ok(None);
                    }
                }
                State::Trailers => match self.trailers()? {
                    None => return Ok(None),
                    Some(fields) if fields.is_empty() => {}
                    Some(fields) => return Ok(Some(Some(Frame::trailers(fields)))),
                },
            }
        }
    }

    /// Up to `left` bytes of a body, and how many are left then.
    fn data(&mut self, left: u64) -> Option<(Frame<Bytes>, u64)> {
        if self.input.is_empty() {
            return None;
        }
        let count =
            usize::try_from(left).map_or(self.input.len(), |left| left.min(self.input.len()));
        let data = self.input.split_to(count).freeze();
        Some((Frame::data(data), left - count as u64))
    }

    /// Takes the CRLF behind a chunk, and the last chunk if that follows and is plain; whether the
    /// chunk ended.
    fn end_chunk(&mut self) -> Result<bool, Malformed> {
        const LAST: &[u8] = b"0\r\n\r\n";
        if self.state != State::ChunkEnd {
            return Ok(true);
        }
        match &self.input[..] {
            [b'\r', b'\n', ..] => self.input.advance(2),
            [] | [b'\r'] => return Ok(false),
            _ => return Err(Malformed),
        }
        self.state = State::ChunkSize;
        if self.input.starts_with(LAST) {
            self.input.advance(LAST.len());
            self.state = State::Over;
        }
        Ok(true)
    }

    /// The trailer section, once it is there.
    fn trailers(&mut self) -> Result<Option<HeaderMap>, Malformed> {
        let end = match self.input.get(..2) {
            // None, as mostly.
            Some(b"\r\n") => Some(2),
            _ => self.find_end(),
        };
        let Some(end) = end.filter(|end| *end <= HEAD) else {
            return match self.input.len() > HEAD {
                true => Err(Malformed),
                false => Ok(None),
            };
        };
        let section = self.input.split_to(end).freeze();
        let mut table = [httparse::EMPTY_HEADER; FIELDS];
        let fields = match httparse::parse_headers(&section, &mut table) {
            Ok(Status::Complete((used, fields))) if used == end => collect(fields, &section)?,
            _ => return Err(Malformed),
        };
        self.state = State::Over;
        Ok(Some(fields))
    }

    /// Whether the answer is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Over
    }

    /// What is left of the body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Over => Some(0),
            _ => None,
        }
    }

    /// Whether no byte of an answer came.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether another answer may follow on the connection; gives memory back if so.
    pub(super) fn rest(&mut self) -> bool {
        let fine = self.state == State::Over && self.reusable && self.input.is_empty();
        if fine {
            self.input = BytesMut::new();
        }
        fine
    }
}

/// Parses a whole head.
fn parse(head: &Bytes) -> Result<response::Parts, Malformed> {
    let mut table = [MaybeUninit::uninit(); FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        ParserConfig::default().parse_response_with_uninit_headers(&mut response, head, &mut table);
    if !matches!(parsed, Ok(Status::Complete(used)) if used == head.len()) {
        return Err(Malformed);
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.version = match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let status = response.code.ok_or(Malformed)?;
    parts.status = StatusCode::from_u16(status).map_err(|_| Malformed)?;
    parts.headers = collect(response.headers, head)?;
    Ok(parts)
}

/// The size that a chunk begins with, and the length of its line (RFC 9112 §7.1); `None` if it is not
/// whole. By the letter: what one reader takes for an extension, another may take for a line.
fn chunk_size(input: &[u8]) -> Result<Option<(usize, u64)>, Malformed> {
    let head = input.get(..SIZE_LINE).unwrap_or(input);
    let Some(end) = memchr(b'\n', head) else {
        return match input.len() >= SIZE_LINE {
            true => Err(Malformed),
            false => Ok(None),
        };
    };
    let line = head.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Malformed)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (number, extension) = line.split_at(digits.count());
    let plain = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    let fine = extension.is_empty()
        || extension.trim_ascii_start().starts_with(b";") && extension.iter().all(plain);
    // No more than a u64 has.
    if !fine || number.is_empty() || number.len() > 16 {
        return Err(Malformed);
    }
    let size = number.iter().fold(0, |size: u64, digit| {
        size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0))
    });
    Ok(Some((end + 1, size)))
}

/// Makes a map of parsed fields; their values are slices of `of`.
fn collect(fields: &[Header<'_>], of: &Bytes) -> Result<HeaderMap, Malformed> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(of.slice_ref(field.value));
        map.append(name, value.map_err(|_| Malformed)?);
    }
    Ok(map)
}

/// Whether the origin says that it closes the connection.
fn closes(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONNECTION).iter();
    values.any(|value| fields::lists(value, "close"))
}

/// Whether content is announced by an answer that has none (RFC 9110 §8.6, RFC 9112 §6.1): an origin
/// that sends it all the same may do so late, when the next answer is waited for.
fn announces_content_of_none(parts: &response::Parts) -> bool {
    let is_length = |length: &HeaderValue| length.as_bytes().iter().any(|byte| *byte != b'0');
    parts.status == StatusCode::NO_CONTENT
        && (parts.headers.contains_key(TRANSFER_ENCODING)
            || parts.headers.get_all(CONTENT_LENGTH).iter().any(is_length))
}
