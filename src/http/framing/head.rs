//! The lines of a request head and of a trailer section, and what they say about framing.

use super::{Limits, Reason};
use http::Uri;
use memchr::memchr;

/// Longest method taken. The longest registered one, UPDATEREDIRECTREF, has 17 letters.
const METHOD: usize = 32;
/// Longest `http::Uri`.
const URI: usize = 65_534;

/// Whether a section goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    More,
    Last,
}

/// What the lines of the current head have said so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    version: Option<Version>,
    /// An empty line came before the request line.
    empty_line: bool,
    fields: usize,
    close: bool,
    keep_alive: bool,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) expects_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl Head {
    /// Whether the request line is there.
    pub(super) fn begun(&self) -> bool {
        self.version.is_some()
    }

    /// Whether no request follows this one. Read as hyper reads it, which stops reading then.
    pub(super) fn last(&self) -> bool {
        self.close || (self.version == Some(Version::Http10) && !self.keep_alive)
    }

    /// Forgets the count of field lines: a trailer section has its own.
    pub(super) fn begin_trailers(&mut self) {
        self.fields = 0;
    }

    /// Takes the next line of a head, without its CRLF.
    pub(super) fn line(&mut self, line: &[u8], limits: &Limits) -> Result<Line, Reason> {
        let Some(version) = self.version else {
            // RFC 9112 §2.2: at least one empty line before a request line is to be ignored. One it is.
            if line.is_empty() && !self.empty_line {
                self.empty_line = true;
                return Ok(Line::More);
            }
            self.version = Some(request_line(line)?);
            return Ok(Line::More);
        };
        if line.is_empty() {
            return Ok(Line::Last);
        }
        let (name, value) = self.field(line, limits)?;
        // By length first: nearly every field is decided by one comparison of numbers.
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // RFC 9110 §8.6 lets a recipient merge equal repeats. The next one may not.
                if self.length.is_some() {
                    return Err(Reason::ContentLength);
                }
                self.length = Some(content_length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // RFC 9112 §6.1: faulty framing in HTTP/1.0, and `chunked` is never applied twice.
                let fine = version == Version::Http11
                    && !self.chunked
                    && value.eq_ignore_ascii_case(b"chunked");
                if !fine {
                    return Err(Reason::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(Line::More)
    }

    /// Takes the next line of a trailer section, without its CRLF.
    pub(super) fn trailer(&mut self, line: &[u8], limits: &Limits) -> Result<Line, Reason> {
        if line.is_empty() {
            return Ok(Line::Last);
        }
        let (name, _) = self.field(line, limits)?;
        // RFC 9110 §6.5.1: no trailer may change framing, routing or the connection.
        const FORBIDDEN: [&[u8]; 8] = [
            b"te",
            b"host",
            b"expect",
            b"trailer",
            b"upgrade",
            b"connection",
            b"content-length",
            b"transfer-encoding",
        ];
        if FORBIDDEN.iter().any(|bad| name.eq_ignore_ascii_case(bad)) {
            return Err(Reason::Trailer);
        }
        Ok(Line::More)
    }

    /// Name and value (without white space around it) of a field line.
    fn field<'a>(
        &mut self,
        line: &'a [u8],
        limits: &Limits,
    ) -> Result<(&'a [u8], &'a [u8]), Reason> {
        self.fields += 1;
        if self.fields > limits.headers {
            return Err(Reason::TooManyFields);
        }
        // RFC 9112 §5.2: a server must refuse obs-fold or unfold it. White space before the first
        // field (§2.2) looks the same.
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Reason::Fold);
        }
        // RFC 9112 §5.1: no white space between name and colon.
        let end = line.iter().position(|&b| !TOKEN[usize::from(b)]);
        let (name, value) = match end.and_then(|end| line.split_at_checked(end)) {
            Some((name, [b':', value @ ..])) if !name.is_empty() => (name, value),
            _ => return Err(Reason::FieldName),
        };
        if has_control(value) {
            return Err(Reason::FieldValue);
        }
        Ok((name, trim(value)))
    }

    fn connection(&mut self, value: &[u8]) {
        // hyper does not look into a value that is not ASCII.
        if value.is_ascii() {
            for option in value.split(|&b| b == b',').map(trim) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }
}

/// Whether a request line, or the beginning of one, is already longer than it may be.
pub(super) fn check_request_line_bounds(line: &[u8], limits: &Limits) -> Result<(), Reason> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(space) = line.iter().take(METHOD + 1).position(|&b| b == b' ') else {
        return if line.len() > METHOD {
            Err(Reason::Method)
        } else {
            Ok(())
        };
    };
    let bound = limits.uri.min(URI);
    // The target and the space behind it are within the first bound + 1 bytes, or it is too long.
    let target = line.get(space + 1..).unwrap_or_default();
    match target.get(..=bound) {
        Some(window) if memchr(b' ', window).is_none() => Err(Reason::UriTooLong),
        _ => Ok(()),
    }
}

