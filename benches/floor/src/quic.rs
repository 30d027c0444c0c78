//! The floor over QUIC: the least that a server of HTTP/3 made of quinn can cost.
//!
//! quinn as it comes, one thread, one task for each connection, fixed answers. Of a request nothing is
//! read but whether it asks for `/`: whatever else it asks for is the large answer. What clients say
//! on streams of their own is never looked at.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use rustls::ServerConfig;

use crate::requests::LARGE;

/// HEADERS (`:status: 200`, `content-type: text/plain`, `content-length: 6`), then DATA.
const SMALL_ANSWER: &[u8] = b"\x01\x07\x00\x00\xd9\xf5\x54\x016\x00\x06hello\n";
/// A control stream and empty SETTINGS.
const CONTROL: &[u8] = &[0x00, 0x04, 0x00];
/// `:path: /` in QPACK's static table (RFC 9204, appendix A).
const ROOT: u64 = 1;
const HEADERS: u8 = 0x01;
const PIECE: usize = 64 * 1024;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Serves until it is killed; `tell` is given the address.
///
/// # Errors
/// The system's; rustls's, if the configuration is of no use.
pub fn serve(
    listen: SocketAddr,
    config: &ServerConfig,
    tell: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> io::Result<()> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.max_early_data_size = u32::MAX;
    let config = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let endpoint = Endpoint::server(config, listen)?;
        tell(endpoint.local_addr()?)?;
        // What is awaited here is woken from outside, which costs more than from a task.
        let accepting = tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(connection(incoming));
            }
        });
        accepting.await.map_err(io::Error::other)
    })
}

/// Serves a connection to its end.
async fn connection(incoming: Incoming) {
    // Usable from our first flight on, so that early requests are answered in it.
    let connection = match incoming.accept().map(|connecting| connecting.into_0rtt()) {
        Ok(Ok((connection, _))) => connection,
        Ok(Err(_)) | Err(_) => return,
    };
    let Some(_control) = greet(&connection).await else {
        return;
    };
    while let Ok((send, receive)) = connection.accept_bi().await {
        let Some(is_small) = request(receive).await else {
            continue;
        };
        if is_small {
            answer_small(send).await;
        } else {
            tokio::spawn(answer_large(send));
        }
    }
}

/// Our control stream, which must not end before the connection.
async fn greet(connection: &Connection) -> Option<SendStream> {
    let mut control = connection.open_uni().await.ok()?;
    control
        .write_chunk(Bytes::from_static(CONTROL))
        .await
        .ok()?;
    Some(control)
}

/// Reads a request to its end; whether it asks for the small answer. `None` if it broke off.
async fn request(mut stream: RecvStream) -> Option<bool> {
    let mut all = Bytes::new();
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await.ok()? {
        // A packet need not end where a frame does. Most requests are one chunk, and are not copied.
        all = match all.is_empty() {
            true => chunk.bytes,
            false => [all, chunk.bytes].concat().into(),
        };
    }
    asks_for_root(&all)
}

async fn answer_small(mut stream: SendStream) {
    let answer = Bytes::from_static(SMALL_ANSWER);
    if stream.write_chunk(answer).await.is_ok() {
        let _ = stream.finish();
    }
}

async fn answer_large(mut stream: SendStream) {
    let mut left = LARGE;
    let mut pieces = [large_head(), Bytes::new()];
    while left > 0 {
        let size = left.min(PIECE);
        left -= size;
        pieces[1] = Bytes::from_static(ZEROS.get(..size).unwrap_or(&ZEROS));
        if stream.write_all_chunks(&mut pieces).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

/// HEADERS with `:status: 200` and the length, and the header of DATA.
fn large_head() -> Bytes {
    let length = LARGE.to_string();
    let mut head = vec![HEADERS, 5 + length.len() as u8, 0, 0, 0xd9, 0x54];
    head.push(length.len() as u8);
    head.extend_from_slice(length.as_bytes());
    head.push(0x00);
    head.extend_from_slice(&((0xc0_u64 << 56) | LARGE as u64).to_be_bytes());
    head.into()
}

/// Whether the field section of a HEADERS frame, which begins here, has `:path: /`. `None` if it is
/// not whole.
fn asks_for_root(stream: &[u8]) -> Option<bool> {
    let mut section = Section(stream);
    if section.byte()? != HEADERS {
        return None;
    }
    let first = section.byte()?;
    let rest = (1_usize << (first >> 6)) - 1;
    let mut length = usize::from(first & 0x3f);
    for _ in 0..rest {
        length = (length << 8) | usize::from(section.byte()?);
    }
    section = Section(section.0.get(..length)?);
    // Required Insert Count and Base: there is no dynamic table.
    section.skip(2)?;
    while let Some(first) = section.0.first().copied() {
        if first & 0x80 != 0 {
            // Indexed.
            if section.integer(6)? == ROOT {
                return Some(true);
            }
        } else if first & 0x40 != 0 {
            // A name of the table and a value.
            section.integer(4)?;
            section.string(7)?;
        } else {
            section.string(3)?;
            section.string(7)?;
        }
    }
    Some(false)
}

/// What is left of a field section (RFC 9204 §4.5).
struct Section<'a>(&'a [u8]);

impl Section<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    /// An integer whose first byte has so many bits for it.
    fn integer(&mut self, bits: u8) -> Option<u64> {
        let most = (1_u64 << bits) - 1;
        let mut value = u64::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self, bits: u8) -> Option<()> {
        let length = usize::try_from(self.integer(bits)?).ok()?;
        self.skip(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_their_path() {
        // :method: GET, :scheme: https, :authority: a, :path: /
        let small = b"\x01\x08\x00\x00\xd1\xd7\x50\x01a\xc1";
        assert_eq!(asks_for_root(small), Some(true));
        let large = b"\x01\x0f\x00\x00\xd1\xd7\x50\x01a\x51\x06/large";
        assert_eq!(asks_for_root(large), Some(false));
        for end in 0..large.len() {
            assert_eq!(asks_for_root(&large[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn long_names_and_lengths_are_passed_over() {
        // A literal name of seven bytes and more, a value of 128 bytes; then :path: /
        let mut section = vec![0, 0, 0x27, 0x01];
        section.extend_from_slice(b"x-a-name");
        section.extend_from_slice(&[0x7f, 0x01]);
        section.extend_from_slice(&[b'v'; 128]);
        section.push(0xc1);
        let mut stream = vec![HEADERS, 0x40, section.len() as u8];
        stream.extend_from_slice(&section);
        assert_eq!(asks_for_root(&stream), Some(true));
    }

    #[test]
    fn the_large_head_says_how_much_comes() {
        let head = large_head();
        assert_eq!(usize::from(head[1]), head.len() - 2 - 9);
        assert!(head.ends_with(&[0xc0, 0, 0, 0, 0, 0x98, 0x96, 0x80]));
    }
}
