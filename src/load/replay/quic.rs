//! The same over QUIC: a flight is a few datagrams.
//!
//! A copy that is sent byte for byte has the connection id of the original, so a server counts it to
//! the original's connection as long as it has that, and answers nothing. Therefore a client leaves
//! as soon as it knows what became of its copy, and one that hears nothing sends its copy again.
//!
//! Initial packets are protected with keys that anybody can compute (RFC 9001 §5.2): whoever records
//! a flight can give its ClientHello another connection id, which gets it to another worker, past a
//! memory of ids and into a connection of its own. That is the third round.

mod answer;
mod flight;
mod packet;
mod protection;
mod send;

use std::net::SocketAddr;
use std::sync::Arc;

use self::flight::Recorder;
use super::report::{FlightSummary, Order, Outcome};
use crate::load::plan::Plan;

/// Gets a flight with a ticket of the `first` address, and sends its copies to all.
pub(super) async fn outcomes(
    plan: &Arc<Plan>,
    order: Order,
    first: SocketAddr,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<(FlightSummary, Vec<(SocketAddr, Outcome)>), String> {
    let flight = Recorder::new(plan)?.record(plan, first).await?;
    let flight = Arc::new(flight);
    let outcomes = match order {
        Order::InTurn => send::in_turn(plan, &flight, addresses).await,
        Order::AtOnce => send::at_once(plan, &flight, addresses, false).await,
        Order::OtherIds => send::at_once(plan, &flight, addresses, true).await,
    };
    Ok((flight.summary.clone(), outcomes))
}
