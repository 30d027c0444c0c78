//! What both programs share.

#[path = "../../common/peer.rs"]
pub mod peer;

use rustls::crypto::{aws_lc_rs, ActiveKeyExchange, CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{pem::PemObject, CertificateDer};
use rustls::NamedGroup;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// QUIC's Initial packets are protected with this suite, whatever is negotiated.
pub fn initial() -> rustls::quic::Suite {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    suite.tls13().and_then(|suite| suite.quic_suite()).expect("rustls has it")
}

/// A provider with these groups and suites; with its own where none are named.
pub fn provider(groups: &[&str], suites: &[&str]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    if !groups.is_empty() {
        provider.kx_groups = groups.iter().map(|name| group(name)).collect();
    }
    for group in &mut provider.kx_groups {
        *group = Box::leak(Box::new(Counted(*group)));
    }
    if !suites.is_empty() {
        provider.cipher_suites.retain(|suite| suites.contains(&name(suite.suite()).as_str()));
    }
    Arc::new(provider)
}

/// How many key shares have been made: of a client a second one for a connection is that of a HelloRetryRequest.
pub static SHARES: AtomicU64 = AtomicU64::new(0);

/// A group that counts its shares, which rustls tells through quinn in no other way.
#[derive(Debug)]
struct Counted(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for Counted {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        SHARES.fetch_add(1, Ordering::Relaxed);
        self.0.start()
    }
    fn name(&self) -> NamedGroup {
        self.0.name()
    }
}

fn group(name: &str) -> &'static dyn SupportedKxGroup {
    match name {
        "X25519" => aws_lc_rs::kx_group::X25519,
        "P-256" => aws_lc_rs::kx_group::SECP256R1,
        "P-384" => aws_lc_rs::kx_group::SECP384R1,
        "X25519MLKEM768" => aws_lc_rs::kx_group::X25519MLKEM768,
        _ => peer::unsupported(&format!("rustls has no group {name}")),
    }
}

/// A server on this port of all addresses; of those of IPv4 where there is no IPv6.
pub fn serving(config: quinn::ServerConfig, port: u16) -> quinn::Endpoint {
    let over_v6 = quinn::Endpoint::server(config.clone(), (Ipv6Addr::UNSPECIFIED, port).into());
    over_v6.or_else(|_| quinn::Endpoint::server(config, (Ipv4Addr::UNSPECIFIED, port).into())).expect("the port is free")
}

/// RFC 8446's name of a suite.
pub fn name(suite: rustls::CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

/// The certificates of a file.
pub fn certificates(file: &str) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    certificates.unwrap_or_else(|error| {
        eprintln!("{file}: {error}");
        std::process::exit(2)
    })
}
