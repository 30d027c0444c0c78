//! The pure pieces of HTTP that stand before any handler: request framing, paths, authority.
//!
//! Nothing here does I/O or knows TLS. [`h3`] is HTTP/3 as bytes. [`framing`] reads bytes before hyper does; [`path`] and
//! [`authority`] read what hyper has parsed. hyper forgives what these refuse.

pub mod authority;
pub mod framing;
pub mod h3;
pub mod path;
