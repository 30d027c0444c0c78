//! Words for OCSP stapling.

use serde::{Serialize, Serializer};

use super::Label;

labels! {
    /// How an attempt to get a staple ended.
    OcspFetch {
        /// With one that holds.
        Ok => "ok",
        /// Nobody could be connected to.
        Connect => "connect",
        /// There was no answer in time.
        Timeout => "timeout",
        /// The answer broke off, or is not HTTP.
        Broken => "broken",
        /// The answer has another HTTP status than 200.
        Http => "http",
        /// It is a redirect that is not followed.
        Redirect => "redirect",
        /// It is larger than what is read.
        TooLarge => "too_large",
        /// It is no OCSP response.
        Malformed => "malformed",
        /// The responder declines to answer.
        Declined => "declined",
        /// Its signature is wrong, or of somebody who may not answer.
        Signature => "signature",
        /// It is about another certificate.
        OtherCertificate => "other_certificate",
        /// It answers another request.
        Nonce => "nonce",
        /// It has ended, begins later, or does not say when it ends.
        Dates => "dates",
        /// The responder does not know the certificate.
        Unknown => "unknown",
        /// It is older than the one that is shown.
        Older => "older",
        /// A file cannot be read.
        File => "file",
        /// Anything else.
        Other => "other",
    }

    /// How a certificate stands.
    StapleState {
        /// Its staple holds and says good.
        Valid => "valid",
        /// Its staple holds and says revoked.
        Revoked => "revoked",
        /// Its last staple has ended.
        Expired => "expired",
        /// It has had none.
        Missing => "missing",
    }
}
