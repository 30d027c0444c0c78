//! A client that makes its packets itself, so that it can send what no honest one would: rustls for
//! the handshake and the keys, and nothing of quinn's.
//!
//! It acknowledges nothing unless told to, sends nothing twice, and is for loopback, where nothing is
//! lost.

mod frames;
mod packets;

use std::collections::BTreeSet;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustls::Side;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, DirectionalKeys, KeyChange, PacketKeySet, Secrets, Version};
use tokio::net::UdpSocket;

use self::frames::acks;
pub use self::frames::{
    Got, INTERNAL_ERROR, PING, ack, by_transport, crypto, stream, varint, whole,
};
use self::packets::Opened;
pub use self::packets::{Level, initial_keys, open, seal};
use crate::support::BOUND;
use crate::support::setup::ClientSetup;
use crate::support::within;

/// The least that a datagram with an Initial packet has (RFC 9000 §14.1).
pub const LEAST: usize = 1200;

/// Our own connection id.
pub const SOURCE: [u8; 8] = *b"forger!!";

/// Keys of each level: ours, and the server's.
type Levels = [Option<(DirectionalKeys, DirectionalKeys)>; 3];

/// One connection.
pub struct Forger {
    pub socket: UdpSocket,
    server: SocketAddr,
    tls: ClientConnection,
    /// The id that packets go to.
    pub to: Vec<u8>,
    /// What Initial packets show as token.
    pub token: Vec<u8>,
    keys: Levels,
    /// Our keys of early data, if there is a ticket for it.
    early: Option<DirectionalKeys>,
    /// Of the keys of the next phase.
    secrets: Option<Secrets>,
    phase: bool,
    next: [u64; 3],
    /// Each level's CRYPTO stream.
    streams: [Gathered; 3],
    /// The ClientHello.
    pub hello: Vec<u8>,
    finished: Vec<u8>,
    pub got: Got,
    /// The numbers of packets that came after the handshake.
    pub came: BTreeSet<u64>,
}

/// What came of a CRYPTO stream.
#[derive(Default)]
struct Gathered {
    /// With where they begin.
    pieces: Vec<(u64, Vec<u8>)>,
    /// How much of it was read.
    read: u64,
}

impl Forger {
    /// Prepares a connection to this server; sends nothing.
    pub async fn to(server: SocketAddr, name: &'static str, setup: &ClientSetup) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let config = setup.clone().alpn(&["h3"]).config();
        let mut tls = ClientConnection::new(config, Version::V1, name, parameters()).unwrap();
        let mut hello = Vec::new();
        assert!(tls.write_hs(&mut hello).is_none());
        let early = tls.zero_rtt_keys();
        let mut forger = Self {
            socket,
            server,
            tls,
            to: Vec::new(),
            token: Vec::new(),
            keys: [None, None, None],
            early,
            secrets: None,
            phase: false,
            next: [0; 3],
            streams: Default::default(),
            hello,
            finished: Vec::new(),
            got: Got::default(),
            came: BTreeSet::new(),
        };
        forger.renew();
        forger
    }

    /// Begins anew, as a connection that nobody has heard of: another id, and nothing has come.
    pub fn renew(&mut self) {
        self.send_to(original());
        self.next = [0; 3];
        self.got = Got::default();
    }

    /// Initial packets go to this id, and have its keys.
    fn send_to(&mut self, id: Vec<u8>) {
        let keys = initial_keys(&id, Side::Client);
        self.keys[0] = Some((keys.local, keys.remote));
        self.to = id;
    }

    /// Awaits a Retry, and heeds it.
    pub async fn retried(&mut self) {
        let mut buffer = [0; 2048];
        let length = within("a Retry", self.socket.recv(&mut buffer)).await;
        let retry = packets::retry(&buffer[..length.unwrap()]);
        let (id, token) = retry.expect("a Retry and nothing else");
        self.send_to(id);
        self.token = token;
    }

