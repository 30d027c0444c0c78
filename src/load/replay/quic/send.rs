//! Sending the recorded flight again and again.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer;
use super::flight::{Copy, Flight};
use super::packet;
use super::protection::{Protection, Sender};
use crate::load::plan::Plan;
use crate::load::replay::report::Outcome;
use crate::load::stats::ErrorKind;

/// How long nothing may come until a copy is sent again: UDP loses, and a server counts a copy to a
/// connection that it still has.
const SILENCE: Duration = Duration::from_millis(250);

/// The number of our last packet, larger than those of any flight. RFC 9000 §12.3
const LAST: u32 = 0xffff;

/// The least that a datagram with an Initial packet may have, in bytes. RFC 9000 §14.1
pub(super) const LEAST: usize = 1200;

/// One after the other: what became of each copy is known before the next one is sent.
pub(super) async fn in_turn(
    plan: &Plan,
    flight: &Flight,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Vec<(SocketAddr, Outcome)> {
    let mut outcomes = Vec::new();
    for address in addresses {
        let outcome = match socket(address).await {
            Ok(socket) => deliver(plan, flight, &flight.copy, socket).await,
            Err(error) => unreachable(&error),
        };
        outcomes.push((address, outcome));
    }
    outcomes
}

/// At once: nothing is sent before all sockets are there. Byte for byte, or each ClientHello under an
/// id of its own.
pub(super) async fn at_once(
    plan: &Arc<Plan>,
    flight: &Arc<Flight>,
    addresses: impl Iterator<Item = SocketAddr>,
    other_ids: bool,
) -> Vec<(SocketAddr, Outcome)> {
    let mut ready = Vec::new();
    let mut outcomes = Vec::new();
    for address in addresses {
        let copy = match other_ids {
            true => flight.copy.renamed(),
            false => Some(flight.copy.clone()),
        };
        match (socket(address).await, copy) {
            (Ok(socket), Some(copy)) => ready.push((address, socket, copy)),
            (Err(error), _) => outcomes.push((address, unreachable(&error))),
            (_, None) => outcomes.push((address, Outcome::Unreadable("its own flight"))),
        }
    }
    let mut sending = JoinSet::new();
    for (address, socket, copy) in ready {
        let (plan, flight) = (Arc::clone(plan), Arc::clone(flight));
        sending.spawn(async move { (address, deliver(&plan, &flight, &copy, socket).await) });
    }
    outcomes.extend(sending.join_all().await);
    outcomes
}

/// A port of its own for a copy.
async fn socket(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

fn unreachable(error: &io::Error) -> Outcome {
    Outcome::Unreachable(ErrorKind::from_io(error).to_string())
}

/// Sends a copy and reads until it is known what became of it.
async fn deliver(plan: &Plan, flight: &Flight, copy: &Copy, socket: UdpSocket) -> Outcome {
    let mut answers = Vec::new();
    let exchanged = exchange(flight, copy, &socket, &mut answers);
    let outcome = timeout(plan.timeouts.handshake, exchanged).await;
    if let Some(goodbye) = goodbye(copy, &answers) {
        // It ends whether that arrives or not.
        let _ = socket.send(&goodbye).await;
    }
    outcome.unwrap_or(Outcome::Timeout)
}

async fn exchange(
    flight: &Flight,
    copy: &Copy,
    socket: &UdpSocket,
    answers: &mut Vec<Vec<u8>>,
) -> Outcome {
    let mut buffer = vec![0; 65_536];
    loop {
        for datagram in &copy.datagrams {
            if let Err(error) = socket.send(datagram).await {
                return unreachable(&error);
            }
        }
        let again = Instant::now() + SILENCE;
        loop {
            let read = socket.recv(&mut buffer);
            // What comes of the original's connection is no answer to the copy.
            let read = match answer::seen(copy, answers) {
                None => timeout_at(again, read).await,
                Some(_) => Ok(read.await),
            };
            match read {
                Ok(Ok(length)) => {
                    answers.push(buffer.get(..length).unwrap_or_default().to_vec());
                }
                Ok(Err(error)) => return unreachable(&error),
                Err(_) => break,
            }
            if let Some(outcome) = answer::read(&flight.reader, copy, answers) {
                return outcome;
            }
        }
    }
}

/// An acknowledgment, from which the server learns how long to wait for what is late, and the end of
/// the connection: after that short time it has forgotten the id, and the next copy gets an answer.
fn goodbye(copy: &Copy, answers: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (server, largest) = answer::seen(copy, answers)?;
    let keys = Protection::initial(&copy.id, Sender::Client)?;
    // ACK of one packet, CONNECTION_CLOSE without error or reason.
    let mut frames = vec![2];
    crate::http::h3::varint::encode(largest, &mut frames);
    frames.extend_from_slice(&[0, 0, 0, 0x1c, 0, 0, 0]);
    frames.resize(LEAST, 0);
    packet::initial(&keys, &server, &copy.own_id, LAST, &frames)
}
