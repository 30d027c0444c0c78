//! What an error of a connection says of its client.

use quinn::{ConnectionError, TransportErrorCode};
use rustls::AlertDescription;

use crate::telemetry::labels::QuicError;

/// The alert that the client ended the connection with (RFC 9001 §4.8).
pub(super) fn alert(error: &ConnectionError) -> Option<AlertDescription> {
    match error {
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            let alert = code.checked_sub(0x100)?;
            u8::try_from(alert).ok().map(AlertDescription::from)
        }
        _ => None,
    }
}

/// The rule or bound of the transport that the client broke. Those of TLS have alerts, and are counted
/// as such.
pub(super) fn broken(error: &ConnectionError) -> Option<QuicError> {
    let ConnectionError::TransportError(error) = error else {
        return None;
    };
    Some(match error.code {
        TransportErrorCode::FLOW_CONTROL_ERROR => QuicError::FlowControl,
        TransportErrorCode::STREAM_LIMIT_ERROR => QuicError::StreamLimit,
        TransportErrorCode::STREAM_STATE_ERROR => QuicError::StreamState,
        TransportErrorCode::FINAL_SIZE_ERROR => QuicError::FinalSize,
        // quinn has it for nothing but holes, and tells them apart by words alone.
        TransportErrorCode::INTERNAL_ERROR => match error.reason.contains("crypto") {
            true => QuicError::CryptoGaps,
            false => QuicError::StreamGaps,
        },
        TransportErrorCode::CRYPTO_BUFFER_EXCEEDED => QuicError::CryptoBuffer,
        TransportErrorCode::FRAME_ENCODING_ERROR => QuicError::FrameEncoding,
        TransportErrorCode::TRANSPORT_PARAMETER_ERROR => QuicError::TransportParameter,
        TransportErrorCode::CONNECTION_ID_LIMIT_ERROR => QuicError::ConnectionIdLimit,
        TransportErrorCode::PROTOCOL_VIOLATION => QuicError::ProtocolViolation,
        TransportErrorCode::KEY_UPDATE_ERROR => QuicError::KeyUpdate,
        TransportErrorCode::AEAD_LIMIT_REACHED => QuicError::AeadLimit,
        code if (0x100..0x200).contains(&u64::from(code)) => return None,
        _ => QuicError::Other,
    })
}