    /// Connects, up to the client's Finished: all of the server's flight is here.
    pub async fn flown(server: SocketAddr, name: &'static str, setup: &ClientSetup) -> Self {
        let mut forger = Self::to(server, name, setup).await;
        forger.say_hello().await;
        forger.fly().await;
        forger
    }

    /// Connects, handshake and all.
    pub async fn connected(server: SocketAddr, name: &'static str, setup: &ClientSetup) -> Self {
        let mut forger = Self::flown(server, name, setup).await;
        forger.complete().await;
        forger
    }

    /// Awaits the server's flight.
    pub async fn fly(&mut self) {
        while self.finished.is_empty() {
            assert!(self.receive(BOUND).await, "{:?}", self.got);
        }
    }

    /// Sends the client's Finished, and awaits the end of the handshake.
    pub async fn complete(&mut self) {
        self.finish().await;
        while self.got.count(0x1e) == 0 {
            assert!(self.receive(BOUND).await, "{:?}", self.got);
        }
    }

    /// Sends the ClientHello, in as many datagrams as it takes.
    pub async fn say_hello(&mut self) {
        const EACH: usize = 1000;
        let hello = self.hello.clone();
        for (piece, offset) in hello.chunks(EACH).zip((0..).step_by(EACH)) {
            self.send(Level::Initial, &crypto(offset, piece)).await;
        }
    }

    /// Sends the client's Finished.
    pub async fn finish(&mut self) {
        let finished = crypto(0, &self.finished);
        self.send(Level::Handshake, &finished).await;
    }

    /// Sends a Finished that is not the handshake's, in a packet with its keys.
    pub async fn finish_wrongly(&mut self) {
        *self.finished.last_mut().expect("the server's flight") ^= 1;
        self.finish().await;
    }

    /// A packet with these frames, as a datagram of its own.
    pub fn packet(&mut self, level: Level, frames: &[u8]) -> Vec<u8> {
        let number = self.next[level.space()];
        self.next[level.space()] += 1;
        let ours = match level {
            Level::Early => self.early.as_ref(),
            other => self.keys[other as usize].as_ref().map(|(ours, _)| ours),
        };
        seal(
            (level, self.phase),
            ours.expect("keys of that level"),
            (&self.to, &SOURCE),
            &self.token,
            number,
            frames,
        )
    }

    /// Sends these frames in a packet of this level.
    pub async fn send(&mut self, level: Level, frames: &[u8]) {
        let packet = self.packet(level, frames);
        self.socket.send_to(&packet, self.server).await.unwrap();
    }

    /// The same, from another socket.
    pub async fn send_from(&mut self, socket: &UdpSocket, level: Level, frames: &[u8]) {
        let packet = self.packet(level, frames);
        socket.send_to(&packet, self.server).await.unwrap();
    }

    /// Acknowledges all that has come, so that more may.
    pub async fn acknowledge(&mut self) {
        let frames = acks(&self.came);
        self.send(Level::Full, &frames).await;
    }

    /// The number of the next packet of this level.
    pub fn next_number(&self, level: Level) -> u64 {
        self.next[level.space()]
    }

    /// Takes one datagram of the server's, if one comes in time.
    pub async fn receive(&mut self, within: Duration) -> bool {
        let mut buffer = [0; 2048];
        let received = tokio::time::timeout(within, self.socket.recv_from(&mut buffer)).await;
        let Ok(Ok((length, _))) = received else {
            return false;
        };
        self.got.bytes += length;
        self.take(&mut buffer[..length]);
        true
    }

    /// Takes what is there already, and nothing else.
    pub async fn drain(&mut self) {
        while self.receive(Duration::from_millis(1)).await {}
    }

    /// Waits until the server closes the connection; its code, and whether it is HTTP/3's.
    pub async fn closed(&mut self) -> (u64, bool) {
        while self.got.close.is_none() {
            assert!(self.receive(BOUND).await, "no close: {:?}", self.got);
        }
        self.got.close.unwrap()
    }

