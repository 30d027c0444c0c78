//! `cutwater demo`.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::edge::run;
use crate::support::within;

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
        "h3 full   shop.demo.test",
        "h3 0-RTT  shop.demo.test",
        "everything was as it should be",
    ] {
        assert!(out.contains(part), "{part:?} is missing from:\n{out}");
    }
    assert!(!out.contains("WRONG"), "{out}");
    assert_eq!(err, "");
}

#[tokio::test]
async fn the_demo_says_what_it_cannot_do() {
    let command = Command::new(env!("CARGO_BIN_EXE_cutwater"))
        .args(["demo", "--once"])
        .env("TMPDIR", "/nowhere/at/all")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("the program's end", command).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.starts_with("error: /nowhere/at/all/cutwater-demo-"),
        "{err}"
    );
}
