//! The ClientHello in the bytes of a first flight: what to garble and where.

use std::ops::Range;

use cutwater::load::relay::Records;

const HANDSHAKE: u8 = 22;
const HEADER: usize = 5;
const PRE_SHARED_KEY: u16 = 41;

/// A ClientHello's place in a flight, over however many records.
pub struct Hello {
    message: Vec<u8>,
    /// Where in the flight each byte of the message stands.
    places: Vec<usize>,
}

/// An offered pre-shared key, as ranges of the message.
#[derive(Debug, Clone)]
pub struct Psk {
    pub identity: Range<usize>,
    pub age: Range<usize>,
    pub binder: Range<usize>,
}

impl Hello {
    /// Finds it in the handshake records at the beginning of `flight`.
    pub fn find(flight: &[u8]) -> Self {
        let mut message = Vec::new();
        let mut places = Vec::new();
        for record in Records::of(flight) {
            if record.kind != HANDSHAKE {
                break;
            }
            message.extend_from_slice(record.body);
            places.extend((0..record.body.len()).map(|n| record.at + HEADER + n));
        }
        assert_eq!(
            message.first(),
            Some(&1),
            "a flight begins with a ClientHello"
        );
        let length = usize::from(message[1]) << 16 | number(&message, 2);
        message.truncate(4 + length);
        Self { message, places }
    }

    /// The message with its 4 bytes of header.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The place of an extension's data in the message.
    pub fn extension(&self, wanted: u16) -> Option<Range<usize>> {
        let bytes = &self.message;
        let mut at = 4 + 2 + 32;
        at += 1 + usize::from(bytes[at]);
        at += 2 + number(bytes, at);
        at += 1 + usize::from(bytes[at]);
        let end = at + 2 + number(bytes, at);
        at += 2;
        while at < end {
            let kind = number(bytes, at);
            let data = at + 4..at + 4 + number(bytes, at + 2);
            if kind == usize::from(wanted) {
                return Some(data);
            }
            at = data.end;
        }
        None
    }

    /// The offered pre-shared keys.
    pub fn psks(&self) -> Vec<Psk> {
        let Some(data) = self.extension(PRE_SHARED_KEY) else {
            return Vec::new();
        };
        let bytes = &self.message;
        let mut at = data.start + 2;
        let mut binder = at + number(bytes, data.start) + 2;
        let mut found = Vec::new();
        while at < data.start + 2 + number(bytes, data.start) {
            let identity = at + 2..at + 2 + number(bytes, at);
            let age = identity.end..identity.end + 4;
            at = age.end;
            let end = binder + 1 + usize::from(bytes[binder]);
            found.push(Psk {
                identity,
                age,
                binder: binder + 1..end,
            });
            binder = end;
        }
        found
    }

    /// The bytes of the first ticket.
    pub fn ticket(&self) -> &[u8] {
        &self.message[self.first_psk().identity]
    }

    fn first_psk(&self) -> Psk {
        let mut psks = self.psks().into_iter();
        psks.next().expect("the ClientHello offers a ticket")
    }

    fn flip(&self, flight: &[u8], range: &Range<usize>) -> Vec<u8> {
        let mut changed = flight.to_vec();
        changed[self.places[range.start + range.len() / 2]] ^= 0x40;
        changed
    }
}

/// The flight with one bit of the first ticket flipped.
pub fn garble_ticket(flight: &[u8]) -> Vec<u8> {
    let hello = Hello::find(flight);
    hello.flip(flight, &hello.first_psk().identity)
}

/// The flight with one bit of the first binder flipped: a forged one.
pub fn garble_binder(flight: &[u8]) -> Vec<u8> {
    let hello = Hello::find(flight);
    hello.flip(flight, &hello.first_psk().binder)
}

/// The flight with one bit of the random flipped, which breaks the binder too.
pub fn garble_random(flight: &[u8]) -> Vec<u8> {
    Hello::find(flight).flip(flight, &(6..38))
}

/// The ClientHello alone, with its first identity and binder so many times, as one record.
pub fn with_identities(flight: &[u8], count: usize) -> Vec<u8> {
    let hello = Hello::find(flight);
    let psk = hello.first_psk();
    let data = hello.extension(PRE_SHARED_KEY).unwrap();
    let message = hello.message();
    let identity = &message[psk.identity.start - 2..psk.age.end];
    let binder = &message[psk.binder.start - 1..psk.binder.end];
    let mut list = Vec::new();
    for part in [identity, binder] {
        let part = part.repeat(count);
        list.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        list.extend(part);
    }
    let grown = list.len() - data.len();
    let mut out = message[..data.start].to_vec();
    out[data.start - 2..].copy_from_slice(&u16::try_from(list.len()).unwrap().to_be_bytes());
    out.extend(list);
    let add = |bytes: &mut [u8], by: usize| {
        let old = number(bytes, 0);
        bytes.copy_from_slice(&u16::try_from(old + by).unwrap().to_be_bytes());
    };
    // The message's length, and that of all extensions.
    add(&mut out[2..4], grown);
    let mut at = 4 + 2 + 32;
    at += 1 + usize::from(out[at]);
    at += 2 + number(&out, at);
    at += 1 + usize::from(out[at]);
    add(&mut out[at..at + 2], grown);
    record(&out)
}

/// A handshake message as one record: what QUIC carries without.
pub fn record(message: &[u8]) -> Vec<u8> {
    let mut record = vec![HANDSHAKE, 3, 1];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    record
}

/// An early-data record that nobody can read, as long as one of `plaintext` bytes: for a server
/// that refuses early data it is as good as a true one.
pub fn unreadable_early_record(plaintext: usize) -> Vec<u8> {
    let length = u16::try_from(plaintext + 17).unwrap();
    let mut record = vec![23, 3, 3];
    record.extend(length.to_be_bytes());
    record.resize(HEADER + usize::from(length), 0x5a);
    record
}

/// The description in a plaintext alert record at the beginning of `bytes`.
pub fn plain_alert(bytes: &[u8]) -> Option<rustls::AlertDescription> {
    match Records::of(bytes).next()? {
        record if record.kind == 21 && record.body.len() == 2 => {
            Some(rustls::AlertDescription::from(record.body[1]))
        }
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}