    /// Takes one that has come elsewhere.
    pub fn take(&mut self, mut datagram: &mut [u8]) {
        while !datagram.is_empty() {
            let Some(opened) = self.open(datagram) else {
                return;
            };
            if opened.level == Level::Full {
                self.came.insert(opened.number);
            }
            if opened.level == Level::Initial
                && let Some(source) = opened.source
            {
                self.to = source;
            }
            for (offset, bytes) in self.got.read(&opened.payload) {
                self.gather(opened.level, offset, bytes);
            }
            datagram = &mut datagram[opened.length..];
        }
    }

    /// Opens the first packet of a datagram. What only keys of the next phase open makes them those of
    /// both sides (RFC 9001 §6.2): quinn's first phase ends after ten to a thousand packets.
    fn open(&mut self, datagram: &mut [u8]) -> Option<Opened> {
        let mut untouched = datagram.to_vec();
        if let Some(opened) = self.open_as_it_is(datagram) {
            return Some(opened);
        }
        let mut secrets = self.secrets.clone()?;
        let mut packet = secrets.next_packet_keys();
        self.exchange(&mut packet);
        let opened = self.open_as_it_is(&mut untouched);
        if opened.is_some() {
            self.secrets = Some(secrets);
            self.phase = !self.phase;
        } else {
            self.exchange(&mut packet);
        }
        opened
    }

    fn open_as_it_is(&self, datagram: &mut [u8]) -> Option<Opened> {
        let expected = self.came.last().map_or(0, |last| last + 1);
        let remote = |level: Level| {
            let keys = self.keys[level as usize].as_ref();
            keys.map(|(_, remote)| remote)
        };
        packets::open(datagram, SOURCE.len(), expected, remote)
    }

    fn exchange(&mut self, packet: &mut PacketKeySet) {
        if let Some((ours, theirs)) = &mut self.keys[Level::Full as usize] {
            mem::swap(&mut ours.packet, &mut packet.local);
            mem::swap(&mut theirs.packet, &mut packet.remote);
        }
    }

    /// Hands what is whole of a CRYPTO stream to rustls.
    fn gather(&mut self, level: Level, offset: u64, bytes: Vec<u8>) {
        let Gathered { pieces, read } = &mut self.streams[level as usize];
        pieces.push((offset, bytes));
        pieces.sort();
        while let Some(place) = pieces
            .iter()
            .position(|(from, bytes)| *from <= *read && from + bytes.len() as u64 > *read)
        {
            let (from, bytes) = pieces.swap_remove(place);
            let new = &bytes[(*read - from) as usize..];
            self.tls.read_hs(new).unwrap();
            *read += new.len() as u64;
        }
        let mut out = Vec::new();
        while let Some(change) = self.tls.write_hs(&mut out) {
            match change {
                KeyChange::Handshake { keys } => self.keys[1] = Some((keys.local, keys.remote)),
                KeyChange::OneRtt { keys, next } => {
                    self.keys[2] = Some((keys.local, keys.remote));
                    self.secrets = Some(next);
                }
            }
        }
        self.finished.extend(out);
    }
}

/// An id to begin with, which nobody else has.
fn original() -> Vec<u8> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    [&next.to_be_bytes()[..], b"origin"].concat()
}

/// Transport parameters (RFC 9000 §18.2): plenty of everything.
fn parameters() -> Vec<u8> {
    const INITIAL_SOURCE_CONNECTION_ID: u64 = 0x0f;
    // Windows of data, streams, and the number of ids.
    const NUMBERS: [(u64, u64); 7] = [
        (0x04, 1 << 20),
        (0x05, 1 << 18),
        (0x06, 1 << 18),
        (0x07, 1 << 18),
        (0x08, 100),
        (0x09, 100),
        (0x0e, 8),
    ];
    let mut all = Vec::new();
    for (id, value) in NUMBERS {
        let value = varint(value);
        all.extend([varint(id), varint(value.len() as u64), value].concat());
    }
    all.extend(varint(INITIAL_SOURCE_CONNECTION_ID));
    all.extend(varint(SOURCE.len() as u64));
    all.extend(SOURCE);
    all
}
