//! The reader: records, segments, bounds.

use proptest::prelude::*;
use rustls::AlertDescription;

use crate::tls::hello::testing::{Builder, record};
use crate::tls::hello::{HelloError, HelloReader, MAX_HELLO_RECORDS, MAX_HELLO_SIZE};

fn read(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    let hello = HelloReader::default().advance(bytes)?;
    Ok(hello.map(|hello| hello.message().to_vec()))
}

fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|part| record(22, part))
        .collect()
}

/// Shows the bytes one more at a time, as they would come from a socket.
fn dribble(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    let mut reader = HelloReader::default();
    for end in 0..=bytes.len() {
        if let Some(hello) = reader.advance(&bytes[..end])? {
            return Ok(Some(hello.message().to_vec()));
        }
    }
    Ok(None)
}

/// A hello whose body has `length` bytes.
fn of_body(length: usize) -> Builder {
    let bare = Builder::tls13().extension(21, &[]).message().len() - 4;
    Builder::tls13().extension(21, &vec![0; length - bare])
}

#[test]
fn whole_dribbled_and_in_tiny_records_are_the_same() {
    let hello = Builder::tls13().server_name(b"example.com");
    let message = hello.message();
    assert_eq!(read(&hello.record()), Ok(Some(message.clone())));
    assert_eq!(dribble(&hello.record()), Ok(Some(message.clone())));
    for size in [1, 2, 3, 4, 5, 50, message.len() - 1] {
        let wire = in_records(&message, size);
        assert_eq!(read(&wire), Ok(Some(message.clone())), "records of {size}");
        assert_eq!(
            dribble(&wire),
            Ok(Some(message.clone())),
            "records of {size}"
        );
    }
}

#[test]
fn what_follows_the_hello_does_not_matter() {
    let hello = Builder::tls13();
    for tail in [
        record(23, &[1; 40]),
        record(20, &[1]),
        b"GET /".to_vec(),
        vec![22, 9],
    ] {
        let mut wire = hello.record();
        let length = wire.len();
        wire.extend(tail);
        let mut reader = HelloReader::default();
        let read = reader.advance(&wire).expect("good").expect("whole");
        assert_eq!((read.records(), read.wire_length()), (1, length));
        assert_eq!(reader.consumed(), length);
    }
}

#[test]
fn a_hello_is_returned_once() {
    let wire = Builder::tls13().record();
    let mut reader = HelloReader::default();
    assert!(matches!(reader.advance(&wire), Ok(Some(_))));
    assert!(matches!(reader.advance(&wire), Ok(None)));
}

#[test]
fn no_prefix_completes() {
    let wire = in_records(&Builder::tls13().psk(&[b"id"], &[32]).message(), 37);
    for end in 0..wire.len() {
        assert_eq!(read(&wire[..end]), Ok(None), "{end} bytes");
    }
}

#[test]
fn a_cut_message_is_malformed_at_every_length() {
    let message = Builder::tls13().psk(&[b"id"], &[32]).message();
    // Right before the extensions it is a whole TLS 1.2 hello.
    let without_extensions = Builder::empty().message().len();
    for end in (4..message.len()).filter(|end| *end != without_extensions) {
        let mut cut = message[..end].to_vec();
        cut[1..4].copy_from_slice(&((end - 4) as u32).to_be_bytes()[1..]);
        assert!(read(&record(22, &cut)).is_err(), "{end} bytes");
    }
}

#[test]
fn what_is_not_tls_is_refused_at_its_first_bytes() {
    assert_eq!(read(b"GET / HTTP/1.1\r\n"), Err(HelloError::NotTls));
    assert_eq!(read(b"G"), Err(HelloError::NotTls));
    assert_eq!(
        read(&[0x80, 0x2e, 1, 3, 1]),
        Err(HelloError::NotTls),
        "SSLv2"
    );
    assert_eq!(read(&[22, 2]), Err(HelloError::NotTls));
    assert_eq!(read(&[]), Ok(None));
}

