//! What passed a line, as a file that Wireshark reads too (pcap, raw IP).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Times in nanoseconds, little-endian.
const MAGIC: u32 = 0xa1b2_3c4d;
/// LINKTYPE_RAW: a packet begins with its IP header.
const RAW: u32 = 101;
const UDP: u8 = 17;
const RECORD: usize = 16;
const UDP_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// A datagram and its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The mark of congestion.
    pub ecn: u8,
    /// What was in it.
    pub bytes: Vec<u8>,
}

/// Writes a file.
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(file: &Path) -> io::Result<Self> {
        let mut writer = BufWriter::new(File::create(file)?);
        let mut header = Vec::new();
        header.extend(MAGIC.to_le_bytes());
        // Version 2.4.
        header.extend([2, 0, 4, 0]);
        header.extend([0; 8]);
        header.extend(u32::from(u16::MAX).to_le_bytes());
        header.extend(RAW.to_le_bytes());
        writer.write_all(&header)?;
        Ok(Self(writer))
    }

    /// Adds a datagram that passes now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        ecn: u8,
        bytes: &[u8],
    ) -> io::Result<()> {
        let packet = packet(from, to, ecn, bytes);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let length = packet.len() as u32;
        for number in [now.as_secs() as u32, now.subsec_nanos(), length, length] {
            self.0.write_all(&number.to_le_bytes())?;
        }
        self.0.write_all(&packet)
    }

    /// Makes sure that all of it is in the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn packet(from: SocketAddr, to: SocketAddr, ecn: u8, bytes: &[u8]) -> Vec<u8> {
    let length = (UDP_HEADER + bytes.len()) as u16;
    let mut packet = Vec::with_capacity(IPV6_HEADER + UDP_HEADER + bytes.len());
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, ecn]);
            packet.extend((IPV4_HEADER as u16 + length).to_be_bytes());
            // No fragment; the checksum is nobody's concern.
            packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        (from, to) => {
            packet.extend([0x60, ecn << 4, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([UDP, 64]);
            packet.extend(v6(from).octets());
            packet.extend(v6(to).octets());
        }
    }
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(bytes);
    packet
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Reads a file of [`Writer`]'s. What is not whole at its end is left out.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path) -> Result<Vec<Datagram>, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut all = Vec::new();
    while let Some((record, behind)) = rest.split_at_checked(RECORD) {
        let length = &record[8..12];
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some((packet, behind)) = behind.split_at_checked(length) else {
            break;
        };
        all.extend(datagram(packet));
        rest = behind;
    }
    Ok(all)
}

fn datagram(packet: &[u8]) -> Option<Datagram> {
    let v4 = packet.first()? >> 4 == 4;
    let (ecn, udp) = match v4 {
        true => (packet.get(1)? & 3, IPV4_HEADER),
        false => (packet.get(1)? >> 4 & 3, IPV6_HEADER),
    };
    let address = |at: usize| -> Option<IpAddr> {
        match v4 {
            true => {
                let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(Ipv4Addr::from(octets).into())
            }
            false => {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(Ipv6Addr::from(octets).into())
            }
        }
    };
    let (from, to) = if v4 { (12, 16) } else { (8, 24) };
    let port = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    Some(Datagram {
        from: SocketAddr::new(address(from)?, port(udp)?),
        to: SocketAddr::new(address(to)?, port(udp + 2)?),
        ecn,
        bytes: packet.get(udp + UDP_HEADER..)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.pcap");
        let all = [
            ("127.0.0.1:5", "127.0.0.2:443", 2),
            ("[::1]:5", "[::2]:443", 1),
        ];
        let all = all.map(|(from, to, ecn)| Datagram {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            ecn,
            bytes: vec![ecn; 1200],
        });
        let mut writer = Writer::create(&file).unwrap();
        for one in &all {
            writer.add(one.from, one.to, one.ecn, &one.bytes).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        assert_eq!(read(&file).unwrap(), all);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(read(&file).unwrap(), all[..1]);
        assert!(read(&directory.path().join("b.pcap")).is_err());
    }
}
