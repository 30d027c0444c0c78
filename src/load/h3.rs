//! A small HTTP/3 client: quinn's packets, our frames and QPACK.
//!
//! It measures: what a handshake was and when it ended, what of its early data was accepted. It
//! holds no tickets; those are the TLS configuration's.

mod answer;
mod connection;
mod said;
mod session;
mod stream;

use quinn::VarInt;

use crate::http::h3::Code;

pub(crate) use self::connection::config;
pub use self::connection::{Ask, Connection, Lost, Opening, Probes, endpoint};
pub use self::session::{Facts, Progress};

fn code(code: Code) -> VarInt {
    // They are all small.
    VarInt::from_u64(code.0).unwrap_or_default()
}

fn close(quic: &quinn::Connection, why: Code) {
    quic.close(code(why), b"");
}
