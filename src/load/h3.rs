//! A small HTTP/3 client: quinn's packets, our frames and QPACK.
//!
//! It measures: what a handshake was and when it ended, what of its early data was accepted. It
//! holds no tickets; those are the TLS configuration's.

mod answer;
mod connection;
mod session;

pub(crate) use self::connection::config;
pub use self::connection::{Ask, Connection, Lost, Opening, Probes, endpoint};
pub use self::session::{Facts, Progress};
