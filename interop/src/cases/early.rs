//! Peers' clients against our edge: early data. What they have to show stands in
//! docs/EARLY-DATA.md.

use super::arguments::Arguments;
use super::clients::{RETRIED, answered, edge, whole_answer};
use super::{Case, Over, Played, replayed};
use crate::cell::{Cell, Talk, Trouble};
use crate::relay::{Ask, Held, Plan};
use crate::sites::{ANSWER, EDGE};

/// The cases, in the order of the report.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "early-accepted",
        title: "0-RTT accepted",
        play: accepted,
    },
    Case {
        name: "early-before-finished",
        title: "0-RTT answered before Finished",
        play: before_finished,
    },
    Case {
        name: "early-wait-route",
        title: "0-RTT waits for Finished on a route that waits",
        play: wait_route,
    },
    Case {
        name: "early-refused",
        title: "0-RTT refused by policy, goes on",
        play: refused,
    },
    Case {
        name: "early-refused-large",
        title: "0-RTT refused with a large flight, goes on",
        play: refused_large,
    },
    Case {
        name: "early-hello-retry-request",
        title: "0-RTT refused by a HelloRetryRequest, goes on",
        play: retried,
    },
    Case {
        name: "early-replayed",
        title: "0-RTT flight replayed: accepted once",
        play: replayed::replayed,
    },
    Case {
        name: "early-replayed-after-restart",
        title: "0-RTT flight replayed after a restart: refused",
        play: replayed::replayed_after_restart,
    },
    Case {
        name: "early-after-restart",
        title: "0-RTT refused after a restart, goes on",
        play: replayed::after_restart,
    },
    Case {
        name: "early-425-retry",
        title: "425, and the client tries again",
        play: too_early,
    },
    Case {
        name: "early-origin-425",
        title: "425 of an origin, and the edge tries again",
        play: origin_too_early,
    },
];

/// How long something is waited for that has to come, before it is seen whether the call lasts.
pub(super) const COMES: u64 = 200;
/// How long is watched that something does not come.
const COMES_NOT: u64 = 300;

const OFFERED: &str = "cutwater_early_data_offered_total";
pub(super) const ACCEPTED: &str = "cutwater_early_data_accepted_total";
pub(super) const REFUSED: &str = "cutwater_early_data_refused_total";

/// Both sides say that the second connection's early data was accepted.
pub(super) fn both_accepted(cell: &mut Cell<'_, '_>, talk: &Talk) -> Played {
    cell.both(
        talk,
        0,
        &[
            ("handshake", "true"),
            ("resumed", "false"),
            ("early", "none"),
        ],
        &[],
    )?;
    let facts = [
        ("handshake", "true"),
        ("resumed", "true"),
        ("early", "accepted"),
    ];
    cell.both(talk, 1, &facts, &["early"])?;
    cell.is(
        "edge, accepted early data counted",
        talk.counted.sum(ACCEPTED, ""),
        1.0,
    );
    Ok(())
}

/// Both sides say that it was refused, the edge for this reason, and the request was answered all
/// the same.
fn both_refused(cell: &mut Cell<'_, '_>, talk: &Talk, reason: &str) -> Played {
    cell.both(
        talk,
        1,
        &[("handshake", "true"), ("early", "refused")],
        &["early"],
    )?;
    let early = talk.edge.connections.get(1).map(|one| one.early.clone());
    cell.is(
        "edge, early data",
        early.as_deref(),
        Some(format!("refused_{reason}").as_str()),
    );
    let label = format!("reason=\"{reason}\"");
    cell.is(
        "edge, refused early data counted",
        talk.counted.sum(REFUSED, &label),
        1.0,
    );
    cell.is(
        "edge, accepted early data counted",
        talk.counted.sum(ACCEPTED, ""),
        0.0,
    );
    answered(cell, talk, 1);
    state(cell, talk, 0, "none");
    Ok(())
}

/// What the edge made of the request number `index`.
pub(super) fn state(cell: &mut Cell<'_, '_>, talk: &Talk, index: usize, wanted: &str) {
    let early = talk.edge.marked.get(index).map(|one| one.early.clone());
    cell.is(
        &format!("edge, request {index}, early"),
        early.as_deref(),
        Some(wanted),
    );
}

/// One way of the line to the edge, in milliseconds: so long a Finished is behind early data at
/// least. On a short line it may come together with it, and then nothing is early any more.
pub(super) const LINE: u64 = 20;

