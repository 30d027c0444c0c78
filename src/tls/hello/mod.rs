//! The ClientHello: a bounded reader over the bytes of a connection, and a parser.
//!
//! rustls's unbuffered connection has no `Acceptor`, and a site must be known before a
//! `ServerConfig` can be chosen. So the edge reads the ClientHello itself, chooses, and then gives
//! the very same bytes to rustls, which reads them again. Whatever both look at must come out
//! equal: above all the server name, which is validated here by the same code as in rustls.
//!
//! - [`HelloReader`] joins TLS records until the message is whole.
//! - [`ClientHello`] holds the message and answers questions about it.
//! - [`HelloError`] names what was wrong and the alert that RFC 9846 asks for.

mod error;
mod message;
mod parse;
mod reader;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use error::{HelloError, alert_record};
pub use message::{ClientHello, PskIdentity, is_grease};
pub use reader::{HelloReader, MAX_HELLO_RECORDS, MAX_HELLO_SIZE};
