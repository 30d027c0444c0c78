//! One connection that is passed on: TLS to the client, a kept connection of its own to the origin.
//!
//! Nothing is read on one side while the other takes nothing, and at most one read is held.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;

use crate::connection::{Next, Scratch, write};
use crate::messages::Messages;
use crate::tls::{self, Talk, Traffic};

/// A socket, and what it is known to be good for.
struct Side {
    socket: TcpStream,
    /// What it has not taken yet.
    unsent: Vec<u8>,
    /// Whether there may be something to read.
    readable: bool,
}

impl Side {
    fn new(socket: TcpStream) -> Self {
        let _ = socket.set_nodelay(true);
        Self {
            socket,
            unsent: Vec::new(),
            readable: false,
        }
    }

    /// Reads what there is; `None` if there is nothing now, 0 at the end.
    fn read(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.socket.read(room) {
                Ok(count) => {
                    // A short read has emptied the socket: the next edge will come.
                    self.readable = count == room.len();
                    return Ok(Some(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends behind what waits.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = match self.unsent.is_empty() {
            true => write(&mut self.socket, bytes)?,
            false => 0,
        };
        self.unsent
            .extend_from_slice(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// True if nothing waits any more.
    fn flush(&mut self) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent)?;
        }
        Ok(self.unsent.is_empty())
    }
}

/// A connection and the origin's behind it.
pub struct Proxied {
    client: Side,
    origin: Side,
    tls: UnbufferedServerConnection,
    /// Received from the client and not processed.
    held: Vec<u8>,
    requests: Messages,
    answers: Messages,
}

impl Proxied {
    /// Connects to the origin.
    ///
    /// # Errors
    /// rustls's, if the configuration is of no use; the system's.
    pub fn new(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        origin: SocketAddr,
    ) -> io::Result<Self> {
        Ok(Self {
            client: Side::new(socket),
            origin: Side::new(TcpStream::connect(origin)?),
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            held: Vec::new(),
            requests: Messages::default(),
            answers: Messages::default(),
        })
    }

    /// Asks to be told of both sockets, once for all.
    ///
    /// # Errors
    /// The system's.
    pub fn register(
        &mut self,
        registry: &Registry,
        client: Token,
        origin: Token,
    ) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.client.socket, client, both)?;
        registry.register(&mut self.origin.socket, origin, both)
    }

    /// Moves what can be moved.
    pub fn turn(&mut self, scratch: &mut Scratch, event: &Event, of_origin: bool) -> Next {
        let side = if of_origin {
            &mut self.origin
        } else {
            &mut self.client
        };
        side.readable |= event.is_readable();
        self.go(scratch).unwrap_or(Next::Close)
    }

    fn go(&mut self, scratch: &mut Scratch) -> io::Result<Next> {
        loop {
            let to_client = self.client.flush()?;
            // What the client says may have to be answered at once.
            let to_origin = self.origin.flush()? && to_client;
            let answers = to_client && self.origin.readable;
            let requests = to_origin && self.client.readable;
            if answers && self.pass_answer(scratch)? == Next::Close
                || requests && self.pass_request(scratch)? == Next::Close
            {
                return Ok(Next::Close);
            }
            if !answers && !requests {
                return Ok(Next::Wait);
            }
        }
    }

    fn pass_request(&mut self, scratch: &mut Scratch) -> io::Result<Next> {
        let held = self.held.len();
        let (front, back) = scratch
            .input
            .split_at_mut_checked(held)
            .ok_or(ErrorKind::InvalidData)?;
        front.copy_from_slice(&self.held);
        let count = match self.client.read(back)? {
            None => return Ok(Next::Wait),
            Some(0) => return Ok(Next::Close),
            Some(count) => count,
        };
        let input = scratch.input.get_mut(..held + count).unwrap_or_default();
        scratch.plain.clear();
        let mut talk = Passing {
            requests: &mut self.requests,
            plain: &mut scratch.plain,
            answer: &[],
        };
        let turn = tls::turn(&mut self.tls, input, &mut scratch.output, &mut talk)?;
        self.held.clear();
        self.held
            .extend_from_slice(input.get(turn.used..).unwrap_or_default());
        let mut filled = turn.filled;
        if turn.ended {
            let room = scratch.output.get_mut(filled..).unwrap_or_default();
            filled += tls::goodbye(&mut self.tls, &mut self.held, room)?;
        }
        if filled > 0 {
            let output = scratch.output.get(..filled).unwrap_or_default();
            self.client.send(output)?;
        }
        if turn.ended {
            return Ok(Next::Close);
        }
        if !scratch.plain.is_empty() {
            self.origin.send(&scratch.plain)?;
        }
        Ok(Next::Wait)
    }

    fn pass_answer(&mut self, scratch: &mut Scratch) -> io::Result<Next> {
        let count = match self.origin.read(&mut scratch.input)? {
            None => return Ok(Next::Wait),
            Some(0) => return Ok(Next::Close),
            Some(count) => count,
        };
        let mut answer = scratch.input.get(..count).unwrap_or_default();
        if !self.answers.are_content(count) {
            scratch.plain.clear();
            if !self.answers.pass(answer, &mut scratch.plain) {
                return Ok(Next::Close);
            }
            answer = &scratch.plain;
        }
        let mut talk = Passing {
            requests: &mut self.requests,
            plain: &mut Vec::new(),
            answer,
        };
        let turn = tls::turn(
            &mut self.tls,
            &mut self.held,
            &mut scratch.output,
            &mut talk,
        )?;
        self.held.drain(..turn.used);
        let output = scratch.output.get(..turn.filled).unwrap_or_default();
        self.client.send(output)?;
        Ok(Next::Wait)
    }
}

/// What the client says, and is told.
struct Passing<'a> {
    requests: &'a mut Messages,
    plain: &'a mut Vec<u8>,
    answer: &'a [u8],
}

impl Talk for Passing<'_> {
    fn hear(&mut self, plain: &[u8]) -> io::Result<()> {
        match self.requests.pass(plain, self.plain) {
            true => Ok(()),
            false => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn say(&mut self, traffic: &mut Traffic<'_>, room: &mut [u8]) -> io::Result<usize> {
        match std::mem::take(&mut self.answer) {
            [] => Ok(0),
            answer => traffic.encrypt(answer, room).map_err(io::Error::other),
        }
    }
}