/// The same for a browser, which needs longer to have its request ready.
const LINE_OF_BROWSER: u64 = 120;

/// So many bytes to the client can only be the answer of `/safe` or `/wait`. Over QUIC, where 1-RTT
/// packets are counted, an address that is not proved gets but the beginning of it (RFC 9000 §8.1):
/// more than the padding that may stand in such a packet of the edge's own first datagram.
fn an_answer(cell: &Cell<'_, '_>) -> u64 {
    match cell.over {
        Over::Tcp => ANSWER,
        Over::Quic => 1300,
    }
}

/// An early request through a line.
fn through_line(cell: &mut Cell<'_, '_>, path: &str) -> Result<Arguments, String> {
    let target = cell.lab.ground.edge(false);
    let browser = cell.peer.browser;
    let plan = Plan {
        delay_ms: if browser { LINE_OF_BROWSER } else { LINE },
        ..Plan::to(target)
    };
    let (_, relay) = cell.relay(plan)?;
    let arguments = match browser {
        true => Arguments::new(relay, EDGE),
        false => edge(cell).with("second-connect", relay),
    };
    Ok(arguments.path(path).with("mode", "early"))
}

fn accepted(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = through_line(cell, "/safe")?;
    let talk = cell.talk(&arguments)?;
    both_accepted(cell, &talk)?;
    cell.is(
        "edge, offered early data counted",
        talk.counted.sum(OFFERED, ""),
        1.0,
    );
    state(cell, &talk, 0, "served");
    answered(cell, &talk, 1);
    whole_answer(cell, &talk);
    Ok(())
}

/// How long a client that can holds its second flight back for the answer, in milliseconds.
const HOLD: u64 = 3000;

/// Begins a call whose second connection goes through a relay that withholds Finished; the client
/// itself holds it back for so many milliseconds, if it can.
fn withheld(
    cell: &mut Cell<'_, '_>,
    path: &str,
    hold: u64,
) -> Result<(u32, crate::cell::Call), Trouble> {
    let target = cell.lab.ground.edge(false);
    let (id, relay) = cell.relay(Plan {
        withhold: Held::Finished,
        ..Plan::to(target)
    })?;
    let arguments = edge(cell)
        .path(path)
        .with("mode", "early")
        .with("second-connect", relay);
    let arguments = match hold {
        0 => arguments,
        _ => arguments.with("hold-finished", hold),
    };
    Ok((id, cell.call(&arguments)?))
}

fn before_finished(cell: &mut Cell<'_, '_>) -> Played {
    let (id, mut call) = withheld(cell, "/safe", HOLD)?;
    let answer = an_answer(cell);
    let came = cell.comes(&mut call, &until(id, 0, answer, COMES))?;
    let requests = cell.edge_now().marked.len();
    cell.ask(&Ask::Release { id })?;
    let talk = cell.gather(call, 0)?;
    both_accepted(cell, &talk)?;
    cell.check("the answer came while the relay withheld Finished", came);
    let answer = talk.peer.last().and_then(|one| one.responses.first());
    match answer.and_then(|one| one.before_finished) {
        Some(told) => cell.is("peer, answered before Finished", told, true),
        // It cannot: the edge and the relay are the witnesses.
        None => cell.note("the stack does not tell: before_finished", [] as [&str; 0]),
    }
    cell.is("edge, requests logged until then", requests, 0);
    state(cell, &talk, 0, "served");
    let before = talk
        .edge
        .marked
        .first()
        .map(|one| one.answered_before_finished);
    cell.is("edge, answered before Finished", before, Some(true));
    let counted = talk
        .counted
        .sum("cutwater_answered_before_finished_total", "");
    cell.check("edge, counted as answered before Finished", counted >= 1.0);
    answered(cell, &talk, 1);
    whole_answer(cell, &talk);
    Ok(())
}

fn wait_route(cell: &mut Cell<'_, '_>) -> Played {
    let (id, mut call) = withheld(cell, "/wait", 0)?;
    // The edge's own flight has come, and so has the client's answer to it.
    let flight = cell.comes(&mut call, &until(id, 1, 1, COMES))?;
    let answer = an_answer(cell);
    let came = flight && cell.ask(&until(id, 0, answer, COMES_NOT))?.came;
    cell.ask(&Ask::Release { id })?;
    let talk = cell.gather(call, 0)?;
    both_accepted(cell, &talk)?;
    cell.check("the relay had the client's Finished in its hands", flight);
    cell.check("no answer came while the relay withheld it", !came);
    state(cell, &talk, 0, "waited");
    let first = talk.edge.marked.first();
    let before = first.map(|one| one.answered_before_finished);
    cell.is("edge, answered before Finished", before, Some(false));
    let waited = first.and_then(|one| one.wait_ms).unwrap_or(0.0);
    cell.check(
        &format!("edge, waited {waited} ms"),
        waited >= COMES_NOT as f64 * 0.9,
    );
    answered(cell, &talk, 1);
    whole_answer(cell, &talk);
    Ok(())
}

