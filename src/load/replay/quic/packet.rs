//! Packets with long headers, and the frames in those that open a handshake. RFC 9000 §17.2, §19

use std::collections::BTreeMap;

use super::protection::Protection;
use crate::http::h3::varint;
use crate::tls::quic::VERSION;

/// The longest connection id, in bytes. RFC 9000 §17.2
const LONGEST_ID: usize = 20;

/// Frames. RFC 9000 §19
const PADDING: u64 = 0x0;
const PING: u64 = 0x1;
const ACK: u64 = 0x2;
const ACK_WITH_ECN: u64 = 0x3;
const CRYPTO: u64 = 0x6;
const CONNECTION_CLOSE: u64 = 0x1c;

/// The type of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Initial,
    /// 0-RTT.
    Early,
    Handshake,
    Retry,
    /// Version negotiation.
    Versions,
}

/// A packet with a long header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    /// The connection id of who is to get it.
    pub(super) to: &'a [u8],
    /// The one of who sent it.
    pub(super) from: &'a [u8],
    pub(super) bytes: &'a [u8],
    /// Where its number stands.
    number: usize,
}

impl Packet<'_> {
    /// Its number and its frames, if these keys open it.
    pub(super) fn open(&self, keys: &Protection) -> Option<(u64, Vec<u8>)> {
        keys.open(self.bytes, self.number)
    }
}

/// The packets of a datagram, up to the first that is none or has a short header.
pub(super) fn packets(datagram: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (packet, after) = first(rest)?;
        rest = after;
        Some(packet)
    })
}

fn first(all: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let (&flags, mut rest) = all.split_first()?;
    let (version, after) = rest.split_first_chunk()?;
    let version = u32::from_be_bytes(*version);
    rest = after;
    let (to, from) = (id(&mut rest)?, id(&mut rest)?);
    let kind = match (flags & 0x80, version, flags >> 4 & 3) {
        (0, ..) => return None,
        (_, 0, _) => Kind::Versions,
        (_, VERSION, 0) => Kind::Initial,
        (_, VERSION, 1) => Kind::Early,
        (_, VERSION, 2) => Kind::Handshake,
        (_, VERSION, _) => Kind::Retry,
        _ => return None,
    };
    if kind == Kind::Initial {
        let token = varint::decode(&mut rest)?;
        rest = rest.get(usize::try_from(token).ok()?..)?;
    }
    let end = match kind {
        // They have the rest of a datagram to themselves.
        Kind::Versions | Kind::Retry => all.len(),
        Kind::Initial | Kind::Early | Kind::Handshake => {
            let length = usize::try_from(varint::decode(&mut rest)?).ok()?;
            (all.len() - rest.len()).checked_add(length)?
        }
    };
    let number = all.len() - rest.len();
    let (bytes, after) = all.split_at_checked(end)?;
    let packet = Packet {
        kind,
        to,
        from,
        bytes,
        number,
    };
    Some((packet, after))
}

fn id<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&length, after) = rest.split_first()?;
    let length = usize::from(length);
    let (id, after) = after.split_at_checked(length)?;
    *rest = after;
    (length <= LONGEST_ID).then_some(id)
}

/// An Initial packet of a client, with this number.
pub(super) fn initial(
    keys: &Protection,
    to: &[u8],
    from: &[u8],
    number: u32,
    frames: &[u8],
) -> Option<Vec<u8>> {
    const TAG: usize = 16;
    let number = number.to_be_bytes();
    // A number of four bytes.
    let mut header = vec![0xc3];
    header.extend_from_slice(&VERSION.to_be_bytes());
    for id in [to, from] {
        header.push(u8::try_from(id.len()).ok()?);
        header.extend_from_slice(id);
    }
    // No token.
    header.push(0);
    let length = number.len() + frames.len() + TAG;
    header.extend_from_slice(&(0x4000 | u16::try_from(length).ok()?).to_be_bytes());
    header.extend_from_slice(&number);
    keys.seal(header, frames)
}

