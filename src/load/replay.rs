//! Whether a server takes a recorded 0-RTT flight twice.
//!
//! [`run`] connects once fully for a ticket, lets rustls (over HTTP/3: quinn) write a first flight
//! with a request as early data, and sends those bytes over and over: once one after the other, and once more, with
//! another ticket's flight, on all connections at once. All addresses of the plan have their turn.
//!
//! What became of each copy is read from the server's EncryptedExtensions, with the keys that our
//! client would have had (RFC 9846 §4.2.10): when an answer comes proves nothing, because a server
//! may accept early data and hold its answer until the handshake is finished. No copy finishes its
//! handshake: a server has to know a flight that it has seen, not a handshake that it has ended.
//!
//! What it does not do: it tries no other ways into a server, such as old tickets after a restart,
//! and it does not look at what the application did with the request.
//!
//! ```no_run
//! use cutwater::load::plan::{Plan, Target, Trust};
//! use cutwater::load::replay::{ReplayPlan, run};
//!
//! # async fn example() -> Result<u8, Box<dyn std::error::Error>> {
//! let target = Target::parse("https://example.com/catalogue")?;
//! let mut plan = Plan::new(target, "192.0.2.1:443".parse()?)?;
//! plan.connect.push("192.0.2.2:443".parse()?);
//! plan.tls.trust = Trust::Anyone;
//! let report = run(ReplayPlan { plan, replays: 20 }).await;
//! print!("{report}");
//! # Ok(report.exit_code) }
//! ```

mod answer;
mod catch;
mod flight;
mod keys;
mod quic;
mod report;
mod send;
mod shelf;
#[cfg(test)]
mod trace;

use std::sync::Arc;

pub use report::{AddressCount, Finding, FlightSummary, Order, Outcome, ReplayReport, Round};

use self::flight::Recorder;
use super::plan::{Plan, Protocol};

/// A replay test.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    /// Whom to connect to, as whom, and what to ask for: `target`, `connect`, `sni` (the first
    /// name), `protocol`, `alpn`, `request`, `tls`, `proxy` and `timeouts`. The rest is not looked at.
    /// The first address gives the tickets and gets the originals.
    pub plan: Plan,
    /// How often each flight is sent again: once more in all, with the original.
    pub replays: usize,
}

/// Runs a replay test, with two flights: one whose copies are sent one after the other, and one
/// whose copies are sent at once; over QUIC with a third, see [`Order::OtherIds`]. What goes wrong
/// stands in the report.
///
/// It takes time as connections do, each within the plan's timeouts; dropping it ends it.
pub async fn run(plan: ReplayPlan) -> ReplayReport {
    let ReplayPlan { plan, replays } = plan;
    let plan = Arc::new(plan);
    let orders: &[Order] = match plan.protocol {
        Protocol::Http1 | Protocol::Http2 => &[Order::InTurn, Order::AtOnce],
        Protocol::Http3 => &[Order::InTurn, Order::AtOnce, Order::OtherIds],
    };
    let mut rounds = Vec::new();
    for &order in orders {
        rounds.push(conclusive(&plan, order, replays).await);
    }
    ReplayReport::new(rounds)
}

/// Flights that a round may take.
const FLIGHTS: usize = 3;

/// A round with the first flight that is accepted at all, of a few.
///
/// rustls counts a ticket's age in whole seconds, so that across the end of one it says up to a
/// second too much. GnuTLS refuses early data whose ticket seems older than it is (`lib/tls13/anti_replay.c`).
async fn conclusive(plan: &Arc<Plan>, order: Order, replays: usize) -> Round {
    let mut flights = 1;
    loop {
        let round = match round(plan, order, replays).await {
            Ok(round) => round,
            Err(trouble) => return Round::failed(order, trouble),
        };
        if !round.is_refused() || flights == FLIGHTS {
            return Round { flights, ..round };
        }
        flights += 1;
    }
}

async fn round(plan: &Arc<Plan>, order: Order, replays: usize) -> Result<Round, String> {
    plan.check().map_err(|error| error.to_string())?;
    let first = *plan.connect.first().ok_or("no address")?;
    let addresses = plan.connect.iter().copied().cycle().take(1 + replays);
    let (summary, outcomes) = match plan.protocol {
        Protocol::Http1 | Protocol::Http2 => {
            let flight = Recorder::new(plan)?.record(plan, first).await?;
            let flight = Arc::new(flight);
            let outcomes = match order {
                Order::InTurn => send::in_turn(plan, &flight, addresses).await,
                Order::AtOnce | Order::OtherIds => send::at_once(plan, &flight, addresses).await,
            };
            (flight.summary.clone(), outcomes)
        }
        Protocol::Http3 => quic::outcomes(plan, order, first, addresses).await?,
    };
    Ok(Round::counted(order, summary, &plan.connect, outcomes))
}
