//! HTTP/3: no panic, and no difference between bytes at once and bytes one by one; what is decoded is
//! decoded again after it was encoded.
//!
//! The first byte chooses what the rest is: a request stream, a control stream, a QPACK stream or a
//! field section.

#![no_main]

use bytes::Bytes;
use cutwater::http::h3::{self, Decoder, Frames, Message, Peer, Received, Wrong};
use libfuzzer_sys::fuzz_target;

/// The most that a field section may take.
const LIMIT: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 5 {
        0 => assert_eq!(message(&[data]), message(&single(data))),
        1 => assert_eq!(control(&[data]), control(&single(data))),
        2 => assert_eq!(encoder(&[data]), encoder(&single(data))),
        3 => assert_eq!(decoder(&[data]), decoder(&single(data))),
        _ => section(data),
    }
});

fn single(data: &[u8]) -> Vec<&[u8]> {
    data.chunks(1).collect()
}

/// What a request stream comes to. Pieces of content are joined: how they are cut is not said.
fn message(pieces: &[&[u8]]) -> (Vec<Received>, Result<(), Wrong>) {
    let mut message = Message::new(LIMIT);
    let mut seen: Vec<Received> = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            let received = match message.next(&mut input) {
                Ok(Some(received)) => received,
                Ok(None) => break,
                Err(wrong) => {
                    // Of content that breaks its length more or less may have passed before.
                    seen.pop_if(|last| matches!(last, Received::Data(_)));
                    return (seen, Err(wrong));
                }
            };
            if let Received::Head(section) = &received {
                match h3::request(section, LIMIT, None) {
                    Ok(head) => message.announce(head.length),
                    Err(_) => return (seen, Ok(())),
                }
            }
            match (seen.last_mut(), received) {
                (Some(Received::Data(before)), Received::Data(data)) => {
                    *before = [&before[..], &data].concat().into();
                }
                (_, received) => seen.push(received),
            }
        }
        assert!(input.is_empty());
    }
    let end = message.end();
    (seen, end)
}

fn control(pieces: &[&[u8]]) -> (Vec<(u64, u8)>, Result<(), h3::Code>) {
    let mut peer = Peer::default();
    let mut frames = Frames::of_control();
    let mut ranks = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        let result = peer.control(&mut frames, &mut input, 512, |stream, priority| {
            ranks.push((stream, priority.urgency));
        });
        if result.is_err() {
            return (ranks, result);
        }
    }
    (ranks, Ok(()))
}

fn encoder(pieces: &[&[u8]]) -> Result<(), h3::Code> {
    pieces
        .iter()
        .try_for_each(|piece| h3::encoder(&mut Bytes::copy_from_slice(piece)))
}

fn decoder(pieces: &[&[u8]]) -> Result<(), h3::Code> {
    let mut decoder = Decoder::default();
    pieces
        .iter()
        .try_for_each(|piece| decoder.take(&mut Bytes::copy_from_slice(piece)))
}

/// A head or trailers; trailers come back the same.
fn section(data: &[u8]) {
    let _ = h3::request(data, LIMIT, None);
    if let Ok(trailers) = h3::trailers(data, LIMIT) {
        let again = h3::fields(&trailers).finish();
        assert_eq!(h3::trailers(&again, 1 << 20).ok(), Some(trailers));
    }
}
