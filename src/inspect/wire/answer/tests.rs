use super::*;

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut all = vec![kind, 3, 3];
    all.extend((body.len() as u16).to_be_bytes());
    all.extend(body);
    all
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut all = (body.len() as u32).to_be_bytes().to_vec();
    all[0] = kind;
    all.extend(body);
    all
}

fn server_hello(suite: u16, extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(0);
    let mut block = Vec::new();
    for (kind, content) in extensions {
        block.extend(kind.to_be_bytes());
        block.extend((content.len() as u16).to_be_bytes());
        block.extend(*content);
    }
    body.extend((block.len() as u16).to_be_bytes());
    body.extend(block);
    message(SERVER_HELLO, &body)
}

fn whole(bytes: &[u8]) -> Result<Option<Answer>, Wrong> {
    Reader::default().take(bytes)
}

/// An older flight: chain, staple, a curve.
fn old_flight() -> Vec<u8> {
    let mut all = server_hello(0xc02f, &[(SESSION_TICKET, &[])]);
    let mut chain = vec![0, 0, 11];
    chain.extend([0, 0, 3, 1, 2, 3]);
    chain.extend([0, 0, 2, 4, 5]);
    all.extend(message(CERTIFICATE, &chain));
    all.extend(message(CERTIFICATE_STATUS, &[1, 0, 0, 2, 8, 8]));
    all.extend(message(SERVER_KEY_EXCHANGE, &[3, 0, 29, 1, 4]));
    all.extend(message(SERVER_HELLO_DONE, &[]));
    all
}

#[test]
fn a_retry_names_version_suite_and_group() {
    let hello = server_hello(
        0x1302,
        &[(SUPPORTED_VERSIONS, &[3, 4]), (KEY_SHARE, &[0, 24])],
    );
    let Ok(Some(Answer::Flight(flight))) = whole(&record(HANDSHAKE, &hello)) else {
        panic!();
    };
    assert_eq!((flight.version, flight.suite), (0x0304, 0x1302));
    assert_eq!(flight.group, Some(24));
}

#[test]
fn an_older_flight_is_read_to_its_end_however_it_is_cut() {
    let messages = old_flight();
    for size in [1, 7, 50, messages.len()] {
        let bytes: Vec<u8> = messages
            .chunks(size)
            .flat_map(|part| record(HANDSHAKE, part))
            .collect();
        let mut reader = Reader::default();
        let mut found = None;
        for byte in &bytes {
            assert_eq!(found, None);
            found = reader.take(&[*byte]).unwrap();
        }
        let Some(Answer::Flight(flight)) = found else {
            panic!();
        };
        assert_eq!((flight.version, flight.group), (0x0303, Some(29)));
        assert!(flight.ticket);
        let chain: Vec<&[u8]> = flight.chain.iter().map(AsRef::as_ref).collect();
        assert_eq!(chain, [&[1, 2, 3][..], &[4, 5]]);
        assert_eq!(flight.staple.as_deref(), Some(&[8, 8][..]));
    }
}

#[test]
fn the_length_of_a_prime_is_counted_in_bits() {
    let mut messages = server_hello(0x009e, &[]);
    let mut body = vec![0, 5, 0, 0x3f, 1, 2, 3];
    body.extend([0, 1, 2, 0, 1, 5]);
    messages.extend(message(SERVER_KEY_EXCHANGE, &body));
    messages.extend(message(SERVER_HELLO_DONE, &[]));
    let Ok(Some(Answer::Flight(flight))) = whole(&record(HANDSHAKE, &messages)) else {
        panic!();
    };
    assert_eq!(flight.dh_bits, Some(30));
}

#[test]
fn an_alert_refuses_and_a_warning_does_not() {
    let refused = |code: u8| Ok(Some(Answer::Refused(code.into())));
    assert_eq!(whole(&record(ALERT, &[2, 40])), refused(40));
    assert_eq!(whole(&record(ALERT, &[1, 0])), refused(0));
    let mut bytes = record(ALERT, &[1, 112]);
    bytes.extend(record(HANDSHAKE, &old_flight()));
    assert!(matches!(whole(&bytes), Ok(Some(Answer::Flight(_)))));
}

#[test]
fn what_is_no_tls_is_told_at_its_beginning() {
    for bytes in [
        &b"HTTP/1.1 400"[..],
        b"220 mail",
        &[22, 9, 0],
        &[22, 3, 3, 0xff, 0xff],
    ] {
        assert_eq!(whole(bytes), Err(Wrong("not TLS")), "{bytes:?}");
    }
    assert!(whole(&record(23, &[1])).is_err());
    assert!(whole(&record(HANDSHAKE, &message(CERTIFICATE, &[0, 0, 0]))).is_err());
    assert!(whole(&record(ALERT, &[2])).is_err());
}

#[test]
fn an_endless_answer_ends() {
    let mut reader = Reader::default();
    let hello = server_hello(0xc02f, &[]);
    assert_eq!(reader.take(&record(HANDSHAKE, &hello)), Ok(None));
    let more = record(HANDSHAKE, &message(99, &[0; 16_000]));
    let ended = (0..100).find_map(|_| reader.take(&more).err());
    assert_eq!(ended, Some(Wrong("more bytes than a handshake has")));
}

#[test]
fn no_byte_of_an_answer_makes_it_panic() {
    let bytes = record(HANDSHAKE, &old_flight());
    for end in 0..bytes.len() {
        let _ = whole(&bytes[..end]);
        for value in [0, 1, 0x7f, 0xff] {
            let mut wrong = bytes.clone();
            wrong[end] = value;
            let _ = whole(&wrong);
        }
    }
}
