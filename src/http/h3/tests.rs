use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::head;
use super::qpack::{self, Encoder, Failed};
use super::*;

pub(super) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for (name, value) in fields {
        encoder.field(name, value.as_bytes(), false);
    }
    encoder.finish()
}

fn decoded(section: &[u8]) -> Result<Vec<(String, String)>, Failed> {
    let mut fields = Vec::new();
    qpack::decode(section, |name, value, _| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push((text(name.text), text(value)));
        Ok::<_, Failed>(())
    })?;
    Ok(fields)
}

#[test]
fn what_is_encoded_is_decoded() {
    let long = "x".repeat(5000);
    let fields = [
        (":status", "200"),
        (":status", "207"),
        ("content-type", "text/plain"),
        ("content-type", "text/strange"),
        ("x-own", "value"),
        ("x-own", "\u{1}\u{2}\u{3}"),
        ("x-long", &long),
        ("x-empty", ""),
    ];
    let fields: Vec<_> = fields.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    let borrowed: Vec<_> = fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(decoded(&section(&borrowed)), Ok(fields));
}

#[test]
fn a_field_section_in_clear_is_read_as_the_specification_has_it() {
    // RFC 9204, appendix B.1.
    let section = b"\0\0\x51\x0b/index.html";
    let expected = vec![(":path".to_owned(), "/index.html".to_owned())];
    assert_eq!(decoded(section), Ok(expected));
}

#[test]
fn whatever_speaks_of_a_dynamic_table_fails() {
    for section in [
        &[][..],
        &[0],
        // A Required Insert Count; a Base below 0.
        &[1, 0, 0xd1],
        &[0, 0x80, 0xd1],
        // Indexed and name references without the static bit; after the Base.
        &[0, 0, 0x80],
        &[0, 0, 0x40, 0],
        &[0, 0, 0x10],
        &[0, 0, 0x00, 0],
        // Beyond the static table; cut short; a length with no end.
        &[0, 0, 0xff, 36],
        &[0, 0, 0x51, 5, b'a'],
        &[0, 0, 0x51, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0x27],
    ] {
        assert_eq!(decoded(section), Err(Failed), "{section:x?}");
    }
}

#[test]
fn an_answer_says_nothing_of_connections() {
    let mut headers = HeaderMap::new();
    headers.insert("connection", HeaderValue::from_static("close"));
    headers.insert("x-own", HeaderValue::from_static("1"));
    let fields = decoded(&head::response(StatusCode::TOO_EARLY, &headers).finish()).unwrap();
    let expected = [(":status", "425"), ("x-own", "1")];
    assert_eq!(fields, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[test]
fn strings_of_every_length_are_decoded() {
    // Some with room of their own, some without; a short one after a long one and the other way.
    let lengths = [1, 100, 200, 204, 205, 206, 300, 5, 400, 350, 0, 1000];
    let values = lengths.map(|length| "0aZ".repeat(length));
    let fields: Vec<_> = values
        .iter()
        .map(|value| ("x-".to_owned() + &value.to_lowercase(), value.clone()))
        .collect();
    let borrowed: Vec<_> = fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(decoded(&section(&borrowed)), Ok(fields));
}

#[test]
fn a_head_is_framed_as_any_section_is() {
    for length in [
        0, 1, 40, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 100, 5000, 17_000, 20_000,
    ] {
        let value = "\u{1}".repeat(length);
        let encoder = || {
            let mut encoder = Encoder::default();
            encoder.field("x-own", value.as_bytes(), false);
            encoder
        };
        assert_eq!(encoder().frame(), headers(&encoder().finish()), "{length}");
    }
}

/// Frames of a request stream: type, payload.
fn frames(frames: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, payload) in frames {
        varint::encode(*kind, &mut out);
        varint::encode(payload.len() as u64, &mut out);
        out.extend_from_slice(payload);
    }
    out
}

/// What a message comes to, in pieces of `step` bytes, and its end.
fn read(bytes: &[u8], step: usize, length: Option<u64>) -> Result<Vec<Received>, Wrong> {
    let mut message = Message::new(100);
    message.announce(length);
    let mut all = Vec::new();
    for piece in bytes.chunks(step) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(received) = message.next(&mut piece)? {
            match (all.last_mut(), received) {
                (Some(Received::Data(before)), Received::Data(data)) => {
                    *before = [&before[..], &data].concat().into();
                }
                (_, received) => all.push(received),
            }
        }
        assert!(piece.is_empty());
    }
    message.end()?;
    Ok(all)
}

