//! Getting a ticket and recording the first flight that uses it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use quinn_proto::congestion::CubicConfig;
use quinn_proto::{Connection, Dir, Endpoint, EndpointConfig, TransportConfig};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::packet::{self, Kind, Said, packets};
use super::protection::{Protection, Sender};
use super::send::LEAST;
use crate::http::h3::{data_header, headers, settings, stream_type};
use crate::load::engine;
use crate::load::h3::{self, Opening, Progress};
use crate::load::plan::Plan;
use crate::load::replay::answer::first_message;
use crate::load::replay::catch;
use crate::load::replay::flight::Reader;
use crate::load::replay::report::FlightSummary;
use crate::load::replay::shelf::{self, Shelf};
use crate::load::stats::ErrorKind;
use crate::tls::quic::before_padding;

/// What a flight may have beside its early data, in bytes: handshake, headers, acknowledgments.
const BESIDE: u64 = 64 * 1024;

/// A round trip that lets the pace be high, and how often it is waited for: that makes 16 MB.
const PACE: Duration = Duration::from_millis(1);
const PAUSES: u32 = 64;

/// What is put into one datagram, in bytes: fits through all but tunnels. RFC 9000 §14
const MOST: usize = 1452;

/// As datagrams, with the connection ids that they bear.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) datagrams: Vec<Vec<u8>>,
    /// The one that the client made up for the server.
    pub(super) id: Vec<u8>,
    /// The client's.
    pub(super) own_id: Vec<u8>,
}

/// A recorded flight.
#[derive(Debug)]
pub(super) struct Flight {
    /// Byte for byte.
    pub(super) copy: Copy,
    pub(super) reader: Reader,
    pub(super) summary: FlightSummary,
}

impl Copy {
    /// With its ClientHello under another connection id. Its 0-RTT packets, whose ids are under the
    /// protection of keys that only client and server have, go behind it in the same datagram.
    pub(super) fn renamed(&self) -> Option<Self> {
        let mut id = vec![0; self.id.len()];
        rand::fill(&mut id).ok()?;
        let theirs = Protection::initial(&self.id, Sender::Client)?;
        let keys = Protection::initial(&id, Sender::Client)?;
        let own_id = &self.own_id;
        let all = || {
            let datagrams = self.datagrams.iter();
            datagrams.flat_map(|datagram| packets(datagram))
        };
        let mut hellos = all()
            .filter(|packet| packet.kind == Kind::Initial)
            .map(|packet| packet.open(&theirs))
            .collect::<Option<Vec<_>>>()?;
        let mut early = all()
            .filter(|packet| packet.kind == Kind::Early)
            .map(|packet| packet.bytes)
            .peekable();
        let (number, mut last) = hellos.pop()?;
        let seal = |number, frames: &[u8]| {
            packet::initial(&keys, &id, own_id, u32::try_from(number).ok()?, frames)
        };
        let mut datagrams = Vec::new();
        for (number, frames) in hellos {
            datagrams.push(seal(number, &frames)?);
        }
        // What pads it makes room. A ClientHello may end with zeros, too.
        last.truncate(before_padding(&last)?);
        let mut behind = Vec::new();
        let mut room = MOST.saturating_sub(seal(number, &last)?.len());
        while let Some(packet) = early.next_if(|packet| packet.len() <= room) {
            room -= packet.len();
            behind.extend_from_slice(packet);
        }
        let short = LEAST.saturating_sub(MOST - room);
        last.resize(last.len() + short, 0);
        datagrams.push([seal(number, &last)?, behind].concat());
        datagrams.extend(early.map(<[u8]>::to_vec));
        Some(Self {
            datagrams,
            id,
            own_id: own_id.clone(),
        })
    }
}

/// A client that collects a ticket and writes a flight with it.
pub(super) struct Recorder {
    config: Arc<ClientConfig>,
    shelf: Arc<Shelf>,
    name: ServerName<'static>,
}

