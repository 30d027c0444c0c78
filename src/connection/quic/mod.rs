//! QUIC connections and HTTP/3 on them.
//!
//! quinn moves the packets; what is ours is the choice of the site (`opening`), the life of a
//! connection (`connection`), what clients say beside requests (`peer`), and their requests
//! (`stream`): head, `Content`, answer. One that has to wait gets a task. From the head on, a request
//! goes the same way as over TCP.

mod answer;
mod arriving;
mod budget;
mod closing;
mod connection;
mod content;
mod control;
mod errors;
mod fixed;
mod head;
mod hello;
mod http09;
mod http3;
mod opening;
mod peer;
mod port;
mod prepared;
mod ranks;
mod section;
mod sending;
mod sent;
mod shown;
mod stream;
mod tokens;
mod unacknowledged;
mod wake;

use quinn::VarInt;

pub(super) use self::content::Content;
pub use self::port::{Port, Secrets};
pub use self::prepared::Prepared;
use crate::http::h3::Code;

/// An error code as quinn takes it.
fn code(code: Code) -> VarInt {
    // They are all small.
    VarInt::from_u64(code.0).unwrap_or(VarInt::MAX)
}
