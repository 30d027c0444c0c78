use rustls::{AlertDescription, CipherSuite, NamedGroup, ProtocolVersion};

use super::testing::{Builder, numbers8, numbers16, record, vec16};
use super::*;

mod agreement;
mod records;
mod resumption;

fn refused(hello: &Builder) -> HelloError {
    hello.parse().expect_err("a bad hello")
}

#[test]
fn fields_are_read() {
    let mut builder = Builder::empty()
        .extension(0x2a2a, &[])
        .server_name(b"WWW.Example.com.")
        .alpn(&[b"h2", b"http/1.1"])
        .extension(27, &numbers8(&[1, 2]))
        .extension(5, &[1, 0, 0, 0, 0])
        .extension(43, &numbers8(&[0x3a3a, 0x0304, 0x0303]))
        .extension(10, &numbers16(&[0x1a1a, 0x11ec, 0x1d]))
        .key_share(&[(0x1a1a, 1), (0x11ec, 1216)])
        .extension(13, &numbers16(&[0x0403, 0x0804]))
        .extension(42, &[])
        .psk(&[b"one", b"another"], &[32, 48]);
    builder.suites = vec![0x0a0a, 0x1303, 0x1301];
    builder.session_id = vec![3; 32];
    let hello = builder.parse().expect("a good hello");

    assert_eq!(hello.server_name(), Some("www.example.com"));
    assert_eq!(hello.alpn().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(hello.legacy_version(), ProtocolVersion::TLSv1_2);
    assert!(
        hello
            .supported_versions()
            .any(|v| v == ProtocolVersion::TLSv1_3)
    );
    assert_eq!(hello.cipher_suites().count(), 3);
    assert!(
        hello
            .cipher_suites()
            .any(|s| s == CipherSuite::TLS13_AES_128_GCM_SHA256)
    );
    assert!(hello.supports_group(NamedGroup::X25519));
    assert!(!hello.supports_group(NamedGroup::secp256r1));
    assert!(hello.has_share(NamedGroup::X25519MLKEM768));
    assert!(!hello.has_share(NamedGroup::X25519));
    assert_eq!(hello.signature_schemes().count(), 2);
    assert_eq!(hello.certificate_compressions().count(), 2);
    assert!(hello.asks_for_status());
    assert!(!Builder::tls13().parse().unwrap().asks_for_status());
    assert_eq!(hello.psk_modes(), [1]);
    assert_eq!(hello.session_id(), [3; 32]);
    assert_eq!(hello.random(), [0x5a; 32]);
    let expected = [
        PskIdentity {
            identity: b"one",
            obfuscated_age: 5,
        },
        PskIdentity {
            identity: b"another",
            obfuscated_age: 5,
        },
    ];
    assert_eq!(hello.identities().collect::<Vec<_>>(), expected);
    assert_eq!((hello.identity_count(), hello.binder_count()), (2, 2));
    assert!(hello.offers_tls13() && hello.offers_early_data() && hello.offers_psk());
    assert!(hello.prefers_chacha20());
    let types = [0x2a2a, 0, 16, 27, 5, 43, 10, 51, 13, 42, 45, 41];
    assert_eq!(hello.extension_types().collect::<Vec<_>>(), types);
}

#[test]
fn a_hello_without_extensions_has_empty_answers() {
    let hello = Builder::empty().parse().expect("TLS 1.2 allows it");
    assert_eq!(hello.server_name(), None);
    assert_eq!(
        hello.alpn().count() + hello.groups().count() + hello.identities().count(),
        0
    );
    assert!(!hello.offers_tls13() && !hello.offers_early_data() && !hello.offers_psk());
    assert!(!hello.prefers_chacha20());
}

#[test]
fn grease_is_told_from_other_values() {
    assert!([0x0a0a, 0x1a1a, 0xfafa].into_iter().all(is_grease));
    assert!(![0x0a1a, 0x1301, 0x0b0b, 0xaa0a].into_iter().any(is_grease));
}

#[test]
fn an_extension_comes_once() {
    let twice = |kind| Builder::empty().extension(kind, &[]).extension(kind, &[]);
    for kind in [23, 63, 64, 0xff01, 0xffff] {
        let error = refused(&twice(kind));
        assert_eq!(error, HelloError::DuplicateExtension(kind));
        assert_eq!(error.alert(), AlertDescription::IllegalParameter);
    }
}

#[test]
fn a_duplicate_is_found_among_thousands() {
    let mut hello = Builder::empty();
    for kind in 1000..9000 {
        hello = hello.extension(kind, &[]);
    }
    assert!(hello.parse().is_ok());
    for kind in [1000, 1031, 1032, 8999] {
        let again = hello.clone().extension(kind, &[]);
        assert_eq!(refused(&again), HelloError::DuplicateExtension(kind));
    }
}

#[test]
fn pre_shared_key_is_last_and_has_a_binder_for_each_identity() {
    let late = Builder::tls13().psk(&[b"id"], &[32]).extension(23, &[]);
    assert_eq!(refused(&late), HelloError::PskNotLast);
    let fewer = Builder::tls13().psk(&[b"id", b"id"], &[32]);
    assert_eq!(refused(&fewer), HelloError::PskBinderCount);
    assert_eq!(
        fewer.parse().map_err(|e| e.alert()).err(),
        Some(AlertDescription::IllegalParameter)
    );
    for malformed in [
        Builder::tls13().psk(&[b"id"], &[31]),
        Builder::tls13().psk(&[b"id"], &[]),
        Builder::tls13().psk(&[], &[32]),
        Builder::tls13().psk(&[b""], &[32]),
    ] {
        assert_eq!(refused(&malformed), HelloError::Malformed("pre_shared_key"));
    }
}

#[test]
fn tls13_cannot_do_without_its_mandatory_extensions() {
    assert!(Builder::tls13().parse().is_ok());
    for kind in [10, 13, 51] {
        let error = refused(&Builder::tls13().without(kind));
        assert!(
            matches!(error, HelloError::MissingExtension(_)),
            "{kind}: {error}"
        );
        assert_eq!(error.alert(), AlertDescription::MissingExtension);
    }
    let psk = || Builder::tls13().psk(&[b"id"], &[32]);
    assert!(
        psk().without(13).parse().is_ok(),
        "a PSK needs no signature"
    );
    assert!(
        psk().without(13).without(10).without(51).parse().is_ok(),
        "nor a group"
    );
    for bad in [psk().without(45), psk().without(10), psk().without(51)] {
        assert!(matches!(refused(&bad), HelloError::MissingExtension(_)));
    }
    // TLS 1.2 knows no such rule.
    assert!(Builder::tls13().without(43).without(13).parse().is_ok());
}

#[test]
fn ssl_3_is_refused_beside_tls_1_3_too() {
    for (version, good) in [
        (0x0303, true),
        (0x0301, true),
        (0x0304, true),
        (0x0300, false),
        (0x0203, false),
        (0, false),
    ] {
        for mut hello in [Builder::tls13(), Builder::empty()] {
            hello.legacy_version = version;
            let parsed = hello.parse().map(|_| ());
            let wanted = if good {
                Ok(())
            } else {
                Err(HelloError::LegacyVersion)
            };
            assert_eq!(parsed, wanted, "{version:#06x}");
        }
    }
    assert_eq!(
        HelloError::LegacyVersion.alert(),
        AlertDescription::ProtocolVersion
    );
}

#[test]
fn tls_1_2_is_offered_by_the_extension_or_without_it() {
    let offers = |hello: Builder| hello.parse().expect("a good hello").offers_tls12();
    let with = |version: u16| {
        let mut hello = Builder::empty();
        hello.legacy_version = version;
        hello
    };
    assert!(offers(with(0x0303)) && offers(with(0x0304)));
    assert!(!offers(with(0x0302)));
    assert!(!offers(Builder::tls13()));
    let both = Builder::tls13().without(43);
    let both = both.extension(43, &numbers8(&[0x0304, 0x0303]));
    assert!(offers(both));
}

#[test]
fn compression_is_null() {
    for (methods, tls12, tls13) in [
        (&[0][..], true, true),
        (&[1, 0], true, false),
        (&[1], false, false),
    ] {
        let with = |mut hello: Builder| {
            hello.compressions = methods.to_vec();
            hello.parse().map(|_| ())
        };
        assert_eq!(with(Builder::empty()).is_ok(), tls12);
        assert_eq!(with(Builder::tls13()).is_ok(), tls13);
    }
    assert_eq!(
        HelloError::Compression.alert(),
        AlertDescription::IllegalParameter
    );
}

#[test]
fn a_server_name_is_one_valid_host_name() {
    let name = |bytes: &[u8]| {
        let hello = Builder::empty().server_name(bytes).parse()?;
        Ok(hello.server_name().map(str::to_owned))
    };
    assert_eq!(name(b"a_b.example"), Ok(Some("a_b.example".to_owned())));
    assert_eq!(name(b"192.0.2.1"), Ok(None));
    assert_eq!(name(b"2001:db8::1"), Ok(None));
    assert_eq!(name(b""), Err(HelloError::Malformed("server_name")));
    for bad in [
        &b"exa mple.com"[..],
        b"*.example.com",
        b"a..b",
        b".",
        b"\xff",
        b"example.com\0",
        "b\u{fc}cher.example".as_bytes(),
    ] {
        assert_eq!(name(bad), Err(HelloError::ServerName), "{bad:?}");
    }
    let two = b"\x00\x00\x01a\x00\x00\x01b";
    assert_eq!(
        refused(&Builder::empty().extension(0, &vec16(two))),
        HelloError::ServerName
    );
    let other_type = b"\x01\x00\x01a";
    assert_eq!(
        refused(&Builder::empty().extension(0, &vec16(other_type))),
        HelloError::ServerName
    );
    assert_eq!(
        refused(&Builder::empty().extension(0, &[])),
        HelloError::Malformed("server_name")
    );
    assert_eq!(
        refused(&Builder::empty().extension(0, &[0, 0])),
        HelloError::Malformed("server_name")
    );
}

#[test]
fn malformed_fields_are_decode_errors() {
    let bad: [(u16, &[u8]); 16] = [
        (10, &[0, 0]),
        (10, &[0, 3, 0, 1, 0]),
        (10, &[0, 2, 0, 1, 0]),
        (13, &[0, 1, 4]),
        (16, &[0, 0]),
        (16, &[0, 1, 0]),
        (16, &[0, 3, 3, b'h', b'2']),
        (27, &[0]),
        (27, &[1, 0]),
        (42, &[0]),
        (43, &[0]),
        (43, &[3, 3, 4, 3]),
        (45, &[0]),
        (45, &[1]),
        (51, &[0, 4, 0, 0x1d, 0, 0]),
        (51, &[0, 1, 0]),
    ];
    for (kind, body) in bad {
        let error = refused(&Builder::empty().extension(kind, body));
        assert!(
            matches!(error, HelloError::Malformed(_)),
            "{kind} {body:?}: {error}"
        );
        assert_eq!(error.alert(), AlertDescription::DecodeError);
    }
    let mut session = Builder::empty();
    session.session_id = vec![0; 33];
    assert_eq!(refused(&session), HelloError::Malformed("session_id"));
    let mut suites = Builder::empty();
    suites.suites.clear();
    assert_eq!(refused(&suites), HelloError::Malformed("cipher_suites"));
    let mut compressions = Builder::empty();
    compressions.compressions.clear();
    assert_eq!(
        refused(&compressions),
        HelloError::Malformed("compression_methods")
    );
}

#[test]
fn no_key_share_at_all_asks_for_a_retry() {
    let hello = Builder::tls13()
        .without(51)
        .key_share(&[])
        .parse()
        .expect("RFC 9846 §4.3.8");
    assert_eq!(hello.key_share_groups().count(), 0);
}

#[test]
fn left_over_bytes_in_the_message_are_a_decode_error() {
    let mut message = Builder::tls13().message();
    message.push(0);
    assert!(matches!(
        ClientHello::parse(message),
        Err(HelloError::Malformed(_))
    ));
}

#[test]
fn alerts_are_plaintext_records() {
    assert_eq!(
        alert_record(AlertDescription::DecodeError),
        [21, 3, 3, 0, 2, 2, 50]
    );
    assert_eq!(record(21, &[2, 50])[5..], [2, 50]);
}
