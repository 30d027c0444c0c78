use std::net::SocketAddr;

use super::checksum::crc32c;
use super::*;

const ANY: Accepts = Accepts::Any;

fn proxied(source: &str, destination: &str) -> Told {
    Told::Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn header_of(version: Version, from: &str, to: &str) -> Vec<u8> {
    header(version, from.parse().unwrap(), to.parse().unwrap())
}

/// A header of version 2 with this command, family and rest.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 127, 0, 0, 1, 3, 232, 1, 187];

#[test]
fn the_text_form_is_written() {
    let v1 = |from, to| String::from_utf8(header_of(Version::V1, from, to)).unwrap();
    assert_eq!(
        v1("192.0.2.1:1000", "127.0.0.1:443"),
        "PROXY TCP4 192.0.2.1 127.0.0.1 1000 443\r\n"
    );
    assert_eq!(
        v1("[2001:db8::1]:1000", "127.0.0.1:443"),
        "PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 1000 443\r\n"
    );
    // What a dual-stack socket calls an IPv4 client.
    assert_eq!(
        v1("[::ffff:192.0.2.1]:1000", "127.0.0.1:443"),
        "PROXY TCP4 192.0.2.1 127.0.0.1 1000 443\r\n"
    );
}

#[test]
fn the_binary_form_is_written() {
    let v2 = header_of(Version::V2, "192.0.2.1:1000", "127.0.0.1:443");
    assert_eq!(v2[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(v2[16..], V4);
    let v2 = header_of(Version::V2, "[::1]:1", "[::1]:2");
    assert_eq!((v2.len(), v2[13]), (16 + 36, 0x21));
}

#[test]
fn what_is_written_is_read_at_every_cut_and_nothing_behind_it() {
    for (from, to) in [
        ("192.0.2.1:1000", "127.0.0.1:443"),
        ("[2001:db8::1]:65535", "[::1]:0"),
    ] {
        for version in [Version::V1, Version::V2] {
            for (bytes, told) in [
                (header_of(version, from, to), proxied(from, to)),
                (local(version), Told::Local),
            ] {
                for cut in 0..bytes.len() {
                    assert_eq!(read(&bytes[..cut], ANY), Ok(Found::Partial), "{cut}");
                }
                let whole = Ok(Found::Whole(bytes.len(), told));
                let more = [&bytes[..], &bytes, b"\x16\x03\x01"].concat();
                for accepts in [ANY, Accepts::Only(version)] {
                    assert_eq!(read(&bytes, accepts), whole);
                    assert_eq!(read(&more, accepts), whole);
                }
                let other = match version {
                    Version::V1 => Version::V2,
                    Version::V2 => Version::V1,
                };
                let other = Accepts::Only(other);
                assert_eq!(read(&bytes, other), Err(HeaderError::Version));
            }
        }
    }
}

#[test]
fn lines_that_are_not_by_the_letter_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 127.0.0.1 1000 443 \r\n",
        "PROXY TCP4 192.0.2.1 127.0.0.1 1000\r\n",
        "PROXY TCP4 192.0.2.1  127.0.0.1 1000 443\r\n",
        "PROXY TCP4 192.0.2.1 127.0.0.1 1000 443 1\r\n",
        "PROXY TCP4 192.0.2.01 127.0.0.1 1000 443\r\n",
        "PROXY TCP4 192.0.2.1 127.0.0.1 01000 443\r\n",
        "PROXY TCP4 192.0.2.1 127.0.0.1 +1000 443\r\n",
        "PROXY TCP4 192.0.2.1 127.0.0.1 65536 443\r\n",
        "PROXY TCP4 ::1 ::1 1000 443\r\n",
        "PROXY TCP6 192.0.2.1 127.0.0.1 1000 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1000 443\r\n",
        "PROXY TCP5 192.0.2.1 127.0.0.1 1000 443\r\n",
        "PROXY tcp4 192.0.2.1 127.0.0.1 1000 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 127.0.0.1 1000 443\n",
        "PROXY TCP4 192.0.2.1\t127.0.0.1 1000 443",
    ] {
        let malformed = Err(HeaderError::Malformed);
        assert_eq!(read(line.as_bytes(), ANY), malformed, "{line:?}");
    }
    for none in [
        "PROXYTCP4",
        "proxy TCP4",
        "GET / HTTP/1.1",
        "\x16\x03\x01",
        "\r\n\r\nX",
    ] {
        assert_eq!(
            read(none.as_bytes(), ANY),
            Err(HeaderError::Missing),
            "{none:?}"
        );
    }
}

#[test]
fn a_line_has_at_most_107_bytes() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    let longest = line(107);
    assert_eq!(longest.len(), 107);
    assert_eq!(
        read(longest.as_bytes(), ANY),
        Ok(Found::Whole(107, Told::Local))
    );
    assert_eq!(read(line(108).as_bytes(), ANY), Err(HeaderError::TooLarge));
}

