//! Getting a ticket and recording the first flight that uses it.

use std::fmt;
use std::io::{Cursor, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer;
use super::catch::{self, Share};
use super::report::FlightSummary;
use super::send;
use super::shelf::{self, Shelf};
use crate::load::engine;
use crate::load::plan::Plan;
use crate::load::relay::Records;
use crate::load::stats::ErrorKind;

/// A recorded flight.
#[derive(Debug)]
pub(super) struct Flight {
    /// ClientHello and early data, byte for byte.
    pub(super) bytes: Vec<u8>,
    pub(super) reader: Reader,
    pub(super) summary: FlightSummary,
}

/// What it takes to read the answers to a flight.
pub(super) struct Reader {
    /// The ClientHello's handshake message.
    pub(super) client_hello: Vec<u8>,
    pub(super) psk: Vec<u8>,
    pub(super) shares: Vec<Arc<Share>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the PSK.
        f.debug_tuple("Reader").field(&self.shares).finish()
    }
}

/// A client that collects a ticket and writes a flight with it.
pub(super) struct Recorder {
    config: Arc<ClientConfig>,
    shelf: Arc<Shelf>,
    name: ServerName<'static>,
    request: Vec<u8>,
}

impl Recorder {
    pub(super) fn new(plan: &Plan) -> Result<Self, String> {
        let (config, shelf) = shelf::client(plan)?;
        Ok(Self {
            config,
            shelf,
            name: plan.sni.name(0).clone(),
            request: engine::opening(plan, plan.sni.name(0)).map_err(|error| error.to_string())?,
        })
    }

    /// Connects to this address for a ticket of its own, and writes a flight that nobody has got.
    pub(super) async fn record(&self, plan: &Plan, from: SocketAddr) -> Result<Flight, String> {
        self.shelf.clear();
        let handshake = plan.timeouts.handshake + 2 * plan.timeouts.closing;
        match timeout(handshake, self.collect(plan, from)).await {
            Ok(collected) => collected?,
            Err(_) => return Err(format!("{from}: no ticket came")),
        }
        let (suite, allowed) = self.shelf.look(from, self.request.len())?;
        let (made, caught) =
            catch::during(|| ClientConnection::new(Arc::clone(&self.config), self.name.clone()));
        let mut tls = made.map_err(|error| error.to_string())?;
        let lacks = || "rustls offers no early data with this ticket".to_owned();
        let mut early = tls.early_data().ok_or_else(lacks)?;
        early.write_all(&self.request).map_err(|_| lacks())?;
        let mut bytes = Vec::new();
        drain(&mut tls, &mut bytes);
        let psk = caught.psk.ok_or_else(lacks)?;
        let group = caught.shares.first().ok_or_else(lacks)?.group;
        Ok(Flight {
            reader: Reader {
                client_hello: client_hello(&bytes).ok_or_else(lacks)?,
                psk,
                shares: caught.shares,
            },
            summary: FlightSummary {
                bytes: bytes.len(),
                early_data: self.request.len(),
                allowed,
                suite: format!("{suite:?}"),
                group: format!("{group:?}"),
            },
            bytes,
        })
    }

    /// A whole handshake, then nothing until a ticket is there; where none comes in time, a
    /// harmless request: some servers hold their tickets back until they write something.
    async fn collect(&self, plan: &Plan, from: SocketAddr) -> Result<(), String> {
        let failed = |kind: ErrorKind| format!("{from}: {kind}");
        let io = |error| failed(ErrorKind::from_io(&error));
        let mut tcp = send::connect(plan, from)
            .await
            .map_err(|outcome| format!("{from}: {outcome}"))?;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| error.to_string())?;
        let mut buffer = vec![0; 16 << 10];
        let (mut waits_until, mut asked) = (None, false);
        loop {
            let mut out = Vec::new();
            drain(&mut tls, &mut out);
            tcp.write_all(&out).await.map_err(io)?;
            if !tls.is_handshaking() {
                if tls
                    .alpn_protocol()
                    .is_some_and(|name| name != plan.protocol.alpn())
                {
                    return Err(failed(ErrorKind::Alpn));
                }
                if !self.shelf.is_empty() {
                    break;
                }
            }
            if waits_until.is_none() && !tls.is_handshaking() {
                waits_until = Some(Instant::now() + plan.timeouts.closing);
            }
            let read = tcp.read(&mut buffer);
            let read = match waits_until {
                Some(until) if !asked => timeout_at(until, read).await,
                _ => Ok(read.await),
            };
            let Ok(read) = read else {
                asked = true;
                let request = engine::harmless(plan, &self.name);
                let request = request.map_err(|error| error.to_string())?;
                tls.writer().write_all(&request).map_err(io)?;
                continue;
            };
            let count = read.map_err(io)?;
            if count == 0 {
                let early = tls.is_handshaking();
                let kind = if early {
                    ErrorKind::ClosedInHandshake
                } else {
                    ErrorKind::NoTicket
                };
                return Err(failed(kind));
            }
            let mut bytes = Cursor::new(buffer.get(..count).unwrap_or_default());
            while (bytes.position() as usize) < count {
                tls.read_tls(&mut bytes).map_err(io)?;
                let done = tls.process_new_packets();
                done.map_err(|error| failed(ErrorKind::from_tls(&error)))?;
                // Nothing was asked for; what comes all the same is not looked at.
                let _ = tls.reader().read_to_end(&mut Vec::new());
            }
        }
        tls.send_close_notify();
        let mut out = Vec::new();
        drain(&mut tls, &mut out);
        // The ticket is there: it matters no more how the connection ends.
        let _ = tcp.write_all(&out).await;
        send::leave(tcp, plan).await;
        Ok(())
    }
}

fn drain(tls: &mut ClientConnection, out: &mut Vec<u8>) {
    while tls.wants_write() {
        // Writing into memory does not fail.
        if tls.write_tls(out).is_err() {
            return;
        }
    }
}

/// The handshake message at the beginning of a flight.
fn client_hello(flight: &[u8]) -> Option<Vec<u8>> {
    let records = Records::of(flight);
    let hello: Vec<u8> = records
        .take_while(|record| record.kind == 22)
        .flat_map(|record| record.body.iter().copied())
        .collect();
    answer::first_message(&hello).map(<[u8]>::to_vec)
}
