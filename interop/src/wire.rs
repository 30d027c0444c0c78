//! What the wire shows without a key: the ServerHello, which no server can take back, and
//! KeyUpdates by their length. The relay is the witness.

use cutwater::load::relay::{Kept, Records};
use serde::{Deserialize, Serialize};

/// What is kept of each direction: more than any handshake, and the whole of a few small requests.
pub const KEEP: usize = 64 * 1024;

const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// A KeyUpdate as a record: a message of 5 bytes, the inner content type and a tag of 16. An alert
/// is shorter, a ticket longer, and no request or answer of ours is so short. RFC 9846 §4.6.3, §5.2.
const KEY_UPDATE: usize = 22;

/// What a connection showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// ServerHellos: two where the first one is a HelloRetryRequest.
    pub hellos: Vec<ServerHello>,
    /// KeyUpdates to the server, and to the client.
    pub key_updates: [u64; 2],
}

/// A ServerHello of TLS 1.3. RFC 9846 §4.1.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// Whether it is a HelloRetryRequest.
    pub retry: bool,
    /// The cipher suite.
    pub suite: u16,
    /// The group of the key share, or the one that is asked for.
    pub group: Option<u16>,
    /// Whether it takes a session up.
    pub resumed: bool,
}

impl Wire {
    /// Reads what was kept of a connection.
    pub fn of(kept: &Kept) -> Self {
        Self {
            hellos: hellos(&kept.to_client),
            key_updates: [key_updates(&kept.to_server), key_updates(&kept.to_client)],
        }
    }

    /// The ServerHello that was meant, if there was one.
    pub fn hello(&self) -> Option<&ServerHello> {
        self.hellos.iter().find(|hello| !hello.retry)
    }

    /// Whether there was a HelloRetryRequest.
    pub fn retried(&self) -> bool {
        self.hellos.iter().any(|hello| hello.retry)
    }
}

/// The ServerHellos at the beginning of what a server sent.
pub fn hellos(bytes: &[u8]) -> Vec<ServerHello> {
    // One may lie in several records, and several in one.
    let plain = Records::of(bytes).filter(|record| record.kind == HANDSHAKE);
    let messages: Vec<u8> = plain.flat_map(|record| record.body).copied().collect();
    let mut left = Reader(&messages);
    let mut found = Vec::new();
    while let Some((kind, body)) = left.message() {
        if kind == 2
            && let Some(hello) = server_hello(body)
        {
            found.push(hello);
        }
    }
    found
}

fn key_updates(bytes: &[u8]) -> u64 {
    let all = Records::of(bytes);
    let short = |kind, length| kind == APPLICATION_DATA && length == KEY_UPDATE;
    all.filter(|record| short(record.kind, record.body.len()))
        .count() as u64
}

/// What a HelloRetryRequest has in place of a random.
const RETRY: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];

const PRE_SHARED_KEY: u16 = 41;
const KEY_SHARE: u16 = 51;

fn server_hello(body: &[u8]) -> Option<ServerHello> {
    let mut left = Reader(body);
    left.take(2)?;
    let random = left.take(32)?;
    let session = left.number(1)?;
    left.take(session)?;
    let mut hello = ServerHello {
        retry: random.starts_with(&RETRY),
        suite: u16::try_from(left.number(2)?).ok()?,
        ..ServerHello::default()
    };
    left.take(1)?;
    let length = left.number(2)?;
    let mut extensions = Reader(left.take(length)?);
    while let Some(kind) = extensions.number(2) {
        let length = extensions.number(2)?;
        let mut body = Reader(extensions.take(length)?);
        match u16::try_from(kind).ok()? {
            PRE_SHARED_KEY => hello.resumed = true,
            KEY_SHARE => hello.group = u16::try_from(body.number(2)?).ok(),
            _ => {}
        }
    }
    Some(hello)
}

/// Takes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let taken = self.take(bytes)?;
        Some(
            taken
                .iter()
                .fold(0, |all, byte| all << 8 | usize::from(*byte)),
        )
    }

    /// A handshake message: its type and its body.
    fn message(&mut self) -> Option<(usize, &'a [u8])> {
        let kind = self.number(1)?;
        let length = self.number(3)?;
        Some((kind, self.take(length)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn message(random: u8, suite: u16, extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut list = Vec::new();
        for (kind, body) in extensions {
            list.extend(kind.to_be_bytes());
            list.extend((body.len() as u16).to_be_bytes());
            list.extend(*body);
        }
        let mut body = vec![3, 3];
        match random {
            0 => body.extend([&RETRY[..], &[7; 28]].concat()),
            other => body.extend([other; 32]),
        }
        body.extend([2, 0xaa, 0xbb]);
        body.extend(suite.to_be_bytes());
        body.push(0);
        body.extend((list.len() as u16).to_be_bytes());
        body.extend(list);
        let mut all = vec![2, 0];
        all.extend((body.len() as u16).to_be_bytes());
        all.extend(body);
        all
    }

    #[test]
    fn server_hellos_are_read_however_they_are_cut() {
        let retry = message(0, 0x1301, &[(43, &[3, 4]), (51, &[0, 0x17])]);
        let real = message(
            9,
            0x1301,
            &[(51, &[0, 0x17, 0, 1, 4]), (41, &[0, 0]), (43, &[3, 4])],
        );
        let bytes = [
            record(22, &retry),
            record(20, &[1]),
            record(22, &real[..10]),
            record(22, &real[10..]),
            record(23, &[0; 22]),
            record(23, &[0; 19]),
            record(23, &[0; 22])[..20].to_vec(),
        ]
        .concat();
        let wire = Wire::of(&Kept {
            to_server: Vec::new(),
            to_client: bytes,
        });
        let hello = |retry, resumed| ServerHello {
            retry,
            suite: 0x1301,
            group: Some(0x17),
            resumed,
        };
        assert_eq!(wire.hellos, [hello(true, false), hello(false, true)]);
        assert!(wire.retried());
        assert_eq!(wire.hello(), Some(&hello(false, true)));
        assert_eq!(wire.key_updates, [0, 1], "an incomplete record is none");
    }

    #[test]
    fn what_is_no_server_hello_is_passed_over() {
        assert_eq!(hellos(b"HTTP/1.1 400 Bad Request\r\n\r\n"), []);
        assert_eq!(hellos(&record(21, &[2, 40])), []);
        assert_eq!(hellos(&record(22, &[2, 0, 0, 3, 3, 3, 1])), []);
        let cut = message(1, 0x1302, &[(51, &[0, 0x1d])]);
        assert_eq!(hellos(&record(22, &cut[..cut.len() - 1])), []);
        assert!(!Wire::default().retried());
    }
}
