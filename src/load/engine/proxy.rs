//! The PROXY protocol's header, as a client's load balancer would send it.

use std::net::{IpAddr, SocketAddr};

use crate::load::plan::ProxyVersion;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// The header that tells of a connection from `source` to `destination`. Addresses of two
/// families are both written as IPv6.
pub(super) fn header(
    version: ProxyVersion,
    source: SocketAddr,
    destination: SocketAddr,
) -> Vec<u8> {
    let (from, to) = match (source.ip(), destination.ip()) {
        (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) => (from, to),
        (from, to) => (mapped(from), mapped(to)),
    };
    let (from_port, to_port) = (source.port(), destination.port());
    match version {
        ProxyVersion::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
        }
        ProxyVersion::V2 => {
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

fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        address @ IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of(version: ProxyVersion, from: &str, to: &str) -> Vec<u8> {
        header(version, from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn the_text_form() {
        let v1 = |from, to| String::from_utf8(header_of(ProxyVersion::V1, from, to)).unwrap();
        assert_eq!(
            v1("192.0.2.1:1000", "127.0.0.1:443"),
            "PROXY TCP4 192.0.2.1 127.0.0.1 1000 443\r\n"
        );
        assert_eq!(
            v1("[2001:db8::1]:1000", "127.0.0.1:443"),
            "PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 1000 443\r\n"
        );
    }

    #[test]
    fn the_binary_form() {
        let v2 = header_of(ProxyVersion::V2, "192.0.2.1:1000", "127.0.0.1:443");
        assert_eq!(v2[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(v2[16..], [192, 0, 2, 1, 127, 0, 0, 1, 3, 232, 1, 187]);
        let v2 = header_of(ProxyVersion::V2, "[::1]:1", "[::1]:2");
        assert_eq!((v2.len(), v2[13]), (16 + 36, 0x21));
    }
}
