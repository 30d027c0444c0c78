//! What is read here is what rustls reads.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::unbuffered::ConnectionState;
use rustls::{ClientConfig, NamedGroup, RootCertStore};

use crate::tls::hello::testing::{Builder, numbers8, numbers16, record};
use crate::tls::hello::{ClientHello, HelloReader};

/// The first flight of a rustls client.
fn client_flight(name: &'static str, alpn: &[&[u8]]) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name).expect("a name");
    let mut client = UnbufferedClientConnection::new(Arc::new(config), name).expect("a client");
    let mut wire = vec![0; 4096];
    match client.process_tls_records(&mut []).state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let length = data.encode(&mut wire).expect("room");
            wire.truncate(length);
        }
        other => panic!("a hello was to come: {other:?}"),
    }
    wire
}

#[test]
fn the_hello_of_a_rustls_client_is_read() {
    let wire = client_flight("www.example.com", &[b"h2", b"http/1.1"]);
    let hello = HelloReader::default()
        .advance(&wire)
        .expect("good")
        .expect("whole");
    assert_eq!(hello.server_name(), Some("www.example.com"));
    assert_eq!(hello.alpn().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert!(hello.offers_tls13() && !hello.offers_early_data());
    assert!(hello.has_share(NamedGroup::X25519) || hello.has_share(NamedGroup::X25519MLKEM768));
    assert!(hello.supports_group(NamedGroup::secp256r1));
    assert!(!hello.prefers_chacha20());
    assert_eq!(hello.session_id().len(), 32);
    assert_eq!(hello.wire_length(), wire.len());
    assert_eq!(hello.identity_count(), 0);
}

#[test]
fn a_client_that_connects_to_an_address_sends_no_name() {
    let wire = client_flight("192.0.2.1", &[]);
    let hello = HelloReader::default()
        .advance(&wire)
        .expect("good")
        .expect("whole");
    assert_eq!(hello.server_name(), None);
    assert!(!hello.has_server_name_extension());
    assert_eq!(hello.alpn().count(), 0);
}

/// What rustls makes of a flight: server name and protocols, or nothing.
fn rustls_reads(wire: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut acceptor = Acceptor::default();
    let mut rest = wire;
    loop {
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let name = hello.server_name().map(str::to_owned);
            let alpn = hello
                .alpn()
                .map(|names| names.map(<[u8]>::to_vec).collect());
            return Some((name, alpn.unwrap_or_default()));
        }
        if acceptor.read_tls(&mut rest).ok()? == 0 {
            return None;
        }
    }
}

fn we_read(hello: &ClientHello) -> (Option<String>, Vec<Vec<u8>>) {
    let name = hello.server_name().map(str::to_owned);
    (name, hello.alpn().map(<[u8]>::to_vec).collect())
}

/// Whoever passes here and there is seen alike; true if both let the message pass.
fn agree(message: &[u8]) -> bool {
    let wire: Vec<u8> = message
        .chunks(1 << 14)
        .flat_map(|part| record(22, part))
        .collect();
    let ours = HelloReader::default().advance(&wire).ok().flatten();
    match (ours, rustls_reads(&wire)) {
        (Some(ours), Some((name, alpn))) => {
            // rustls keeps the final dot, which says nothing.
            let name = name.map(|name| name.trim_end_matches('.').to_owned());
            assert_eq!(we_read(&ours), (name, alpn));
            true
        }
        _ => false,
    }
}

#[test]
fn both_read_a_plain_hello() {
    let hello = Builder::tls13()
        .server_name(b"Www.Example.COM.")
        .alpn(&[b"h2"]);
    assert!(agree(&hello.message()));
}

proptest! {
    #[test]
    fn any_server_name_is_seen_alike(name in prop::collection::vec(any::<u8>(), 0..30)) {
        agree(&Builder::tls13().server_name(&name).message());
    }

    #[test]
    fn any_plausible_server_name_is_judged_alike(name in "[a-zA-Z0-9_.:-]{1,30}") {
        let message = Builder::tls13().server_name(name.as_bytes()).message();
        let ours = ClientHello::parse(message.clone()).is_ok();
        prop_assert_eq!(ours, rustls_reads(&record(22, &message)).is_some());
        agree(&message);
    }

    #[test]
    fn any_server_name_extension_is_judged_alike(body in prop::collection::vec(0u8..4, 0..12)) {
        let message = Builder::tls13().extension(0, &body).message();
        let ours = ClientHello::parse(message.clone()).is_ok();
        prop_assert_eq!(ours, rustls_reads(&record(22, &message)).is_some());
        agree(&message);
    }

    #[test]
    fn a_damaged_hello_is_not_seen_differently(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut message = Builder::tls13()
            .server_name(b"example.com")
            .alpn(&[b"h2", b"http/1.1"])
            .extension(27, &numbers8(&[1]))
            .extension(5, &[1, 0, 0, 0, 0])
            .extension(0x4469, &numbers16(&[1]))
            .psk(&[b"identity"], &[32])
            .message();
        let i = at.index(message.len());
        message[i] = byte;
        if let Some(cut) = cut {
            message.truncate(cut.index(message.len()));
        }
        agree(&message);
    }
}
