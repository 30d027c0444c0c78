//! The labels of origins.

use serde::{Serialize, Serializer};

use super::Label;

labels! {
    /// How a connection to an origin was come by.
    OriginConnection {
        /// Newly made.
        Opened => "opened",
        /// Taken from the pool.
        Reused => "reused",
    }

    /// Why a request was sent to an origin again.
    RetryReason {
        /// Nothing of it had been sent.
        NotSent => "not_sent",
        /// A reused connection closed before any answer byte.
        ReusedClosed => "reused_closed",
        /// A new connection ended before any answer byte: another server was asked.
        NoAnswer => "no_answer",
        /// The answer's status is one of `retries.status`: another server was asked.
        Status => "status",
        /// The origin answered 425 to early data (EARLY-DATA R19).
        TooEarly => "too_early",
    }

    /// What went wrong with an origin.
    OriginError {
        /// The connection was refused.
        Refused => "refused",
        /// There is no way to the origin's address.
        Unreachable => "unreachable",
        /// `timeouts.connect` passed.
        ConnectTimeout => "connect_timeout",
        /// The origin reset the connection.
        Reset => "reset",
        /// The origin closed before its answer was whole.
        Closed => "closed",
        /// The answer is not HTTP.
        Malformed => "malformed",
        /// `timeouts.response_headers` passed.
        ResponseHeadersTimeout => "response_headers_timeout",
        /// `timeouts.response_idle` passed.
        ResponseIdleTimeout => "response_idle_timeout",
        /// `timeouts.total` passed.
        TotalTimeout => "total_timeout",
        /// HTTP/2: it refused the stream, or announced its end before it did anything.
        Unprocessed => "unprocessed",
        /// TLS: nobody who is trusted issued its certificate.
        TlsUnknownIssuer => "tls_unknown_issuer",
        /// TLS: its certificate is for other names.
        TlsWrongName => "tls_wrong_name",
        /// TLS: its certificate has expired.
        TlsExpired => "tls_expired",
        /// TLS: anything else about its certificate.
        TlsCertificate => "tls_certificate",
        /// TLS: it sent a fatal alert, as one does that wants another certificate of the edge.
        TlsAlert => "tls_alert",
        /// TLS: a file of the origin's `tls` cannot be used.
        TlsFiles => "tls_files",
        /// TLS: anything else; it speaks none, or no version or protocol that is asked for.
        Tls => "tls",
        /// No server gets requests: checks took them all out.
        NoServer => "no_server",
        /// `limits.requests` was reached.
        CircuitOpen => "circuit_open",
        /// `limits.queue` was reached.
        QueueFull => "queue_full",
        /// `timeouts.queue` passed.
        QueueTimeout => "queue_timeout",
        /// Any other error.
        Other => "other",
    }

    /// What became of a server that failed several requests in a row.
    Ejection {
        /// It gets no requests for a while.
        Ejected => "ejected",
        /// It goes on: as many servers are ejected as may be.
        Spared => "spared",
    }

    /// How a check of an origin's server ended.
    HealthCheck {
        /// As it should.
        Passed => "passed",
        /// With another status.
        Status => "status",
        /// Not in time.
        Timeout => "timeout",
        /// Without an answer.
        Error => "error",
    }

    /// How an origin's server stands.
    ServerState {
        /// It gets requests.
        Healthy => "healthy",
        /// Checks took it out.
        Unhealthy => "unhealthy",
        /// Failed requests took it out for a while.
        Ejected => "ejected",
    }

    /// How the resolution of an origin's name ended.
    Resolution {
        /// With addresses.
        Ok => "ok",
        /// Without; the last answer is used on, if there was one.
        Failed => "failed",
    }
}
