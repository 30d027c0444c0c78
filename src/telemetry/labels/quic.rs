//! Words for QUIC.

use serde::{Serialize, Serializer};

use super::Label;

labels! {
    /// Why an address validation token over QUIC was not believed.
    TokenRefusal {
        /// It is none of ours, or too old.
        Unknown => "unknown",
        /// Of an earlier connection, and shown before.
        Used => "used",
        /// Of an earlier connection, and from another address or more than a day old.
        Address => "address",
        /// Of a Retry, and from another address or too old: its client is told so.
        Retry => "retry",
    }

    /// Rules and bounds of QUIC that a client broke, by the error that the edge ended the connection
    /// with (RFC 9000 §20.1).
    QuicError {
        /// FLOW_CONTROL_ERROR: more bytes than a window has.
        FlowControl => "flow_control",
        /// STREAM_LIMIT_ERROR: more streams than are allowed.
        StreamLimit => "stream_limit",
        /// STREAM_STATE_ERROR: a frame for a stream that it cannot be for.
        StreamState => "stream_state",
        /// FINAL_SIZE_ERROR: a stream that ends elsewhere than it has ended.
        FinalSize => "final_size",
        /// INTERNAL_ERROR, for more holes in a stream than are kept.
        StreamGaps => "stream_gaps",
        /// INTERNAL_ERROR, for more holes in handshake messages than are kept.
        CryptoGaps => "crypto_gaps",
        /// CRYPTO_BUFFER_EXCEEDED: handshake messages that lie too far ahead.
        CryptoBuffer => "crypto_buffer",
        /// FRAME_ENCODING_ERROR.
        FrameEncoding => "frame_encoding",
        /// TRANSPORT_PARAMETER_ERROR.
        TransportParameter => "transport_parameter",
        /// CONNECTION_ID_LIMIT_ERROR: more connection ids than are wanted, or than can be given back.
        ConnectionIdLimit => "connection_id_limit",
        /// PROTOCOL_VIOLATION.
        ProtocolViolation => "protocol_violation",
        /// KEY_UPDATE_ERROR.
        KeyUpdate => "key_update",
        /// AEAD_LIMIT_REACHED: more packets that were forged than keys endure.
        AeadLimit => "aead_limit",
        /// Any other.
        Other => "other",
    }
}
