use super::*;

const ADDRESSES: [&str; 2] = ["127.0.0.1:1", "127.0.0.1:2"];

fn round(order: Order, outcomes: &[(usize, Outcome)]) -> Round {
    let addresses = ADDRESSES.map(|text| text.parse().unwrap());
    let flight = FlightSummary {
        bytes: 600,
        early_data: 40,
        allowed: 16_384,
        suite: "TLS13_AES_128_GCM_SHA256".to_owned(),
        group: "X25519".to_owned(),
    };
    let outcomes = outcomes.iter();
    let outcomes = outcomes.map(|(at, outcome)| (addresses[*at], outcome.clone()));
    Round::counted(order, flight, &addresses, outcomes.collect())
}

#[test]
fn once_is_clear_twice_is_not_and_a_refused_original_proves_nothing() {
    use Outcome::{Accepted, FullHandshake};
    let finding = |order, outcomes: &[(usize, Outcome)]| round(order, outcomes).finding;
    let once = [(0, Accepted), (1, FullHandshake), (0, FullHandshake)];
    let twice = [(0, Accepted), (1, Accepted)];
    let late = [(0, FullHandshake), (1, Accepted)];
    let never = [(0, FullHandshake), (1, FullHandshake)];
    for order in [Order::InTurn, Order::AtOnce] {
        assert_eq!(finding(order, &once), Finding::Clear);
        assert_eq!(finding(order, &twice), Finding::AcceptedTwice);
        assert_eq!(finding(order, &never), Finding::Inconclusive);
    }
    // What the server does not answer proves nothing either.
    let unheard = [
        (0, Accepted),
        (1, Outcome::Timeout),
        (0, Outcome::Unreachable(String::new())),
    ];
    assert_eq!(finding(Order::InTurn, &unheard), Finding::Inconclusive);
    assert_eq!(
        finding(Order::AtOnce, &[(0, Accepted)]),
        Finding::Inconclusive
    );
    // At once, none is the original.
    assert_eq!(finding(Order::InTurn, &late), Finding::Inconclusive);
    assert_eq!(finding(Order::AtOnce, &late), Finding::Clear);
}

#[test]
fn the_worst_round_is_the_result() {
    let clear = || {
        round(
            Order::InTurn,
            &[(0, Outcome::Accepted), (0, Outcome::Reset)],
        )
    };
    let failed = || Round::failed(Order::AtOnce, "no ticket".to_owned());
    let twice = || {
        round(
            Order::AtOnce,
            &[(0, Outcome::Accepted), (0, Outcome::Accepted)],
        )
    };
    let code = |rounds| ReplayReport::new(rounds).exit_code;
    assert_eq!(code(vec![clear(), clear()]), 0);
    assert_eq!(code(vec![clear(), failed()]), 3);
    assert_eq!(code(vec![twice(), failed()]), 1);
    assert_eq!(code(vec![]), 3);
}

#[test]
fn a_report_reads_well_and_says_the_same_to_programs() {
    let outcomes = [
        (0, Outcome::Accepted),
        (1, Outcome::FullHandshake),
        (0, Outcome::Accepted),
        (1, Outcome::Alert("unexpected_message")),
    ];
    let failed = Round::failed(Order::AtOnce, "no ticket came".to_owned());
    let report = ReplayReport::new(vec![round(Order::InTurn, &outcomes), failed]);
    let text = "\
one after the other: 4 × 600 bytes (40 of early data), TLS13_AES_128_GCM_SHA256, X25519
  the original: accepted
  127.0.0.1:1: 2 of 2 accepted
  127.0.0.1:2: 0 of 2 accepted, 1 full handshake, 1 alert: unexpected_message
at once: no ticket came
REPLAYED: a flight was accepted as early data more than once
";
    assert_eq!(report.to_string(), text);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["finding"], "accepted_twice");
    assert_eq!(json["exit_code"], 1);
    let round = &json["rounds"][0];
    assert_eq!(round["order"], "in_turn");
    assert_eq!(round["original"], "accepted");
    assert_eq!(round["accepted"], 2);
    let second = &round["addresses"][1];
    assert_eq!(second["address"], "127.0.0.1:2");
    assert_eq!(second["outcomes"]["alert: unexpected_message"], 1);
    assert_eq!(json["rounds"][1]["trouble"], "no ticket came");
}
