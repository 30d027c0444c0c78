use http::Request;

use super::*;
use EarlyDataPolicy::{Allow, Refuse, Safe, Wait};

const CONFIRMED: Decision = Decision::Proceed {
    early_forward: false,
};
const PASSES: Decision = Decision::Proceed {
    early_forward: true,
};
const WAITS: Decision = Decision::Wait;
const TOO_EARLY: Decision = Decision::TooEarly;

const LOCAL: TargetKind = TargetKind::Local;
const HANDLER: TargetKind = TargetKind::Handler;
const AWARE: TargetKind = TargetKind::Origin { aware: true };
const UNAWARE: TargetKind = TargetKind::Origin { aware: false };

/// Policy, target, safe → early and unmarked, marked (early or not). No Upgrade, no CONNECT.
const TABLE: [(EarlyDataPolicy, TargetKind, bool, Decision, Decision); 32] = [
    // R13 `refuse`: 425. R18: marked too.
    (Refuse, LOCAL, false, TOO_EARLY, TOO_EARLY),
    (Refuse, LOCAL, true, TOO_EARLY, TOO_EARLY),
    (Refuse, HANDLER, false, TOO_EARLY, TOO_EARLY),
    (Refuse, HANDLER, true, TOO_EARLY, TOO_EARLY),
    (Refuse, AWARE, false, TOO_EARLY, TOO_EARLY),
    (Refuse, AWARE, true, TOO_EARLY, TOO_EARLY),
    (Refuse, UNAWARE, false, TOO_EARLY, TOO_EARLY),
    (Refuse, UNAWARE, true, TOO_EARLY, TOO_EARLY),
    // R13 `wait`: until confirmed. R18: waiting clears no mark.
    (Wait, LOCAL, false, WAITS, TOO_EARLY),
    (Wait, LOCAL, true, WAITS, TOO_EARLY),
    (Wait, HANDLER, false, WAITS, TOO_EARLY),
    (Wait, HANDLER, true, WAITS, TOO_EARLY),
    (Wait, AWARE, false, WAITS, TOO_EARLY),
    (Wait, AWARE, true, WAITS, TOO_EARLY),
    (Wait, UNAWARE, false, WAITS, TOO_EARLY),
    (Wait, UNAWARE, true, WAITS, TOO_EARLY),
    // R13 `safe`: safe ones at once, others wait. R18: marked as if early, 425 where it would wait.
    (Safe, LOCAL, false, WAITS, TOO_EARLY),
    (Safe, LOCAL, true, PASSES, PASSES),
    (Safe, HANDLER, false, WAITS, TOO_EARLY),
    (Safe, HANDLER, true, PASSES, PASSES),
    (Safe, AWARE, false, WAITS, TOO_EARLY),
    (Safe, AWARE, true, PASSES, PASSES),
    // R16: for an origin that is not aware, `safe` means `wait`.
    (Safe, UNAWARE, false, WAITS, TOO_EARLY),
    (Safe, UNAWARE, true, WAITS, TOO_EARLY),
    // R13 `allow`: all. R18: marked goes to whoever can judge it, else as `safe`.
    (Allow, LOCAL, false, PASSES, TOO_EARLY),
    (Allow, LOCAL, true, PASSES, PASSES),
    (Allow, HANDLER, false, PASSES, PASSES),
    (Allow, HANDLER, true, PASSES, PASSES),
    (Allow, AWARE, false, PASSES, PASSES),
    (Allow, AWARE, true, PASSES, PASSES),
    // R16: for an origin that is not aware, `allow` means `wait`.
    (Allow, UNAWARE, false, WAITS, TOO_EARLY),
    (Allow, UNAWARE, true, WAITS, TOO_EARLY),
];

fn row(policy: EarlyDataPolicy, target: TargetKind, safe: bool) -> (Decision, Decision) {
    let mut rows = TABLE
        .iter()
        .filter(|row| (row.0, row.1, row.2) == (policy, target, safe));
    let row = rows.next().expect("every combination has a row");
    assert!(rows.next().is_none(), "one row only");
    (row.3, row.4)
}

#[test]
fn every_combination_decides_as_r13_r16_and_r18_say() {
    let both = [false, true];
    let mut seen = 0;
    for policy in [Refuse, Wait, Safe, Allow] {
        for target in [LOCAL, HANDLER, AWARE, UNAWARE] {
            for safe in both {
                let (when_early, when_marked) = row(policy, target, safe);
                for early in both {
                    for marked in both {
                        for upgrade_or_connect in both {
                            let input = GateInput {
                                policy,
                                early,
                                marked,
                                safe,
                                upgrade_or_connect,
                                target,
                            };
                            let expected = match (early, marked, upgrade_or_connect) {
                                (false, false, _) => CONFIRMED,
                                // R13: Upgrade and CONNECT wait under every policy; R18: marked
                                // ones get 425 where they would wait.
                                (_, true, true) => TOO_EARLY,
                                (true, false, true) => WAITS,
                                // R18: with early data off and under TLS 1.2 too.
                                (_, true, false) => when_marked,
                                (true, false, false) => when_early,
                            };
                            assert_eq!(decide(input), expected, "{input:?}");
                            seen += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(seen, 256);
}

fn parts(builder: http::request::Builder) -> Parts {
    builder.body(()).unwrap().into_parts().0
}

fn get() -> http::request::Builder {
    Request::get("/")
}

#[test]
fn r13_safe_is_get_head_options_without_content() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert!(is_safe(&parts(Request::builder().method(method)), true));
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get"] {
        assert!(!is_safe(&parts(Request::builder().method(method)), true));
    }
    assert!(is_safe(&parts(get().header("content-length", "0")), true));
    assert!(!is_safe(&parts(get()), false), "body still to come");
    for (name, value) in [
        ("content-length", "1"),
        ("content-length", "00"),
        ("content-length", "0, 0"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("x-http-method-override", "DELETE"),
        ("X-Method-Override", "DELETE"),
        ("X-HTTP-Method", "DELETE"),
        ("x_http_method_override", "DELETE"),
    ] {
        assert!(!is_safe(&parts(get().header(name, value)), true), "{name}");
    }
    let repeated = get()
        .header("content-length", "0")
        .header("content-length", "5");
    assert!(!is_safe(&parts(repeated), true));
}

#[test]
fn upgrade_and_connect_are_told() {
    assert!(is_upgrade_or_connect(&parts(
        get().header("upgrade", "h2c")
    )));
    assert!(is_upgrade_or_connect(&parts(
        Request::builder().method("CONNECT").uri("a:1")
    )));
    assert!(!is_upgrade_or_connect(&parts(get())));
}
