//! What was found. The names of the fields are part of the interface: docs/INSPECT.md.

use std::net::SocketAddr;

use serde::Serialize;

pub use super::early::EarlyAnswer;
use crate::certs::describe::Description;

/// Everything that was found out about a server. Where something could not be found out it is
/// absent (`null`), and [`notes`](Self::notes) says why.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// What was asked for, as `HOST:PORT`.
    pub target: String,
    /// Where connections went.
    pub address: SocketAddr,
    /// The server name that was asked for; none for an address.
    pub server_name: Option<String>,
    /// When it began, by RFC 3339.
    pub began: String,
    /// How long it took.
    pub seconds: f64,
    /// How many connections were made.
    pub connections: u32,
    /// The versions, the newest first.
    pub versions: Vec<VersionReport>,
    /// What a client gets that offers everything.
    pub usual: Option<Usual>,
    /// The ALPN names that the server takes, of those that were offered: `h2`, `http/1.1`.
    pub alpn: Vec<&'static str>,
    /// HTTP/3.
    pub http3: Http3,
    /// Resumption.
    pub resumption: Resumption,
    /// Early data (0-RTT).
    pub early_data: EarlyData,
    /// Compressions of certificates that the server has (RFC 8879).
    pub certificate_compression: Vec<Compression>,
    /// Whether the server asked for a client certificate.
    pub client_certificate: bool,
    /// The chains that it shows, each once.
    pub certificates: Vec<CertificateReport>,
    /// What could not be found out, and why; what is odd.
    pub notes: Vec<String>,
}

/// A version, and what is spoken of it.
#[derive(Clone, Debug, Serialize)]
pub struct VersionReport {
    /// `TLS 1.3`, `TLS 1.2`, `TLS 1.1`, `TLS 1.0`, `SSL 3.0`.
    pub version: &'static str,
    /// Whether the server speaks it.
    pub spoken: Option<bool>,
    /// Suites, in the order in which the server chose them.
    pub suites: Vec<String>,
    /// Groups, in that order.
    pub groups: Vec<String>,
    /// The shortest Diffie-Hellman prime that it came with, in bits.
    pub dh_bits: Option<usize>,
}

/// How a handshake ends that offers everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usual {
    /// The version.
    pub version: String,
    /// The suite.
    pub suite: Option<String>,
    /// The key exchange group.
    pub group: Option<String>,
    /// The protocol behind it.
    pub alpn: Option<String>,
}

/// HTTP/3 (RFC 9114).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Http3 {
    /// Whether a QUIC handshake for `h3` was completed.
    pub spoken: Option<bool>,
    /// The `Alt-Svc` field of an answer over TCP, if it has one.
    pub alt_svc: Option<String>,
}

/// Whether sessions are resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resumption {
    /// Tickets after a full handshake of TLS 1.3.
    pub tickets: Option<usize>,
    /// By a ticket of TLS 1.3.
    pub tls13: Option<bool>,
    /// By a session id of TLS 1.2.
    pub tls12_session_id: Option<bool>,
    /// By a ticket of TLS 1.2.
    pub tls12_ticket: Option<bool>,
}

/// Early data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EarlyData {
    /// How much of it tickets allow, in bytes; 0 for none.
    pub allowed: Option<u32>,
    /// What became of an early request.
    pub answer: Option<EarlyAnswer>,
}

/// A compression of certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compression {
    /// `zlib`, `brotli`, `zstd`.
    pub algorithm: &'static str,
    /// The compressed message's length, in bytes.
    pub compressed: usize,
    /// Its length before that.
    pub uncompressed: usize,
}

/// A chain.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateReport {
    /// The kinds of signatures that it is shown for: `ECDSA`, `RSA`, `EdDSA`, `ML-DSA`; empty if
    /// it was seen with older versions only.
    pub shown_for: Vec<&'static str>,
    /// Whether the chain leads to a trusted authority and the certificate has the name.
    pub trusted: Option<bool>,
    /// Why not.
    pub distrust: Option<String>,
    /// The staple; none if the server showed none.
    pub staple: Option<StapleReport>,
    /// What is wrong with the signature of the handshake.
    pub forged: Option<String>,
    /// What the chain is like; none if the certificate cannot be read.
    #[serde(flatten)]
    pub description: Option<Description>,
}

/// A stapled OCSP response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StapleReport {
    /// What it says.
    pub state: StapleState,
    /// Why it is good for nothing, or cannot be verified.
    pub why: Option<String>,
    /// When what it says was known to be right, by RFC 3339.
    pub this_update: Option<String>,
    /// When it ends.
    pub next_update: Option<String>,
    /// How old it is, in seconds.
    pub age: Option<u64>,
    /// How long it is still good for, in seconds.
    pub left: Option<u64>,
}

/// What a staple comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StapleState {
    /// The certificate is not revoked.
    Good,
    /// It is.
    Revoked,
    /// Clients refuse it: too old, wrongly signed, about something else.
    Bad,
    /// It cannot be verified without the issuer's certificate, which is not in the chain.
    Unverified,
}