#[test]
fn a_message_is_cut_alike_however_it_comes() {
    let bytes = frames(&[
        (0x21, b"grease"),
        (1, b"head"),
        (0, b"con"),
        (0x40, b""),
        (0, b""),
        (0, b"tent"),
        (1, b"end"),
        (0x4242, b"more"),
    ]);
    for step in 1..bytes.len() {
        let expected = vec![
            Received::Head(Bytes::from_static(b"head")),
            Received::Data(Bytes::from_static(b"content")),
            Received::Trailers(Bytes::from_static(b"end")),
        ];
        assert_eq!(read(&bytes, step, Some(7)), Ok(expected), "{step}");
    }
}

#[test]
fn frames_out_of_place_are_told() {
    let long = [0; 101];
    let unexpected = Wrong::Connection(Code::FRAME_UNEXPECTED);
    let head: (u64, &[u8]) = (1, b"head");
    for (given, expected) in [
        (&[(0, &b"x"[..])][..], unexpected),
        (&[head, (0, b"1234567"), (1, b"end"), (0, b"x")], unexpected),
        (
            &[head, (0, b"1234567"), (1, b"end"), (1, b"end")],
            unexpected,
        ),
        (
            &[head, (0, b"123456"), (1, b"end")],
            Wrong::Stream(Code::MESSAGE_ERROR),
        ),
        (&[head, (4, b"")], unexpected),
        (&[head, (7, b"\0")], unexpected),
        (&[head, (0xd, b"\0")], unexpected),
        (&[head, (3, b"\0")], unexpected),
        (&[head, (5, b"\0")], unexpected),
        (&[head, (2, b"")], unexpected),
        (&[head, (9, b"")], unexpected),
        (&[head, (0xf0700, b"\0")], unexpected),
        (&[], Wrong::Stream(Code::REQUEST_INCOMPLETE)),
        (&[head, (1, &long)], Wrong::Stream(Code::EXCESSIVE_LOAD)),
        (
            &[head, (0, b"12345678")],
            Wrong::Stream(Code::MESSAGE_ERROR),
        ),
        (&[head, (0, b"123456")], Wrong::Stream(Code::MESSAGE_ERROR)),
    ] {
        assert_eq!(
            read(&frames(given), 3, Some(7)),
            Err(expected),
            "{given:x?}"
        );
    }
    let cut = Err(Wrong::Connection(Code::FRAME_ERROR));
    assert_eq!(read(&[1, 4, b'h'], 1, None), cut);
    assert_eq!(read(&[0x40], 1, None), cut);
    let large = read(&frames(&[(1, &long)]), 7, None);
    assert_eq!(large, Ok(vec![Received::TooLarge]));
}

