//! TLS: ClientHello, site selection, the stream, sessions.

pub mod hello;
pub mod ja4;
pub mod quic;
pub mod select;
pub mod selector;
pub mod session;
pub mod stream;
