//! Sessions, as bare operations and through real handshakes in memory.

mod handshakes;
mod policies;
mod store;
mod support;