/// Checks `method SP request-target SP HTTP-version` (RFC 9112 §3).
fn request_line(line: &[u8]) -> Result<Version, Reason> {
    let mut parts = line.splitn(3, |&b| b == b' ');
    let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Reason::RequestLine);
    };
    if !is_token(method) {
        return Err(Reason::RequestLine);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Reason::Version);
        }
        _ => return Err(Reason::RequestLine),
    };
    if is_target(method, target) {
        Ok(version)
    } else {
        Err(Reason::Target)
    }
}

/// Whether a target has the form its method asks for (RFC 9112 §3.2), and one that `http::Uri` takes
/// too: it would cut a fragment off without a word.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    let connect = method == b"CONNECT";
    if target == b"*" {
        return method == b"OPTIONS";
    }
    if target.first() == Some(&b'/') && !connect {
        // Nearly every request ends here.
        if target.iter().all(|&b| PLAIN[usize::from(b)]) {
            return true;
        }
    }
    if target.contains(&b'#') || !target.iter().all(u8::is_ascii_graphic) {
        return false;
    }
    let Ok(uri) = Uri::try_from(target) else {
        return false;
    };
    if connect {
        return uri.scheme().is_none() && uri.port_u16().is_some();
    }
    match uri.scheme_str() {
        Some(scheme) => scheme == "http" || scheme == "https",
        None => uri.authority().is_none(),
    }
}

/// Digits only, at most half of what a u64 holds.
fn content_length(value: &[u8]) -> Result<u64, Reason> {
    let number = value.iter().try_fold(0u64, |number, &digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        number
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))
            .filter(|&n| n <= u64::MAX / 2)
    });
    number
        .filter(|_| !value.is_empty())
        .ok_or(Reason::ContentLength)
}

/// Removes optional white space (RFC 9110 §5.6.3) from both ends.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether any byte is a control character other than HTAB.
pub(super) fn has_control(bytes: &[u8]) -> bool {
    let is_control = |&b: &u8| (b < b' ' && b != b'\t') || b == 0x7f;
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().any(|word| {
        // Eight bytes at once: some byte is below 0x20, or some byte xor 0x7f is below 1.
        let (ones, word_bits) = (u64::MAX / 255, u64::from_ne_bytes(*word));
        let below = |bits: u64, bound: u64| bits.wrapping_sub(ones * bound) & !bits & (ones << 7);
        (below(word_bits, 0x20) | below(word_bits ^ (ones * 0x7f), 1)) != 0
            && word.iter().any(is_control)
    }) || rest.iter().any(is_control)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| TOKEN[usize::from(b)])
}

/// RFC 9110 §5.6.2 tchar.
const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// Characters of an origin-form target that every parser takes.
const PLAIN: [bool; 256] = table(b"!$%&'()*+,-./:;=?@_~");

/// Letters, digits and `others`.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}
