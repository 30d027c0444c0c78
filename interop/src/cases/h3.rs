//! Peers' clients against our edge over QUIC: what is tried over TCP, as far as QUIC has it.

use std::sync::LazyLock;
use std::time::Duration;

use super::arguments::Arguments;
use super::clients::{self, answered};
use super::early::{self, ACCEPTED, LINE, REFUSED, both_accepted};
use super::{Case, Played};
use crate::cell::{Cell, Trouble};
use crate::lab::poll;
use crate::relay::{Ask, Plan};
use crate::sites::EDGE;

/// Cases that are played as over TCP, where their names lack the `h3-`.
const SAME: &[&str] = &[
    "h3-full",
    "h3-full-ipv6",
    "h3-hello-retry-request",
    "h3-x25519mlkem768",
    "h3-p-256",
    "h3-chacha20",
    "h3-aes-256-gcm",
    "h3-certificate-ecdsa",
    "h3-certificate-rsa",
    "h3-sni-exact",
    "h3-sni-wildcard",
    "h3-sni-unknown",
    "h3-sni-absent",
    "h3-alpn-mismatch",
    "h3-resumption",
    "h3-resumption-other-site",
    "h3-tickets",
    "h3-large-headers",
    "h3-large-answer-headers",
    "h3-download-10mb",
    "h3-upload-10mb",
    "h3-early-accepted",
    "h3-early-before-finished",
    "h3-early-wait-route",
    "h3-early-refused",
    "h3-early-refused-large",
    "h3-early-hello-retry-request",
    "h3-early-after-restart",
    "h3-early-425-retry",
    "h3-early-origin-425",
];

/// Cases that are played otherwise.
const OWN: [Case; 2] = [
    Case {
        name: "h3-early-replayed",
        title: "0-RTT flight replayed: accepted once",
        play: replayed,
    },
    Case {
        name: "h3-early-replayed-after-restart",
        title: "0-RTT flight replayed after a restart: refused",
        play: replayed_after_restart,
    },
];

/// The cases, in the order of the report.
pub(super) fn cases() -> &'static [Case] {
    static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
        let tcp = || clients::CASES.iter().chain(early::CASES);
        let same = SAME.iter().filter_map(|name| {
            let over_tcp = name.strip_prefix("h3-")?;
            let case = tcp().find(|case| case.name == over_tcp)?;
            Some(Case { name, ..*case })
        });
        same.chain(OWN).collect()
    });
    &CASES
}

/// How many copies of a flight each make a connection of their own. While such a connection is there,
/// and for a moment after its end, what has the same connection id belongs to it.
const COPIES: usize = 2;
/// How long it may take until a copy makes one.
const COPY: Duration = Duration::from_secs(15);

/// An early request through a relay that records it, and its being accepted; the relay.
fn recorded(cell: &mut Cell<'_, '_>) -> Result<u32, Trouble> {
    let brief = cell.lab.ground.edge_brief();
    let (id, relay) = cell.relay(Plan {
        record: true,
        // The whole flight leaves before an answer comes.
        delay_ms: LINE,
        ..Plan::to(brief)
    })?;
    let arguments = Arguments::new(brief, EDGE)
        .with("mode", "early")
        .with("second-connect", relay);
    let talk = cell.talk(&arguments)?;
    both_accepted(cell, &talk)?;
    answered(cell, &talk, 1);
    Ok(id)
}

/// The flight comes again until so many copies have made a connection and all have ended. Each is
/// refused for this reason; `original` says whether the edge has that in its log.
fn again(cell: &mut Cell<'_, '_>, id: u32, original: bool, reason: &str) -> Played {
    let ask = Ask::Replay {
        id,
        connection: 0,
        to: cell.lab.ground.edge_brief(),
        times: 1,
    };
    // Of the client, which got its ticket by one, with a request without the mark.
    let (connections, accepted) = if original { (2, 1) } else { (0, 0) };
    let mut sent = 0;
    for copy in 1..=COPIES {
        let mut trouble = None;
        let came = poll(COPY, || {
            sent += 1;
            trouble = cell.lab.ask(&ask).err();
            trouble.is_some() || cell.edge_now().connections.len() >= connections + copy
        });
        if let Some(trouble) = trouble {
            return Err(trouble.into());
        }
        cell.check(&format!("copy {copy} made a connection"), came);
    }
    cell.note("relay", [format!("the flight was sent {sent} times more")]);
    let edge = cell.edge(connections + COPIES);
    let copies = edge.connections.get(connections..).unwrap_or_default();
    for (number, copy) in copies.iter().enumerate() {
        let what = format!("edge, copy {number} to worker {}", copy.worker);
        let early = format!("refused_{reason}");
        cell.is(&what, copy.early.as_str(), early.as_str());
        cell.is(&format!("{what}, finished"), copy.handshake_ms, None);
    }
    let counted = cell.counted()?;
    let refused = counted.sum(REFUSED, &format!("reason=\"{reason}\""));
    cell.is("edge, copies refused", refused, copies.len() as f64);
    let found = counted.sum(ACCEPTED, "");
    let wanted = f64::from(accepted);
    cell.is("edge, accepted early data counted", found, wanted);
    cell.is(
        "edge, requests in all",
        edge.marked.len(),
        accepted as usize,
    );
    Ok(())
}

fn replayed(cell: &mut Cell<'_, '_>) -> Played {
    let id = recorded(cell)?;
    again(cell, id, true, "replay_suspected")
}

/// What the edge remembers of early data ends with it, and so do its sessions: a copy finds neither.
fn replayed_after_restart(cell: &mut Cell<'_, '_>) -> Played {
    let id = recorded(cell)?;
    cell.lab.restart_edge()?;
    cell.restarted();
    again(cell, id, false, "unknown_ticket")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Over;

    #[test]
    fn every_case_is_one_of_tcp_or_has_its_own_play() {
        assert_eq!(cases().len(), SAME.len() + OWN.len());
        assert!(cases().iter().all(|case| Over::of(case.name) == Over::Quic));
    }
}
