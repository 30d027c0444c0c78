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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quinn::ConnectionClose;
    use quinn_proto::TransportError;

    use super::*;

    #[test]
    fn each_error_has_its_name() {
        use TransportErrorCode as Code;
        let cases = [
            (Code::FLOW_CONTROL_ERROR, "", Some(QuicError::FlowControl)),
            (Code::STREAM_LIMIT_ERROR, "", Some(QuicError::StreamLimit)),
            (Code::STREAM_STATE_ERROR, "", Some(QuicError::StreamState)),
            (Code::FINAL_SIZE_ERROR, "", Some(QuicError::FinalSize)),
            (Code::INTERNAL_ERROR, "", Some(QuicError::StreamGaps)),
            (Code::INTERNAL_ERROR, "crypto", Some(QuicError::CryptoGaps)),
            (
                Code::CRYPTO_BUFFER_EXCEEDED,
                "",
                Some(QuicError::CryptoBuffer),
            ),
            (
                Code::FRAME_ENCODING_ERROR,
                "",
                Some(QuicError::FrameEncoding),
            ),
            (
                Code::TRANSPORT_PARAMETER_ERROR,
                "",
                Some(QuicError::TransportParameter),
            ),
            (
                Code::CONNECTION_ID_LIMIT_ERROR,
                "",
                Some(QuicError::ConnectionIdLimit),
            ),
            (
                Code::PROTOCOL_VIOLATION,
                "",
                Some(QuicError::ProtocolViolation),
            ),
            (Code::KEY_UPDATE_ERROR, "", Some(QuicError::KeyUpdate)),
            (Code::AEAD_LIMIT_REACHED, "", Some(QuicError::AeadLimit)),
            (Code::NO_VIABLE_PATH, "", Some(QuicError::Other)),
            // An alert of TLS.
            (Code::crypto(40), "", None),
        ];
        for (code, reason, name) in cases {
            let reason = reason.to_owned();
            let ours = TransportError {
                code,
                frame: None,
                reason,
            };
            let error = ConnectionError::TransportError(ours);
            assert_eq!(broken(&error), name, "{code}");
            assert_eq!(alert(&error), None, "{code}");
        }
    }

    #[test]
    fn what_a_client_ends_with_is_its_alert_and_no_error_of_ours() {
        let alerted = |error_code| {
            let reason = Bytes::new();
            let close = ConnectionClose {
                error_code,
                frame_type: None,
                reason,
            };
            let error = ConnectionError::ConnectionClosed(close);
            assert_eq!(broken(&error), None);
            alert(&error)
        };
        let refused = TransportErrorCode::crypto(48);
        assert_eq!(alerted(refused), Some(AlertDescription::UnknownCA));
        assert_eq!(alerted(TransportErrorCode::PROTOCOL_VIOLATION), None);
        assert_eq!(broken(&ConnectionError::TimedOut), None);
    }
}
