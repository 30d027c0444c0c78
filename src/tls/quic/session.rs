//! The TLS session of one QUIC connection.

use std::any::Any;
use std::io::Cursor;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use rustls::quic::{Connection, KeyChange, Secrets, ServerConnection, Version};

use super::early::last_request;
use super::watched::{Few, PACKETS, Watched};
use super::{Hellos, Known, Progress, header, initial_keys, keys, packet, pair};
use crate::certs::shown::Shown;
use crate::config::site_tls::HTTP09;
use crate::telemetry::labels::Limit;
use crate::tls::NO_STAPLE;
use crate::tls::hello::{ClientHello, HelloError};
use crate::tls::session::ConnectionSessions;

/// The longest ClientHello taken, in bytes. Over TCP it is 64 KiB; here a sender needs not even show
/// that it can be reached before it makes us keep so much.
const MAX_HELLO: usize = 16 * 1024;

/// The handshake header: type and length.
const MESSAGE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;

/// A session that waits for its ClientHello, and has an engine from then on.
pub(super) struct Waiting {
    hellos: Option<Arc<dyn Hellos>>,
    progress: Progress,
    /// Our transport parameters, encoded.
    parameters: Vec<u8>,
    /// What has come of the ClientHello.
    message: Vec<u8>,
    engine: Option<Engine>,
    /// What later keys come from. Not the engine's: quinn asks for them as long as packets come.
    next: Option<Secrets>,
    shown: Shown,
}

/// rustls at work.
struct Engine {
    tls: Connection,
    sessions: Option<Arc<ConnectionSessions>>,
}

impl Waiting {
    pub(super) fn new(
        hellos: Option<Arc<dyn Hellos>>,
        progress: Progress,
        parameters: Vec<u8>,
    ) -> Self {
        Self {
            hellos,
            progress,
            parameters,
            message: Vec::new(),
            engine: None,
            next: None,
            shown: Shown::default(),
        }
    }

    /// Adds to the ClientHello; gives it once it is whole.
    fn gather(&mut self, bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        self.message.extend_from_slice(bytes);
        if self
            .message
            .first()
            .is_some_and(|kind| *kind != CLIENT_HELLO)
        {
            return Err(HelloError::UnexpectedMessage);
        }
        let Some(&[_, high, mid, low]) = self.message.first_chunk::<MESSAGE_HEADER>() else {
            return Ok(None);
        };
        let length = MESSAGE_HEADER + u32::from_be_bytes([0, high, mid, low]) as usize;
        if length > MAX_HELLO {
            return Err(HelloError::TooLarge);
        }
        match self.message.len() {
            have if have < length => Ok(None),
            // RFC 9001 §4.1.3: the client has nothing more to say at this level, not before our
            // answer.
            have if have > length => Err(HelloError::Misaligned),
            _ => ClientHello::parse(std::mem::take(&mut self.message)).map(Some),
        }
    }

    fn fail(&mut self, alert: AlertDescription, reason: String) -> TransportError {
        self.progress.lock().facts.alert = Some(alert);
        TransportError {
            code: TransportErrorCode::crypto(alert.into()),
            frame: None,
            reason,
        }
    }

    /// The ClientHello is whole: starts rustls with what it chooses.
    fn begin(&mut self, hello: ClientHello) -> Result<(), TransportError> {
        let Some(hellos) = self.hellos.clone() else {
            return Err(self.fail(AlertDescription::InternalError, String::new()));
        };
        let hello = Arc::new(hello);
        let message = hello.message().clone();
        let start = match hellos.choose(hello) {
            Ok(start) => start,
            Err(alert) => return Err(self.fail(alert, String::new())),
        };
        let parameters = std::mem::take(&mut self.parameters);
        let tls = ServerConnection::new(start.config, Version::V1, parameters);
        let tls =
            tls.map_err(|error| self.fail(AlertDescription::InternalError, error.to_string()))?;
        self.engine = Some(Engine {
            tls: tls.into(),
            sessions: start.sessions,
        });
        {
            let mut state = self.progress.lock();
            state.facts.hellos = 1;
            state.settler = Some(start.settler);
        }
        self.advance(&message)
    }

