//! Error codes.

/// An error code of HTTP/3 (RFC 9114 §8.1) or QPACK (RFC 9204 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u64);

impl Code {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x100);
    /// The peer broke the protocol in a way that has no code of its own.
    pub const GENERAL_PROTOCOL_ERROR: Self = Self(0x101);
    /// We failed.
    pub const INTERNAL_ERROR: Self = Self(0x102);
    /// A stream that there can be one of only, a second time, or one that clients do not open.
    pub const STREAM_CREATION_ERROR: Self = Self(0x103);
    /// The control stream or a QPACK stream was closed.
    pub const CLOSED_CRITICAL_STREAM: Self = Self(0x104);
    /// A frame that may not come here.
    pub const FRAME_UNEXPECTED: Self = Self(0x105);
    /// A frame whose layout or size is wrong.
    pub const FRAME_ERROR: Self = Self(0x106);
    /// The peer costs us more than it should.
    pub const EXCESSIVE_LOAD: Self = Self(0x107);
    /// An identifier of a stream or push that cannot be.
    pub const ID_ERROR: Self = Self(0x108);
    /// Settings that cannot be.
    pub const SETTINGS_ERROR: Self = Self(0x109);
    /// The control stream does not begin with SETTINGS.
    pub const MISSING_SETTINGS: Self = Self(0x10a);
    /// A request that nobody has looked at: it may be sent again.
    pub const REQUEST_REJECTED: Self = Self(0x10b);
    /// A request or its answer was given up.
    pub const REQUEST_CANCELLED: Self = Self(0x10c);
    /// A request that ended before it was whole.
    pub const REQUEST_INCOMPLETE: Self = Self(0x10d);
    /// A malformed message.
    pub const MESSAGE_ERROR: Self = Self(0x10e);
    /// A field section that cannot be decoded.
    pub const QPACK_DECOMPRESSION_FAILED: Self = Self(0x200);
    /// What came on the QPACK encoder stream cannot be.
    pub const QPACK_ENCODER_STREAM_ERROR: Self = Self(0x201);
    /// What came on the QPACK decoder stream cannot be.
    pub const QPACK_DECODER_STREAM_ERROR: Self = Self(0x202);
}
