//! Why a request was refused by its framing, and the raw answer to it.

use http::StatusCode;

/// The first place where a connection's bytes are not a request that everyone reads alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Bytes before the violation that may go to hyper.
    pub deliver: usize,
    /// What was wrong.
    pub reason: Reason,
}

impl Violation {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        self.reason.status()
    }
}

/// What was wrong with a request's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not `method SP target SP version`.
    RequestLine,
    /// A method longer than any there is.
    Method,
    /// A request target that is none of the four forms, or not one for this method.
    Target,
    /// A target above the bound.
    UriTooLong,
    /// An HTTP version other than 1.1 and 1.0, such as the preface of HTTP/2.
    Version,
    /// A line that ends in a bare LF.
    LineEnding,
    /// A field name that is no token, or is not directly followed by a colon.
    FieldName,
    /// A control character in a field value.
    FieldValue,
    /// A folded line.
    Fold,
    /// Head or trailers above the bound in bytes.
    HeadTooLarge,
    /// More field lines than the bound.
    TooManyFields,
    /// A Content-Length that is not one number, or comes twice.
    ContentLength,
    /// A Transfer-Encoding other than exactly one `chunked`, or under HTTP/1.0.
    TransferEncoding,
    /// Content-Length beside Transfer-Encoding.
    Ambiguous,
    /// Chunked framing that is not to the letter.
    Chunk,
    /// A trailer field that would change framing or routing.
    Trailer,
}

impl Reason {
    /// A short name for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Reason::RequestLine => "request_line",
            Reason::Method => "method",
            Reason::Target => "target",
            Reason::UriTooLong => "uri_too_long",
            Reason::Version => "version",
            Reason::LineEnding => "line_ending",
            Reason::FieldName => "field_name",
            Reason::FieldValue => "field_value",
            Reason::Fold => "fold",
            Reason::HeadTooLarge => "head_too_large",
            Reason::TooManyFields => "too_many_fields",
            Reason::ContentLength => "content_length",
            Reason::TransferEncoding => "transfer_encoding",
            Reason::Ambiguous => "ambiguous_length",
            Reason::Chunk => "chunk",
            Reason::Trailer => "trailer",
        }
    }

    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Reason::UriTooLong => StatusCode::URI_TOO_LONG,
            Reason::HeadTooLarge | Reason::TooManyFields => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            // RFC 9112 §3: longer than any method this server implements.
            Reason::Method => StatusCode::NOT_IMPLEMENTED,
            Reason::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// The whole answer, head and empty body, for a status that is written past hyper before a close.
/// Any status not written this way is answered as 400.
pub fn raw_response(status: StatusCode) -> &'static [u8] {
    macro_rules! raw {
        ($line:literal) => {
            concat!(
                "HTTP/1.1 ",
                $line,
                "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .as_bytes()
        };
    }
    match status.as_u16() {
        408 => raw!("408 Request Timeout"),
        413 => raw!("413 Content Too Large"),
        414 => raw!("414 URI Too Long"),
        417 => raw!("417 Expectation Failed"),
        421 => raw!("421 Misdirected Request"),
        425 => raw!("425 Too Early"),
        431 => raw!("431 Request Header Fields Too Large"),
        500 => raw!("500 Internal Server Error"),
        501 => raw!("501 Not Implemented"),
        503 => raw!("503 Service Unavailable"),
        505 => raw!("505 HTTP Version Not Supported"),
        _ => raw!("400 Bad Request"),
    }
}
