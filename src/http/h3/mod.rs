//! HTTP/3 as bytes (RFC 9114): frames, field sections (QPACK, RFC 9204), requests, errors. No I/O.
//!
//! Ours, and not the `h3` crate's, because that one hides whether a stream came as early data
//! (EARLY-DATA R23), keeps field sections and unknown frames of any length, and has neither
//! priorities nor informational answers. QPACK's dynamic table is not offered: what a client may
//! make us keep for it is then nothing.

mod client;
mod code;
mod frame;
mod head;
mod peer;
mod priority;
pub mod qpack;
mod request;
#[cfg(test)]
mod tests;
pub mod varint;

pub use self::client::{answered, asking};
pub use self::code::Code;
pub use self::frame::{Frames, Piece, data_header, goaway, headers, settings, stream_type};
pub use self::head::{Head, Malformed, NoHead, fields, request, response, trailers};
pub use self::peer::{Decoder, Peer, StreamKind, encoder};
pub use self::priority::Priority;
pub use self::qpack::{Encoder, line};
pub use self::request::{Message, Received, Wrong};
pub use self::varint::{MAX, Prefix};
