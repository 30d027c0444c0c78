//! The PROXY protocol: what stands before a connection's own bytes and names its client.
//!
//! Both versions of haproxy's `proxy-protocol.txt`, read and written. No I/O: reading looks at
//! bytes, [`header`] makes them. Read by the letter: who sends a header that can be read in two ways
//! is not the balancer that was meant.

mod checksum;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::net::SocketAddr;

pub use self::read::{Found, HeaderError, MAX_HEADER, read};
pub use self::write::{header, local};

/// What a header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The two forms of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Text, one line.
    V1,
    /// Binary.
    V2,
}

impl Version {
    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Which headers a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accepts {
    /// One version alone.
    Only(Version),
    /// Either.
    Any,
}

impl Accepts {
    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Only(version) => version.as_str(),
            Self::Any => "any",
        }
    }

    fn takes(self, version: Version) -> bool {
        match self {
            Self::Only(only) => only == version,
            Self::Any => true,
        }
    }
}

/// What a header says of the connection behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is for somebody else.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// What the client connected to.
        destination: SocketAddr,
    },
    /// It is the sender's own (a health check), or for somebody without an address of the internet:
    /// the connection's own addresses hold.
    Local,
}
