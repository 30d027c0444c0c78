//! The least that reads requests: where a head ends, whether it asks for the large answer, and
//! whether it is the last. Contents of requests are not understood.

use memchr::memmem;

/// Bytes of the large answer, at every path that ends with [`LARGE_PATH`].
pub const LARGE: usize = 10_000_000;
/// How such a path ends.
pub const LARGE_PATH: &[u8] = b"/large";
/// The longest head; a longer one is an error.
const MOST: usize = 16 * 1024;

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
}

impl Requests {
    /// Takes a piece and calls `asked` for every request whose head is whole with it. False if a
    /// head grows beyond 16 KiB.
    pub fn take(&mut self, piece: &[u8], mut asked: impl FnMut(Asked)) -> bool {
        if self.held.is_empty() {
            let used = read(piece, &mut asked);
            self.held
                .extend_from_slice(piece.get(used..).unwrap_or_default());
        } else {
            self.held.extend_from_slice(piece);
            let used = read(&self.held, &mut asked);
            self.held.drain(..used);
            if self.held.is_empty() {
                self.held = Vec::new();
            }
        }
        self.held.len() <= MOST
    }
}

/// Reads what is whole and says how many bytes that was.
fn read(bytes: &[u8], asked: &mut impl FnMut(Asked)) -> usize {
    let mut used = 0;
    while let Some((head, _)) = bytes.get(used..).and_then(|rest| {
        let end = memmem::find(rest, b"\r\n\r\n")?;
        rest.split_at_checked(end + 4)
    }) {
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        asked(Asked {
            large: path.ends_with(LARGE_PATH),
            last: says_close(head),
        });
        used += head.len();
    }
    used
}

/// Whether a line says `Connection: close`.
fn says_close(head: &[u8]) -> bool {
    const LINE: &[u8] = b"connection: close";
    memchr::memchr_iter(b'\n', head).any(|end| {
        head.get(end + 1..end + 1 + LINE.len())
            .is_some_and(|line| line.eq_ignore_ascii_case(LINE))
    })
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
    fn a_head_without_end_is_refused() {
        let mut requests = Requests::default();
        assert!(!requests.take(&[b'a'; MOST + 1], |_| unreachable!("no head ended")));
    }
}
