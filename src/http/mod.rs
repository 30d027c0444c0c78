//! HTTP: framing, paths, authority.

pub mod authority;
pub mod framing;
pub mod path;