pub(super) fn until(id: u32, withheld: u64, to_client: u64, within_ms: u64) -> Ask {
    Ask::Until {
        id,
        connection: 0,
        withheld,
        to_client,
        within_ms,
    }
}

/// Its second connection goes to the listener with another policy.
fn to_strict(cell: &Cell<'_, '_>) -> Arguments {
    let strict = cell.lab.ground.edge(true);
    edge(cell)
        .with("mode", "early")
        .with("second-connect", strict)
}

/// The same, through a line.
fn to_strict_through_line(cell: &mut Cell<'_, '_>) -> Result<Arguments, String> {
    let (_, relay) = cell.relay(Plan {
        delay_ms: LINE,
        ..Plan::to(cell.lab.ground.edge(true))
    })?;
    Ok(edge(cell)
        .with("mode", "early")
        .with("second-connect", relay))
}

fn refused(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = to_strict(cell);
    let talk = cell.talk(&arguments)?;
    both_refused(cell, &talk, "policy")
}

fn refused_large(cell: &mut Cell<'_, '_>) -> Played {
    // With its head it stays below what tickets allow.
    const BODY: u64 = 15_000;
    let arguments = match cell.over {
        Over::Tcp => to_strict(cell),
        // A client may move its packets in several steps: the answer must not overtake them.
        Over::Quic => to_strict_through_line(cell)?,
    };
    let arguments = arguments
        .path("/upload")
        .with("method", "POST")
        .with("body-bytes", BODY);
    let talk = cell.talk(&arguments)?;
    both_refused(cell, &talk, "policy")?;
    let received = talk.edge.marked.first().map(|one| one.bytes_in);
    cell.is("edge, bytes of the request", received, Some(BODY));
    let wire = talk.edge.connections.get(1).map_or(0, |one| one.bytes_in);
    let least = match cell.over {
        Over::Tcp => 2 * BODY,
        // No more than the congestion window leaves before an answer (RFC 9002 §7.2).
        Over::Quic => BODY + 10_000,
    };
    cell.check(
        &format!("edge, bytes on the wire show the body twice: {wire}"),
        wire > least,
    );
    Ok(())
}

fn retried(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = edge(cell).with("mode", "early").with("groups", RETRIED);
    let talk = cell.talk(&arguments)?;
    cell.both(&talk, 1, &[("hrr", "true")], &[])?;
    both_refused(cell, &talk, "hrr")
}

fn too_early(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = through_line(cell, "/refuse")?.flag("retry-425");
    let talk = cell.talk(&arguments)?;
    both_accepted(cell, &talk)?;
    cell.check("the peer did all that was asked", talk.complete);
    let statuses = talk
        .peer
        .last()
        .map(|it| it.responses.iter().map(|one| one.status).collect());
    let wanted = vec![Some(425), Some(200)];
    cell.is(
        "peer, statuses",
        statuses.unwrap_or_default(),
        wanted.clone(),
    );
    let logged = talk.edge.marked.iter().map(|one| one.status).collect();
    cell.is("edge, statuses", logged, wanted);
    state(cell, &talk, 0, "refused");
    state(cell, &talk, 1, "none");
    let counted = talk.counted.sum("cutwater_too_early_total", "by=\"edge\"");
    cell.is("edge, 425 counted", counted, 1.0);
    Ok(())
}

fn origin_too_early(cell: &mut Cell<'_, '_>) -> Played {
    let arguments = through_line(cell, "/aware/too-early")?;
    let talk = cell.talk(&arguments)?;
    both_accepted(cell, &talk)?;
    answered(cell, &talk, 1);
    let counted = |name, label| talk.counted.sum(name, label);
    let answers = counted("cutwater_origin_too_early_total", "");
    let retries = counted("cutwater_origin_retries_total", "reason=\"too_early\"");
    cell.is("edge, 425 answers of the origin counted", answers, 1.0);
    cell.is("edge, requests sent to the origin again", retries, 1.0);
    Ok(())
}
