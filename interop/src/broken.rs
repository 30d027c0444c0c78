//! Broken servers: each is to be caught by the cell that should catch it, in the way in which it
//! should. A harness in which everything passes has shown nothing yet.

use std::path::Path;

use crate::cases::{self, servers};
use crate::expected::Outcome;
use crate::ground::Ground;
use crate::lab::Lab;
use crate::peers::Peer;
use crate::run;
use crate::sites::Mistake;

/// An edge that is configured wrongly, as operators may do it; no protection of the product can be
/// switched off.
struct Broken {
    what: &'static str,
    mistake: Option<Mistake>,
    case: &'static str,
    /// What the cell has to say, and what its log has to show beside that; without it, the cell has to
    /// pass.
    says: Option<[&'static str; 2]>,
}

const EDGES: [Broken; 5] = [
    Broken {
        what: "certificates of an authority that nobody trusts",
        mistake: Some(Mistake::WrongAuthority),
        case: "full",
        says: Some([
            "edge, connection 0, handshake: Some(\"false\"), should be Some(\"true\")",
            "\"alert_received\":\"unknown_ca\"",
        ]),
    },
    Broken {
        what: "a route that waits where it should answer early",
        mistake: Some(Mistake::SafeWaits),
        case: "early-before-finished",
        says: Some([
            "not so: the answer came while the relay withheld Finished",
            "",
        ]),
    },
    Broken {
        what: "a route that answers early where it should wait",
        mistake: Some(Mistake::WaitAnswers),
        case: "early-wait-route",
        says: Some(["not so: no answer came while the relay withheld it", ""]),
    },
    Broken {
        what: "a certificate without its staple",
        mistake: Some(Mistake::NoStaple),
        case: "staple",
        says: Some([
            "peer, connection 0, staple: Some(\"none\"), should be Some(\"good\")",
            "",
        ]),
    },
    // Without this the others might fail for a reason of their own.
    Broken {
        what: "nothing",
        mistake: None,
        case: "early-before-finished",
        says: None,
    },
];

/// Tries them all with a peer's client, and those servers that are known to take replays; tells of
/// each on standard error. Whether all were caught.
///
/// # Errors
/// Something does not start.
pub fn run(
    ground: &dyn Ground,
    directory: &Path,
    client: &Peer,
    replayed: &Peer,
) -> Result<bool, String> {
    let mut good = true;
    ground.ready_client(client)?;
    for broken in EDGES {
        let mut cases = cases::of_clients();
        let case = cases
            .find(|case| case.name == broken.case)
            .ok_or("no such case")?;
        let mut lab = Lab::start(ground, directory, broken.mistake)?;
        let (outcome, log, _) = run::play(&mut lab, client, case)?;
        good &= told(broken.what, broken.case, &outcome, broken.says, &log);
    }
    ground.end(&client.name);

    let case = servers::CASES
        .iter()
        .find(|case| case.name == "early-replayed");
    let case = case.ok_or("no such case")?;
    let mut running = servers::Running::default();
    let mut lab = Lab::start(ground, directory, None)?;
    let (outcome, log) = servers::play(&mut lab, replayed, case, &mut running);
    running.end(ground);
    let what = format!("{} with early data, which takes replays", replayed.title);
    good &= told(
        &what,
        case.name,
        &outcome,
        Some(["a flight was accepted twice", ""]),
        &log,
    );
    Ok(good)
}

fn told(what: &str, case: &str, outcome: &Outcome, says: Option<[&str; 2]>, log: &str) -> bool {
    let good = caught(outcome, says, log);
    match (good, says) {
        (true, Some(_)) => eprintln!("caught   {case}: {what}"),
        (true, None) => eprintln!("passed   {case}: {what} is broken"),
        (false, _) => eprintln!("MISSED   {case}: {what}\n{log}"),
    }
    good
}

/// Whether the cell failed for the right reason; passed, if there is none.
fn caught(outcome: &Outcome, says: Option<[&str; 2]>, log: &str) -> bool {
    match (outcome, says) {
        (Outcome::Fail(why), Some([says, shows])) => why.contains(says) && log.contains(shows),
        (Outcome::Pass, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_reason_counts_as_caught() {
        let fail = Outcome::Fail("suite; a flight was accepted twice".into());
        let twice = Some(["accepted twice", ""]);
        assert!(caught(&fail, twice, "log"));
        assert!(caught(&fail, Some(["accepted twice", "log"]), "log"));
        assert!(!caught(&fail, Some(["accepted twice", "other"]), "log"));
        assert!(!caught(&fail, Some(["no answer came", ""]), "log"));
        assert!(!caught(&Outcome::Pass, twice, "log"));
        let unsupported = Outcome::Unsupported("accepted twice".into());
        assert!(!caught(&unsupported, twice, "log"));
        assert!(caught(&Outcome::Pass, None, "log") && !caught(&fail, None, "log"));
    }

    #[test]
    fn every_broken_edge_names_a_case() {
        for broken in EDGES {
            assert!(
                cases::of_clients().any(|case| case.name == broken.case),
                "{}",
                broken.what
            );
        }
    }
}
