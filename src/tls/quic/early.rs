//! Which requests came in early data (EARLY-DATA R23).
//!
//! quinn tells that of a stream as long as the handshake is under way. What comes together with the
//! client's Finished, or behind it, is looked at when that is over. So the packets themselves are read.

use super::frame;

/// The last of the streams of requests that the frames of a packet of early data (RFC 9000 §12.4) are
/// about; clients open them in order.
pub(super) fn last_request(mut frames: &[u8]) -> Option<u64> {
    let mut last = None;
    while !frames.is_empty() {
        let Some(stream) = frame::take(&mut frames) else {
            // quinn ends the connection for what may not come here.
            break;
        };
        // Of those that clients open, and that go both ways (§2.1).
        last = last.max(stream.filter(|stream| stream & 3 == 0));
    }
    last
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
