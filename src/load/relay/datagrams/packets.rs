//! What an outsider can tell of QUIC packets: their kinds and lengths.
//!
//! Header protection leaves both in the clear (RFC 9001 §5.4.1).

use crate::http::h3::varint;
use crate::tls::quic::VERSION as VERSION_1;

/// RFC 9369 §3.
const VERSION_2: u32 = 0x6b33_43cf;

/// The kind of a packet. RFC 9000 §17
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
    OneRtt,
    /// Version negotiation, an unknown version, or no packet at all.
    Other,
}

/// The packets of a datagram, with their lengths in bytes.
#[derive(Debug, Clone)]
pub(super) struct Packets<'a>(&'a [u8]);

impl<'a> Packets<'a> {
    pub(super) fn of(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl Iterator for Packets<'_> {
    type Item = (Kind, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.0.first()?;
        // The form alone: the fixed bit beside it says nothing, who may set it to 0 does (RFC 9287).
        let (kind, length) = match first & 0x80 {
            0 if self.0.iter().all(|byte| *byte == 0) => (Kind::Other, self.0.len()),
            // Only long headers tell a length: others are the last one of a datagram.
            0 => (Kind::OneRtt, self.0.len()),
            _ => long(self.0).unwrap_or((Kind::Other, self.0.len())),
        };
        self.0 = self.0.get(length..).unwrap_or_default();
        Some((kind, length))
    }
}

fn long(bytes: &[u8]) -> Option<(Kind, usize)> {
    let (first, mut rest) = bytes.split_first()?;
    let version = u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    let number = (first >> 4) & 0b11;
    let kinds = [Kind::Initial, Kind::ZeroRtt, Kind::Handshake, Kind::Retry];
    let kind = match version {
        VERSION_1 => kinds[usize::from(number)],
        VERSION_2 => kinds[usize::from(number.wrapping_sub(1) & 0b11)],
        _ => return None,
    };
    for _ in 0..2 {
        let id = *take(&mut rest, 1)?.first()?;
        take(&mut rest, id.into())?;
    }
    if kind == Kind::Retry {
        return Some((kind, bytes.len()));
    }
    if kind == Kind::Initial {
        let token = varint::decode(&mut rest)?;
        take(&mut rest, token.try_into().ok()?)?;
    }
    let length = varint::decode(&mut rest)?;
    take(&mut rest, length.try_into().ok()?)?;
    Some((kind, bytes.len() - rest.len()))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long header with ids of 8 and 0 bytes, then a length of two bytes and as much content.
    fn packet(first: u8, version: u32, token: Option<usize>, content: u16) -> Vec<u8> {
        let mut packet = vec![first];
        packet.extend(version.to_be_bytes());
        packet.push(8);
        packet.extend([0xaa; 8]);
        packet.push(0);
        if let Some(token) = token {
            packet.push(u8::try_from(token).unwrap());
            packet.extend(vec![0xbb; token]);
        }
        packet.extend((content | 0x4000).to_be_bytes());
        packet.extend(vec![0; content.into()]);
        packet
    }

    fn kinds(datagram: &[u8]) -> Vec<(Kind, usize)> {
        Packets::of(datagram).collect()
    }

    #[test]
    fn packets_of_one_datagram_are_told_apart() {
        let initial = packet(0xc3, VERSION_1, Some(5), 300);
        let early = packet(0xd0, VERSION_1, None, 40);
        let handshake = packet(0xe1, VERSION_1, None, 70);
        let sealed = [0x5b; 33];
        let whole = [&initial[..], &early, &handshake, &sealed].concat();
        let wanted = [
            (Kind::Initial, initial.len()),
            (Kind::ZeroRtt, early.len()),
            (Kind::Handshake, handshake.len()),
            (Kind::OneRtt, 33),
        ];
        assert_eq!(kinds(&whole), wanted);
    }

    #[test]
    fn the_fixed_bit_says_nothing() {
        let handshake = packet(0xa1, VERSION_1, None, 70);
        let whole = [&handshake[..], &[0x1b; 33]].concat();
        let wanted = [(Kind::Handshake, handshake.len()), (Kind::OneRtt, 33)];
        assert_eq!(kinds(&whole), wanted);
    }

    #[test]
    fn version_2_counts_kinds_otherwise() {
        let of = |first| kinds(&packet(first, VERSION_2, None, 30))[0].0;
        assert_eq!([of(0xe0), of(0xf0)], [Kind::ZeroRtt, Kind::Handshake]);
        let initial = packet(0xd0, VERSION_2, Some(0), 30);
        assert_eq!(kinds(&initial), [(Kind::Initial, initial.len())]);
        assert_eq!(of(0xc0), Kind::Retry);
    }

    #[test]
    fn what_is_no_packet_ends_the_datagram() {
        let initial = packet(0xc0, VERSION_1, Some(0), 20);
        let padded = [&initial[..], &[0; 50]].concat();
        assert_eq!(kinds(&padded)[1], (Kind::Other, 50));
        assert_eq!(kinds(&initial[..30]), [(Kind::Other, 30)]);
        assert_eq!(kinds(&packet(0xc0, 0, None, 3))[0].0, Kind::Other);
        assert_eq!(kinds(&[]), []);
    }
}
