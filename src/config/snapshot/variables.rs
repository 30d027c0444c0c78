//! Variables in the values of header fields: `$client_address`.

use std::fmt;

use http::HeaderValue;

/// What a value may have a part of it say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The client's address, without a port.
    ClientAddress,
    /// The address of who connected to us, without a port.
    PeerAddress,
    /// The request's id.
    RequestId,
    /// The authority that was asked for.
    Host,
    /// The server name of the ClientHello; empty if it sent none.
    ServerName,
    /// `h1`, `h2` or `h3`.
    Protocol,
    /// `1.3` or `1.2`.
    TlsVersion,
    /// The cipher suite.
    TlsSuite,
}

impl Variable {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::ClientAddress,
        Self::PeerAddress,
        Self::RequestId,
        Self::Host,
        Self::ServerName,
        Self::Protocol,
        Self::TlsVersion,
        Self::TlsSuite,
    ];

    /// Its name, without the dollar sign.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientAddress => "client_address",
            Self::PeerAddress => "peer_address",
            Self::RequestId => "request_id",
            Self::Host => "host",
            Self::ServerName => "server_name",
            Self::Protocol => "protocol",
            Self::TlsVersion => "tls_version",
            Self::TlsSuite => "tls_suite",
        }
    }
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is always the same.
    Text(String),
    /// It is different for each request.
    Variable(Variable),
}

/// The value of a field.
///
/// One that came from a file of its own or has something of the environment in it is
/// [sensitive](HeaderValue::is_sensitive): HTTP/2 and 3 keep it out of the tables by which they compress
/// fields (RFC 7541 §7.1.3, RFC 9204 §7.1.3), on this hop and on those behind it.
#[derive(Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// Always the same.
    Fixed(HeaderValue),
    /// With variables in it.
    Template {
        /// Text and variables in turn.
        parts: Box<[Part]>,
        /// Whether what is made of them is sensitive.
        secret: bool,
    },
}

impl fmt::Debug for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => f.debug_tuple("Fixed").field(value).finish(),
            // As a header's value says it.
            Self::Template { secret: true, .. } => f.write_str("Template(Sensitive)"),
            Self::Template { parts, .. } => f.debug_tuple("Template").field(parts).finish(),
        }
    }
}

impl FieldValue {
    /// The value, if it has no variables.
    pub fn fixed(&self) -> Option<&HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Template { .. } => None,
        }
    }

    /// Whether an address of the client's side is in it.
    pub(super) fn says_address(&self) -> bool {
        let Self::Template { parts, .. } = self else {
            return false;
        };
        let is_address = |part: &Part| {
            matches!(
                part,
                Part::Variable(Variable::ClientAddress | Variable::PeerAddress)
            )
        };
        parts.iter().any(is_address)
    }

    /// The value for one request, of which `says` knows what its variables are.
    pub(super) fn of(&self, says: &dyn Fn(Variable) -> String) -> HeaderValue {
        let (parts, secret) = match self {
            Self::Fixed(value) => return value.clone(),
            Self::Template { parts, secret } => (parts, *secret),
        };
        let text: String = parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Variable(variable) => says(*variable),
            })
            .collect();
        // What variables say was a field's or a name's before: the other branch is never taken.
        let value = HeaderValue::try_from(text);
        let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(secret);
        value
    }
}
