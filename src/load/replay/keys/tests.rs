use super::*;
use crate::load::replay::catch;
use crate::load::replay::trace::{
    CLIENT_HELLO, ENCRYPTED_EXTENSIONS, FINISHED, PROTECTED, PSK, SERVER_HELLO, SHARED, SUITE, hex,
};

fn opener(psk: &[u8]) -> Opener {
    let (client, server) = (hex(CLIENT_HELLO), hex(SERVER_HELLO));
    let suite = catch::suite(SUITE).unwrap();
    let secret = server_secret(suite, psk, &hex(SHARED), &client, &server);
    Opener::new(suite, &secret).unwrap()
}

#[test]
fn the_record_of_rfc_8448_opens_to_its_messages() {
    let mut opener = opener(&hex(PSK));
    let mut body = hex(PROTECTED).split_off(5);
    let inner = opener.open(&mut body).unwrap();
    assert_eq!(inner.kind, 22);
    assert_eq!(
        inner.content,
        hex(&[ENCRYPTED_EXTENSIONS, FINISHED].concat())
    );
}

#[test]
fn the_server_handshake_traffic_secret_is_that_of_rfc_8448() {
    let suite = catch::suite(SUITE).unwrap();
    let (client, server) = (hex(CLIENT_HELLO), hex(SERVER_HELLO));
    let secret = server_secret(suite, &hex(PSK), &hex(SHARED), &client, &server);
    let expected = "fe927ae271312e8bf0275b581c54eef020450dc4ecffaa05a1a35d27518e7803";
    assert_eq!(secret.as_ref(), hex(expected));
}

#[test]
fn another_psk_or_another_place_in_the_order_opens_nothing() {
    let body = hex(PROTECTED).split_off(5);
    assert_eq!(opener(&[0; 32]).open(&mut body.clone()), None);
    let mut late = opener(&hex(PSK));
    late.sequence = 1;
    assert_eq!(late.open(&mut body.clone()), None);
    let mut changed = body;
    changed[3] ^= 1;
    assert_eq!(opener(&hex(PSK)).open(&mut changed), None);
    assert_eq!(opener(&hex(PSK)).open(&mut []), None);
}
