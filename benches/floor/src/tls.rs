//! The TLS that the floor speaks: the suite, the groups and the sessions of what it is compared to.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::StoresServerSessions;
use rustls::{ServerConfig, version};

/// Sessions that are kept. Resumption is stateful: a ticket is a handle, good once. When there are
/// more, all are forgotten.
const SESSIONS: usize = 1_000_000;

/// Sessions by handle. rustls's own cache looks through all of them to take one out, which costs
/// more than a handshake once there are many.
#[derive(Debug, Default)]
struct Sessions(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS {
            sessions.clear();
        }
        sessions.insert(key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(key).cloned()
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

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
    config.session_storage = Arc::new(Sessions::default());
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 16 * 1024;
    config.send_half_rtt_data = true;
    Ok(Arc::new(config))
}
