//! QPACK (RFC 9204) without its dynamic table.

mod decode;
mod encode;
mod fields;
mod huffman;
mod integer;

pub use self::decode::{Failed, Name, decode};
pub use self::encode::{Encoder, line};
