//! Which requests came in early data (EARLY-DATA R23).
//!
//! quinn tells that of a stream as long as the handshake is under way. What comes together with the
//! client's Finished, or behind it, is looked at when that is over. So the packets themselves are read.

use bytes::Buf;
use quinn_proto::VarInt;
use quinn_proto::coding::Codec;

/// The last of the streams of requests that the frames of a packet of early data (RFC 9000 §12.4) are
/// about; clients open them in order.
pub(super) fn last_request(mut frames: &[u8]) -> Option<u64> {
    let mut last = None;
    while frames.has_remaining() {
        let Some(stream) = next(&mut frames) else {
            // quinn ends the connection for it.
            break;
        };
        // Of those that clients open, and that go both ways (§2.1).
        last = last.max(stream.filter(|stream| stream & 3 == 0));
    }
    last
}

/// Takes a frame from the front; the stream that it is about, if it is about one. `None` if it is no
/// frame that may come.
fn next(frames: &mut &[u8]) -> Option<Option<u64>> {
    let kind = number(frames)?;
    match kind {
        // PADDING, PING, IMMEDIATE_ACK.
        0x00 | 0x01 | 0x1f => Some(None),
        // ACK, which is none of early data, but quinn takes it.
        0x02 | 0x03 => {
            number(frames)?;
            number(frames)?;
            let ranges = number(frames)?;
            number(frames)?;
            for _ in 0..ranges {
                number(frames)?;
                number(frames)?;
            }
            for _ in 0..3 * (kind & 1) {
                number(frames)?;
            }
            Some(None)
        }
        // RESET_STREAM; STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED.
        0x04 => about(frames, 2),
        0x05 | 0x11 | 0x15 => about(frames, 1),
        0x08..=0x0f => {
            let stream = number(frames)?;
            if kind & 0x04 != 0 {
                number(frames)?;
            }
            let length = match kind & 0x02 {
                0 => frames.remaining(),
                _ => usize::try_from(number(frames)?).ok()?,
            };
            skip(frames, length)?;
            Some(Some(stream))
        }
        // MAX_DATA, MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED, RETIRE_CONNECTION_ID.
        0x10 | 0x12..=0x14 | 0x16 | 0x17 | 0x19 => {
            number(frames)?;
            Some(None)
        }
        // NEW_CONNECTION_ID: two numbers, an id, a token.
        0x18 => {
            number(frames)?;
            number(frames)?;
            let length = frames.try_get_u8().ok()?;
            skip(frames, usize::from(length) + 16)?;
            Some(None)
        }
        // PATH_CHALLENGE, PATH_RESPONSE.
        0x1a | 0x1b => {
            skip(frames, 8)?;
            Some(None)
        }
        // ACK_FREQUENCY.
        0xaf => {
            for _ in 0..4 {
                number(frames)?;
            }
            Some(None)
        }
        _ => None,
    }
}

/// The stream that a frame is about, and so many numbers behind it.
fn about(frames: &mut &[u8], more: usize) -> Option<Option<u64>> {
    let stream = number(frames)?;
    for _ in 0..more {
        number(frames)?;
    }
    Some(Some(stream))
}

fn number(frames: &mut &[u8]) -> Option<u64> {
    VarInt::decode(frames).ok().map(VarInt::into_inner)
}

fn skip(frames: &mut &[u8], length: usize) -> Option<()> {
    *frames = frames.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_requests_are_found_behind_other_frames() {
        let others = [
            &[0x00, 0x01][..],
            &[0x10, 0x05],
            &[
                0x12, 0x05, 0x13, 0x05, 0x14, 0x05, 0x16, 0x05, 0x17, 0x05, 0x19, 0x00,
            ],
            &[0x18, 0x01, 0x00, 0x04, 1, 2, 3, 4],
            &[7; 16],
            &[0x1a, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x1b, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x1f, 0x40, 0xaf, 0, 1, 2, 3],
            &[0x02, 9, 0, 1, 2, 0, 1, 0x03, 9, 0, 0, 2, 1, 1, 1],
            // A stream of another kind.
            &[0x0a, 0x02, 0x01, 0xff],
        ]
        .concat();
        assert_eq!(last_request(&others), None);
        for (frame, stream) in [
            // Data to the end, with a length, with an offset, with both.
            (&[0x08, 0x04, 0xaa, 0xbb][..], 4),
            (&[0x0b, 0x08, 0x02, 0xaa, 0xbb], 8),
            (&[0x0d, 0x0c, 0x40, 0x64, 0xaa], 12),
            (&[0x0f, 0x10, 0x05, 0x01, 0xaa], 16),
            (&[0x04, 0x14, 0x00, 0x00], 20),
            (&[0x05, 0x18, 0x00], 24),
            (&[0x11, 0x1c, 0x01], 28),
            (&[0x15, 0x20, 0x01], 32),
            (&[0x0a, 0x40, 0x64, 0x00], 100),
        ] {
            let frames = [&others, frame].concat();
            assert_eq!(last_request(&frames), Some(stream), "{frame:x?}");
            let earlier = [&[0x0a, 0x00, 0x00], &frames[..]].concat();
            assert_eq!(last_request(&earlier), Some(stream), "{frame:x?}");
            let later = [&frames[..], &[0x0a, 0x00, 0x00]].concat();
            if frame[0] & 0x0a == 0x0a || frame[0] & 0x08 == 0 {
                assert_eq!(last_request(&later), Some(stream), "{frame:x?}");
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_unknown_ends_it() {
        for frames in [
            &[0x0a][..],
            &[0x0a, 0x04, 0x05, 1],
            &[0x18, 0, 0, 20],
            &[0x3f],
            &[0x40],
        ] {
            assert_eq!(last_request(frames), None, "{frames:x?}");
            let behind = [&[0x0a, 0x04, 0x00], frames].concat();
            assert_eq!(last_request(&behind), Some(4), "{frames:x?}");
        }
    }
}