impl Recorder {
    pub(super) fn new(plan: &Plan) -> Result<Self, String> {
        let (config, shelf) = shelf::client(plan)?;
        Ok(Self {
            config,
            shelf,
            name: plan.sni.name(0).clone(),
        })
    }

    /// Connects to this address for a ticket of its own, and writes a flight that nobody has got.
    pub(super) async fn record(&self, plan: &Plan, from: SocketAddr) -> Result<Flight, String> {
        self.shelf.clear();
        let handshake = plan.timeouts.handshake + 2 * plan.timeouts.closing;
        match timeout(handshake, self.collect(plan, from)).await {
            Ok(collected) => collected.map_err(|kind| format!("{from}: {kind}"))?,
            Err(_) => return Err(format!("{from}: no ticket came")),
        }
        let ask = engine::ask(plan, &self.name);
        let mut request = headers(&ask.section);
        if !ask.body.is_empty() {
            data_header(ask.body.len(), &mut request);
            request.extend_from_slice(&ask.body);
        }
        let (suite, allowed) = self.shelf.look(from, request.len())?;
        let (datagrams, caught) = self.write(&request, from)?;
        let lacks = || "quinn offers no early data with this ticket".to_owned();
        let copy = named(datagrams).ok_or_else(lacks)?;
        let reader = Reader {
            client_hello: client_hello(&copy).ok_or_else(lacks)?,
            psk: caught.psk.ok_or_else(lacks)?,
            shares: caught.shares,
        };
        let group = reader.shares.first().ok_or_else(lacks)?.group;
        Ok(Flight {
            summary: FlightSummary {
                bytes: copy.datagrams.iter().map(Vec::len).sum(),
                early_data: request.len(),
                allowed,
                suite: format!("{suite:?}"),
                group: format!("{group:?}"),
            },
            copy,
            reader,
        })
    }

    /// A whole handshake, then nothing until a ticket is there; where none comes in time, a
    /// harmless request: some servers hold their tickets back until they write something.
    async fn collect(&self, plan: &Plan, from: SocketAddr) -> Result<(), ErrorKind> {
        let endpoint = h3::endpoint(from).map_err(|error| ErrorKind::from_io(&error))?;
        let opening = Opening::begin(&endpoint, &self.config, self.name.clone(), from)?;
        let handshake = timeout(plan.timeouts.handshake, opening.complete());
        let late = ErrorKind::Timeout(crate::load::stats::TimedOut::Handshake);
        let http = handshake.await.map_err(|_| late)??;
        if http.progress().facts().other_protocol {
            return Err(ErrorKind::Alpn);
        }
        let ticket = async || timeout(plan.timeouts.closing, http.progress().ticket()).await;
        if ticket().await.is_err() {
            let ask = engine::harmless_ask(plan, &self.name);
            // What it answers does not matter.
            let _ = http.exchange(&ask, &mut None, |_| ()).await;
            let _ = ticket().await;
        }
        http.close();
        endpoint.wait_idle().await;
        Ok(())
    }

    /// The first flight with this request, in a world without time or network.
    fn write(
        &self,
        request: &[u8],
        to: SocketAddr,
    ) -> Result<(Vec<Vec<u8>>, catch::Caught), String> {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(BESIDE + 2 * request.len() as u64);
        let mut transport = TransportConfig::default();
        transport
            .congestion_controller_factory(Arc::new(cubic))
            .initial_rtt(PACE);
        let progress = Arc::new(Progress::default());
        let mut config = h3::config(&self.config, self.name.clone(), &progress);
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let now = Instant::now();
        let (made, caught) = catch::during(|| endpoint.connect(now, config, to, ""));
        let (_, mut quic) = made.map_err(|error| match progress.facts().failure {
            Some(kind) => kind.to_string(),
            None => error.to_string(),
        })?;
        ask(&mut quic, request)?;
        let mut datagrams = Vec::new();
        // Nothing but the pace holds it back, so it is asked again later.
        for pause in 0..PAUSES {
            let now = now + 100 * pause * PACE;
            loop {
                let mut datagram = Vec::new();
                let Some(transmit) = quic.poll_transmit(now, 1, &mut datagram) else {
                    break;
                };
                datagram.truncate(transmit.size);
                datagrams.push(datagram);
            }
        }
        let length: usize = datagrams.iter().map(Vec::len).sum();
        if length < request.len() {
            let most = request.len();
            return Err(format!(
                "the request has {most} bytes, too many for a flight"
            ));
        }
        Ok((datagrams, caught))
    }
}

