//! curl and OpenSSL as clients.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::http::stand::{NAME, Stand, forward, get, pattern, respond};
use crate::support::origin::{Origin, Reply};
use crate::support::tool::{curl, openssl};
use crate::support::within;

async fn stand() -> (Origin, Stand) {
    let origin = Origin::start(|asked| Reply::ok(&asked.body)).await;
    let stand = Stand::start(&(respond("/fixed", "hello\n") + &forward("/", &origin))).await;
    (origin, stand)
}

/// What curl writes for these arguments.
async fn run(curl: &PathBuf, stand: &Stand, arguments: &[&str], path: &str) -> Vec<u8> {
    let port = stand.edge.address().port();
    let command = Command::new(curl)
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*"])
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .arg("--cacert")
        .arg(stand.pki.ca_file())
        .args(arguments)
        // curl would offer http/1.0 by ALPN, which no site has.
        .args(arguments.contains(&"--http1.0").then_some("--no-alpn"))
        .arg(format!("https://{NAME}:{port}{path}"))
        .output();
    let output = within("curl", command).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {said}");
    output.stdout
}

#[tokio::test]
async fn curl_speaks_every_version() {
    let Some(curl) = curl() else { return };
    let (origin, stand) = stand().await;
    let body = pattern(1_000_000);
    let file = stand.edge.directory().join("body");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    for (argument, version) in [("--http1.0", "1"), ("--http1.1", "1.1"), ("--http2", "2")] {
        let format = "%{http_version} %{response_code}";
        let said = run(&curl, &stand, &[argument, "--write-out", format], "/fixed").await;
        assert_eq!(
            String::from_utf8(said).unwrap(),
            format!("hello\n{version} 200")
        );
        let post = [argument, "--data-binary", &data];
        assert!(
            run(&curl, &stand, &post, "/mirror").await == body,
            "{argument}"
        );
        // With Expect: 100-continue, and in chunks.
        let put = [
            argument,
            "--upload-file",
            &file.display().to_string(),
            "-H",
            "Expect: 100-continue",
        ];
        assert!(
            run(&curl, &stand, &put, "/mirror").await == body,
            "{argument}"
        );
        let head = run(&curl, &stand, &[argument, "--head"], "/fixed").await;
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains("content-length: 6\r\n"), "{head}");
    }
    let chunked = [
        "--http1.1",
        "--data-binary",
        &data,
        "-H",
        "Transfer-Encoding: chunked",
    ];
    assert!(run(&curl, &stand, &chunked, "/mirror").await == body);
    assert!(origin.requests().iter().all(|asked| asked.body == body));
    let lines = stand
        .edge
        .until_accesses(10, |line| line["status"] == 200)
        .await;
    assert!(
        lines.iter().any(|line| line["protocol"] == "h2"),
        "{:?}",
        lines[0]
    );
}

#[tokio::test]
async fn openssl_gets_an_answer_and_a_clean_end() {
    let Some(openssl) = openssl() else { return };
    let (_origin, stand) = stand().await;
    let mut child = Command::new(openssl)
        .args([
            "s_client",
            "-quiet",
            "-servername",
            NAME,
            "-verify_return_error",
        ])
        .args(["-connect", &stand.edge.address().to_string()])
        .arg("-CAfile")
        .arg(stand.pki.ca_file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let request = get("/fixed").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).await.unwrap();
    let output = within("openssl", child.wait_with_output()).await.unwrap();
    drop(stdin);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\nhello\n"), "{said}");
    let line = stand.edge.until_connection(|_| true).await;
    assert_eq!(line["end"], "clean");
}
