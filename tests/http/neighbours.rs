//! Load balancers and proxies in front of the edge: the PROXY protocol, trusted proxies.

mod balancers;
mod origins;
mod trusted;

use std::net::SocketAddr;
use std::time::Duration;

use cutwater::proxy_protocol::{self, Version};

use crate::http::stand::{GENERAL, NAME, Stand, get, site};
use crate::support::client::{Client, Ending};
use crate::support::edge::{Edge, Start, sum_of};
use crate::support::h2::{H2, request};
use crate::support::origin::{Origin, Reply};
use crate::support::pki::Pki;

/// A stand whose listener has these keys too, before these tables.
pub async fn stand(listener: &str, tables: &str) -> Stand {
    stand_of(1, listener, tables).await
}

async fn stand_of(workers: usize, listener: &str, tables: &str) -> Stand {
    let pki = Pki::new();
    let general = GENERAL.replace("workers = 1", &format!("workers = {workers}"));
    let config = format!("{general}{listener}\n{}{tables}", site(&pki, &[NAME]));
    let edge = Start::with(&config).run().await;
    Stand { pki, edge }
}

const ANY: &str = "proxy_protocol = \"any\"\nproxy_from = [\"127.0.0.0/8\"]";

/// Fields that tell what the edge believes.
fn echoing() -> String {
    "[[site.route]]\npath = \"/\"\nrespond = { body = \"ok\" }\n\
     response_headers = { set = { x-client = \"$client_address\", x-peer = \"$peer_address\" } }\n"
        .to_owned()
}

fn header(version: Version, source: &str) -> Vec<u8> {
    let destination = SocketAddr::from(([192, 0, 2, 200], 443));
    proxy_protocol::header(version, source.parse().unwrap(), destination)
}

/// A connection that begins with these bytes, in one segment with the ClientHello.
async fn behind(stand: &Stand, header: &[u8]) -> Client {
    let mut client = Client::connect(stand.edge.address(), NAME, &stand.setup1()).await;
    let hello = client.take_pending();
    client.send_raw(&[header, &hello].concat()).await;
    client
}

async fn client_of(stand: &Stand, header: &[u8]) -> (String, String) {
    let mut client = behind(stand, header).await;
    client.handshake().await.unwrap();
    client.send(get("/").as_bytes()).await;
    let response = client.response().await;
    let field = |name| response.header(name).unwrap().to_owned();
    (field("x-client"), field("x-peer"))
}

#[tokio::test]
async fn the_client_is_whom_the_header_names() {
    let origin = Origin::echo().await;
    let tables = echoing() + &crate::http::stand::forward("/origin", &origin);
    let stand = stand(ANY, &tables).await;
    for (version, source, client) in [
        (Version::V1, "203.0.113.9:4711", "203.0.113.9"),
        (Version::V2, "203.0.113.9:4711", "203.0.113.9"),
        (Version::V1, "[2001:db8::9]:4711", "2001:db8::9"),
        (Version::V2, "[2001:db8::9]:4711", "2001:db8::9"),
    ] {
        let told = client_of(&stand, &header(version, source)).await;
        assert_eq!(told, (client.to_owned(), "127.0.0.1".to_owned()));
    }
    let mut client = behind(&stand, &header(Version::V2, "203.0.113.9:4711")).await;
    client.handshake().await.unwrap();
    let mine = client.local_address().to_string();
    client.send(get("/origin").as_bytes()).await;
    assert_eq!(client.response().await.status, 200);
    let asked = &origin.until_requests(1).await[0];
    assert_eq!(asked.field("x-forwarded-for"), Some("203.0.113.9"));
    let line = stand
        .edge
        .until_access(|line| line["path"] == "/origin")
        .await;
    assert_eq!(line["client"], "203.0.113.9:4711");
    assert_eq!(line["peer"], mine.as_str());
    client.close_notify().await;
    let line = stand
        .edge
        .until_connection(|line| line["peer"] == mine.as_str())
        .await;
    assert_eq!(line["client"], "203.0.113.9:4711");
    assert_eq!(line["end"], "clean");
}