/// Opens the control stream and asks.
fn ask(quic: &mut Connection, request: &[u8]) -> Result<(), String> {
    const CONTROL: u64 = 0;
    if !quic.has_0rtt() {
        return Err("quinn offers no early data with this ticket".to_owned());
    }
    let begin = [&stream_type(CONTROL)[..], &settings()].concat();
    for (direction, bytes) in [(Dir::Uni, &begin[..]), (Dir::Bi, request)] {
        let stream = quic.streams().open(direction);
        let stream = stream.ok_or("the ticket allows no streams")?;
        let mut send = quic.send_stream(stream);
        let written = send.write(bytes).unwrap_or(0);
        if written < bytes.len() {
            let length = bytes.len();
            return Err(format!(
                "the request has {length} bytes, the ticket allows {written}"
            ));
        }
        if direction == Dir::Bi {
            // It is open.
            let _ = send.finish();
        }
    }
    Ok(())
}

/// With the ids that its first packet bears.
fn named(datagrams: Vec<Vec<u8>>) -> Option<Copy> {
    let first = packets(datagrams.first()?).next()?;
    let (id, own_id) = (first.to.to_vec(), first.from.to_vec());
    Some(Copy {
        datagrams,
        id,
        own_id,
    })
}

/// The handshake message in a flight.
fn client_hello(copy: &Copy) -> Option<Vec<u8>> {
    let keys = Protection::initial(&copy.id, Sender::Client)?;
    let mut said = Said::default();
    let all = copy.datagrams.iter().flat_map(|datagram| packets(datagram));
    for packet in all.filter(|packet| packet.kind == Kind::Initial) {
        let (_, frames) = packet.open(&keys)?;
        said.add(&frames)?;
    }
    first_message(&said.crypto()).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hello_that_ends_with_zeros_stays_whole_under_another_id() {
        let (id, own_id) = (vec![1; 8], vec![2; 8]);
        let keys = Protection::initial(&id, Sender::Client).unwrap();
        let said = |copy: &Copy| {
            let keys = Protection::initial(&copy.id, Sender::Client).unwrap();
            let mut said = Said::default();
            let all = copy.datagrams.iter().flat_map(|datagram| packets(datagram));
            for packet in all.filter(|packet| packet.kind == Kind::Initial) {
                let (_, frames) = packet.open(&keys).unwrap();
                said.add(&frames).unwrap();
            }
            said.crypto()
        };
        for zeros in 0..4 {
            let hello = [&[7; 40][..], &vec![0; zeros]].concat();
            let length = u8::try_from(hello.len()).unwrap();
            let frames = [&[6, 0, length][..], &hello, &[0; 10]].concat();
            let initial = packet::initial(&keys, &id, &own_id, 0, &frames).unwrap();
            // What comes behind it leaves nothing to be filled up.
            let begin = [&[0xd0, 0, 0, 0, 1, 8][..], &id, &[8], &own_id].concat();
            let early = [&begin[..], &[0x44, 0xb0], &[3; 1200]].concat();
            let copy = Copy {
                datagrams: vec![[initial, early].concat()],
                id: id.clone(),
                own_id: own_id.clone(),
            };
            let renamed = copy.renamed().unwrap();
            assert_ne!(renamed.id, id);
            assert_eq!(said(&renamed), hello);
            assert!(
                renamed
                    .datagrams
                    .iter()
                    .all(|datagram| datagram.len() >= LEAST)
            );
        }
    }
}
