//! JA4: a fingerprint of TLS clients, for logs.
//!
//! It names the software behind a ClientHello, whatever the order in which it shuffles its
//! extensions. Computed on demand only: two SHA-256 and some sorting.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

use super::hello::{ClientHello, is_grease};

/// Over what a ClientHello came; the fingerprint's first letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TLS over TCP: `t`.
    Tcp,
    /// QUIC: `q`.
    Quic,
}

/// What stands for a hash of nothing.
const NOTHING: &str = "000000000000";
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// The JA4 fingerprint, 36 characters such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
#[must_use]
pub fn ja4(hello: &ClientHello, transport: Transport) -> String {
    let mut suites: Vec<u16> = without_grease(hello.cipher_suites());
    let mut extensions: Vec<u16> = without_grease(hello.extension_types());
    let schemes: Vec<u16> = without_grease(hello.signature_schemes());
    suites.sort_unstable();

    let mut out = String::with_capacity(36);
    out.push(match transport {
        Transport::Tcp => 't',
        Transport::Quic => 'q',
    });
    out.push_str(version(hello));
    out.push(if hello.has_server_name_extension() {
        'd'
    } else {
        'i'
    });
    push_count(&mut out, suites.len());
    // The counts include SNI and ALPN, the hash does not: it is to be equal wherever a client goes.
    push_count(&mut out, extensions.len());
    extensions.retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
    extensions.sort_unstable();
    for c in alpn(hello.alpn().next()) {
        out.push(char::from(c));
    }

    out.push('_');
    out.push_str(&hash(&hex_list(&suites)));
    out.push('_');
    let mut text = hex_list(&extensions);
    if !extensions.is_empty() && !schemes.is_empty() {
        text.push('_');
        text.push_str(&hex_list(&schemes));
    }
    out.push_str(&hash(&text));
    out
}

fn without_grease<N: Into<u16>>(values: impl Iterator<Item = N>) -> Vec<u16> {
    values
        .map(Into::into)
        .filter(|value| !is_grease(*value))
        .collect()
}

/// The highest version offered.
fn version(hello: &ClientHello) -> &'static str {
    let offered = match hello.has_supported_versions_extension() {
        true => without_grease(hello.supported_versions()).into_iter().max(),
        false => Some(u16::from(hello.legacy_version())),
    };
    match offered {
        Some(0x0304) => "13",
        Some(0x0303) => "12",
        Some(0x0302) => "11",
        Some(0x0301) => "10",
        Some(0x0300) => "s3",
        Some(0x0002) => "s2",
        _ => "00",
    }
}

/// Two digits; what does not fit is 99.
fn push_count(out: &mut String, count: usize) {
    // Writing to a String does not fail.
    let _ = write!(out, "{:02}", count.min(99));
}

/// First and last character of the first protocol; of its hex form if either is not alphanumeric.
fn alpn(first: Option<&[u8]>) -> [u8; 2] {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let hex = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let name = first.unwrap_or_default();
    match (name.first(), name.last()) {
        (Some(&head), Some(&tail)) => {
            match head.is_ascii_alphanumeric() && tail.is_ascii_alphanumeric() {
                true => [head, tail],
                false => [hex(head >> 4), hex(tail & 0x0f)],
            }
        }
        _ => *b"00",
    }
}

/// `002f,1301,…`
fn hex_list(values: &[u16]) -> String {
    let mut out = String::with_capacity(values.len() * 5);
    for (i, value) in values.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{value:04x}");
    }
    out
}

/// The first 12 hex digits of the SHA-256.
fn hash(text: &str) -> String {
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    let mut out = String::with_capacity(12);
    for byte in digest(&SHA256, text.as_bytes()).as_ref().iter().take(6) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Transport, alpn, ja4};
    use crate::tls::hello::testing::{Builder, numbers8, numbers16};

    /// The worked example of the specification (Chrome on Windows), GREASE added.
    fn chrome() -> Builder {
        let mut hello = Builder::empty();
        hello.suites = vec![
            0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
            0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let schemes = [
            0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
        ];
        hello
            .extension(0x1a1a, &[])
            .extension(0x001b, &numbers8(&[2]))
            .server_name(b"example.com")
            .key_share(&[(0x1d, 32)])
            .alpn(&[b"h2", b"http/1.1"])
            .extension(0x4469, &[0, 3, 2, b'h', b'2'])
            .extension(0x0017, &[])
            .extension(0x002d, &[1, 1])
            .extension(0x000d, &numbers16(&schemes))
            .extension(0x0005, &[1, 0, 0, 0, 0])
            .extension(0x0023, &[])
            .extension(0x0012, &[])
            .extension(0x002b, &numbers8(&[0x6a6a, 0x0304, 0x0303]))
            .extension(0xff01, &[0])
            .extension(0x000b, &[1, 0])
            .extension(0x000a, &numbers16(&[0x2a2a, 0x1d, 0x17, 0x18]))
            .extension(0x5a5a, &[0])
            .extension(0x0015, &[0; 40])
    }

    fn of(hello: Builder) -> String {
        ja4(&hello.parse().expect("a well-formed hello"), Transport::Tcp)
    }

    #[test]
    fn the_specification_example_comes_out() {
        assert_eq!(of(chrome()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn quic_differs_in_the_first_letter() {
        let hello = chrome().parse().expect("a well-formed hello");
        assert!(ja4(&hello, Transport::Quic).starts_with("q13d1516h2_"));
    }

    #[test]
    fn extension_order_does_not_matter() {
        let mut shuffled = chrome();
        shuffled.extensions.reverse();
        assert_eq!(of(shuffled), of(chrome()));
    }

    #[test]
    fn server_name_and_alpn_are_counted_but_not_hashed() {
        let mut bare = chrome();
        bare.extensions.retain(|(kind, _)| !matches!(kind, 0 | 16));
        assert_eq!(of(bare), "t13i151400_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn without_signature_algorithms_the_extension_list_stands_alone() {
        let mut hello = chrome();
        for (kind, body) in &mut hello.extensions {
            if *kind == 0x000d {
                *body = numbers16(&[0x0a0a]);
            }
        }
        assert_eq!(of(hello), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn a_hello_without_extensions_has_zeros_for_their_hash() {
        let mut hello = Builder::empty();
        hello.suites = vec![0x0a0a];
        hello.legacy_version = 0x0301;
        assert_eq!(of(hello), "t10i000000_000000000000_000000000000");
    }

    #[test]
    fn counts_stop_at_99() {
        let mut hello = Builder::empty();
        hello.suites = (0..150).collect();
        assert!(of(hello).starts_with("t12i990000_"));
    }

    #[test]
    fn alpn_characters_follow_the_specification() {
        assert_eq!(&alpn(None), b"00");
        assert_eq!(&alpn(Some(b"")), b"00");
        assert_eq!(&alpn(Some(b"h2")), b"h2");
        assert_eq!(&alpn(Some(b"http/1.1")), b"h1");
        assert_eq!(&alpn(Some(b"x")), b"xx");
        assert_eq!(&alpn(Some(&[0xab])), b"ab");
        assert_eq!(&alpn(Some(&[0xab, 0xcd])), b"ad");
        assert_eq!(&alpn(Some(&[0x30, 0xab])), b"3b");
        assert_eq!(&alpn(Some(&[0x30, 0x31, 0xab, 0xcd])), b"3d");
        assert_eq!(&alpn(Some(&[0x30, 0xab, 0xcd, 0x31])), b"01");
    }
}
