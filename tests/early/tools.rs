//! The same with other people's clients: OpenSSL and curl.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::early::scene::{NAME, Scene};
use crate::support::tool::{curl, openssl};
use crate::support::within;

const REQUEST: &str = "GET /?openssl HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";

/// Runs a program with this input.
async fn run(mut command: Command, input: &str) -> String {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes()).await;
    let ended = async {
        let output = child.wait_with_output().await.unwrap();
        drop(stdin);
        output
    };
    let Output { stdout, stderr, .. } = within("the program's end", ended).await;
    let text = [stdout, stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn s_client(scene: &Scene, program: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["s_client", "-tls1_3", "-ign_eof", "-servername", NAME])
        .args(["-alpn", "http/1.1", "-verify_return_error", "-CAfile"])
        .arg(scene.ca_file())
        .args(["-connect", &scene.edge.address().to_string()])
        .args(arguments);
    command
}

#[tokio::test]
async fn openssl_is_accepted_once_and_its_session_again_is_not() {
    let Some(program) = openssl() else { return };
    let scene = Scene::start().await;
    let session = scene.edge.directory().join("session.pem");
    let session = session.to_str().unwrap();
    let early = scene.edge.write("early.txt", REQUEST);
    let early = early.to_str().unwrap();

    let first = s_client(&scene, &program, &["-sess_out", session]);
    let text = run(first, REQUEST).await;
    assert!(text.contains("200 OK") && text.contains("hello"), "{text}");
    assert!(text.contains("Max Early Data: 16384"), "{text}");

    let arguments = ["-sess_in", session, "-early_data", early];
    let text = run(s_client(&scene, &program, &arguments), "").await;
    assert!(text.contains("Early data was accepted"), "{text}");
    assert!(
        text.contains("Reused, TLSv1.3") && text.contains("hello"),
        "{text}"
    );

    // The same session file: the ticket is used up. It says the request again in 1-RTT.
    let text = run(s_client(&scene, &program, &arguments), REQUEST).await;
    assert!(text.contains("Early data was rejected"), "{text}");
    assert!(
        text.contains("New, TLSv1.3") && text.contains("hello"),
        "{text}"
    );

    let lines = scene
        .edge
        .until_accesses(3, |line| line["path"] == "/?openssl")
        .await;
    let early: Vec<_> = lines
        .iter()
        .map(|line| line["early"].as_str().unwrap())
        .collect();
    assert_eq!(early, ["none", "served", "none"]);
    assert_eq!(scene.refused("replay_suspected").await, 1.0);
    scene.settle(0).await;
}

#[tokio::test]
async fn openssl_gets_past_rejected_early_data_of_16384_bytes() {
    let Some(program) = openssl() else { return };
    let mut scene = Scene::start().await;
    let session = scene.edge.directory().join("session.pem");
    let text = run(
        s_client(&scene, &program, &["-sess_out", session.to_str().unwrap()]),
        REQUEST,
    )
    .await;
    assert!(text.contains("Max Early Data: 16384"), "{text}");
    let kept = std::fs::read_to_string(&session).unwrap();
    scene.restart().await;
    let session = scene.edge.write("session.pem", &kept);
    let early = scene.edge.write("early.txt", &"x".repeat(16_384));
    let arguments = [
        "-sess_in",
        session.to_str().unwrap(),
        "-early_data",
        early.to_str().unwrap(),
    ];
    let text = run(s_client(&scene, &program, &arguments), REQUEST).await;
    assert!(text.contains("Early data was rejected"), "{text}");
    assert!(text.contains("hello"), "{text}");
    assert_eq!(scene.refused("unknown_ticket").await, 1.0);
    scene.settle(0).await;
}

#[tokio::test]
async fn curl_is_answered_and_its_early_data_is_taken_where_it_can_send_any() {
    let Some(program) = curl() else { return };
    let scene = Scene::start().await;
    let port = scene.edge.address().port();
    let url = format!("https://{NAME}:{port}/");
    let resolve = format!("{NAME}:{port}:127.0.0.1");
    let fetch = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(["-sS", "--http1.1", "--resolve", &resolve, "--cacert"])
            .arg(scene.ca_file())
            .args(arguments);
        command
    };
    assert_eq!(run(fetch(&[&url]), "").await, "hello");
    let mut help = Command::new(&program);
    help.args(["--help", "all"]);
    if !run(help, "").await.contains("--tls-earlydata") {
        eprintln!("skipped: this curl sends no early data");
        return;
    }
    // Two connections of one run share a session.
    let close = ["-H", "connection: close", "--tls-earlydata", &url, &url];
    assert_eq!(run(fetch(&close), "").await, "hellohello");
    scene.settle(0).await;
}
