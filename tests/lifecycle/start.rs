use rustls::AlertDescription;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::house::{HELLO, House, NAME, get};
use crate::support::client::{Client, Ending};
use crate::support::edge::{Start, run};
use crate::support::within;

#[tokio::test]
async fn every_error_of_a_config_is_told_at_its_place() {
    let house = House::new();
    let config = house
        .config("backlogg = 7", HELLO)
        .replace("hello\\n\" }", "hello\\n\", status = 99 }");
    let (status, output) = Start::with(&config).try_run().await.err().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("cutwater.toml:6:1"), "{output}");
    assert!(output.contains("`backlog`"), "a hint: {output}");
    let line = config.lines().position(|line| line.contains("99")).unwrap() + 1;
    assert!(
        output.contains(&format!("cutwater.toml:{line}:")),
        "{output}"
    );
    assert!(output.contains("not started"), "{output}");
}

#[tokio::test]
async fn a_missing_config_is_named() {
    let (status, _, stderr) = run(&["serve", "--config", "/nowhere/cutwater.toml"]).await;
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("/nowhere/cutwater.toml"), "{stderr}");
}

#[tokio::test]
async fn wrong_usage_exits_2() {
    for arguments in [&["serve", "--colour"][..], &["sreve"], &[]] {
        let (status, _, stderr) = run(arguments).await;
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        assert!(stderr.contains("Usage"), "{stderr}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let house = House::new();
    let listen = format!("[[listen]]\nname = \"other\"\naddress = \"{address}\"");
    let (status, output) = Start::with(&house.config(&listen, HELLO))
        .try_run()
        .await
        .err()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(output.contains(&address), "{output}");
}

#[tokio::test]
async fn an_admin_address_in_use_and_a_log_that_cannot_be_opened_are_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let house = House::new();
    let admin = house.config("", HELLO).replacen("127.0.0.1:0", &address, 1);
    let log = house.config("[log]\naccess = \"nowhere/access.log\"", HELLO);
    for (config, named) in [(admin, address.as_str()), (log, "nowhere/access.log")] {
        let (status, output) = Start::with(&config).try_run().await.err().unwrap();
        assert_eq!(status.code(), Some(1));
        assert!(output.contains(named), "{output}");
    }
}

#[tokio::test]
async fn a_socket_file_left_behind_by_a_crash_is_no_hindrance() {
    let house = House::new();
    let socket = house.pki.directory().join("admin.sock");
    let unix = format!("unix:{}", socket.display());
    let config = house.config("", HELLO).replacen("127.0.0.1:0", &unix, 1);
    let mut first = Start::with(&config).run().await;
    first.crash().await;
    assert!(socket.exists());
    let second = Start::with(&config).run().await;
    let mut client = house.open(&second).await;
    client.send(&get("/")).await;
    assert_eq!(client.response().await.status, 200);
}

/// The good site and one whose key is not its certificate's.
fn half_broken(house: &House) -> String {
    let broken = house.pki.mismatched_files(&["broken.example"]).toml();
    let more =
        format!("{HELLO}[[site]]\nnames = [\"broken.example\"]\ncertificate = {broken}\n{HELLO}");
    house.config("", &more)
}

#[tokio::test]
async fn strict_does_not_start_with_a_broken_site() {
    let house = House::new();
    let start = Start::with(&half_broken(&house)).argument("--strict");
    let (status, output) = start.try_run().await.err().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("broken.example"), "{output}");
    assert!(output.contains("--strict"), "{output}");
}

#[tokio::test]
async fn a_broken_site_is_refused_alone() {
    let house = House::new();
    let edge = Start::with(&half_broken(&house)).run().await;
    let mut broken = Client::connect(edge.address(), "broken.example", &house.client()).await;
    broken.send_pending().await;
    let alert = Ending::Alert(AlertDescription::InternalError);
    assert_eq!(broken.ending().await, alert);
    let mut good = house.open(&edge).await;
    good.send(&get("/")).await;
    assert_eq!(good.response().await.status, 200);
    assert_eq!(edge.metric("cutwater_sites_refused", &[]).await, 1.0);
    assert_eq!(edge.metric("cutwater_sites", &[]).await, 1.0);
    edge.until_text("mismatched-broken.example").await;
    let errors = edge
        .metric("cutwater_client_hello_errors_total", &["site_refused"])
        .await;
    assert_eq!(errors, 1.0);
    assert!(
        edge.access()
            .iter()
            .all(|line| line["status"] != Value::Null)
    );
}

#[tokio::test]
async fn a_plain_listener_redirects_within_its_time() {
    let house = House::new();
    let listen = "[[listen]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\ntls = false\n\
                  timeouts = { client_hello = \"400ms\" }";
    let edge = house.start(listen, HELLO).await;
    let port = edge.listener("public").port();
    let ask = async |request: String| {
        let mut stream = tokio::net::TcpStream::connect(edge.listener("plain"))
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        within("the end", stream.read_to_string(&mut text))
            .await
            .unwrap();
        text
    };
    let text = ask(format!("GET /a?b HTTP/1.1\r\nhost: {NAME}\r\n\r\n")).await;
    assert!(text.starts_with("HTTP/1.1 308 "), "{text}");
    let location = format!("location: https://{NAME}:{port}/a?b\r\n");
    assert!(text.contains(&location), "{text}");
    let text = ask("GET / HTTP/1.1\r\nhost: elsewhere.example\r\n\r\n".to_owned()).await;
    assert!(text.starts_with("HTTP/1.1 421 "), "{text}");
    // Half a head is cut.
    assert_eq!(ask("GET / HTTP/1.1\r\nhost".to_owned()).await, "");
}
