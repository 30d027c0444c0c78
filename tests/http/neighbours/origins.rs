//! PROXY protocol headers towards origins.

use std::net::SocketAddr;

use cutwater::proxy_protocol::{self, Accepts, Found, Told, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{ANY, behind, echoing, header, stand};
use crate::http::stand::{GENERAL, NAME, Stand, get, route, site};
use crate::support::daemon::{Daemon, free_address};
use crate::support::edge::Edge;

/// A route to an origin that is told so.
fn told_by(address: SocketAddr, version: &str, more: &str) -> String {
    let url = format!("http://{address}");
    let keys = format!("origin = {{ servers = [{url:?}], proxy_protocol = {version:?} }}\n{more}");
    route("/", &keys)
}

/// An origin that takes a header off each connection and then answers every request with `ok`.
/// What the headers said, and the number of requests on each connection.
async fn unwrapping() -> (SocketAddr, mpsc::Receiver<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, told) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while let Ok(1..) = stream.read_buf(&mut bytes).await {
                    if let Found::Whole(length, told) =
                        proxy_protocol::read(&bytes, Accepts::Any).unwrap()
                    {
                        sender.send(told).await.unwrap();
                        bytes.drain(..length);
                        break;
                    }
                }
                loop {
                    if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                        bytes.drain(..at + 4);
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        stream.write_all(answer).await.unwrap();
                    }
                    if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn each_request_has_a_connection_that_names_its_client() {
    for (word, version) in [("v1", Version::V1), ("v2", Version::V2)] {
        let (address, mut told) = unwrapping().await;
        let stand = stand(ANY, &told_by(address, word, "")).await;
        for source in [
            "203.0.113.9:4711",
            "[2001:db8::9]:4711",
            "203.0.113.10:4711",
        ] {
            let mut client = behind(&stand, &header(version, source)).await;
            client.handshake().await.unwrap();
            // One client's requests do not share a connection either.
            for _ in 0..2 {
                client.send(get("/").as_bytes()).await;
                assert_eq!(client.response().await.text(), "ok");
                let Told::Proxied { source: named, .. } = told.recv().await.unwrap() else {
                    panic!("{source} is not named");
                };
                assert_eq!(named.to_string(), source);
            }
        }
        let reused = stand
            .edge
            .metric("cutwater_origin_connections_total", &["how=\"reused\""]);
        assert_eq!(reused.await, 0.0);
    }
}

#[tokio::test]
async fn a_client_that_a_trusted_proxy_names_is_named_on() {
    let (address, mut told) = unwrapping().await;
    let stand = stand(
        "trusted_proxies = [\"127.0.0.0/8\"]",
        &told_by(address, "v2", ""),
    )
    .await;
    let ask = get("/").replace("\r\n\r\n", "\r\nx-forwarded-for: 203.0.113.9\r\n\r\n");
    assert_eq!(stand.ask(&ask).await.status, 200);
    let Told::Proxied {
        source,
        destination,
    } = told.recv().await.unwrap()
    else {
        panic!("nobody is named");
    };
    assert_eq!(source.to_string(), "203.0.113.9:0");
    assert_eq!(destination, stand.edge.address());
}

#[tokio::test]
async fn one_edge_names_the_client_to_another() {
    // The second one speaks plain HTTP only to redirect: so it is spoken to over TLS, and the
    // header comes before that.
    for version in ["v1", "v2"] {
        let second = stand(ANY, &echoing()).await;
        let url = format!("https://{}", second.edge.address());
        let ca = second.pki.ca_file();
        let keys = format!(
            "origin = {{ servers = [{url:?}], proxy_protocol = {version:?}, \
             tls = {{ ca = {:?}, server_name = {NAME:?} }} }}",
            ca.display().to_string()
        );
        let first = stand(ANY, &route("/", &keys)).await;
        let mut client = behind(&first, &header(Version::V2, "203.0.113.9:4711")).await;
        client.handshake().await.unwrap();
        client.send(get("/").as_bytes()).await;
        let answer = client.response().await;
        assert_eq!(answer.header("x-client"), Some("203.0.113.9"), "{answer:?}");
        assert_eq!(answer.header("x-peer"), Some("127.0.0.1"));
        let line = second.edge.until_access(|_| true).await;
        assert_eq!(line["client"], "203.0.113.9:4711");
        assert_eq!(line["protocol"], "h1");
    }
}

#[tokio::test]
async fn haproxy_and_nginx_take_the_header() {
    let (haproxy, nginx) = (free_address(), free_address());
    let sections = format!(
        "frontend in\n  mode http\n  bind {haproxy} accept-proxy\n  \
         http-request return status 200 content-type text/plain lf-string %[src]\n"
    );
    let blocks = format!(
        "http {{ access_log off; client_body_temp_path DIRECTORY/a; proxy_temp_path DIRECTORY/b; \
         fastcgi_temp_path DIRECTORY/c; uwsgi_temp_path DIRECTORY/d; scgi_temp_path DIRECTORY/e; \
         server {{ listen {nginx} proxy_protocol; \
         location / {{ return 200 \"$proxy_protocol_addr\"; }} }} }}"
    );
    let (Some(_haproxy), Some(_nginx)) = (
        Daemon::haproxy(&sections, haproxy).await,
        Daemon::nginx(&blocks, nginx).await,
    ) else {
        return;
    };
    for address in [haproxy, nginx] {
        for version in ["v1", "v2"] {
            let stand = stand(ANY, &told_by(address, version, "")).await;
            for source in ["203.0.113.9", "2001:db8::9"] {
                let source_address = SocketAddr::new(source.parse().unwrap(), 4711).to_string();
                let mut client = behind(&stand, &header(Version::V2, &source_address)).await;
                client.handshake().await.unwrap();
                client.send(get("/").as_bytes()).await;
                let answer = client.response().await;
                assert_eq!((answer.status, answer.text()), (200, source), "{address}");
            }
        }
    }
}

#[tokio::test]
async fn an_origin_that_is_not_asked_for_headers_gets_none() {
    let origin = super::telling().await;
    let pki = crate::support::pki::Pki::new();
    let table = site(&pki, &[NAME]);
    let off = format!(
        "origin = {{ servers = [{:?}], proxy_protocol = \"off\" }}",
        origin.url()
    );
    let edge = Edge::start(&format!("{GENERAL}{table}{}", route("/", &off))).await;
    let stand = Stand { pki, edge };
    for _ in 0..2 {
        assert_eq!(stand.ask(&get("/")).await.status, 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn checks_of_an_origin_are_the_edges_own() {
    for version in ["v1", "v2"] {
        let (address, mut told) = unwrapping().await;
        let keys = format!(
            "origin = {{ servers = [\"http://{address}\"], proxy_protocol = {version:?}, \
             health = {{ path = \"/healthz\", interval = \"100ms\" }} }}"
        );
        let stand = stand("", &route("/", &keys)).await;
        assert_eq!(told.recv().await, Some(Told::Local), "{version}");
        // Requests and checks are told apart.
        let mut client = stand.http1().await;
        let own = client.local_address();
        client.send(get("/").as_bytes()).await;
        assert_eq!(client.response().await.status, 200);
        let named = async {
            loop {
                if let Told::Proxied { source, .. } = told.recv().await.unwrap() {
                    return source;
                }
            }
        };
        assert_eq!(crate::support::within("a header", named).await, own);
    }
}
