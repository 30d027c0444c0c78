//! From rustls's alerts to the bounded label.

use rustls::AlertDescription;

use super::labels::Alert;

impl From<AlertDescription> for Alert {
    fn from(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CloseNotify => Self::CloseNotify,
            AlertDescription::UnexpectedMessage => Self::UnexpectedMessage,
            AlertDescription::BadRecordMac => Self::BadRecordMac,
            AlertDescription::RecordOverflow => Self::RecordOverflow,
            AlertDescription::HandshakeFailure => Self::HandshakeFailure,
            AlertDescription::BadCertificate => Self::BadCertificate,
            AlertDescription::UnsupportedCertificate => Self::UnsupportedCertificate,
            AlertDescription::CertificateRevoked => Self::CertificateRevoked,
            AlertDescription::CertificateExpired => Self::CertificateExpired,
            AlertDescription::CertificateUnknown => Self::CertificateUnknown,
            AlertDescription::IllegalParameter => Self::IllegalParameter,
            AlertDescription::UnknownCA => Self::UnknownCa,
            AlertDescription::AccessDenied => Self::AccessDenied,
            AlertDescription::DecodeError => Self::DecodeError,
            AlertDescription::DecryptError => Self::DecryptError,
            AlertDescription::ProtocolVersion => Self::ProtocolVersion,
            AlertDescription::InsufficientSecurity => Self::InsufficientSecurity,
            AlertDescription::InternalError => Self::InternalError,
            AlertDescription::InappropriateFallback => Self::InappropriateFallback,
            AlertDescription::UserCanceled => Self::UserCanceled,
            AlertDescription::NoRenegotiation => Self::NoRenegotiation,
            AlertDescription::MissingExtension => Self::MissingExtension,
            AlertDescription::UnsupportedExtension => Self::UnsupportedExtension,
            AlertDescription::UnrecognisedName => Self::UnrecognizedName,
            AlertDescription::BadCertificateStatusResponse => Self::BadCertificateStatusResponse,
            AlertDescription::UnknownPSKIdentity => Self::UnknownPskIdentity,
            AlertDescription::CertificateRequired => Self::CertificateRequired,
            AlertDescription::NoApplicationProtocol => Self::NoApplicationProtocol,
            _ => Self::Other,
        }
    }
}

impl From<Option<AlertDescription>> for Alert {
    fn from(alert: Option<AlertDescription>) -> Self {
        alert.map_or(Self::None, Self::from)
    }
}
