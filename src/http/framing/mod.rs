//! A strict scanner of HTTP/1.1 request framing, standing between TLS plaintext and hyper.
//!
//! hyper hides framing that two parties can read in two ways: it drops Content-Length beside
//! Transfer-Encoding, takes repeated equal lengths and lines that end in a bare LF. A gateway must
//! not repair such requests, because what stands behind it may repair them differently. So this
//! scanner sees every byte first and follows heads and bodies by the letter of RFC 9112; any doubt is
//! a [`Violation`], a raw answer ([`raw_response`]) and the end of the connection.
//!
//! # Contract with the caller
//!
//! The caller keeps plaintext that hyper has not taken yet in one buffer, together with the number
//! of bytes at its front that are *approved*. Whenever bytes were added, it calls
//!
//! ```text
//! approved += scanner.scan(&buffer[approved..])?
//! ```
//!
//! and gives hyper approved bytes only. What is not approved stays in the buffer and is presented
//! again, from its first byte, with more behind it; the scanner remembers how far it has looked, so
//! nothing is checked twice. Held back are an unfinished head or trailer section (at most
//! [`Limits::head`] bytes) and an unfinished chunk-size line; body bytes pass at once. hyper
//! therefore never sees part of a head, and never a byte of a bad one. Bytes taken back from hyper
//! (`Parts::read_buf`) were approved before: they go to the front of the buffer and raise `approved`.
//!
//! After an error the bytes before [`Violation::deliver`] are good and may go to hyper. If
//! [`Scanner::in_body`] is true then, hyper is inside a message that will never end properly: give it
//! an I/O error after those bytes. Otherwise let it answer the [`Scanner::heads`] complete requests
//! first, then write the raw answer and close.
//!
//! Once [`Scanner::finished`] is true the client has said that nothing follows (`Connection: close`, or
//! HTTP/1.0 without keep-alive): whatever still comes is to be thrown away unread (RFC 9112 §9.6).

mod chunk;
mod head;
#[cfg(test)]
mod tests;
mod violation;

use head::{Head, Line};
use memchr::memchr;

pub use violation::{Reason, Violation, raw_response};

/// Bytes a whole trailer section may have. hyper fails above 16 KiB and so must not get that far.
const TRAILERS: usize = 8 * 1024;

/// Bounds on one request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes from the first of the request line to the end of the blank line. Above: 431. The
    /// caller's buffer needs room for as many, and hyper's `max_buf_size` (400 KB) must be more.
    pub head: usize,
    /// Field lines, also in a trailer section. Above: 431. hyper stops at 100 unless its `max_headers`
    /// says otherwise, so give it the same number if this is more.
    pub headers: usize,
    /// Bytes of the request target. Above: 414. Never more than 65,534, the longest `http::Uri`.
    pub uri: usize,
}

impl Default for Limits {
    /// 32 KiB, 100 fields, 8 KiB: what the large servers of the field take.
    fn default() -> Self {
        Limits {
            head: 32 * 1024,
            headers: 100,
            uri: 8 * 1024,
        }
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a Content-Length body are to come.
    Length(u64),
    ChunkSize,
    /// So many bytes of this chunk are to come.
    ChunkData(u64),
    /// CRLF after a chunk's data.
    ChunkEnd,
    Trailers,
    Finished,
}

/// Follows the requests of one connection. See the module for how to use it.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    state: State,
    head: Head,
    /// Bytes of the held unit (head or trailers) whose lines are checked.
    checked: usize,
    /// Bytes of the held unit known to hold no further LF; at least `checked`.
    searched: usize,
    /// Bytes presented last time and not approved.
    held: usize,
    /// Chunk-extension bytes of this message.
    extensions: usize,
    heads: u64,
    expects_continue: bool,
    failed: Option<Reason>,
}

