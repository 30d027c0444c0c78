use std::process::ExitCode;

use tempfile::TempDir;

use super::*;
use crate::command::tell;
use crate::expected::{Expected, Verdict};
use crate::ground::stand::{DOWN, Stand};
use crate::peers;

/// A client that can do nothing.
const CANNOT: &str = r#"echo '{"unsupported": "a script"}'; exit 127"#;
/// A server that says `full` for each of three operations of [`LOADS`].
const SERVES: &str = ": >> said; echo ready; exec tail -n +1 -f said >&2";
/// A load generator to which all is well.
const LOADS: &str = r#"printf 'full\nfull\nfull\n' >> said
echo '{"counts": {"operations": 3, "requests": 3, "full": 3}, "errors": {}, "rounds": []}'"#;
/// A case of both directions, in which a server needs no relay.
const SERVED: &str = "full-ipv6";

const PEER: &str = "
    [[peer]]
    name = 'stand'
    title = 'Stand'
    can = ['client', 'server']
    server_says = { full = 'full' }
";

/// What is expected of a case.
fn expects(direction: Direction, case: &str, result: &str) -> String {
    format!(
        "[[expected]]\ndirection = '{direction}'\npeers = ['stand']\ncases = ['{case}']\n\
         result = '{result}'\nsays = 'a script'\nreason = 'it is one'\n"
    )
}

/// Runs these cases; all that was found, and the exit code.
fn play(
    stand: &Stand,
    directory: &TempDir,
    directions: &[Direction],
    cases: &[&str],
    expected: &str,
) -> (Run, ExitCode) {
    let plan = Plan {
        output: directory.path().join("output"),
        peers: peers::parse(PEER).unwrap(),
        failed: Vec::new(),
        cases: cases.iter().map(|&case| case.into()).collect(),
        directions: directions.to_vec(),
        expected: Expected::parse(expected, &["stand".into()], cases).unwrap(),
        whole: true,
        commit: None,
    };
    let found = run(&plan, stand, directory.path()).unwrap();
    let code = tell(&found);
    (found, code)
}

fn stand() -> (TempDir, Stand) {
    let directory = tempfile::tempdir().unwrap();
    let mut stand = Stand::new(directory.path());
    (stand.client, stand.server, stand.load) = (CANNOT, SERVES, LOADS);
    (directory, stand)
}

fn verdicts(found: &Run) -> Vec<&Verdict> {
    found.cells.iter().map(|cell| &cell.verdict).collect()
}

const BOTH: [Direction; 2] = [Direction::Clients, Direction::Servers];

fn as_expected() -> Verdict {
    Verdict::Expected("it is one".into())
}

#[test]
fn a_run_in_which_all_is_as_expected_ends_with_0() {
    let (directory, stand) = stand();
    let expected = expects(Direction::Clients, SERVED, "unsupported");
    let (found, code) = play(&stand, &directory, &BOTH, &[SERVED], &expected);
    assert_eq!(verdicts(&found), [&as_expected(), &Verdict::Pass]);
    assert_eq!(found.remarks, [] as [&str; 0]);
    assert!(found.whole);
    assert_eq!(stand.starts(), 1);
    assert_eq!(code, ExitCode::SUCCESS);
}

#[test]
fn one_unexpected_result_makes_it_end_with_1() {
    let (directory, mut stand) = stand();
    // It says nothing of what our client got.
    stand.server = "echo ready; exec cat";
    let expected = expects(Direction::Clients, SERVED, "unsupported");
    let (found, code) = play(&stand, &directory, &BOTH, &[SERVED], &expected);
    assert_eq!(verdicts(&found), [&as_expected(), &Verdict::Unexpected]);
    assert_eq!(code, ExitCode::from(1));
}

#[test]
fn one_stale_expectation_makes_it_end_with_1() {
    let (directory, stand) = stand();
    let expected = [
        expects(Direction::Clients, SERVED, "unsupported"),
        expects(Direction::Servers, SERVED, "fail"),
    ];
    let (found, code) = play(&stand, &directory, &BOTH, &[SERVED], &expected.concat());
    let stale = Verdict::Stale("it is one".into());
    assert_eq!(verdicts(&found), [&as_expected(), &stale]);
    assert_eq!(code, ExitCode::from(1));
}

/// Ends the edge during the first call, and goes on once it is gone for the runner to see. What stands
/// for the edge is ready before its script has begun, so its number may still be to come.
const ENDS_IT: &str = r#"if [ ! -e ended ]; then
    : > ended
    until read edge 2> no-number < starts; do sleep 0.01; done
    kill -KILL "$edge"
    until [ ! -e "/proc/$edge" ] || grep -q '^State:.Z' "/proc/$edge/status"; do :; done
fi
echo '{"unsupported": "a script"}'; exit 127"#;

#[test]
fn an_edge_that_ends_during_a_cell_is_told_of_and_started_again_for_the_next_one() {
    let (directory, mut stand) = stand();
    stand.client = ENDS_IT;
    let expected = ["full", "resumption"]
        .map(|case| expects(Direction::Clients, case, "unsupported"))
        .concat();
    let cases = ["full", "resumption"];
    let (found, code) = play(&stand, &directory, &BOTH[..1], &cases, &expected);
    assert_eq!(verdicts(&found), [&as_expected(), &as_expected()]);
    assert_eq!(stand.starts(), 2);
    assert_eq!(found.remarks, ["The edge ended during stand full: "]);
    assert!(found.whole, "no cell is missing");
    assert_eq!(code, ExitCode::from(1), "whatever the cells say");
}

#[test]
fn a_run_whose_edge_does_not_start_again_ends_there() {
    let (directory, mut stand) = stand();
    stand.client = Box::leak(format!(": > {DOWN}; {ENDS_IT}").into_boxed_str());
    let cases = ["full", "resumption"];
    let expected = expects(Direction::Clients, "*", "unsupported");
    let (found, code) = play(&stand, &directory, &BOTH[..1], &cases, &expected);
    assert_eq!(found.cells.len(), 1);
    assert_eq!(stand.starts(), 2);
    let [_, last] = &found.remarks[..] else {
        panic!("{:?}", found.remarks);
    };
    assert_eq!(
        last,
        "The run ended there: the edge does not start\nno more"
    );
    assert!(!found.whole);
    assert_eq!(code, ExitCode::from(1));
}
