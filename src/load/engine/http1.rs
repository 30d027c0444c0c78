//! HTTP/1.1, as much as a load generator needs: a request as bytes, and where its answer ends.

use http::Method;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use rustls::pki_types::ServerName;

use crate::load::plan::{Plan, Usage};
use crate::load::stats::ErrorKind;

/// The longest head or chunk line that is read, in bytes.
const MOST: usize = 64 * 1024;

/// The request's bytes on a connection that asked for this name.
pub(in crate::load) fn request(plan: &Plan, name: &ServerName<'_>) -> Vec<u8> {
    let headers = &plan.request.headers;
    let mut bytes = Vec::with_capacity(256);
    let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
    let method = plan.request.method.as_str().as_bytes();
    push(&[
        method,
        b" ",
        plan.target.path().as_str().as_bytes(),
        b" HTTP/1.1\r\n",
    ]);
    if !headers.contains_key(HOST) {
        push(&[b"host: ", authority(plan, name).as_bytes(), b"\r\n"]);
    }
    for (key, value) in headers {
        push(&[key.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if plan.usage == Usage::ONE && !headers.contains_key(CONNECTION) {
        push(&[b"connection: close\r\n"]);
    }
    let body = &plan.request.body;
    if !body.is_empty() && !headers.contains_key(CONTENT_LENGTH) {
        push(&[
            b"content-length: ",
            body.len().to_string().as_bytes(),
            b"\r\n",
        ]);
    }
    push(&[b"\r\n", body]);
    bytes
}

/// Name and port, as they stand in `Host` and `:authority`.
pub(in crate::load) fn authority(plan: &Plan, name: &ServerName<'_>) -> String {
    let name = name.to_str();
    let name = match name.contains(':') {
        true => format!("[{name}]"),
        false => name.into_owned(),
    };
    match plan.target.port() {
        443 => name,
        port => format!("{name}:{port}"),
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Answer {
    state: State,
    head: Vec<u8>,
    bodiless: bool,
    /// The status, once the head is there.
    pub(super) status: u16,
    /// Whether the server keeps the connection.
    pub(super) keeps: bool,
    /// Bytes of the body so far.
    pub(super) body: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are still to come.
    Length(u64),
    /// A line with a chunk's size.
    ChunkSize,
    /// So many bytes of a chunk and its CRLF are still to come.
    Chunk(u64),
    Trailers,
    /// The body ends with the connection.
    Close,
    Done,
}

impl Answer {
    /// The answer to a request with this method.
    pub(super) fn new(method: &Method) -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            bodiless: *method == Method::HEAD,
            status: 0,
            keeps: true,
            body: 0,
        }
    }

    /// Ready for the next one; keeps the memory.
    pub(super) fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
        self.status = 0;
        self.keeps = true;
        self.body = 0;
    }

    /// Whether nothing of it came yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.state == State::Head && self.status == 0 && self.head.is_empty()
    }

    /// Whether it is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Done
    }

    /// The connection ended, with a close_notify or without: whether the answer is whole.
    pub(super) fn ends(&mut self, close_notify: bool) -> Result<(), ErrorKind> {
        match self.state {
            State::Done => Ok(()),
            // RFC 9112 §9.8: without close_notify somebody may have cut it.
            State::Close if close_notify => {
                self.state = State::Done;
                Ok(())
            }
            _ if self.is_untouched() => Err(ErrorKind::NoAnswer),
            _ => Err(ErrorKind::HalfAnswer),
        }
    }

    /// Takes bytes of the connection.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ErrorKind> {
        while !bytes.is_empty() {
            match self.state {
                State::Head | State::Trailers => {
                    let Some(rest) = self.lines(bytes)? else {
                        return Ok(());
                    };
                    bytes = rest;
                }
                State::ChunkSize => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        return self.keep(bytes);
                    };
                    let (line, rest) = bytes.split_at(end + 1);
                    self.keep(line)?;
                    let size = chunk_size(&self.head)?;
                    self.head.clear();
                    self.body += size;
                    self.state = match size {
                        0 => State::Trailers,
                        _ => State::Chunk(size + 2),
                    };
                    if size == 0 {
                        // Trailers end with an empty line: as a head does, after a CRLF.
                        self.head.extend_from_slice(b"\r\n");
                    }
                    bytes = rest;
                }
                State::Length(left) => {
                    bytes = skip(bytes, left, |left| match left {
                        0 => self.state = State::Done,
                        left => self.state = State::Length(left),
                    });
                }
                State::Chunk(left) => {
                    bytes = skip(bytes, left, |left| match left {
                        0 => self.state = State::ChunkSize,
                        left => self.state = State::Chunk(left),
                    });
                }
                State::Close => {
                    self.body += bytes.len() as u64;
                    return Ok(());
                }
                // Nobody asked for more.
                State::Done => return Err(ErrorKind::Http),
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        if self.head.len() + bytes.len() > MOST {
            return Err(ErrorKind::Http);
        }
        self.head.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads on to the empty line; what comes behind it, if it is there.
    fn lines<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, ErrorKind> {
        let before = self.head.len();
        // The end may be cut: three bytes of it may stand at the end of what came before.
        let start = before.saturating_sub(3);
        let most = bytes.len().min(MOST);
        self.keep(bytes.get(..most).unwrap_or(bytes))?;
        let tail = self.head.get(start..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(tail, b"\r\n\r\n") else {
            return Ok(None);
        };
        let end = start + end + 4;
        self.head.truncate(end);
        let rest = bytes.get(end - before..).unwrap_or_default();
        match self.state {
            State::Trailers => self.state = State::Done,
            _ => self.read_head()?,
        }
        self.head.clear();
        Ok(Some(rest))
    }

    fn read_head(&mut self) -> Result<(), ErrorKind> {
        let mut lines = self.head.split(|byte| *byte == b'\n');
        let line = lines.next().unwrap_or_default();
        let version = line.strip_prefix(b"HTTP/1.").ok_or(ErrorKind::Http)?;
        let (minor, status) = version.split_at_checked(2).ok_or(ErrorKind::Http)?;
        let status = status.get(..3).and_then(|it| std::str::from_utf8(it).ok());
        let status: u16 = status
            .and_then(|it| it.parse().ok())
            .ok_or(ErrorKind::Http)?;
        let mut keeps = minor == b"1 ";
        let mut length = None;
        let mut chunked = false;
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                let digits = std::str::from_utf8(value).ok();
                length = Some(
                    digits
                        .and_then(|it| it.parse().ok())
                        .ok_or(ErrorKind::Http)?,
                );
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
                if !chunked {
                    return Err(ErrorKind::Http);
                }
            } else if name.eq_ignore_ascii_case(b"connection") {
                keeps = match value {
                    value if value.eq_ignore_ascii_case(b"close") => false,
                    value if value.eq_ignore_ascii_case(b"keep-alive") => true,
                    _ => keeps,
                };
            }
        }
        self.state = match status {
            // An interim answer: the real one follows (RFC 9110 §15.2).
            100..=199 => return Ok(()),
            204 | 304 => State::Done,
            _ if self.bodiless => State::Done,
            // RFC 9112 §6.3: Transfer-Encoding overrides Content-Length.
            _ if chunked => State::ChunkSize,
            _ => match length {
                Some(0) => State::Done,
                Some(length) => {
                    self.body = length;
                    State::Length(length)
                }
                None => State::Close,
            },
        };
        self.status = status;
        self.keeps = keeps && self.state != State::Close;
        Ok(())
    }
}

