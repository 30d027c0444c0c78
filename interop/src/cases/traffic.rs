//! Peers' clients against our edge: what passes once there is a connection, and how it ends.

use super::arguments::Arguments;
use super::clients::{answered, edge, ended, full};
use super::{Over, Played};
use crate::cell::{Cell, Trouble};
use crate::relay::{Ask, Plan};
use crate::sites::{EDGE, FIELD, LARGE};

/// The relay is the third witness: it sees the edge's answer, a record as long as a KeyUpdate.
pub(super) fn key_update(cell: &mut Cell<'_, '_>) -> Played {
    let target = cell.lab.ground.edge(false);
    let (id, relay) = cell.relay(Plan {
        keep: true,
        ..Plan::to(target)
    })?;
    let arguments = Arguments::new(relay, EDGE).flag("key-update");
    let talk = cell.talk(&arguments)?;
    cell.both(&talk, 0, &[("handshake", "true"), ("version", "1.3")], &[])?;
    // The second request and its answer are under new keys.
    answered(cell, &talk, 2);
    let end = talk.edge.connections.first().map(|one| one.end.clone());
    cell.is("edge, end", end.as_deref(), Some("clean"));
    let wires = cell.ask(&Ask::Wires { id })?.wires;
    // The client's may be padded, and longer. But without one the edge sends none.
    let seen = wires.first().map(|wire| wire.key_updates[1]);
    cell.is("relay, key updates of the edge", seen, Some(1));
    // The edge's own update, which the client's asked for.
    match talk.peer.last().and_then(|one| one.key_updates) {
        Some(received) => cell.is("peer, key updates received", received, 1),
        // It cannot: that it read the answer behind the update, and the relay, are the witnesses.
        None => cell.note("the stack does not tell: key_updates", [] as [&str; 0]),
    }
    Ok(())
}

pub(super) fn close_notify(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).with("end", "close");
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    ended(cell, &talk, "close_notify")?;
    let end = talk.edge.connections.first().map(|one| one.end.clone());
    cell.is("edge, end", end.as_deref(), Some("clean"));
    Ok(())
}

/// After so many bytes the relay ends the connection as if the edge had: a FIN without
/// close_notify.
const CUT_AFTER: u64 = 50_000;

pub(super) fn truncation(cell: &mut Cell<'_, '_>) -> Played {
    let target = cell.lab.ground.edge(false);
    let (_, relay) = cell.relay(Plan {
        fin_after: Some(CUT_AFTER),
        ..Plan::to(target)
    })?;
    let talk = cell.talk(&Arguments::new(relay, EDGE).path("/large"))?;
    cell.both(&talk, 0, &[("handshake", "true")], &[])?;
    let peer = talk.peer.first();
    ended(cell, &talk, "eof")?;
    cell.check("the peer noticed that something is missing", !talk.complete);
    let got = peer
        .and_then(|one| one.responses.first())
        .and_then(|one| one.bytes)
        .unwrap_or(0);
    cell.check(
        &format!("the peer got less than all: {got} bytes"),
        got < CUT_AFTER,
    );
    let sent = talk.edge.marked.first().map_or(0, |one| one.bytes_out);
    cell.check(
        &format!("the edge sent more than that: {sent} bytes"),
        sent > CUT_AFTER,
    );
    Ok(())
}

pub(super) fn large_headers(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).with("header-bytes", FIELD);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    let received = talk.edge.connections.first().map_or(0, |one| one.bytes_in);
    let passed = received > least_of_a_field(cell.over);
    cell.check(&format!("edge, bytes received: {received}"), passed);
    Ok(())
}

pub(super) fn large_answer_headers(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).path("/fields");
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    let sent = talk.edge.connections.first().map_or(0, |one| one.bytes_out);
    let passed = sent > least_of_a_field(cell.over);
    cell.check(&format!("edge, bytes sent: {sent}"), passed);
    Ok(())
}

/// As so many bytes at least a field of [`FIELD`] passes.
fn least_of_a_field(over: Over) -> u64 {
    match over {
        Over::Tcp => FIELD,
        // The shortest codes of Huffman have 5 bits (RFC 7541, appendix B).
        Over::Quic => FIELD * 5 / 8,
    }
}

pub(super) fn download(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).path("/large");
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    let got = talk
        .peer
        .last()
        .and_then(|one| one.responses.last())
        .and_then(|one| one.bytes);
    if got.is_none() && talk.complete {
        return Err(Trouble::Unsupported(
            "the stack does not tell: bytes".into(),
        ));
    }
    cell.is("peer, bytes of the answer", got, Some(LARGE));
    let sent = talk.edge.marked.first().map(|one| one.bytes_out);
    cell.is("edge, bytes of the answer", sent, Some(LARGE));
    Ok(())
}

pub(super) fn upload(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell)
        .path("/upload")
        .with("method", "POST")
        .with("body-bytes", LARGE);
    let talk = cell.talk(&arguments)?;
    full(cell, &talk, &[])?;
    cell.is(
        "peer, bytes sent",
        talk.peer.last().and_then(|one| one.sent),
        Some(LARGE),
    );
    let received = talk.edge.marked.first().map(|one| one.bytes_in);
    cell.is("edge, bytes of the request", received, Some(LARGE));
    // The origin answers `received N`.
    let answer = talk
        .peer
        .last()
        .and_then(|one| one.responses.last())
        .and_then(|one| one.bytes);
    cell.is(
        "peer, bytes of the origin's answer",
        answer,
        Some(format!("received {LARGE}\n").len() as u64),
    );
    Ok(())
}
