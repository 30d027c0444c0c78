//! `cutwater demo`.

use crate::support::edge::run;

#[tokio::test]
async fn the_demo_shows_what_it_promises() {
    let (status, out, err) = run(&["demo", "--once"]).await;
    assert!(status.success(), "{out}{err}");
    for part in [
        "full      shop.demo.test",
        "resumed   shop.demo.test",
        "0-RTT     shop.demo.test",
        "sent again 4 times: refused as replay_suspected",
        "wait      pay.demo.test      POST /order",
        "off       static.demo.test",
        "everything was as it should be",
    ] {
        assert!(out.contains(part), "{part:?} is missing from:\n{out}");
    }
    assert!(!out.contains("WRONG"), "{out}");
    assert_eq!(err, "");
}
