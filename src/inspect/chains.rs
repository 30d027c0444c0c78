//! The certificate chains that a server shows: one for each kind of signature that it can be
//! asked for.

use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, SignatureScheme};

use super::client::{Client, Offer};
use super::line::{Fault, Line};
use super::witness::Learnt;

/// How many chains of one server are told: one for each kind of signature, for the handshake that
/// offers everything, and some for older versions. A server can make up another one each time.
pub(super) const MOST: usize = 8;

/// A chain with its staple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// As it came: leaf first, if it is in order.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The OCSP response stapled.
    pub(super) staple: Option<Vec<u8>>,
}

/// Kinds of signatures that clients may be limited to.
pub(super) const KINDS: [(&str, &[SignatureScheme]); 4] = [
    (
        "ECDSA",
        &[
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ECDSA_SHA1_Legacy,
        ],
    ),
    (
        "RSA",
        &[
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA1,
        ],
    ),
    ("EdDSA", &[SignatureScheme::ED25519, SignatureScheme::ED448]),
    (
        "ML-DSA",
        &[
            SignatureScheme::ML_DSA_44,
            SignatureScheme::ML_DSA_65,
            SignatureScheme::ML_DSA_87,
        ],
    ),
];

/// What a handshake came to.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) version: Option<ProtocolVersion>,
    pub(super) suite: Option<u16>,
    pub(super) group: Option<u16>,
    pub(super) alpn: Option<Vec<u8>>,
}

/// A handshake with this offer: what was learnt on the way, and how it ended.
pub(super) async fn meet(
    line: &Line,
    client: &Client,
    offer: &Offer,
) -> (Learnt, Result<Met, Fault>) {
    let setup = match client.setup(offer) {
        Ok(setup) => setup,
        Err(fault) => return (Learnt::default(), Err(fault)),
    };
    let met = line.ask(async |tcp| {
        let mut session = setup.begin(tcp)?;
        session.handshake().await?;
        let tls = &session.tls;
        let met = Met {
            version: tls.protocol_version(),
            suite: tls.negotiated_cipher_suite().map(|it| it.suite().into()),
            group: tls
                .negotiated_key_exchange_group()
                .map(|it| it.name().into()),
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
        };
        session.close().await;
        Ok(met)
    });
    let met = met.await;
    (setup.learnt(), met)
}
