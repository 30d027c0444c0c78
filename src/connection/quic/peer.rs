//! The unidirectional streams of a client.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use quinn::RecvStream;

use super::code;
use super::http3::Http3;
use crate::config::site_tls::QUIC;
use crate::http::h3::{Code, Decoder, Frames, Prefix, StreamKind, encoder};

/// What one read may bring, in bytes.
const READ: usize = 4096;

/// Reads one stream to its end. What is wrong with it ends the connection.
pub(super) async fn read(http3: Arc<Http3>, mut stream: RecvStream) {
    if let Err(wrong) = all(&http3, &mut stream).await {
        http3.fail(wrong);
    }
}

async fn all(http3: &Http3, stream: &mut RecvStream) -> Result<(), Code> {
    let mut prefix = Prefix::default();
    let mut input = Bytes::new();
    let kind = loop {
        if let Some(kind) = prefix.take(&mut input) {
            break kind;
        }
        match next(stream).await {
            Some(read) => input = read,
            // RFC 9114 §6.2: it may end before its type is known.
            None => {
                http3.beside(1);
                return Ok(());
            }
        }
    };
    let kind = http3.peer().opened(kind)?;
    let mut frames = Frames::of_control();
    let mut decoder = Decoder::default();
    loop {
        match kind {
            StreamKind::Control => {
                let mut peer = http3.peer.lock().unwrap_or_else(PoisonError::into_inner);
                // A stream more is granted for each that has ended, and all of those are here.
                let beyond = http3.next() + 4 * u64::from(QUIC.requests);
                peer.control(&mut frames, &mut input, beyond, |stream, priority| {
                    http3.ranks.update(stream, priority, http3.next());
                })?;
                drop(peer);
                http3.beside(frames.idle());
            }
            StreamKind::Encoder => encoder(&mut input)?,
            StreamKind::Decoder => decoder.take(&mut input)?,
            StreamKind::Unknown => {
                http3.beside(1);
                // RFC 9114 §9.
                let _ = stream.stop(code(Code::STREAM_CREATION_ERROR));
                return Ok(());
            }
        }
        match next(stream).await {
            Some(read) => input = read,
            // RFC 9114 §6.2.1, RFC 9204 §4.2. Nothing is said to a connection that has ended.
            None => return Err(Code::CLOSED_CRITICAL_STREAM),
        }
    }
}

/// The next bytes; `None` at the end, however it came.
async fn next(stream: &mut RecvStream) -> Option<Bytes> {
    let chunk = stream.read_chunk(READ, true).await;
    chunk.ok().flatten().map(|chunk| chunk.bytes)
}
