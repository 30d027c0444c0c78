//! Sending the recorded flight again and again.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer;
use super::flight::Flight;
use super::report::Outcome;
use crate::load::engine;
use crate::load::plan::Plan;
use crate::load::stats::{ErrorKind, TimedOut};

/// One after the other: each copy gets its answer before the next one is sent.
pub(super) async fn in_turn(
    plan: &Plan,
    flight: &Flight,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Vec<(SocketAddr, Outcome)> {
    let mut outcomes = Vec::new();
    for address in addresses {
        let outcome = match connect(plan, address).await {
            Ok(tcp) => deliver(plan, flight, tcp).await,
            Err(outcome) => outcome,
        };
        outcomes.push((address, outcome));
    }
    outcomes
}

/// At once: nothing is sent before all connections are there.
pub(super) async fn at_once(
    plan: &Arc<Plan>,
    flight: &Arc<Flight>,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Vec<(SocketAddr, Outcome)> {
    let mut connecting = JoinSet::new();
    for address in addresses {
        let plan = Arc::clone(plan);
        connecting.spawn(async move { (address, connect(&plan, address).await) });
    }
    let mut sending = JoinSet::new();
    let mut outcomes = Vec::new();
    for (address, connected) in connecting.join_all().await {
        match connected {
            Ok(tcp) => {
                let (plan, flight) = (Arc::clone(plan), Arc::clone(flight));
                sending.spawn(async move { (address, deliver(&plan, &flight, tcp).await) });
            }
            Err(outcome) => outcomes.push((address, outcome)),
        }
    }
    outcomes.extend(sending.join_all().await);
    outcomes
}

/// A connection, ready for TLS.
pub(super) async fn connect(plan: &Plan, to: SocketAddr) -> Result<TcpStream, Outcome> {
    let unreachable = |kind: ErrorKind| Outcome::Unreachable(kind.to_string());
    let io = |error| unreachable(ErrorKind::from_io(&error));
    match timeout(plan.timeouts.connect, engine::dial(plan, to)).await {
        Ok(connected) => connected.map_err(io),
        Err(_) => Err(unreachable(ErrorKind::Timeout(TimedOut::Connect))),
    }
}

/// Sends the flight and reads until it is known what became of it.
async fn deliver(plan: &Plan, flight: &Flight, mut tcp: TcpStream) -> Outcome {
    let (mut from, mut to) = tcp.split();
    let write = async {
        // A server may refuse before it has read all; its words are read all the same.
        let _ = to.write_all(&flight.bytes).await;
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut bytes = Vec::new();
        loop {
            match from.read_buf(&mut bytes).await {
                Ok(0) => return Outcome::Closed,
                Ok(_) => {}
                Err(_) => return Outcome::Reset,
            }
            if let Some(outcome) = answer::read(&flight.reader, &bytes) {
                return outcome;
            }
        }
    };
    let answered = async {
        tokio::select! {
            () = write => Outcome::Closed,
            outcome = read => outcome,
        }
    };
    let outcome = timeout(plan.timeouts.handshake, answered).await;
    leave(tcp, plan).await;
    outcome.unwrap_or(Outcome::Timeout)
}

/// Says that no more will come and waits a little for the server's end. To close at once, with
/// bytes unread, is a reset: it may overtake the flight itself.
pub(super) async fn leave(mut tcp: TcpStream, plan: &Plan) {
    let ending = async {
        let _ = tcp.shutdown().await;
        let mut waste = [0; 4096];
        while matches!(tcp.read(&mut waste).await, Ok(1..)) {}
    };
    // Whatever it answers, it has had all that it gets.
    let _ = timeout(plan.timeouts.closing, ending).await;
}
