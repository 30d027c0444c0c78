//! Peers' clients against our edge: early data that comes once more, and a restart in between.

use super::Played;
use super::clients::{answered, edge};
use super::early::{ACCEPTED, COMES, REFUSED, both_accepted, state, until};
use crate::cell::{Cell, Talk, Trouble};
use crate::relay::{Ask, Held, Plan, Reply};

/// How often a flight is replayed: enough that every worker has one, as a rule.
const REPLAYS: u32 = 8;

/// An early request through a relay that records it, and its being accepted; the relay.
fn recorded(cell: &mut Cell<'_, '_>) -> Result<u32, Trouble> {
    let target = cell.lab.ground.edge(false);
    let (id, relay) = cell.relay(Plan {
        record: true,
        ..Plan::to(target)
    })?;
    let arguments = edge(cell)
        .path("/safe")
        .with("mode", "early")
        .with("second-connect", relay);
    let talk = cell.talk(&arguments)?;
    both_accepted(cell, &talk)?;
    answered(cell, &talk, 1);
    Ok(id)
}

/// The flight comes again, so many times.
fn again(cell: &mut Cell<'_, '_>, id: u32) -> Result<Reply, Trouble> {
    let reply = cell.ask(&Ask::Replay {
        id,
        connection: 0,
        to: cell.lab.ground.edge(false),
        times: REPLAYS,
    })?;
    cell.is("replays sent", reply.answers.len(), REPLAYS as usize);
    Ok(reply)
}

pub(super) fn replayed(cell: &mut Cell<'_, '_>) -> Played {
    let id = recorded(cell)?;
    again(cell, id)?;
    let edge = cell.edge(2 + REPLAYS as usize);
    let copies = edge.connections.get(2..).unwrap_or_default();
    for (number, copy) in copies.iter().enumerate() {
        let what = format!("edge, copy {number} to worker {}", copy.worker);
        cell.is(&what, copy.early.as_str(), "refused_replay_suspected");
    }
    cell.is("edge, requests in all", edge.marked.len(), 1);
    counted(cell, 1.0, "replay_suspected")
}

/// Early data was accepted so often, and each copy was refused for this reason.
fn counted(cell: &mut Cell<'_, '_>, accepted: f64, reason: &str) -> Played {
    let counted = cell.counted()?;
    let found = counted.sum(ACCEPTED, "");
    cell.is("edge, accepted early data counted", found, accepted);
    let refused = counted.sum(REFUSED, &format!("reason=\"{reason}\""));
    cell.is("edge, copies refused", refused, f64::from(REPLAYS));
    Ok(())
}

/// What the edge remembers of early data ends with it, and so do its sessions: a copy finds neither.
pub(super) fn replayed_after_restart(cell: &mut Cell<'_, '_>) -> Played {
    let id = recorded(cell)?;
    cell.lab.restart_edge()?;
    cell.restarted();
    let reply = again(cell, id)?;
    // What came back is the beginning of a full handshake, not of a resumption.
    for (number, wire) in reply.wires.iter().enumerate() {
        let resumed = wire.hello().map(|hello| hello.resumed);
        let what = format!("relay, copy {number}, a session taken up");
        cell.is(&what, resumed, Some(false));
    }
    let edge = cell.edge(REPLAYS as usize);
    for (number, copy) in edge.connections.iter().enumerate() {
        let what = format!("edge, copy {number} to worker {}", copy.worker);
        cell.is(&what, copy.early.as_str(), "refused_unknown_ticket");
        cell.is(&format!("{what}, finished"), copy.handshake_ms, None);
    }
    cell.is("edge, requests in all", edge.requests, 0);
    counted(cell, 0.0, "unknown_ticket")
}

pub(super) fn after_restart(cell: &mut Cell<'_, '_>) -> Played {
    let target = cell.lab.ground.edge(false);
    let (id, relay) = cell.relay(Plan {
        withhold: Held::Connection,
        ..Plan::to(target)
    })?;
    let arguments = edge(cell)
        .with("mode", "early")
        .with("second-connect", relay);
    let mut call = cell.call(&arguments)?;
    if !cell.comes(&mut call, &until(id, 0, 0, COMES))? {
        cell.told(call)?;
        return Err(Trouble::Failed(
            "the client opened no second connection".into(),
        ));
    }
    // Its first connection need not have ended: some clients keep it for seconds.
    cell.lab.restart_edge()?;
    cell.restarted();
    cell.ask(&Ask::Release { id })?;
    let (line, complete) = cell.told(call)?;
    let edge = cell.edge(1);
    let counted = cell.counted()?;
    // Of the first connection, only what the peer says is left.
    let peer: Vec<_> = line.connections.into_iter().skip(1).collect();
    let talk = Talk {
        peer,
        complete,
        edge,
        counted,
    };
    let facts = [
        ("handshake", "true"),
        ("resumed", "false"),
        ("early", "refused"),
    ];
    cell.both(&talk, 0, &facts, &["early"])?;
    let early = talk.edge.connections.first().map(|one| one.early.clone());
    cell.is(
        "edge, early data",
        early.as_deref(),
        Some("refused_unknown_ticket"),
    );
    cell.is(
        "edge, accepted early data counted",
        talk.counted.sum(ACCEPTED, ""),
        0.0,
    );
    state(cell, &talk, 0, "none");
    answered(cell, &talk, 1);
    Ok(())
}