    /// Gives handshake bytes to rustls and sees what has become of the handshake.
    fn advance(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let read = self.shown.watch(|| engine.tls.read_hs(bytes));
        let kind = engine.tls.handshake_kind();
        if let Some(sessions) = &engine.sessions {
            // EARLY-DATA R9: what was taken for nothing goes back.
            sessions.settle(kind);
        }
        let settled = {
            let facts = &mut self.progress.lock().facts;
            let awaited = facts.awaits_hello();
            facts.kind = kind;
            facts.certificate_sent = self.shown.is_sent(kind) && !self.shown.lacks_staple(kind);
            facts.staple = self.shown.staple();
            facts.compressed = self.shown.compressed().filter(|_| facts.certificate_sent);
            facts.suite = engine
                .tls
                .negotiated_cipher_suite()
                .map(|suite| suite.suite());
            let group = engine.tls.negotiated_key_exchange_group();
            facts.group = group.map(|group| group.name());
            facts.http09 = engine.tls.alpn_protocol() == Some(HTTP09);
            if kind == Some(rustls::HandshakeKind::FullWithHelloRetryRequest) {
                facts.hellos = 2;
            }
            awaited && !facts.awaits_hello()
        };
        if settled && let Some(hellos) = &self.hellos {
            hellos.settled();
        }
        match read {
            Ok(()) if self.shown.lacks_staple(kind) => {
                // Before anything of it is sent.
                self.engine = None;
                self.progress.give_up();
                if let Some(hellos) = &self.hellos {
                    hellos.no_staple();
                }
                Err(self.fail(NO_STAPLE, String::new()))
            }
            Ok(()) => {
                if !engine.tls.is_handshaking() {
                    // The client's Finished was verified (EARLY-DATA R11): told before any later
                    // packet is looked at.
                    self.progress.confirm();
                }
                Ok(())
            }
            Err(error) => {
                let alert = engine.tls.alert();
                // Whoever waits for the handshake learns that it failed.
                self.progress.give_up();
                let alert = alert.unwrap_or(AlertDescription::InternalError);
                Err(self.fail(alert, error.to_string()))
            }
        }
    }
}

impl Waiting {
    /// Runs what may run code that is not ours: selectors, certificate resolvers. quinn calls us under a
    /// lock of its endpoint's, where a panic would end all connections; so it ends this handshake, as it
    /// would over TCP. `None` if it did.
    fn alone<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Option<T> {
        // What it leaves behind is thrown away.
        let ran = panic::catch_unwind(AssertUnwindSafe(|| run(self)));
        ran.inspect_err(|_| {
            self.engine = None;
            self.hellos = None;
            self.progress.give_up();
        })
        .ok()
    }

    fn read(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        if self.engine.is_some() {
            return self.advance(bytes).map(|()| false);
        }
        match self.gather(bytes) {
            Ok(None) => Ok(false),
            Ok(Some(hello)) => self.begin(hello).map(|()| true),
            Err(error) => {
                if let Some(hellos) = &self.hellos {
                    hellos.refused(&error);
                }
                Err(self.fail(error.alert(), error.to_string()))
            }
        }
    }

    /// What rustls has to say, and the keys of the next level.
    fn write(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let engine = self.engine.as_mut()?;
        let change = engine.tls.write_hs(out)?;
        let in_handshake = matches!(change, KeyChange::Handshake { .. });
        let Keys { header, packet } = keys(change, &mut self.next);
        let KeyPair { local, remote } = packet;
        let remote = if in_handshake {
            self.bounded(remote)
        } else {
            self.counted(remote)
        };
        Some(Keys {
            header,
            packet: KeyPair { local, remote },
        })
    }

