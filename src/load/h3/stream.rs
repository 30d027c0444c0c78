//! The stream of one request.

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

use super::code;
use crate::http::h3::Code;

/// Both halves of a stream. Dropped before the exchange is over, they are given up: left to quinn, the
/// sending half would end as if it were whole, and a frame that is cut short ends the server's connection
/// (RFC 9114 §7.1), with all other requests on it.
pub(super) struct Stream {
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
}

pub(super) struct Sending {
    stream: SendStream,
    ended: bool,
}

pub(super) struct Receiving {
    stream: RecvStream,
    ended: bool,
}

impl Stream {
    pub(super) fn new((send, receive): (SendStream, RecvStream)) -> Self {
        Self {
            sending: Sending {
                stream: send,
                ended: false,
            },
            receiving: Receiving {
                stream: receive,
                ended: false,
            },
        }
    }

    pub(super) fn id(&self) -> u64 {
        VarInt::from(self.sending.stream.id()).into_inner()
    }
}

impl Sending {
    /// Sends a whole request. That may fail: a server may answer without having read all, and whatever
    /// else happens, the answer tells.
    pub(super) async fn send(&mut self, request: &mut [Bytes]) {
        match self.stream.write_all_chunks(request).await {
            Ok(()) => self.ended = self.stream.finish().is_ok(),
            // RFC 9000 §3.5: with the code that we were given.
            Err(WriteError::Stopped(why)) => {
                let _ = self.stream.reset(why);
            }
            Err(_) => {}
        }
    }
}

impl Receiving {
    /// The next bytes; `None` at the end. Can be cancelled.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let chunk = self.stream.read_chunk(usize::MAX, true).await?;
        self.ended = chunk.is_none();
        Ok(chunk.map(|chunk| chunk.bytes))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // RFC 9114 §4.1.1. What was sent may not have left: nobody waits for it any more. Where a half
        // is over for both sides, quinn knows.
        if !self.sending.ended || !self.receiving.ended {
            let _ = self.sending.stream.reset(code(Code::REQUEST_CANCELLED));
        }
        if !self.receiving.ended {
            let _ = self.receiving.stream.stop(code(Code::REQUEST_CANCELLED));
        }
    }
}
