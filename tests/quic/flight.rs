//! What a client sends first, recorded, and what can be made of it without its keys.

use std::sync::atomic::{AtomicU32, Ordering};

use rustls::Side;

use crate::quic::forger::{Got, Level, crypto, initial_keys, open, seal};
use crate::support::hello::record;

/// What an attacker has who has seen a client connect.
#[derive(Clone)]
pub struct Flight {
    pub datagrams: Vec<Vec<u8>>,
    hello: Vec<u8>,
    /// The ids that the client's first packets go to and come from.
    to: Vec<u8>,
    source: Vec<u8>,
}

impl Flight {
    /// Takes apart what a client has sent, from its first datagram on.
    pub fn of(datagrams: Vec<Vec<u8>>) -> Self {
        let mut pieces = Vec::new();
        let (mut to, mut source) = (Vec::new(), Vec::new());
        for datagram in &datagrams {
            to = datagram[6..][..usize::from(datagram[5])].to_vec();
            let keys = initial_keys(&to, Side::Server);
            let opened = open(&mut datagram.clone(), 0, 0, |_| Some(&keys.remote));
            // Packets of early data stay shut.
            let Some(opened) = opened.filter(|opened| opened.level == Level::Initial) else {
                continue;
            };
            pieces.extend(Got::default().read(&opened.payload));
            source = opened.source.unwrap();
        }
        pieces.sort();
        let mut hello = Vec::new();
        for (offset, bytes) in pieces {
            assert!(offset as usize <= hello.len());
            hello.truncate(offset as usize);
            hello.extend(bytes);
        }
        Self {
            datagrams,
            hello,
            to,
            source,
        }
    }

    /// Whether all of the hello is there.
    pub fn is_whole(&self) -> bool {
        let length = match self.hello.first_chunk() {
            Some(&[_, high, mid, low]) => u32::from_be_bytes([0, high, mid, low]),
            None => return false,
        };
        self.hello.len() == 4 + length as usize
    }

    /// The same with another hello, made from this one as a record of TLS.
    pub fn forged(&self, forge: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        const HEADER: usize = 5;
        Self {
            hello: forge(&record(&self.hello)).split_off(HEADER),
            ..self.clone()
        }
    }

    /// An Initial packet that closes the connection: anybody who has seen the flight can make one.
    pub fn close(&self) -> Vec<u8> {
        let keys = initial_keys(&self.to, Side::Client);
        let ids = (&self.to[..], &self.source[..]);
        let close = [0x1c, 0, 0, 0];
        seal((Level::Initial, false), &keys.local, ids, &[], 100, &close)
    }

    /// The same hello in packets to this worker, each time to another connection.
    pub fn again(&self, worker: u16) -> Vec<Vec<u8>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let to = [&worker.to_be_bytes()[..], b"id", &next.to_be_bytes()].concat();
        let keys = initial_keys(&to, Side::Client);
        let frames = self.hello.chunks(1000).zip((0..).step_by(1000));
        let sealed = frames.zip(0..).map(|((piece, offset), number)| {
            let ids = (&to[..], &self.source[..]);
            let frames = crypto(offset, piece);
            seal(
                (Level::Initial, false),
                &keys.local,
                ids,
                &[],
                number,
                &frames,
            )
        });
        sealed.collect()
    }
}