#[test]
fn other_records_and_messages_are_unexpected() {
    for kind in [20, 21, 23, 24] {
        assert_eq!(read(&[kind]), Err(HelloError::UnexpectedRecord));
        let mut between = record(22, &Builder::tls13().message()[..9]);
        between.push(kind);
        assert_eq!(read(&between), Err(HelloError::UnexpectedRecord));
    }
    assert_eq!(
        read(&[22, 3, 1, 0, 50, 2]),
        Err(HelloError::UnexpectedMessage)
    );
    let alert = AlertDescription::UnexpectedMessage;
    assert_eq!(HelloError::UnexpectedRecord.alert(), alert);
    assert_eq!(HelloError::UnexpectedMessage.alert(), alert);
}

#[test]
fn record_lengths_are_bounded() {
    assert_eq!(read(&[22, 3, 1, 0, 0]), Err(HelloError::EmptyRecord));
    assert_eq!(read(&[22, 3, 1, 0x40, 1]), Err(HelloError::RecordOverflow));
    assert_eq!(read(&[22, 3, 1, 0x40, 0]), Ok(None));
    assert_eq!(
        HelloError::RecordOverflow.alert(),
        AlertDescription::RecordOverflow
    );
    let mut later = record(22, &Builder::tls13().message()[..9]);
    later.extend([22, 3, 1, 0, 0]);
    assert_eq!(read(&later), Err(HelloError::EmptyRecord));
}

#[test]
fn the_message_is_bounded() {
    let largest = of_body(MAX_HELLO_SIZE).message();
    assert_eq!(largest.len(), MAX_HELLO_SIZE + 4);
    assert_eq!(read(&in_records(&largest, 1 << 14)), Ok(Some(largest)));
    // Refused when the header is there, not after 64 KiB more.
    assert_eq!(read(&record(22, &[1, 1, 0, 0])), Err(HelloError::TooLarge));
    assert_eq!(HelloError::TooLarge.alert(), AlertDescription::DecodeError);
}

#[test]
fn the_number_of_records_is_bounded() {
    let most = of_body(MAX_HELLO_RECORDS as usize - 4).message();
    assert_eq!(read(&in_records(&most, 1)), Ok(Some(most)));
    let more = of_body(MAX_HELLO_RECORDS as usize - 3).message();
    assert_eq!(read(&in_records(&more, 1)), Err(HelloError::TooManyRecords));
}

#[test]
fn the_hello_ends_its_record() {
    let mut message = Builder::tls13().message();
    message.push(1);
    assert_eq!(read(&record(22, &message)), Err(HelloError::Misaligned));
    assert_eq!(
        HelloError::Misaligned.alert(),
        AlertDescription::UnexpectedMessage
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
        let _ = read(&record(22, &bytes));
        let mut message = vec![1, 0, (bytes.len() >> 8) as u8, bytes.len() as u8];
        message.extend(&bytes);
        let _ = read(&record(22, &message));
    }

    #[test]
    fn fragments_and_segments_of_any_size_are_the_same(
        sizes in prop::collection::vec(1usize..90, 1..40),
        steps in prop::collection::vec(1usize..70, 1..40),
    ) {
        let message = Builder::tls13().server_name(b"example.com").psk(&[b"id"], &[32]).message();
        let mut wire = Vec::new();
        let (mut rest, mut sizes) = (&message[..], sizes.iter().cycle());
        while let Some(&size) = sizes.next().filter(|_| !rest.is_empty()) {
            let (part, after) = rest.split_at(size.min(rest.len()));
            wire.extend(record(22, part));
            rest = after;
        }
        let (mut reader, mut end, mut steps) = (HelloReader::default(), 0, steps.iter().cycle());
        let mut found = None;
        while let Some(&step) = steps.next().filter(|_| found.is_none() && end < wire.len()) {
            end = (end + step).min(wire.len());
            found = reader.advance(&wire[..end]).expect("good");
        }
        let found = found.map(|hello| hello.message().to_vec());
        prop_assert_eq!(found, Some(message));
    }
}
