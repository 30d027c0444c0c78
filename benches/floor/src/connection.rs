//! One connection: bytes in, requests, bytes out, one write for each turn.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;

use crate::requests::{LARGE, Requests};
use crate::tls::{self, Talk, Traffic};

const SMALL_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nhello\n";
/// One record of the largest size.
const RECORD: usize = 16 * 1024;
static ZEROS: [u8; RECORD] = [0; RECORD];
/// When this much waits to be written, no more is encrypted in this turn.
const ENOUGH: usize = 128 * 1024;

/// Buffers that all connections share: each uses them for one turn.
pub struct Scratch {
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    /// Plaintext that is passed on.
    pub plain: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            input: vec![0; 64 * 1024],
            output: vec![0; ENOUGH + 4 * RECORD],
            plain: Vec::new(),
        }
    }
}

/// What becomes of a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Wait,
    Close,
}

/// What is still to be answered.
#[derive(Default)]
struct Owed {
    small: usize,
    large: usize,
    /// Bytes of a large body whose head is out.
    body: usize,
    last: bool,
}

impl Owed {
    fn is_nothing(&self) -> bool {
        self.small + self.large + self.body == 0
    }

    /// The next piece of an answer, and whether it is one.
    fn next(&mut self) -> Option<Piece> {
        if self.body > 0 {
            let size = self.body.min(RECORD);
            self.body -= size;
            Some(Piece::Body(size))
        } else if self.small > 0 {
            self.small -= 1;
            Some(Piece::Small)
        } else if self.large > 0 {
            self.large -= 1;
            self.body = LARGE;
            Some(Piece::LargeHead)
        } else {
            None
        }
    }
}

enum Piece {
    Small,
    LargeHead,
    Body(usize),
}

impl Piece {
    /// Gives the bytes to `to`.
    fn with<T>(&self, to: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Small => to(SMALL_ANSWER),
            Self::LargeHead => {
                to(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes())
            }
            Self::Body(size) => to(ZEROS.get(..*size).unwrap_or(&ZEROS)),
        }
    }
}

/// A connection.
pub struct Connection {
    socket: TcpStream,
    tls: Option<UnbufferedServerConnection>,
    /// Received and not processed.
    held: Vec<u8>,
    /// Not sent yet: the socket took no more.
    unsent: Vec<u8>,
    requests: Requests,
    owed: Owed,
    ended: bool,
    /// Our close_notify is written.
    said_goodbye: bool,
    awaits_room: bool,
}

impl Connection {
    /// A connection that has not said anything yet; without TLS if there is no configuration.
    ///
    /// # Errors
    /// rustls's, if the configuration is of no use.
    pub fn new(
        socket: TcpStream,
        config: Option<Arc<ServerConfig>>,
    ) -> Result<Self, rustls::Error> {
        // Without it, an answer behind a half acknowledged flight would wait for 40 ms.
        let _ = socket.set_nodelay(true);
        Ok(Self {
            socket,
            tls: config.map(UnbufferedServerConnection::new).transpose()?,
            held: Vec::new(),
            unsent: Vec::new(),
            requests: Requests::default(),
            owed: Owed::default(),
            ended: false,
            said_goodbye: false,
            awaits_room: false,
        })
    }

