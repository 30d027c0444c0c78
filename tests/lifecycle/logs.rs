use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::house::{HELLO, House, NAME, get, pause};
use crate::support::client::{Client, Ending};
use crate::support::edge::{Edge, Start};
use crate::support::http1::Response;
use crate::support::within;

/// Waits until a file has a line of JSON that fits.
async fn until_line(file: &Path, fits: impl Fn(&Value) -> bool) -> Value {
    within("a line in the file", async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let whole = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            for line in whole {
                let line: Value = serde_json::from_str(line).expect("a line of JSON");
                if fits(&line) {
                    return line;
                }
            }
            pause(Duration::from_millis(10)).await;
        }
    })
    .await
}

async fn ask(client: &mut Client, path: &str) {
    client.send(&get(path)).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_renamed_access_log_is_opened_again() {
    let house = House::new();
    let edge = house.start("[log]\naccess = \"access.log\"", HELLO).await;
    let mut client = house.open(&edge).await;
    let file = edge.directory().join("access.log");
    let moved = edge.directory().join("access.log.1");
    ask(&mut client, "/one").await;
    until_line(&file, |line| line["path"] == "/one").await;
    std::fs::rename(&file, &moved).unwrap();
    ask(&mut client, "/two").await;
    until_line(&moved, |line| line["path"] == "/two").await;
    edge.signal("HUP").await;
    within("the new file", async {
        while !file.exists() {
            pause(Duration::from_millis(5)).await;
        }
    })
    .await;
    ask(&mut client, "/three").await;
    let line = until_line(&file, |line| line["path"] == "/three").await;
    assert_eq!(line["status"], 200);
    assert_eq!(line["sni"], NAME);
    assert_eq!(line["protocol"], "h1");
    assert_eq!(line["early"], "none");
    let old = std::fs::read_to_string(&moved).unwrap();
    assert_eq!(old.lines().count(), 2, "{old}");
}

/// A clean connection, then one that is truncated.
async fn two_connections(house: &House, edge: &Edge) {
    let mut clean = house.open(edge).await;
    ask(&mut clean, "/clean").await;
    clean.close_notify().await;
    assert_eq!(clean.ending().await, Ending::CloseNotify);
    drop(clean);
    super::house::until_gauge(edge, "cutwater_connections_open", 0.0).await;
    let mut broken = house.open(edge).await;
    ask(&mut broken, "/broken").await;
    broken.shutdown_write().await;
    broken.ending().await;
    drop(broken);
    super::house::until_gauge(edge, "cutwater_connections_open", 0.0).await;
    // A line of this request is behind all of theirs.
    let mut last = house.open(edge).await;
    ask(&mut last, "/last").await;
    edge.until_access(|line| line["path"] == "/last").await;
}

#[tokio::test]
async fn a_resumed_connection_shows_no_certificate() {
    let house = House::new();
    let edge = house.start("[log]\nconnections = \"all\"", HELLO).await;
    let setup = house.client();
    for (resumed, certificate) in [(false, Value::from("ecdsa_p256")), (true, Value::Null)] {
        let mut client = Client::open(edge.address(), NAME, &setup).await;
        ask(&mut client, "/").await;
        client.close_notify().await;
        client.ending().await;
        let line = edge
            .until_connection(|line| line["resumed"] == resumed)
            .await;
        assert_eq!(line["certificate"], certificate, "{line}");
        assert_eq!(line["alpn"], "http/1.1");
        assert_eq!(line["version"], "1.3");
    }
}

#[tokio::test]
async fn connections_are_logged_as_asked() {
    let house = House::new();
    for (wanted, ends) in [
        ("errors", &["truncated"][..]),
        ("all", &["clean", "truncated"]),
        ("off", &[]),
    ] {
        let log = format!("[log]\nconnections = \"{wanted}\"");
        let edge = house.start(&log, HELLO).await;
        two_connections(&house, &edge).await;
        let lines = edge.connections();
        let found: Vec<_> = lines.iter().map(|line| line["end"].clone()).collect();
        assert_eq!(found, ends, "{wanted}: {lines:#?}");
        for line in lines {
            assert_eq!(line["sni"], NAME);
            assert_eq!(line["requests"], 1);
            assert_eq!(line["client_hellos"], 1);
            assert_eq!(line["certificate"], "ecdsa_p256", "{line}");
            assert!(line["ja4"].as_str().unwrap().starts_with("t13d"));
            assert!(line["handshake_ms"].is_number());
        }
    }
}

#[tokio::test]
async fn lines_that_nobody_reads_are_dropped_and_counted() {
    let house = House::new();
    let edge = Start::with(&house.config("", HELLO))
        .unread_stdout()
        .run()
        .await;
    let mut client = house.open(&edge).await;
    let path = format!("/{}", "x".repeat(7000));
    // More than a pipe, what the writer holds and what may wait.
    for _ in 0..500 {
        ask(&mut client, &path).await;
    }
    let dropped = edge
        .metric("cutwater_log_lines_dropped_total", &["access"])
        .await;
    assert!(dropped > 0.0);
    ask(&mut client, "/").await;
}

#[tokio::test]
async fn an_edge_whose_log_nobody_reads_still_ends() {
    let house = House::new();
    let mut edge = Start::with(&house.config("", HELLO))
        .unread_stdout()
        .run()
        .await;
    let mut client = house.open(&edge).await;
    let path = format!("/{}", "x".repeat(7000));
    for _ in 0..50 {
        ask(&mut client, &path).await;
    }
    client.close_notify().await;
    drop(client);
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn without_an_access_log_there_are_no_lines() {
    let house = House::new();
    let edge = house.start("[log]\naccess = \"off\"", HELLO).await;
    let mut client = house.open(&edge).await;
    ask(&mut client, "/").await;
    client.shutdown_write().await;
    client.ending().await;
    // Connection lines go to standard output then.
    edge.until_connection(|line| line["end"] == "truncated")
        .await;
    assert!(edge.access().is_empty());
}

#[tokio::test]
async fn the_admin_socket_is_for_its_owner_only() {
    let house = House::new();
    let config = house.config("", HELLO).replace(
        "address = \"127.0.0.1:0\"\n[[listen",
        "address = \"unix:admin.sock\"\n[[listen",
    );
    let edge = Start::with(&config).run().await;
    let socket = edge.directory().join("admin.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
    ] {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let get = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        within("the answer", stream.read_to_end(&mut bytes))
            .await
            .unwrap();
        let answer = Response::take(&mut bytes, false, true).unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert!(path != "/metrics" || answer.text().contains("cutwater_build_info"));
    }
}

#[tokio::test]
async fn debug_messages_name_their_connection_and_request() {
    let house = House::new();
    let edge = house.start("[log]\nlevel = \"debug\"", HELLO).await;
    let mut client = house.open(&edge).await;
    ask(&mut client, "/").await;
    let address = client.local_address().to_string();
    let line = edge.until_text("answered").await;
    assert!(
        line.contains("connection:") && line.contains(&address),
        "{line}"
    );
    let line = edge.until_text("handshake complete").await;
    assert!(
        line.contains("connection:") && line.contains(&address),
        "{line}"
    );
}
