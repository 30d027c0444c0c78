//! The client's TLS session of one QUIC connection: rustls, and what is to be known of it.
//!
//! quinn has a session of its own for rustls, which tells neither whether it resumed nor whether
//! tickets came, nor why a certificate was not accepted.

use std::any::Any;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quinn_proto::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, Secrets, Version};
use tokio::sync::Notify;

use crate::http::h3::varint;
use crate::load::compression;
use crate::load::stats::ErrorKind;
use crate::tls::quic::{header, initial_keys, is_valid_retry, keys, packet, pair};

/// What is known of a handshake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Full or resumed, once that is known.
    pub kind: Option<HandshakeKind>,
    /// Whether the server's certificate came compressed.
    pub compressed: bool,
    /// Whether the server took early data.
    pub early_accepted: bool,
    /// When the server's Finished was processed: ours leaves at once.
    pub finished: Option<Instant>,
    /// Tickets that came.
    pub tickets: u32,
    /// What the handshake failed with here.
    pub failure: Option<ErrorKind>,
    /// Whether the server agreed on another protocol.
    pub other_protocol: bool,
}

/// Where a session tells what it knows.
#[derive(Debug, Default)]
pub struct Progress {
    facts: Mutex<Facts>,
    /// Told of the handshake's end and of each ticket.
    pub news: Notify,
}

impl Progress {
    /// What is known now.
    pub fn facts(&self) -> Facts {
        *self.lock()
    }

    /// Waits until a ticket has come. Without a bound of its own.
    pub async fn ticket(&self) {
        while self.facts().tickets == 0 {
            self.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `grease_quic_bit`, which allows the QUIC bit to be cleared. RFC 9287 §3
const GREASE_QUIC_BIT: u64 = 0x2ab2;

/// A server's transport parameters without that one.
///
/// quinn goes by it in the first packets of a resumed connection too. There a client must not without
/// a token of the same server (RFC 9287 §3.1), and ngtcp2's server drops what comes so.
fn without_grease(parameters: &[u8]) -> Vec<u8> {
    let (mut rest, mut kept) = (parameters, Vec::with_capacity(parameters.len()));
    while let Some((id, parameter, after)) = first_parameter(rest) {
        if id != GREASE_QUIC_BIT {
            kept.extend_from_slice(parameter);
        }
        rest = after;
    }
    // What cannot be read is quinn's to refuse.
    kept.extend_from_slice(rest);
    kept
}

/// The id of the first parameter, all of it, and what is behind it. RFC 9000 §18
fn first_parameter(all: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let mut rest = all;
    let id = varint::decode(&mut rest)?;
    let length = usize::try_from(varint::decode(&mut rest)?).ok()?;
    let after = rest.get(length..)?;
    let (parameter, _) = all.split_at(all.len() - after.len());
    Some((id, parameter, after))
}

/// The crypto configuration of one connection.
pub(super) struct Crypto {
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) progress: Arc<Progress>,
}

impl ClientConfig for Crypto {
    fn start_session(
        self: Arc<Self>,
        _version: u32,
        _name: &str,
        parameters: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let mut own = Vec::new();
        parameters.write(&mut own);
        let tls = ClientConnection::new(Arc::clone(&self.tls), Version::V1, self.name.clone(), own);
        match tls {
            Ok(tls) => Ok(Box::new(Engine {
                tls,
                progress: Arc::clone(&self.progress),
                next: None,
                told: false,
            })),
            Err(error) => {
                self.progress.lock().failure = Some(ErrorKind::from_tls(&error));
                // The nearest that there is; whoever asked looks at the failure first.
                Err(ConnectError::UnsupportedVersion)
            }
        }
    }
}

struct Engine {
    tls: ClientConnection,
    progress: Arc<Progress>,
    next: Option<Secrets>,
    /// Whether the protocol was told of.
    told: bool,
}

impl Engine {
    fn observe(&mut self) {
        let agreed = self.tls.alpn_protocol().is_none_or(|name| name == b"h3");
        let mut facts = self.progress.lock();
        let before = (facts.finished, facts.tickets);
        facts.kind = self.tls.handshake_kind();
        facts.early_accepted = self.tls.is_early_data_accepted();
        facts.tickets = self.tls.tls13_tickets_received();
        facts.other_protocol = !agreed;
        if !self.tls.is_handshaking() && facts.finished.is_none() {
            facts.finished = Some(Instant::now());
        }
        if before != (facts.finished, facts.tickets) {
            drop(facts);
            self.progress.news.notify_one();
        }
    }
}

impl Session for Engine {
    fn initial_keys(&self, id: &ConnectionId, side: Side) -> Keys {
        initial_keys(id, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.told.then(|| Box::new(()) as Box<dyn Any>)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let keys = self.tls.zero_rtt_keys()?;
        Some((header(keys.header), packet(keys.packet)))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        Some(self.tls.is_early_data_accepted())
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let read = self.tls.read_hs(bytes);
        self.progress.lock().compressed |= compression::came();
        if let Err(error) = read {
            self.progress.lock().failure = Some(ErrorKind::from_tls(&error));
            let code = match self.tls.alert() {
                Some(alert) => TransportErrorCode::crypto(alert.into()),
                None => TransportErrorCode::PROTOCOL_VIOLATION,
            };
            return Err(TransportError {
                code,
                frame: None,
                reason: error.to_string(),
            });
        }
        self.observe();
        let known = self.tls.alpn_protocol().is_some() || !self.tls.is_handshaking();
        let tells = known && !self.told;
        self.told |= known;
        Ok(tells)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(theirs) = self.tls.quic_transport_parameters() else {
            return Ok(None);
        };
        let theirs = without_grease(theirs);
        let read = TransportParameters::read(Side::Client, &mut Cursor::new(theirs));
        read.map(Some).map_err(Into::into)
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let change = self.tls.write_hs(out)?;
        Some(keys(change, &mut self.next))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(pair(keys))
    }

    fn is_valid_retry(&self, id: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        is_valid_retry(id, header, payload)
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        // Nobody here exports any.
        Err(ExportKeyingMaterialError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_parameter_is_left_out_and_nothing_else() {
        // Of 4, 0 and 3 bytes; the ids take one, four and two.
        let before = [0x01, 4, 1, 2, 3, 4];
        let grease = [0x80, 0, 0x2a, 0xb2, 0];
        let after = [0x6a, 0xb3, 3, 7, 8, 9];
        let all = [&before[..], &grease, &after].concat();
        assert_eq!(without_grease(&all), [&before[..], &after].concat());
        let cut = [&before[..], &grease, &after[..5]].concat();
        assert_eq!(without_grease(&cut), [&before[..], &after[..5]].concat());
    }
}