    /// A key of the client's, in the handshake.
    fn bounded(&self, key: Box<dyn PacketKey>) -> Box<dyn PacketKey> {
        let (progress, hellos) = (self.progress.clone(), self.hellos.clone());
        let few = Few::default();
        Watched::boxed(key, move |_| {
            progress.count();
            let is_sign = few.one_more(|| beyond(hellos.as_deref(), Limit::HandshakePackets))?;
            if is_sign && let Some(hellos) = &hellos {
                hellos.heard();
            }
            Ok(())
        })
    }

    /// A key of the client's, after the handshake.
    fn counted(&self, key: Box<dyn PacketKey>) -> Box<dyn PacketKey> {
        let (progress, hellos) = (self.progress.clone(), self.hellos.clone());
        Watched::boxed(key, move |_| {
            count(&progress, hellos.as_deref());
            Ok(())
        })
    }
}

/// There were as many packets of a kind as are read.
fn beyond(hellos: Option<&dyn Hellos>, limit: Limit) {
    if let Some(hellos) = hellos {
        hellos.beyond(limit);
    }
}

/// One packet more, of those that may carry requests.
fn count(progress: &Progress, hellos: Option<&dyn Hellos>) {
    if progress.count().is_multiple_of(PACKETS)
        && let Some(hellos) = hellos
    {
        hellos.came();
    }
}

impl Session for Waiting {
    fn initial_keys(&self, id: &ConnectionId, side: Side) -> Keys {
        let Keys {
            header,
            packet: KeyPair { local, remote },
        } = initial_keys(id, side);
        let (progress, hellos) = (self.progress.clone(), self.hellos.clone());
        let few = Few::default();
        let remote = Watched::boxed(remote, move |_| {
            progress.count();
            few.one_more(|| beyond(hellos.as_deref(), Limit::Initials))
                .map(|_| ())
        });
        Keys {
            header,
            packet: KeyPair { local, remote },
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.engine.as_ref().map(|_| Known::boxed())
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let chain = self.engine.as_ref()?.tls.peer_certificates()?;
        let chain = chain
            .iter()
            .map(|certificate| certificate.clone().into_owned());
        Some(Box::new(chain.collect::<Vec<CertificateDer<'static>>>()))
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let keys = self.engine.as_ref()?.tls.zero_rtt_keys()?;
        self.progress.lock().facts.early_accepted = true;
        let (progress, hellos) = (self.progress.clone(), self.hellos.clone());
        let key = Watched::boxed(packet(keys.packet), move |frames| {
            progress.lock().facts.early_bytes = true;
            if let Some(last) = last_request(frames) {
                progress.came_early(last);
            }
            count(&progress, hellos.as_deref());
            Ok(())
        });
        Some((header(keys.header), key))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        // A question for clients.
        None
    }

    fn is_handshaking(&self) -> bool {
        self.engine
            .as_ref()
            .is_none_or(|engine| engine.tls.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.alone(|this| this.read(bytes)).unwrap_or_else(|| {
            let reason = "a panic in the handshake".to_owned();
            Err(self.fail(AlertDescription::InternalError, reason))
        })
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let engine = self.engine.as_ref();
        let Some(theirs) = engine.and_then(|engine| engine.tls.quic_transport_parameters()) else {
            return Ok(None);
        };
        let read = TransportParameters::read(Side::Server, &mut Cursor::new(theirs));
        read.map(Some).map_err(Into::into)
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        self.alone(|this| this.write(out)).flatten()
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        let KeyPair { local, remote } = pair(keys);
        let remote = self.counted(remote);
        Some(KeyPair { local, remote })
    }

    fn is_valid_retry(&self, _id: &ConnectionId, _header: &[u8], _payload: &[u8]) -> bool {
        // Servers get no Retry (RFC 9000 §17.2.5).
        false
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let engine = self.engine.as_ref().ok_or(ExportKeyingMaterialError)?;
        let exported = engine
            .tls
            .export_keying_material(output, label, Some(context));
        exported.map(|_| ()).map_err(|_| ExportKeyingMaterialError)
    }
}
