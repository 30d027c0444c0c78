//! PADDING taken out of what quinn reads.
//!
//! For quinn each byte of it is a frame, which costs more than to decrypt it: what clients fill up
//! their handshakes and the probes of their path with took an eighth of a handshake.

use bytes::{Buf, BytesMut};

use super::frame;

/// So many bytes at the end of a packet are worth a look at what is before them.
const WORTH: usize = 32;

/// Takes PADDING off the end of a packet, if nothing but what is known here is before it. One that is
/// PADDING alone stays as it is, since a packet without frames is an error (RFC 9000 §12.4).
///
/// What is left is copied. quinn bounds what content that waits for its turn keeps alive by the length
/// of its packet, so nothing longer may hang on it.
pub(super) fn take_off(payload: &mut BytesMut) {
    if payload.ends_with(&[0; WORTH])
        && let Some(length @ 1..) = before_padding(payload)
        // Else the zeros are content that goes to the end.
        && length < payload.len()
        && let Some(frames) = payload.get(..length)
    {
        *payload = BytesMut::from(frames);
    }
}

/// Where the PADDING begins that ends the packet. `None` if that is not known.
pub fn before_padding(payload: &[u8]) -> Option<usize> {
    let mut rest = payload;
    loop {
        let padding = zeros(rest);
        if padding == rest.len() {
            return Some(payload.len() - rest.len());
        }
        rest.advance(padding);
        rest = after_frame(rest)?;
    }
}

/// How many zeros it begins with. Looked at one by one they cost a hundredth of a handshake.
fn zeros(bytes: &[u8]) -> usize {
    let pieces = bytes.chunks_exact(WORTH);
    let whole = WORTH * pieces.take_while(|piece| **piece == [0; WORTH]).count();
    let last = bytes.iter().skip(whole);
    whole + last.take_while(|byte| **byte == 0).count()
}

/// What is behind a frame. `None` if it is cut short, or not known here.
fn after_frame(mut rest: &[u8]) -> Option<&[u8]> {
    // Longer types are of extensions, or longer than they may be.
    rest.first().filter(|kind| **kind < 0x40)?;
    frame::take(&mut rest)?;
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 0x01;
    const ACK: u8 = 0x02;
    const ACK_ECN: u8 = 0x03;
    const CRYPTO: u8 = 0x06;
    const STREAM: u8 = 0x08;
    const STREAM_LAST: u8 = 0x0f;
    /// Of a STREAM frame's type: without the second it ends where the packet does, zeros and all.
    const WITH_OFFSET: u8 = 0x04;
    const WITH_LENGTH: u8 = 0x02;
    /// draft-ietf-quic-ack-frequency: what quinn's own probes say.
    const IMMEDIATE_ACK: u8 = 0x1f;

    fn left(payload: &[u8]) -> Vec<u8> {
        let mut payload = BytesMut::from(payload);
        take_off(&mut payload);
        payload.to_vec()
    }

    fn padded(frames: &[&[u8]]) -> Vec<u8> {
        [&frames.concat()[..], &[0; 1000]].concat()
    }

    const FRAMES: [&[u8]; 8] = [
        &[PING],
        &[IMMEDIATE_ACK],
        // 9, after 3; two ranges behind the first.
        &[ACK, 9, 3, 2, 1, 0, 0, 1, 0],
        &[ACK_ECN, 0x40, 70, 3, 0, 0, 1, 0, 0],
        &[CRYPTO, 0, 4, 0, 0, 0, 0],
        &[STREAM | WITH_LENGTH, 4, 3, 1, 0, 0],
        &[STREAM_LAST, 4, 0x40, 200, 2, 0, 0],
        &[STREAM | WITH_LENGTH, 4, 0],
    ];

    #[test]
    fn padding_is_taken_off_behind_any_frame_that_is_known() {
        for frame in FRAMES {
            assert_eq!(left(&padded(&[frame])), frame);
            for before in FRAMES {
                assert_eq!(left(&padded(&[before, frame])), [before, frame].concat());
                let between = [before, &[0, 0], frame].concat();
                assert_eq!(left(&padded(&[&between])), between);
            }
        }
    }

    #[test]
    fn zeros_are_counted_to_the_first_that_is_none() {
        for count in 0..200 {
            let mut bytes = vec![0; 200];
            assert_eq!(zeros(&bytes[..count]), count);
            bytes[count] = 1;
            assert_eq!(zeros(&bytes), count);
        }
    }

    #[test]
    fn zeros_that_are_no_padding_stay() {
        let unknown: [&[u8]; 6] = [
            // To the end of the packet.
            &[STREAM, 4, 1],
            &[STREAM | WITH_OFFSET, 4, 9, 1],
            // Longer than the packet.
            &[CRYPTO, 0, 0x7f, 0xff],
            &[STREAM | WITH_LENGTH, 4, 0x7f, 0xff],
            // Of an extension, of which no lengths are known.
            &[0x30, 1],
            &[0x40, 0x01],
        ];
        for frame in unknown {
            let payload = padded(&[&[PING], frame]);
            assert_eq!(left(&payload), payload);
        }
        let content = padded(&[&[CRYPTO, 0, 0x43, 0xe8]]);
        assert_eq!(left(&content), content);
        let most = padded(&[&[CRYPTO, 0, 0x43, 0xe7]]);
        assert_eq!(left(&most).len(), 4 + 999);
    }

    #[test]
    fn a_packet_is_never_left_without_frames() {
        let padding = padded(&[]);
        assert_eq!(left(&padding), padding);
        assert!(left(&[]).is_empty());
    }

    #[test]
    fn a_frame_that_is_cut_short_is_left_to_quinn() {
        for frame in FRAMES {
            for end in 0..frame.len() {
                let cut = &frame[..end];
                assert_eq!(after_frame(cut), None, "{frame:?} at {end}");
            }
        }
    }
}
