use super::*;
use crate::load::replay::trace::{CLIENT_HELLO, PROTECTED, PSK, SERVER_HELLO, hex};

/// One whose share cannot agree: for answers that are read without keys.
fn reader() -> Reader {
    Reader {
        client_hello: hex(CLIENT_HELLO),
        psk: hex(PSK),
        shares: Vec::new(),
    }
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn hello_record(hello: &[u8]) -> Vec<u8> {
    record(HANDSHAKE, hello)
}

#[test]
fn nothing_is_said_before_a_message_is_whole() {
    let alert = record(ALERT, &[2, 10]);
    let mut bytes = record(CHANGE_CIPHER_SPEC, &[1]);
    assert_eq!(read(&reader(), &bytes), None);
    bytes.extend(alert);
    let whole = bytes.len();
    for end in 0..whole {
        assert_eq!(read(&reader(), &bytes[..end]), None, "{end}");
    }
    let outcome = read(&reader(), &bytes);
    assert_eq!(outcome, Some(Outcome::Alert("unexpected_message")));
}

#[test]
fn what_a_server_hello_says_without_keys() {
    let resumed = hex(SERVER_HELLO);
    let shares_lack = Outcome::Unreadable("a suite or a share that was not offered");
    assert_eq!(read(&reader(), &hello_record(&resumed)), Some(shares_lack));

    // pre_shared_key becomes an unknown extension.
    let mut full = resumed.clone();
    full[44 + 1] = 99;
    assert_eq!(
        read(&reader(), &hello_record(&full)),
        Some(Outcome::FullHandshake)
    );

    let mut retry = resumed.clone();
    retry[6..38].copy_from_slice(&RETRY);
    let outcome = read(&reader(), &hello_record(&retry));
    assert_eq!(outcome, Some(Outcome::HelloRetryRequest));

    let mut older = resumed.clone();
    *older.last_mut().unwrap() = 3;
    assert_eq!(
        read(&reader(), &hello_record(&older)),
        Some(Outcome::OlderVersion)
    );

    let mut cut = resumed;
    cut[3] -= 1;
    cut.pop();
    let improper = Outcome::Unreadable("no proper ServerHello");
    assert_eq!(read(&reader(), &hello_record(&cut)), Some(improper));
}

#[test]
fn a_server_hello_may_come_in_several_records() {
    let mut full = hex(SERVER_HELLO);
    full[44 + 1] = 99;
    let (a, b) = full.split_at(30);
    let bytes = [hello_record(a), hello_record(b)].concat();
    assert_eq!(read(&reader(), &bytes[..40]), None);
    assert_eq!(read(&reader(), &bytes), Some(Outcome::FullHandshake));
}

#[test]
fn what_is_not_tls_is_not_waited_for() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        &hex(PROTECTED),
        b"\x18",
    ] {
        let outcome = read(&reader(), bytes);
        assert!(
            matches!(outcome, Some(Outcome::Unreadable(_))),
            "{outcome:?}"
        );
    }
    let endless = [23, 3, 3, 255, 255].repeat(MOST);
    assert!(read(&reader(), &record(CHANGE_CIPHER_SPEC, &[1]).repeat(20_000)).is_some());
    assert!(read(&reader(), &endless).is_some());
}

#[test]
fn encrypted_extensions_are_searched_for_early_data() {
    let extensions = |body: &[u8]| {
        let mut message = vec![8, 0, 0, body.len() as u8 + 2, 0, body.len() as u8];
        message.extend(body);
        extensions_say(&message)
    };
    assert_eq!(extensions(&[]), Outcome::Resumed);
    assert_eq!(extensions(&[0, 42, 0, 0]), Outcome::Accepted);
    assert_eq!(
        extensions(&[0, 16, 0, 1, 42, 0, 42, 0, 0]),
        Outcome::Accepted
    );
    assert_eq!(extensions(&[0, 16, 0, 2, 0, 42]), Outcome::Resumed);
    let improper = Outcome::Unreadable("no proper EncryptedExtensions");
    assert_eq!(extensions(&[0, 42, 0]), improper);
    assert_eq!(extensions_say(&[20, 0, 0, 0]), improper);
}