    /// Asks to be told of input.
    ///
    /// # Errors
    /// The system's.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Reads what there is, answers it, and writes what the socket takes.
    pub fn turn(&mut self, scratch: &mut Scratch, registry: &Registry, token: Token) -> Next {
        match self.go(scratch) {
            Ok(Next::Wait) => {}
            Ok(Next::Close) | Err(_) => return Next::Close,
        }
        let blocked = !self.unsent.is_empty();
        if blocked != self.awaits_room {
            self.awaits_room = blocked;
            let interest = if blocked {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            if registry
                .reregister(&mut self.socket, token, interest)
                .is_err()
            {
                return Next::Close;
            }
        }
        Next::Wait
    }

    fn go(&mut self, scratch: &mut Scratch) -> io::Result<Next> {
        loop {
            if !self.write_unsent()? {
                return Ok(Next::Wait);
            }
            let held = self.held.len();
            let (front, back) = scratch
                .input
                .split_at_mut_checked(held)
                .ok_or(ErrorKind::InvalidData)?;
            front.copy_from_slice(&self.held);
            self.held = Vec::new();
            let room = back.len();
            // What is owed goes first: the edge for more input comes again with the next event,
            // or has been read below.
            let count = match self.socket.read(back) {
                Ok(0) => {
                    self.ended = true;
                    0
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let input = scratch.input.get_mut(..held + count).unwrap_or_default();
            let (used, mut filled) = match &mut self.tls {
                Some(tls) => {
                    let mut answers = Answers {
                        requests: &mut self.requests,
                        owed: &mut self.owed,
                        encrypted: 0,
                    };
                    let turn = tls::turn(tls, input, &mut scratch.output, &mut answers)?;
                    self.ended |= turn.ended;
                    (turn.used, turn.filled)
                }
                None => {
                    take(&mut self.requests, &mut self.owed, input)?;
                    (input.len(), fill(&mut self.owed, &mut scratch.output))
                }
            };
            self.held
                .extend_from_slice(input.get(used..).unwrap_or_default());
            // Behind an early request the handshake goes on: the next ticket comes with its end.
            let confirmed = self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking());
            let over = (self.ended || (self.owed.last && confirmed)) && self.owed.is_nothing();
            if let Some(tls) = &mut self.tls
                && over
                && !self.said_goodbye
            {
                self.said_goodbye = true;
                let room = scratch.output.get_mut(filled..).unwrap_or_default();
                filled += tls::goodbye(tls, &mut self.held, room)?;
            }
            let output = scratch.output.get(..filled).unwrap_or_default();
            let sent = write(&mut self.socket, output)?;
            self.unsent
                .extend_from_slice(output.get(sent..).unwrap_or_default());
            if over && self.unsent.is_empty() {
                return Ok(Next::Close);
            }
            // A short read has emptied the socket: the next edge will come.
            if count < room && self.owed.is_nothing() {
                return Ok(Next::Wait);
            }
        }
    }

    /// True if nothing waits any more.
    fn write_unsent(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let sent = write(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(self.unsent.is_empty())
    }
}

/// Writes until all is out or the socket takes no more; says how much went.
pub fn write(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match socket.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

fn take(requests: &mut Requests, owed: &mut Owed, plain: &[u8]) -> io::Result<()> {
    let fits = requests.take(plain, |asked| {
        if asked.large {
            owed.large += 1;
        } else {
            owed.small += 1;
        }
        owed.last |= asked.last;
    });
    if fits {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}

/// Answers without TLS; says how many bytes of `output` are filled.
fn fill(owed: &mut Owed, output: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < ENOUGH
        && let Some(piece) = owed.next()
    {
        piece.with(|bytes| {
            if let Some(room) = output.get_mut(filled..filled + bytes.len()) {
                room.copy_from_slice(bytes);
                filled += bytes.len();
            }
        });
    }
    filled
}

/// What a TLS connection asks for, and is answered.
struct Answers<'a> {
    requests: &'a mut Requests,
    owed: &'a mut Owed,
    encrypted: usize,
}

impl Talk for Answers<'_> {
    fn hear(&mut self, plain: &[u8]) -> io::Result<()> {
        take(self.requests, self.owed, plain)
    }

    fn say(&mut self, traffic: &mut Traffic<'_>, room: &mut [u8]) -> io::Result<usize> {
        let more = self.encrypted < ENOUGH;
        let Some(piece) = more.then(|| self.owed.next()).flatten() else {
            return Ok(0);
        };
        let count = piece.with(|bytes| traffic.encrypt(bytes, room));
        let count = count.map_err(io::Error::other)?;
        self.encrypted += count;
        Ok(count)
    }
}