#[test]
fn a_check_by_the_balancer_has_the_connections_own_addresses() {
    // Whatever stands in it, and of whatever family.
    for header in [
        binary(0x20, 0x00, &[]),
        binary(0x20, 0x11, &V4),
        binary(0x20, 0xff, b"anything"),
    ] {
        assert_eq!(
            read(&header, ANY),
            Ok(Found::Whole(header.len(), Told::Local))
        );
    }
    for rest in ["", " 1 2 3 4", " ff:: ff:: 65535 65535"] {
        let line = format!("PROXY UNKNOWN{rest}\r\n");
        assert_eq!(
            read(line.as_bytes(), ANY),
            Ok(Found::Whole(line.len(), Told::Local))
        );
    }
}

#[test]
fn families_without_an_address_of_the_internet_keep_the_connections_own() {
    for (family, rest) in [
        (0x00, vec![1; 5]),
        (0x31, vec![0; 216]),
        (0x32, vec![0; 216]),
    ] {
        let header = binary(0x21, family, &rest);
        assert_eq!(
            read(&header, ANY),
            Ok(Found::Whole(header.len(), Told::Local)),
            "{family}"
        );
    }
}

#[test]
fn binary_headers_that_break_the_rules_are_refused() {
    for (what, header) in [
        ("another version", binary(0x11, 0x11, &V4)),
        ("another command", binary(0x22, 0x11, &V4)),
        ("datagrams", binary(0x21, 0x12, &V4)),
        ("another family", binary(0x21, 0x41, &V4)),
        ("addresses cut short", binary(0x21, 0x11, &V4[..11])),
        ("IPv6 cut short", binary(0x21, 0x21, &[0; 35])),
        ("a Unix path cut short", binary(0x21, 0x31, &[0; 215])),
        (
            "half a type-length-value",
            binary(0x21, 0x11, &[&V4[..], &[4, 0]].concat()),
        ),
        (
            "a value past the end",
            binary(0x21, 0x11, &[&V4[..], &[4, 0, 2, 1]].concat()),
        ),
        (
            "a short checksum",
            binary(0x21, 0x11, &[&V4[..], &[3, 0, 1, 1]].concat()),
        ),
    ] {
        assert_eq!(read(&header, ANY), Err(HeaderError::Malformed), "{what}");
    }
    let large = binary(0x21, 0x11, &[0; MAX_HEADER - 15]);
    assert_eq!(read(&large[..16], ANY), Err(HeaderError::TooLarge));
}

#[test]
fn what_is_added_is_skipped_and_a_checksum_is_verified() {
    // RFC 3720 §B.4.
    assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
    assert_eq!(crc32c(0..32), 0x46dd_794e);
    let rest = [
        &V4[..],
        &[0x01, 0, 2, b'h', b'2'], // ALPN
        &[0x03, 0, 4, 0, 0, 0, 0], // CRC32c
        &[0x04, 0, 3, 0, 0, 0],    // padding
    ]
    .concat();
    let mut header = binary(0x21, 0x11, &rest);
    let sum = crc32c(header.iter().copied()).to_be_bytes();
    let at = 16 + 12 + 5 + 3;
    header[at..at + 4].copy_from_slice(&sum);
    let told = proxied("192.0.2.1:1000", "127.0.0.1:443");
    assert_eq!(read(&header, ANY), Ok(Found::Whole(header.len(), told)));
    for index in 16..28 {
        let mut broken = header.clone();
        broken[index] ^= 0x10;
        assert_eq!(read(&broken, ANY), Err(HeaderError::Checksum), "{index}");
    }
}

/// Whatever comes: no panic, an answer that does not depend on how the bytes were cut, and never a
/// length beyond what is there.
#[test]
fn arbitrary_bytes_are_judged_alike_however_they_are_cut() {
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let client: SocketAddr = "192.0.2.1:1000".parse().unwrap();
    let seeds = [
        header(Version::V1, client, client),
        local(Version::V1),
        header(Version::V2, client, client),
        binary(0x21, 0x11, &[&V4[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat()),
        binary(0x20, 0x21, &[0; 36]),
    ];
    for round in 0..50_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..random(4) {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        bytes.truncate(1 + random(bytes.len()));
        let tail: Vec<u8> = (0..random(40))
            .map(|_| b"PROXY \r\n\0\x21\xff"[random(11)])
            .collect();
        bytes.extend(tail);
        let whole = read(&bytes, ANY);
        if let Ok(Found::Whole(length, _)) = whole {
            assert!(length <= bytes.len());
        }
        // The first verdict that is not "more" stays.
        let first = (0..=bytes.len())
            .map(|cut| read(&bytes[..cut], ANY))
            .find(|verdict| *verdict != Ok(Found::Partial));
        assert_eq!(first.unwrap_or(Ok(Found::Partial)), whole, "{bytes:02x?}");
    }
}
