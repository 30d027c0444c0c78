//! The ClientHello reader: no panic, no difference between bytes at once and bytes one by one,
//! and every accessor can be called on what was accepted.

#![no_main]

use cutwater::tls::hello::{ClientHello, HelloError, HelloReader};
use cutwater::tls::ja4::{Transport, ja4};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = read(data, data.len());
    let dribbled = read(data, 1);
    match (&whole, &dribbled) {
        (Ok(Some(a)), Ok(Some(b))) => assert_eq!(a.message(), b.message()),
        (Ok(None), Ok(None)) => {}
        (Err(a), Err(b)) => assert_eq!(a, b),
        _ => panic!("at once {whole:?}, one by one {dribbled:?}"),
    }
    if let Ok(Some(hello)) = whole {
        look(&hello);
        let records: Vec<u8> = hello.message().chunks(1 << 14).flat_map(record).collect();
        let again = read(&records, records.len());
        assert!(matches!(again, Ok(Some(again)) if again.message() == hello.message()));
    }
    // The parser alone, which the reader's checks would otherwise keep most inputs from.
    if let Ok(hello) = ClientHello::parse(data.to_vec()) {
        look(&hello);
    }
});

fn record(fragment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fragment.len()).expect("at most 2^14").to_be_bytes();
    [&[22, 3, 1][..], &length, fragment].concat()
}

fn read(data: &[u8], step: usize) -> Result<Option<ClientHello>, HelloError> {
    let mut reader = HelloReader::default();
    for end in (0..data.len()).step_by(step.max(1)).skip(1).chain([data.len()]) {
        if let Some(hello) = reader.advance(&data[..end])? {
            return Ok(Some(hello));
        }
    }
    Ok(None)
}

fn look(hello: &ClientHello) {
    assert_eq!(hello.identities().count(), hello.identity_count());
    assert_eq!(hello.binder_count(), hello.identity_count());
    assert_eq!(hello.random().len(), 32);
    assert!(hello.session_id().len() <= 32);
    if let Some(name) = hello.server_name() {
        assert!(!name.is_empty() && !name.ends_with('.'));
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    assert!(hello.alpn().all(|name| !name.is_empty()));
    assert_eq!(ja4(hello, Transport::Tcp).len(), 36);
    let _ = (hello.prefers_chacha20(), hello.key_share_groups().count());
    let _ = format!("{hello:?}");
}
