//! The TLS that the floor speaks: the suite, the groups and the sessions of what it is compared to.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConnectionData, StoresServerSessions, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};
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

/// rustls, ready to encrypt.
pub type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// What is said inside.
pub trait Talk {
    /// Takes plaintext.
    fn hear(&mut self, plain: &[u8]) -> io::Result<()>;

    /// Encrypts the next piece into `room` and says how long it is; 0 if there is none.
    fn say(&mut self, traffic: &mut Traffic<'_>, room: &mut [u8]) -> io::Result<usize>;
}

/// What came of a turn.
pub struct Turn {
    /// Bytes of the input that are done with.
    pub used: usize,
    /// Bytes of the output.
    pub filled: usize,
    /// The client said close_notify.
    pub ended: bool,
}

/// Processes input, then has said what there is to say.
///
/// # Errors
/// The client broke the protocol, or what it said.
pub fn turn(
    tls: &mut UnbufferedServerConnection,
    input: &mut [u8],
    output: &mut [u8],
    talk: &mut impl Talk,
) -> io::Result<Turn> {
    let mut turn = Turn {
        used: 0,
        filled: 0,
        ended: false,
    };
    loop {
        let rest = input.get_mut(turn.used..).unwrap_or_default();
        let UnbufferedStatus {
            mut discard, state, ..
        } = tls.process_tls_records(rest);
        let room = output.get_mut(turn.filled..).unwrap_or_default();
        let mut over = false;
        match state.map_err(io::Error::other)? {
            ConnectionState::ReadEarlyData(mut early) => {
                while let Some(record) = early.next_record() {
                    let record = record.map_err(io::Error::other)?;
                    discard += record.discard;
                    talk.hear(record.payload)?;
                }
            }
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(io::Error::other)?;
                    discard += record.discard;
                    talk.hear(record.payload)?;
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                turn.filled += data.encode(room).map_err(io::Error::other)?;
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::WriteTraffic(mut traffic) => {
                let count = talk.say(&mut traffic, room)?;
                turn.filled += count;
                over = count == 0;
            }
            ConnectionState::PeerClosed => turn.ended = true,
            _ => over = true,
        }
        turn.used += discard;
        if over {
            return Ok(turn);
        }
    }
}

/// Writes close_notify, which each side owes the other (RFC 9846 §6.1); says how many bytes it takes.
pub fn goodbye(
    tls: &mut UnbufferedServerConnection,
    held: &mut [u8],
    room: &mut [u8],
) -> io::Result<usize> {
    match tls.process_tls_records(held).state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            traffic.queue_close_notify(room).map_err(io::Error::other)
        }
        // The handshake was never finished, or what is left of the input breaks it.
        _ => Ok(0),
    }
}
