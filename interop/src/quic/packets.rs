//! What anybody on the way can read of QUIC packets (RFC 8999, RFC 9000 §17).

use super::pcap::Datagram;

/// Version 1.
pub const V1: u32 = 1;
/// Of a Retry packet, at its end.
const TAG: usize = 16;

/// What kind a packet is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a handshake's beginning.
    Initial,
    /// Early data.
    ZeroRtt,
    /// The rest of a handshake.
    Handshake,
    /// The client is to prove its address.
    Retry,
    /// A version that the server does not speak was asked for.
    VersionNegotiation,
    /// All that comes behind the handshake.
    OneRtt,
}

/// What of a packet is not sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its kind.
    pub kind: Kind,
    /// Its version; 0 for a short header, which has none.
    pub version: u32,
    /// The id of its receiver; of a short header as much as there is.
    pub to: Vec<u8>,
    /// The id of its sender.
    pub from: Vec<u8>,
    /// The token that it shows, or that a Retry gives.
    pub token: Vec<u8>,
    /// The length of what is sealed, packet number included.
    pub sealed: usize,
}

/// The packets of a datagram. What cannot be read is left out.
pub fn packets(datagram: &Datagram) -> Vec<Packet> {
    let mut all = Vec::new();
    let mut reader = Reader(&datagram.bytes);
    while let Some(packet) = packet(&mut reader) {
        all.push(packet);
    }
    all
}

fn packet(reader: &mut Reader<'_>) -> Option<Packet> {
    let first = reader.byte()?;
    if first & 0x80 == 0 {
        // Zeros are padding. The fixed bit may be 0 too, where both sides greased it (RFC 9287).
        let padding = first == 0 && reader.0.iter().all(|byte| *byte == 0);
        return (!padding).then(|| Packet {
            kind: Kind::OneRtt,
            version: 0,
            to: reader.0.get(..20).unwrap_or_default().to_vec(),
            from: Vec::new(),
            token: Vec::new(),
            sealed: std::mem::take(&mut reader.0).len(),
        });
    }
    let version = u32::from_be_bytes(reader.take(4)?.try_into().ok()?);
    let to = usize::from(reader.byte()?);
    let to = reader.take(to)?.to_vec();
    let from = usize::from(reader.byte()?);
    let from = reader.take(from)?.to_vec();
    let rest = reader.0.len();
    let (kind, token, sealed) = match (version, first >> 4 & 3) {
        (0, _) => (
            Kind::VersionNegotiation,
            Vec::new(),
            reader.take(rest)?.len(),
        ),
        (_, 3) => {
            let token = reader.take(rest.checked_sub(TAG)?)?.to_vec();
            (Kind::Retry, token, reader.take(TAG)?.len())
        }
        (_, kind) => {
            let token = match kind {
                0 => {
                    let length = reader.number()?;
                    reader.take(length)?.to_vec()
                }
                _ => Vec::new(),
            };
            let kind = [Kind::Initial, Kind::ZeroRtt, Kind::Handshake][usize::from(kind)];
            let length = reader.number()?;
            (kind, token, reader.take(length)?.len())
        }
    };
    Some(Packet {
        kind,
        version,
        to,
        from,
        token,
        sealed,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// RFC 9000 §16.
    fn number(&mut self) -> Option<usize> {
        let first = self.byte()?;
        let mut number = usize::from(first & 0x3f);
        for _ in 1..1_usize << (first >> 6) {
            number = number << 8 | usize::from(self.byte()?);
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Packet> {
        packets(&Datagram {
            from: "127.0.0.1:1".parse().unwrap(),
            to: "127.0.0.2:2".parse().unwrap(),
            ecn: 0,
            bytes: bytes.to_vec(),
        })
    }

    #[test]
    fn packets_that_share_a_datagram_are_told_apart() {
        let initial = [0xc0, 0, 0, 0, 1, 2, 8, 9, 1, 7, 3, 5, 5, 5, 0x40, 2, 1, 1];
        let handshake = [0xe0, 0, 0, 0, 1, 0, 0, 1, 1];
        let short = [0x41, 1, 2, 3];
        let all = read(&[&initial[..], &handshake, &short].concat());
        let kinds: Vec<Kind> = all.iter().map(|packet| packet.kind).collect();
        assert_eq!(kinds, [Kind::Initial, Kind::Handshake, Kind::OneRtt]);
        assert_eq!((&all[0].to[..], &all[0].from[..]), (&[8, 9][..], &[7][..]));
        assert_eq!((&all[0].token[..], all[0].sealed), (&[5, 5, 5][..], 2));
        // Padding behind a packet is none.
        assert_eq!(read(&[&initial[..], &[0; 8]].concat()).len(), 1);
    }

    #[test]
    fn a_retry_gives_a_token() {
        let retry = [&[0xf0, 0, 0, 0, 1, 0, 1, 4][..], b"token", &[0; TAG]].concat();
        let all = read(&retry);
        assert_eq!(
            (all[0].kind, &all[0].token[..]),
            (Kind::Retry, &b"token"[..])
        );
        let negotiation = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(read(&negotiation)[0].kind, Kind::VersionNegotiation);
    }

    #[test]
    fn what_is_cut_short_is_no_packet() {
        let initial = [0xc0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1];
        assert_eq!(read(&initial).len(), 1);
        for length in 0..initial.len() {
            assert!(read(&initial[..length]).is_empty(), "{length}");
        }
    }
}
