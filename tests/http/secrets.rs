//! Secrets that stand in the environment or in files of their own.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::http::stand::{NAME, Stand, forward, get, route};
use crate::support::edge::run;
use crate::support::origin::{Origin, Reply};
use crate::support::within;

const SET: &str = r#"
request_headers = { set = { authorization = "Bearer ${CUTWATER_TOKEN}", x-key = "file:key.txt", x-literal = "$${x}" } }
"#;

#[tokio::test]
async fn an_origin_gets_secrets_that_the_configuration_only_names() {
    let origin = Origin::start(|_| Reply::ok("ok")).await;
    let stand = Stand::start_with(&(forward("/", &origin) + SET), |start| {
        start
            .environment("CUTWATER_TOKEN", "s3cret-token")
            .file("key.txt", "s3cret-key\n")
    })
    .await;
    assert_eq!(stand.ask(&get("/")).await.status, 200);
    let asked = &origin.requests()[0];
    assert_eq!(asked.field("host"), Some(NAME));
    assert_eq!(asked.field("authorization"), Some("Bearer s3cret-token"));
    assert_eq!(asked.field("x-key"), Some("s3cret-key"));
    assert_eq!(asked.field("x-literal"), Some("${x}"));
}

#[tokio::test]
async fn a_secret_that_is_missing_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutwater.toml");
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"${CUTWATER_NOT_THERE}\"\n";
    std::fs::write(&path, text).unwrap();
    let (status, _, said) = run(&["check", "--config", path.to_str().unwrap()]).await;
    assert!(!status.success());
    let message = "the environment has no variable `CUTWATER_NOT_THERE`";
    assert!(said.contains(message), "{said}");
    assert!(said.contains(":4:9"), "{said}");
    assert!(said.contains("1 error\n"), "{said}");
}

/// Never indexed (RFC 7541 §6.2.3), indexed (§6.2.1), or neither (§6.2.2), with a name of the static table
/// whose place in it is beyond 14.
fn literal(kind: u8, place: u8) -> [u8; 2] {
    [kind | 0x0f, place - 15]
}

#[tokio::test]
async fn secrets_are_never_indexed_over_http2() {
    const FIELDS: &str = r#"
request_headers = { set = { authorization = "${CUTWATER_TOKEN}", from = "at $host: ${CUTWATER_TOKEN}", referer = "file:key.txt", max-forwards = "9" } }
"#;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    let routes = route("/", &format!("origin = [{url:?}]")) + FIELDS;
    let stand = Stand::start_with(&routes, |start| {
        start
            .environment("CUTWATER_TOKEN", "s3cret-token")
            .file("key.txt", "s3cret-key\n")
    })
    .await;
    let mut client = stand.http1().await;
    client.send(get("/").as_bytes()).await;
    let (mut socket, _) = within("a connection", listener.accept()).await.unwrap();
    // SETTINGS, empty.
    socket
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let mut preface = [0; 24];
    within("a preface", socket.read_exact(&mut preface))
        .await
        .unwrap();
    let block = loop {
        let mut head = [0; 9];
        within("a frame", socket.read_exact(&mut head))
            .await
            .unwrap();
        let mut frame = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        within("a frame", socket.read_exact(&mut frame))
            .await
            .unwrap();
        if head[3] == 1 {
            break frame;
        }
    };
    let has = |bytes: [u8; 2]| block.windows(2).any(|window| window == bytes);
    // authorization, from, referer.
    for place in [23, 37, 51] {
        assert!(has(literal(0x10, place)), "{place}: {block:02x?}");
    }
    assert!(!has(literal(0x10, 47)) && block.contains(&(0x40 | 47)));
}
