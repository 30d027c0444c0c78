//! Frames of a packet (RFC 9000 §19), one after another: how long each is, and which stream it is about.

use bytes::Buf;
use quinn_proto::VarInt;
use quinn_proto::coding::Codec;

/// Takes a frame from the front; the stream that it is about, if it is about one. `None` if it is cut
/// short, or not known here.
pub(super) fn take(frames: &mut &[u8]) -> Option<Option<u64>> {
    let kind = number(frames)?;
    match kind {
        // PADDING, PING, IMMEDIATE_ACK.
        0x00 | 0x01 | 0x1f => Some(None),
        // ACK, and with counts.
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
        // CRYPTO.
        0x06 => {
            number(frames)?;
            content(frames)?;
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
            match kind & 0x02 {
                // To the end of the packet.
                0 => skip(frames, frames.remaining())?,
                _ => content(frames)?,
            }
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

/// A length, and so many bytes.
fn content(frames: &mut &[u8]) -> Option<()> {
    let length = usize::try_from(number(frames)?).ok()?;
    skip(frames, length)
}

fn number(frames: &mut &[u8]) -> Option<u64> {
    VarInt::decode(frames).ok().map(VarInt::into_inner)
}

fn skip(frames: &mut &[u8], length: usize) -> Option<()> {
    *frames = frames.get(length..)?;
    Some(())
}