#[tokio::test]
async fn a_check_by_the_balancer_comes_from_the_balancer() {
    let stand = stand(ANY, &echoing()).await;
    for version in [Version::V1, Version::V2] {
        let told = client_of(&stand, &proxy_protocol::local(version)).await;
        assert_eq!(told, ("127.0.0.1".to_owned(), "127.0.0.1".to_owned()));
    }
    let line = stand.edge.until_access(|_| true).await;
    assert_eq!(line["peer"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_the_hello_with_its_end() {
    let stand = stand(ANY, &echoing()).await;
    for version in [Version::V1, Version::V2] {
        let header = header(version, "203.0.113.9:4711");
        let mut client = Client::connect(stand.edge.address(), NAME, &stand.setup1()).await;
        let hello = client.take_pending();
        client
            .send_raw_in_pieces(&header[..header.len() - 1], 1)
            .await;
        client
            .send_raw(&[&header[header.len() - 1..], &hello[..100]].concat())
            .await;
        client.send_raw(&hello[100..]).await;
        client.handshake().await.unwrap();
        client.send(get("/").as_bytes()).await;
        assert_eq!(
            client.response().await.header("x-client"),
            Some("203.0.113.9")
        );
    }
}

#[tokio::test]
async fn connections_without_a_good_header_are_closed_and_counted() {
    let stand = stand(
        "proxy_protocol = \"v2\"\nproxy_from = [\"127.0.0.0/8\"]\n\
         timeouts = { proxy_header = \"200ms\" }",
        &echoing(),
    )
    .await;
    let mut wrong_family = header(Version::V2, "203.0.113.9:4711");
    wrong_family[13] = 0x12;
    let mut long = header(Version::V2, "203.0.113.9:4711");
    long[14..16].copy_from_slice(&[0xff, 0xff]);
    for (bytes, reason) in [
        (Vec::new(), "missing"),
        (header(Version::V1, "203.0.113.9:4711"), "version"),
        (wrong_family, "malformed"),
        (long, "too_large"),
    ] {
        let mut client = behind(&stand, &bytes).await;
        assert!(
            matches!(client.ending().await, Ending::Reset | Ending::Truncated),
            "{reason}"
        );
        let label = format!("error=\"{reason}\"");
        let count = stand
            .edge
            .metric("cutwater_proxy_header_errors_total", &[&label])
            .await;
        assert_eq!(count, 1.0, "{reason}");
    }
    let line = stand.edge.until_connection(|_| true).await;
    assert_eq!(line["error"], "no PROXY protocol header");
    // Half a header, and then nothing.
    let mut client = Client::connect(stand.edge.address(), NAME, &stand.setup1()).await;
    client
        .send_raw(&header(Version::V2, "203.0.113.9:4711")[..20])
        .await;
    client.ending().await;
    let timeouts = stand
        .edge
        .metric("cutwater_timeouts_total", &["kind=\"proxy_header\""]);
    assert_eq!(timeouts.await, 1.0);
    // The socket closes a moment before the connection is counted out.
    let none = |metrics: &str| sum_of(metrics, "cutwater_connections_open", &[]) == 0.0;
    let waits = stand.edge.until_metrics("the end of all connections", none);
    waits.await;
}

#[tokio::test]
async fn a_peer_outside_of_proxy_from_may_not_connect() {
    let listener = "proxy_protocol = \"any\"\nproxy_from = [\"192.0.2.0/24\"]";
    let stand = stand(listener, &echoing()).await;
    for bytes in [header(Version::V2, "192.0.2.1:1"), Vec::new()] {
        let mut client = behind(&stand, &bytes).await;
        assert!(matches!(
            client.ending().await,
            Ending::Reset | Ending::Truncated
        ));
    }
    let label = ["error=\"not_allowed\""];
    let count = stand
        .edge
        .metric("cutwater_proxy_header_errors_total", &label);
    assert_eq!(count.await, 2.0);
}

#[tokio::test]
async fn clients_are_admitted_by_the_address_that_the_header_names() {
    let tables = "[[site.route]]\npath = \"/\"\nrespond = {}\ndeny = [\"203.0.113.0/24\"]\n\
                  rate_limit = { requests = 1, per = \"1h\" }\n";
    let stand = stand(ANY, tables).await;
    for (source, status) in [
        ("203.0.113.9:1", 403),
        ("198.51.100.1:1", 200),
        ("198.51.100.2:1", 200),
        ("198.51.100.1:2", 429),
    ] {
        let mut client = behind(&stand, &header(Version::V2, source)).await;
        client.handshake().await.unwrap();
        client.send(get("/").as_bytes()).await;
        assert_eq!(client.response().await.status, status, "{source}");
    }
}

#[tokio::test]
async fn early_data_comes_right_behind_a_header() {
    let pki = Pki::new();
    let table = site(&pki, &[NAME]).replace("[[site]]\n", "[[site]]\nearly_data = true\n");
    let route = "[[site.route]]\npath = \"/\"\nearly_data = \"safe\"\nrespond = { body = \"ok\" }\n\
                 response_headers = { set = { x-client = \"$client_address\" } }\n";
    let edge = Edge::start(&format!("{GENERAL}{ANY}\n{table}{route}")).await;
    let stand = Stand { pki, edge };
    let setup = stand.setup1();
    let header = header(Version::V2, "203.0.113.9:4711");
    let mut first = Client::connect(stand.edge.address(), NAME, &setup).await;
    let hello = first.take_pending();
    first.send_raw(&[&header[..], &hello].concat()).await;
    first.handshake().await.unwrap();
    first.send(get("/").as_bytes()).await;
    first.response().await;
    first.close_notify().await;
    first.ending().await;
    let mut client = Client::connect(stand.edge.address(), NAME, &setup).await;
    client.early(get("/").as_bytes());
    client.hold_finished();
    let flight = client.take_pending();
    client.send_raw(&[&header[..], &flight].concat()).await;
    let response = client.response().await;
    assert_eq!(response.header("x-client"), Some("203.0.113.9"));
    client.finish().await;
    assert!(client.early_accepted());
}

#[tokio::test]
async fn many_clients_behind_one_balancer_are_told_apart_over_http2() {
    let stand = stand(ANY, &echoing()).await;
    let setup = stand.setup2();
    for host in 1..=20_u8 {
        let mut client = Client::connect(stand.edge.address(), NAME, &setup).await;
        let header = header(Version::V2, &format!("203.0.113.{host}:{host}"));
        let hello = client.take_pending();
        client.send_raw(&[&header[..], &hello].concat()).await;
        client.handshake().await.unwrap();
        let mut h2 = H2::start(client).await;
        let ask = request("GET", &format!("https://{NAME}/"), "");
        let response = h2.fetch(ask).await.unwrap();
        let told = response.headers.get("x-client").unwrap();
        assert_eq!(told, format!("203.0.113.{host}").as_str());
    }
}

#[tokio::test]
async fn a_plain_listener_takes_the_header_too() {
    let pki = Pki::new();
    let plain = "[[listen]]\naddress = \"127.0.0.1:0\"\nname = \"plain\"\ntls = false\n";
    let config = format!(
        "{GENERAL}{plain}{ANY}\n{}{}",
        site(&pki, &[NAME]),
        echoing()
    );
    let edge = Edge::start(&config).await;
    let ask = async |header: Vec<u8>| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(edge.listener("plain"))
            .await
            .unwrap();
        let request = [&header[..], get("/a").as_bytes()].concat();
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    for version in [Version::V1, Version::V2] {
        let answer = ask(header(version, "203.0.113.9:4711")).await;
        assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    }
    assert_eq!(ask(Vec::new()).await, "");
    let label = ["error=\"missing\""];
    assert_eq!(
        edge.metric("cutwater_proxy_header_errors_total", &label)
            .await,
        1.0
    );
}

/// Whatever a balancer sends first, the edge serves on.
#[tokio::test]
async fn arbitrary_first_bytes_do_no_harm() {
    let stand = stand_of(2, ANY, &echoing()).await;
    let mut state = 11_u32;
    let mut random = move |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    for round in 0..200 {
        let version = if round % 2 == 0 {
            Version::V1
        } else {
            Version::V2
        };
        let mut bytes = header(version, "203.0.113.9:4711");
        for _ in 0..1 + random(3) {
            let at = random(u32::try_from(bytes.len()).unwrap()) as usize;
            bytes[at] = random(256) as u8;
        }
        let mut client = behind(&stand, &bytes).await;
        client.silent_for(Duration::from_millis(1)).await;
    }
    let told = client_of(&stand, &header(Version::V2, "203.0.113.9:4711")).await;
    assert_eq!(told.0, "203.0.113.9");
}

/// An origin that says what it was told.
async fn telling() -> Origin {
    Origin::start(|asked| Reply::ok(asked.head.as_bytes())).await
}
