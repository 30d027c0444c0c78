//! Words for the PROXY protocol.

use serde::{Serialize, Serializer};

use super::Label;

labels! {
    /// Why a connection was closed for its PROXY protocol header.
    ProxyHeaderError {
        /// The peer is not in `proxy_from`.
        NotAllowed => "not_allowed",
        /// What came is no header.
        Missing => "missing",
        /// A header of the other version.
        Version => "version",
        /// A header that breaks the rules.
        Malformed => "malformed",
        /// A header longer than allowed.
        TooLarge => "too_large",
        /// A checksum that is not that of the header.
        Checksum => "checksum",
        /// The peer closed before it was whole.
        Closed => "closed",
        /// It did not come within `proxy_header`.
        Timeout => "timeout",
    }
}