fn skip(bytes: &[u8], left: u64, mut then: impl FnMut(u64)) -> &[u8] {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    then(left - taken as u64);
    bytes.get(taken..).unwrap_or_default()
}

fn chunk_size(line: &[u8]) -> Result<u64, ErrorKind> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits.trim_ascii()).map_err(|_| ErrorKind::Http)?;
    match u64::from_str_radix(digits, 16) {
        Ok(size) if size < u64::MAX - 2 => Ok(size),
        _ => Err(ErrorKind::Http),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the answer is the same.
    fn read(text: &str) -> Result<Answer, ErrorKind> {
        let whole = {
            let mut answer = Answer::new(&Method::GET);
            answer.feed(text.as_bytes()).map(|()| answer)
        };
        let mut pieces = Answer::new(&Method::GET);
        let result = text.bytes().try_for_each(|byte| pieces.feed(&[byte]));
        assert_eq!(result.is_ok(), whole.is_ok(), "{text:?}");
        if let Ok(whole) = &whole {
            assert_eq!(whole.is_whole(), pieces.is_whole(), "{text:?}");
            assert_eq!(whole.body, pieces.body, "{text:?}");
            assert_eq!(whole.status, pieces.status, "{text:?}");
        }
        whole
    }

    #[test]
    fn an_answer_with_a_length() {
        let answer = read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert!(answer.is_whole() && answer.keeps);
        assert_eq!((answer.status, answer.body), (200, 3));
        assert!(
            !read("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab")
                .unwrap()
                .is_whole()
        );
        assert!(read("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcd").is_err());
        let empty =
            read("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        assert!(empty.is_whole() && !empty.keeps);
    }

    #[test]
    fn a_chunked_answer() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = read(&format!(
            "{head}3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
        ));
        let answer = answer.unwrap();
        assert!(answer.is_whole());
        assert_eq!(answer.body, 19);
        assert!(
            read(&format!("{head}0\r\na: b\r\n\r\n"))
                .unwrap()
                .is_whole()
        );
        assert!(!read(&format!("{head}3\r\nabc\r\n")).unwrap().is_whole());
        assert!(read(&format!("{head}x\r\n")).is_err());
    }

    #[test]
    fn an_answer_that_ends_with_the_connection_needs_a_close_notify() {
        let mut answer = read("HTTP/1.0 200 OK\r\n\r\nabc").unwrap();
        assert!(!answer.is_whole() && !answer.keeps);
        assert_eq!(answer.body, 3);
        assert_eq!(answer.ends(false), Err(ErrorKind::HalfAnswer));
        assert_eq!(answer.ends(true), Ok(()));
        assert!(answer.is_whole());
    }

    #[test]
    fn answers_without_a_body() {
        assert!(read("HTTP/1.1 204 No Content\r\n\r\n").unwrap().is_whole());
        let mut answer = Answer::new(&Method::HEAD);
        answer
            .feed(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")
            .unwrap();
        assert!(answer.is_whole());
        assert_eq!(answer.body, 0);
        let late =
            read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(late.unwrap().status, 404);
    }

    #[test]
    fn half_an_answer_is_told_from_none() {
        let mut answer = read("").unwrap();
        assert_eq!(answer.ends(true), Err(ErrorKind::NoAnswer));
        let mut answer = read("HTT").unwrap();
        assert_eq!(answer.ends(true), Err(ErrorKind::HalfAnswer));
        assert!(read("SSH-2.0-x\r\n\r\n").is_err());
    }
}
