//! The least that reads requests: where a head ends, whether it asks for the large answer, whether
//! it is the last, and how much content to throw away behind it. Chunks are not understood.

use memchr::memmem;

/// Bytes of the large answer, at every path that ends with [`LARGE_PATH`].
pub const LARGE: usize = 10_000_000;
/// How such a path ends.
pub const LARGE_PATH: &[u8] = b"/large";
/// The longest head; a longer one is an error.
pub const MOST: usize = 16 * 1024;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The large answer rather than the small one.
    pub large: bool,
    /// No request comes behind it.
    pub last: bool,
}

/// Takes plaintext in pieces, gives requests.
#[derive(Debug, Default)]
pub struct Requests {
    held: Vec<u8>,
    /// Bytes of content that are still to come, and the request that they belong to.
    content: Option<(usize, Asked)>,
}

impl Requests {
    /// Takes a piece and calls `asked` for every request that is whole with it. False if a head
    /// grows beyond 16 KiB.
    pub fn take(&mut self, piece: &[u8], mut asked: impl FnMut(Asked)) -> bool {
        if self.held.is_empty() {
            let used = self.read(piece, &mut asked);
            self.held
                .extend_from_slice(piece.get(used..).unwrap_or_default());
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(piece);
            let used = self.read(&held, &mut asked);
            if used < held.len() {
                held.drain(..used);
                self.held = held;
            }
        }
        self.held.len() <= MOST
    }

    /// Reads what is whole and says how many bytes that was.
    fn read(&mut self, bytes: &[u8], asked: &mut impl FnMut(Asked)) -> usize {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if let Some((left, request)) = self.content.take() {
                let passed = left.min(rest.len());
                used += passed;
                if passed < left {
                    self.content = Some((left - passed, request));
                    return used;
                }
                asked(request);
                continue;
            }
            let Some(end) = memmem::find(rest, b"\r\n\r\n") else {
                return used;
            };
            let head = rest.get(..end + 4).unwrap_or_default();
            used += head.len();
            let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let mut request = Asked {
                large: path.ends_with(LARGE_PATH),
                last: false,
            };
            let length = fields(head, &mut request);
            match length {
                0 => asked(request),
                _ => self.content = Some((length, request)),
            }
        }
    }
}

/// Reads `Connection: close`, and the length of the content.
fn fields(head: &[u8], request: &mut Asked) -> usize {
    let mut content = 0;
    for end in memchr::memchr_iter(b'\n', head) {
        let line = head.get(end + 1..).unwrap_or_default();
        if begins(line, b"connection: close") {
            request.last = true;
        }
        content = length(line).unwrap_or(content);
    }
    content
}

/// The length of the content, if the line tells it.
pub fn length(line: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"content-length:";
    if !begins(line, LENGTH) {
        return None;
    }
    let digits = line.get(LENGTH.len()..).unwrap_or_default();
    let digits = digits.trim_ascii_start().iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number: usize, digit| {
        number
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    }))
}

/// Whether a line begins so, in whichever case.
pub fn begins(line: &[u8], with: &[u8]) -> bool {
    line.get(..with.len())
        .is_some_and(|line| line.eq_ignore_ascii_case(with))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pieces: &[&[u8]]) -> Vec<Asked> {
        let mut requests = Requests::default();
        let mut all = Vec::new();
        for piece in pieces {
            assert!(requests.take(piece, |asked| all.push(asked)));
        }
        assert!(requests.held.is_empty());
        all
    }

    #[test]
    fn requests_in_one_piece_are_told_apart() {
        let all =
            asked(&[b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /large HTTP/1.1\r\nhost: a\r\n\r\n"]);
        assert_eq!(all.len(), 2);
        assert!(!all[0].large && all[1].large);
    }

    #[test]
    fn a_head_in_pieces_is_one_request() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nConnection: Close\r\n\r\n";
        for at in 0..head.len() {
            let (front, back) = head.split_at(at);
            assert_eq!(
                asked(&[front, back]),
                [Asked {
                    large: false,
                    last: true
                }]
            );
        }
    }

    #[test]
    fn content_is_passed_over_however_it_is_cut() {
        let both =
            b"POST /large HTTP/1.1\r\nContent-Length: 8\r\n\r\nab\r\n\r\ncdGET / HTTP/1.1\r\n\r\n";
        for at in 0..both.len() {
            let (front, back) = both.split_at(at);
            let all = asked(&[front, back]);
            assert_eq!(all.len(), 2, "cut at {at}");
            assert!(all[0].large && !all[1].large);
        }
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let mut requests = Requests::default();
        assert!(!requests.take(&[b'a'; MOST + 1], |_| unreachable!("no head ended")));
    }
}
