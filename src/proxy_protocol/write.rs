//! Making a header.

use std::net::{IpAddr, SocketAddr};

use super::{SIGNATURE, Version};

/// Version 2 and its commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// The header that tells of a connection from `source` to `destination`. Addresses of two
/// families are both written as IPv6.
pub fn header(version: Version, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (from, to) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) => (from, to),
        (from, to) => (mapped(from), mapped(to)),
    };
    let (from_port, to_port) = (source.port(), destination.port());
    match version {
        Version::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
        }
        Version::V2 => {
            let mut header = SIGNATURE.to_vec();
            header.push(PROXY);
            // The family over TCP, and the length of what follows.
            let (family, length): (u8, u16) = if from.is_ipv4() {
                (0x11, 12)
            } else {
                (0x21, 36)
            };
            header.push(family);
            header.extend(length.to_be_bytes());
            for address in [from, to] {
                match address {
                    IpAddr::V4(address) => header.extend(address.octets()),
                    IpAddr::V6(address) => header.extend(address.octets()),
                }
            }
            header.extend(from_port.to_be_bytes());
            header.extend(to_port.to_be_bytes());
            header
        }
    }
}

/// The header of a connection that is its sender's own: a health check.
pub fn local(version: Version) -> Vec<u8> {
    match version {
        Version::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        Version::V2 => [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat(),
    }
}

fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        address @ IpAddr::V6(_) => address,
    }
}