#[test]
fn control_streams_are_held_to_their_order() {
    let run = |given: &[(u64, &[u8])]| {
        let mut peer = Peer::default();
        assert_eq!(peer.opened(0), Ok(StreamKind::Control));
        let mut ranked = Vec::new();
        let mut frames_of = Frames::of_control();
        let mut input = Bytes::from(frames(given));
        peer.control(&mut frames_of, &mut input, 512, |stream, priority| {
            ranked.push((stream, priority.urgency));
        })
        .map(|()| ranked)
    };
    let settings: (u64, &[u8]) = (4, &[1, 0, 7, 0]);
    for (given, expected) in [
        (&[(7, &[0][..])][..], Code::MISSING_SETTINGS),
        (&[(0, b"x")], Code::MISSING_SETTINGS),
        (&[(0x21, b"x")], Code::MISSING_SETTINGS),
        (&[settings, settings], Code::FRAME_UNEXPECTED),
        (&[settings, (0, b"x")], Code::FRAME_UNEXPECTED),
        (&[settings, (1, b"x")], Code::FRAME_UNEXPECTED),
        (&[settings, (5, b"x")], Code::FRAME_UNEXPECTED),
        (&[settings, (6, b"x")], Code::FRAME_UNEXPECTED),
        (&[(4, &[1, 0, 1, 0])], Code::SETTINGS_ERROR),
        (&[(4, &[2, 0])], Code::SETTINGS_ERROR),
        (&[(4, &[8, 2])], Code::SETTINGS_ERROR),
        (&[(4, &[1])], Code::FRAME_ERROR),
        (&[(4, &[0; 4097])], Code::EXCESSIVE_LOAD),
        (&[settings, (7, &[])], Code::FRAME_ERROR),
        (&[settings, (7, &[0, 0])], Code::FRAME_ERROR),
        (&[settings, (7, &[4]), (7, &[8])], Code::ID_ERROR),
        (&[settings, (0xd, &[4]), (0xd, &[3])], Code::ID_ERROR),
        (&[settings, (3, &[0])], Code::ID_ERROR),
        (&[settings, (0xf0700, &[1])], Code::ID_ERROR),
        (&[settings, (0xf0701, &[0])], Code::ID_ERROR),
    ] {
        assert_eq!(run(given), Err(expected), "{given:x?}");
    }
    let good = run(&[
        settings,
        (0x21, b"grease"),
        (0xd, &[4]),
        (7, &[8]),
        (7, &[4]),
        (0xf0700, b"\x04u=1, i"),
    ]);
    assert_eq!(good, Ok(vec![(4, 1)]));
}

#[test]
fn critical_streams_come_once() {
    let mut peer = Peer::default();
    for kind in [0, 2, 3] {
        assert!(peer.opened(kind).is_ok());
        assert_eq!(peer.opened(kind), Err(Code::STREAM_CREATION_ERROR));
    }
    assert_eq!(peer.opened(1), Err(Code::STREAM_CREATION_ERROR));
    assert_eq!(peer.opened(0x21), Ok(StreamKind::Unknown));
    assert_eq!(peer.opened(0x21), Ok(StreamKind::Unknown));
}

#[test]
fn qpack_streams_have_nothing_to_say() {
    let encode = |bytes: &'static [u8]| encoder(&mut Bytes::from_static(bytes));
    assert_eq!(encode(&[0x20]), Ok(()));
    for instruction in [&[0x21][..], &[0x3f, 0x01], &[0xc0], &[0x40], &[0x00]] {
        assert_eq!(encode(instruction), Err(Code::QPACK_ENCODER_STREAM_ERROR));
    }
    let decode = |bytes: &'static [u8]| Decoder::default().take(&mut Bytes::from_static(bytes));
    assert_eq!(decode(&[0x44, 0x7f, 0x80, 0x01]), Ok(()));
    for instruction in [&[0x80][..], &[0x01], &[0x00]] {
        assert_eq!(decode(instruction), Err(Code::QPACK_DECODER_STREAM_ERROR));
    }
}

#[test]
fn a_priority_may_have_several_lines() {
    let lines: [&[u8]; 3] = [b"u=1, x", b"", b"i"];
    let expected = Priority {
        urgency: 1,
        incremental: true,
    };
    assert_eq!(Priority::of_lines(lines), expected);
    assert_eq!(Priority::of_lines([]), Priority::default());
}

#[test]
fn priorities_are_read_leniently() {
    for (value, urgency, incremental) in [
        ("", 3, false),
        ("u=0", 0, false),
        ("u=7, i", 7, true),
        ("i;x=1,u=2", 2, true),
        ("i=?0", 3, false),
        ("u=8", 3, false),
        ("u=1.5, junk", 3, false),
    ] {
        let priority = Priority::parse(value.as_bytes());
        assert_eq!(
            (priority.urgency, priority.incremental),
            (urgency, incremental),
            "{value}"
        );
    }
}
