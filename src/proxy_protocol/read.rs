//! Reading a header.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::crc32c;
use super::{Accepts, SIGNATURE, Told, Version};

/// The longest line of version 1, with its CRLF.
const MAX_LINE: usize = 107;
/// What stands before the addresses of version 2.
const FIXED: usize = 16;
/// The longest header that is taken, of version 2: addresses take at most 216 bytes, the rest is
/// for what a balancer adds, such as a client certificate's names.
pub const MAX_HEADER: usize = 4096;

/// The type of the checksum among what is added.
const CRC32C: u8 = 0x03;

/// Whether a header is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// More bytes are needed; all that is there belongs to the header.
    Partial,
    /// It is whole: so many bytes, and what they say. What follows them is the connection's own.
    Whole(usize, Told),
}

/// Why bytes are no header that a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// They do not begin as a header does.
    Missing,
    /// A header of the other version.
    Version,
    /// A header that breaks the rules.
    Malformed,
    /// A header longer than allowed.
    TooLarge,
    /// A checksum that is not that of the header.
    Checksum,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no PROXY protocol header",
            Self::Version => "a PROXY protocol header of the other version",
            Self::Malformed => "a malformed PROXY protocol header",
            Self::TooLarge => "a PROXY protocol header that is too long",
            Self::Checksum => "a PROXY protocol header with a wrong checksum",
        })
    }
}

impl std::error::Error for HeaderError {}

/// Looks at the first bytes of a connection, all that have come.
///
/// # Errors
/// [`HeaderError`] as soon as they cannot become a header that is taken.
pub fn read(bytes: &[u8], accepts: Accepts) -> Result<Found, HeaderError> {
    let begins = |with: &[u8]| {
        let shared = bytes.len().min(with.len());
        bytes.get(..shared) == with.get(..shared)
    };
    if bytes.is_empty() {
        return Ok(Found::Partial);
    }
    let (version, read): (_, fn(&[u8]) -> _) = if begins(SIGNATURE) {
        (Version::V2, binary)
    } else if begins(b"PROXY ") {
        (Version::V1, text)
    } else {
        return Err(HeaderError::Missing);
    };
    match accepts.takes(version) {
        true => read(bytes),
        false => Err(HeaderError::Version),
    }
}

/// Version 1: one line.
fn text(bytes: &[u8]) -> Result<Found, HeaderError> {
    let visible = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let end = visible.windows(2).position(|two| two == b"\r\n");
    let line = end.and_then(|end| visible.get(..end)).unwrap_or(visible);
    // What is plainly wrong is refused at its byte, not waited for.
    if line
        .iter()
        .any(|&byte| byte.is_ascii_control() && byte != b'\r')
    {
        return Err(HeaderError::Malformed);
    }
    let Some(end) = end else {
        return match visible.len() < MAX_LINE {
            true => Ok(Found::Partial),
            false => Err(HeaderError::TooLarge),
        };
    };
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let told = line_says(line).ok_or(HeaderError::Malformed)?;
    Ok(Found::Whole(end + 2, told))
}

fn line_says(line: &str) -> Option<Told> {
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        // Whatever follows is to be ignored.
        return Some(Told::Local);
    }
    let mut words = rest.split(' ');
    let family = words.next()?;
    let [from, to, from_port, to_port] = [(); 4].map(|()| words.next());
    if words.next().is_some() {
        return None;
    }
    let address = |text: &str| match family {
        "TCP4" => text.parse().map(IpAddr::V4).ok(),
        "TCP6" => text.parse().map(IpAddr::V6).ok(),
        _ => None,
    };
    Some(Told::Proxied {
        source: SocketAddr::new(address(from?)?, port(from_port?)?),
        destination: SocketAddr::new(address(to?)?, port(to_port?)?),
    })
}

/// Decimal digits, without a zero before them.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0')))
        .then(|| text.parse().ok())
        .flatten()
}

/// Version 2: a fixed part, addresses, and type-length-values.
fn binary(bytes: &[u8]) -> Result<Found, HeaderError> {
    let command = match bytes.get(12) {
        None => return Ok(Found::Partial),
        Some(byte @ (0x20 | 0x21)) => byte & 0x0f,
        Some(_) => return Err(HeaderError::Malformed),
    };
    let Some(&[family, high, low]) = bytes.get(13..FIXED) else {
        return Ok(Found::Partial);
    };
    let whole = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if whole > MAX_HEADER {
        return Err(HeaderError::TooLarge);
    }
    let Some(header) = bytes.get(..whole) else {
        return Ok(Found::Partial);
    };
    let told = match command {
        // Health checks: what follows has no meaning, not even its family.
        0 => Told::Local,
        _ => {
            let (told, addresses) = addresses(family, header)?;
            check_added(header, FIXED + addresses)?;
            told
        }
    };
    Ok(Found::Whole(whole, told))
}

/// What the address block says, and its length.
fn addresses(family: u8, header: &[u8]) -> Result<(Told, usize), HeaderError> {
    let block = header.get(FIXED..).unwrap_or_default();
    let port = |at: usize| match block.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    };
    match family {
        // Unspecified: there is no address, and what follows is not known to be anything.
        0x00 => Ok((Told::Local, block.len())),
        0x11 => {
            let (Some(from), Some(to), true) = (
                block.first_chunk::<4>(),
                block.get(4..).and_then(|rest| rest.first_chunk::<4>()),
                block.len() >= 12,
            ) else {
                return Err(HeaderError::Malformed);
            };
            let told = Told::Proxied {
                source: (Ipv4Addr::from(*from), port(8)).into(),
                destination: (Ipv4Addr::from(*to), port(10)).into(),
            };
            Ok((told, 12))
        }
        0x21 => {
            let (Some(from), Some(to), true) = (
                block.first_chunk::<16>(),
                block.get(16..).and_then(|rest| rest.first_chunk::<16>()),
                block.len() >= 36,
            ) else {
                return Err(HeaderError::Malformed);
            };
            let told = Told::Proxied {
                source: (Ipv6Addr::from(*from), port(32)).into(),
                destination: (Ipv6Addr::from(*to), port(34)).into(),
            };
            Ok((told, 36))
        }
        // Unix sockets, which tell no address of the internet.
        0x31 | 0x32 if block.len() >= 216 => Ok((Told::Local, 216)),
        // Datagrams over our TCP connection: nothing would have proved such an address
        // (EARLY-DATA R15). All others are not to be sent.
        _ => Err(HeaderError::Malformed),
    }
}

/// Walks over the type-length-values from `at` on; a checksum among them must be right.
fn check_added(header: &[u8], mut at: usize) -> Result<(), HeaderError> {
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else {
            return Err(HeaderError::Malformed);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let start = at + 3;
        at = start + length;
        let value = header.get(start..at).ok_or(HeaderError::Malformed)?;
        if kind != CRC32C {
            continue;
        }
        let told: [u8; 4] = value.try_into().map_err(|_| HeaderError::Malformed)?;
        // Of the whole header, with zeros in its own place.
        let zeroed = header.iter().enumerate().map(|(index, byte)| {
            let own = (start..start + told.len()).contains(&index);
            if own { 0 } else { *byte }
        });
        if crc32c(zeroed) != u32::from_be_bytes(told) {
            return Err(HeaderError::Checksum);
        }
    }
    Ok(())
}