impl Scanner {
    /// A scanner at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Scanner {
            limits,
            state: State::Head,
            head: Head::default(),
            checked: 0,
            searched: 0,
            held: 0,
            extensions: 0,
            heads: 0,
            expects_continue: false,
            failed: None,
        }
    }

    /// Looks at plaintext that begins with what was not approved last time, and says how many bytes
    /// of it hyper may have. The rest must be presented again.
    ///
    /// # Errors
    ///
    /// The first violation, with the number of good bytes before it. The scanner stays failed: later
    /// calls approve nothing and repeat the reason.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut at = 0;
        if let Some(reason) = self.failed {
            return Err(Violation {
                deliver: at,
                reason,
            });
        }
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest) {
                Ok(Some(taken)) => at += taken,
                Ok(None) => break,
                Err(reason) => {
                    self.failed = Some(reason);
                    self.held = rest.len();
                    return Err(Violation {
                        deliver: at,
                        reason,
                    });
                }
            }
        }
        self.held = bytes.len().saturating_sub(at);
        Ok(at)
    }

    /// Complete heads approved so far: the requests hyper has seen or will see.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// True exactly between messages, with nothing partial held back.
    pub fn at_boundary(&self) -> bool {
        match self.state {
            State::Head => self.held == 0,
            State::Finished => true,
            _ => false,
        }
    }

    /// True while part of a request head has come: the time of `request_headers` runs.
    pub fn in_head(&self) -> bool {
        self.state == State::Head && self.held > 0
    }

    /// True from the end of a head to the end of its body, trailers included.
    pub fn in_body(&self) -> bool {
        !matches!(self.state, State::Head | State::Finished)
    }

    /// True after a message that said it is the last one: what follows is to be thrown away.
    pub fn finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether the last complete head carried `Expect: 100-continue`.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Advances over one unit at the front of `rest`, which is not empty. `None`: more is needed.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, Reason> {
        match self.state {
            State::Head => self.head(rest),
            State::Length(left) => {
                let (taken, left) = countdown(rest, left);
                self.state = State::Length(left);
                if left == 0 {
                    self.end_message();
                }
                Ok(Some(taken))
            }
            State::ChunkSize => self.chunk_size(rest),
            State::ChunkData(left) => {
                let (taken, left) = countdown(rest, left);
                self.state = if left == 0 {
                    State::ChunkEnd
                } else {
                    State::ChunkData(left)
                };
                Ok(Some(taken))
            }
            // RFC 9112 §7.1: chunk-data is followed by CRLF, nothing else.
            State::ChunkEnd => match rest {
                [b'\r'] => Ok(None),
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize;
                    Ok(Some(2))
                }
                _ => Err(Reason::Chunk),
            },
            State::Trailers => self.trailers(rest),
            State::Finished => Ok(None),
        }
    }

    fn head(&mut self, rest: &[u8]) -> Result<Option<usize>, Reason> {
        loop {
            let start = self.checked;
            let Some(end) = self.next_line(rest) else {
                self.check_bounds(rest, start, rest.len())?;
                return Ok(None);
            };
            self.check_bounds(rest, start, end)?;
            match self.head.line(crlf_line(rest, start, end)?, &self.limits)? {
                Line::More => {}
                Line::Last => {
                    self.end_head()?;
                    return Ok(Some(end));
                }
            }
        }
    }

    /// The bounds on a head of which `end` bytes are here, its current line beginning at `start`.
    /// Depends on no byte beyond the bound it enforces, so that every split of the same bytes into
    /// reads ends in the same answer.
    fn check_bounds(&self, rest: &[u8], start: usize, end: usize) -> Result<(), Reason> {
        if !self.head.begun() {
            let visible = end.min(self.limits.head);
            let line = rest.get(start..visible).unwrap_or_default();
            head::check_request_line_bounds(line, &self.limits)?;
        }
        if end > self.limits.head {
            return Err(Reason::HeadTooLarge);
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), Reason> {
        // RFC 9112 §6.1: both is an attempt at smuggling, or might as well be.
        self.state = match (self.head.chunked, self.head.length) {
            (true, Some(_)) => return Err(Reason::Ambiguous),
            (true, None) => State::ChunkSize,
            (false, Some(length)) if length > 0 => State::Length(length),
            (false, _) => State::Head,
        };
        self.heads += 1;
        self.expects_continue = self.head.expects_continue;
        (self.checked, self.searched) = (0, 0);
        if self.state == State::Head {
            self.end_message();
        }
        Ok(())
    }

    fn end_message(&mut self) {
        // RFC 9112 §9.6: no request after one that says close.
        self.state = if self.head.last() {
            State::Finished
        } else {
            State::Head
        };
        self.head = Head::default();
        self.extensions = 0;
        (self.checked, self.searched) = (0, 0);
    }

    fn chunk_size(&mut self, rest: &[u8]) -> Result<Option<usize>, Reason> {
        let window = rest.get(..chunk::LINE).unwrap_or(rest);
        let Some(end) = memchr(b'\n', window).map(|at| at + 1) else {
            return if window.len() < chunk::LINE {
                Ok(None)
            } else {
                Err(Reason::Chunk)
            };
        };
        let (size, extension) = chunk::size(crlf_line(rest, 0, end)?)?;
        self.extensions += extension;
        if self.extensions > chunk::EXTENSIONS {
            return Err(Reason::Chunk);
        }
        self.state = if size == 0 {
            self.head.begin_trailers();
            State::Trailers
        } else {
            State::ChunkData(size)
        };
        Ok(Some(end))
    }

    fn trailers(&mut self, rest: &[u8]) -> Result<Option<usize>, Reason> {
        let bound = self.limits.head.min(TRAILERS);
        loop {
            let start = self.checked;
            let end = self.next_line(rest);
            if end.unwrap_or(rest.len()) > bound {
                return Err(Reason::HeadTooLarge);
            }
            let Some(end) = end else { return Ok(None) };
            match self
                .head
                .trailer(crlf_line(rest, start, end)?, &self.limits)?
            {
                Line::More => {}
                Line::Last => {
                    self.end_message();
                    return Ok(Some(end));
                }
            }
        }
    }

    /// The end (behind its LF) of the line that begins at `checked`, if it is there.
    fn next_line(&mut self, rest: &[u8]) -> Option<usize> {
        let found = memchr(b'\n', rest.get(self.searched..)?);
        match found {
            Some(at) => {
                let end = self.searched + at + 1;
                (self.checked, self.searched) = (end, end);
                Some(end)
            }
            None => {
                self.searched = rest.len();
                None
            }
        }
    }
}

/// The line of `rest` from `start` to `end`, which lies behind its LF, without its CRLF.
fn crlf_line(rest: &[u8], start: usize, end: usize) -> Result<&[u8], Reason> {
    // RFC 9112 §2.2 would allow a recipient to take a bare LF. Others read it as part of the line.
    rest.get(start..end)
        .and_then(|line| line.strip_suffix(b"\r\n"))
        .ok_or(Reason::LineEnding)
}

/// How much of `rest` belongs to a body with `left` bytes to come, and what is left then.
fn countdown(rest: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
    (taken, left.saturating_sub(taken as u64))
}