/// What the frames of a handshake say.
#[derive(Debug, Default)]
pub(super) struct Said {
    crypto: BTreeMap<u64, Vec<u8>>,
    /// The code of a CONNECTION_CLOSE.
    pub(super) closed: Option<u64>,
}

impl Said {
    /// Adds the frames of a packet. `None` if they are none that belong into one.
    pub(super) fn add(&mut self, mut frames: &[u8]) -> Option<()> {
        while !frames.is_empty() {
            match varint::decode(&mut frames)? {
                PADDING | PING => {}
                kind @ (ACK | ACK_WITH_ECN) => {
                    let [_largest, _delay] = numbers(&mut frames)?;
                    let [ranges, _first] = numbers(&mut frames)?;
                    for _ in 0..ranges {
                        let [_gap, _length] = numbers(&mut frames)?;
                    }
                    if kind == ACK_WITH_ECN {
                        let [_, _, _] = numbers(&mut frames)?;
                    }
                }
                CRYPTO => {
                    let [offset, length] = numbers(&mut frames)?;
                    let length = usize::try_from(length).ok()?;
                    let (data, after) = frames.split_at_checked(length)?;
                    frames = after;
                    self.crypto.insert(offset, data.to_vec());
                }
                CONNECTION_CLOSE => {
                    let [code, _frame] = numbers(&mut frames)?;
                    self.closed = Some(code);
                    // The reason is for people.
                    return Some(());
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// The handshake's bytes, as far as they have come without a gap.
    pub(super) fn crypto(&self) -> Vec<u8> {
        let mut whole = Vec::new();
        for (offset, data) in &self.crypto {
            let known = (whole.len() as u64).checked_sub(*offset);
            let Some(new) = known.map(|known| data.get(known as usize..)) else {
                break;
            };
            whole.extend_from_slice(new.unwrap_or_default());
        }
        whole
    }
}

fn numbers<const N: usize>(frames: &mut &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = varint::decode(frames)?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_split_into_its_packets() {
        let initial = [&b"\xc0\0\0\0\x01\x02to\x04from\x01t\x05"[..], b"12345"].concat();
        let handshake = [&b"\xe0\0\0\0\x01\x02to\x04from\x40\x03"[..], b"678"].concat();
        let datagram = [&initial[..], &handshake, b"\x40short"].concat();
        let found: Vec<_> = packets(&datagram).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].kind, found[0].bytes),
            (Kind::Initial, &initial[..])
        );
        assert_eq!((found[0].to, found[0].from), (&b"to"[..], &b"from"[..]));
        assert_eq!(&initial[found[0].number..], b"12345");
        assert_eq!(found[1].kind, Kind::Handshake);
        for cut in 0..initial.len() {
            assert_eq!(packets(&initial[..cut]).count(), 0, "{cut}");
        }
        let other = b"\xc0\0\0\0\0\x02to\x04from\0\0\0\x01";
        assert_eq!(packets(other).next().unwrap().kind, Kind::Versions);
        let retry = b"\xf0\0\0\0\x01\x02to\x04fromtoken";
        assert_eq!(packets(retry).next().unwrap().kind, Kind::Retry);
    }

    #[test]
    fn crypto_frames_are_put_in_order() {
        let mut said = Said::default();
        let third = b"\x06\x04\x01e";
        assert!(
            said.add(&[&b"\0\0\x01\x06\x02\x02cd"[..], third].concat())
                .is_some()
        );
        assert_eq!(said.crypto(), b"");
        // Some of it again.
        assert!(said.add(b"\x02\x05\0\x01\0\0\0\x06\0\x03abc").is_some());
        assert_eq!(said.crypto(), b"abcde");
        assert_eq!(said.closed, None);
        assert!(said.add(b"\x1c\x41\x28\0\x03why").is_some());
        assert_eq!(said.closed, Some(0x128));
        for wrong in [&b"\x06\0\x03ab"[..], b"\x08", b"\x02\x05"] {
            assert!(said.add(wrong).is_none());
        }
    }
}
