//! The TLS that the floor speaks: the suite, the groups and the sessions of what it is compared to.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ServerConfig, version};

/// Sessions that are kept. Resumption is stateful: a ticket is a handle, good once.
const SESSIONS: usize = 100_000;

/// TLS 1.3 with AES-128-GCM; X25519 and X25519MLKEM768; HTTP/1.1; one ticket; early data.
///
/// # Errors
/// Files that cannot be read or do not belong together.
pub fn config(chain: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::X25519MLKEM768,
        ],
        ..aws_lc_rs::default_provider()
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .map_err(io::Error::other)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 16 * 1024;
    config.send_half_rtt_data = true;
    Ok(Arc::new(config))
}
