//! What is counted against other people's servers agrees with their own counts.

use std::sync::Arc;
use std::time::Duration;

use cutwater::load::plan::{
    Amount, Identity, Mode, Plan, Protocol, ProxyHeader, ProxyVersion, Usage,
};
use cutwater::load::stats::{ErrorKind, TimedOut};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::others::{Other, haproxy, nginx, nginx_h2, s_server};
use super::stand::{MODES, NAME, measure, measure_well, plan};
use crate::support::client::Client;
use crate::support::pki::{Kind, Pki};
use crate::support::within;

/// nginx says with the status what it saw of the handshake, and counts requests.
const SAYS: &str = r"
    ssl_early_data on;
    location / {
        if ($ssl_early_data) { return 203; }
        if ($ssl_session_reused = r) { return 202; }
        return 201;
    }
    location /counts { stub_status; }
";

fn plan_for(server: &Other, pki: &Pki) -> Plan {
    plan(server.address, "/", pki.roots_der())
}

/// nginx's "accepts handled requests".
async fn nginx_counts(server: &Other, pki: &Pki) -> (u64, u64) {
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(server.address, NAME, &setup).await;
    let request = format!("GET /counts HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
    client.send(request.as_bytes()).await;
    let answer = client.response().await;
    let line = answer.text().lines().nth(2).unwrap();
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map(|it| it.parse().unwrap())
        .collect();
    (numbers[1], numbers[2])
}

#[tokio::test]
async fn nginx_sees_the_same_handshakes_and_requests() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for mode in MODES {
            let server = match protocol {
                Protocol::Http2 => nginx_h2(&files, SAYS).await,
                _ => nginx(&files, SAYS).await,
            };
            let Some(server) = server else {
                return;
            };
            let mut plan = plan_for(&server, &pki);
            (plan.mode, plan.protocol) = (mode, protocol);
            let stats = measure_well(&plan).await;
            let counts = &stats.counts;
            let case = format!("{mode:?} {protocol:?} {counts:?}");
            let (status, full, resumed, early) = match mode {
                Mode::Full => (201, 20, 0, 0),
                Mode::Resumed => (202, 0, 20, 0),
                Mode::Early => (203, 0, 20, 20),
            };
            let of = |status| counts.statuses.get(&status).copied().unwrap_or(0);
            match mode {
                // Unless the handshake had ended when it looked.
                Mode::Early => assert_eq!(of(203) + of(202), 20, "{case}"),
                _ => assert_eq!(of(status), 20, "{case}"),
            }
            assert_eq!((counts.full, counts.resumed), (full, resumed), "{case}");
            assert_eq!(counts.early_accepted, early, "{case}");
            let (handled, requests) = nginx_counts(&server, &pki).await;
            // One to see that it listens, and the one that asks.
            let opened = counts.connections + counts.collecting;
            assert_eq!((handled, requests), (opened + 2, 20 + 1), "{case}");
        }
    }
}

#[tokio::test]
async fn nginx_gets_all_requests_on_kept_connections() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    for (protocol, streams) in [(Protocol::Http1, 1), (Protocol::Http2, 5)] {
        // It ends a connection after ten requests: by `Connection: close`, and by GOAWAY.
        let says = format!("keepalive_requests 10; {SAYS}");
        let server = match protocol {
            Protocol::Http2 => nginx_h2(&files, &says).await,
            _ => nginx(&files, &says).await,
        };
        let Some(server) = server else {
            return;
        };
        let mut plan = plan_for(&server, &pki);
        (plan.protocol, plan.streams, plan.usage) = (protocol, streams, Usage::KeepAlive);
        plan.amount = Amount::Operations(200);
        let stats = measure_well(&plan).await;
        assert!(stats.counts.connections >= 20, "{:?}", stats.counts);
        let (handled, requests) = nginx_counts(&server, &pki).await;
        assert_eq!(handled, stats.counts.connections + 2);
        assert_eq!(requests, 200 + 1);
    }
}

/// A number of the page of `s_server -www`.
fn number(page: &str, what: &str) -> u64 {
    let line = page.lines().find(|line| line.contains(what)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn openssl_sees_the_same_handshakes() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    for mode in [Mode::Full, Mode::Resumed] {
        let Some(server) = s_server(&files, &["-www"]).await else {
            return;
        };
        let mut plan = plan_for(&server, &pki);
        (plan.mode, plan.connections) = (mode, 2);
        let stats = measure_well(&plan).await;
        let counts = &stats.counts;
        let resumed = if mode == Mode::Resumed { 20 } else { 0 };
        assert_eq!((counts.full, counts.resumed), (20 - resumed, resumed));
        let mut client = Client::open(server.address, NAME, &pki.client()).await;
        client.send(b"GET / HTTP/1.0\r\n\r\n").await;
        let (page, _) = within("the page", client.read_to_end()).await;
        let page = String::from_utf8_lossy(&page);
        let finished = number(&page, "server accepts that finished");
        assert_eq!(finished, 20 + counts.collecting + 1, "{page}");
    }
}

#[tokio::test]
async fn openssl_takes_early_data_each_time() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    let Some(server) = s_server(&files, &["-early_data", "-no_anti_replay"]).await else {
        return;
    };
    let mut plan = plan_for(&server, &pki);
    (plan.mode, plan.connections) = (Mode::Early, 1);
    plan.amount = Amount::Operations(3);
    // It prints what it reads, and answers nothing.
    plan.timeouts.request = Duration::from_millis(100);
    let stats = measure(&plan).await;
    let silent = ErrorKind::Timeout(TimedOut::Request);
    assert_eq!(stats.errors.by_kind(), [(silent, 3)]);
    assert_eq!(stats.counts.early_accepted, 3);
    assert_eq!(stats.counts.answered_early, 0);
}

#[tokio::test]
async fn openssl_verifies_the_clients_certificate() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    let ca = pki.ca_file();
    let ca = ca.to_str().unwrap();
    let arguments = [
        "-www",
        "-Verify",
        "1",
        "-verify_return_error",
        "-CAfile",
        ca,
    ];
    let Some(server) = s_server(&files, &arguments).await else {
        return;
    };
    for usage in [Usage::ONE, Usage::Handshake] {
        let mut plan = plan_for(&server, &pki);
        (plan.connections, plan.usage) = (1, usage);
        plan.amount = Amount::Operations(3);
        // Without one the handshake seems to succeed, and is refused behind it.
        let stats = measure(&plan).await;
        let kind = stats.errors.by_kind()[0].0;
        assert_eq!(kind.to_string(), "alert: certificate_required");
        assert_eq!((stats.errors.of(kind), stats.counts.operations), (3, 0));
        let client = Kind {
            client: true,
            ..Kind::default()
        };
        let leaf = pki.leaf_of(&["client.test"], client);
        let key = PrivateKeyDer::try_from(leaf.key_der).unwrap();
        plan.tls.identity = Some(Identity {
            chain: leaf.chain,
            key: Arc::new(key),
        });
        measure_well(&plan).await;
    }
}

/// A column of HAProxy's statistics of its frontend.
async fn haproxy_count(server: &Other, column: &str) -> u64 {
    let ask = async {
        let mut socket = UnixStream::connect(server.file("stats")).await.unwrap();
        socket.write_all(b"show stat\n").await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = within("the statistics", ask).await;
    let mut lines = text.lines();
    let columns = lines.next().unwrap().trim_start_matches("# ").split(',');
    let place = columns.into_iter().position(|it| it == column).unwrap();
    let front = lines.find(|line| line.starts_with("front,FRONTEND"));
    front
        .unwrap()
        .split(',')
        .nth(place)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn haproxy_takes_the_address_from_the_proxy_protocol() {
    let pki = Pki::new();
    let files = pki.files(&[NAME]);
    let Some(server) = haproxy(&files, "192.0.2.7").await else {
        return;
    };
    let mut answered = 0;
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut plan = plan_for(&server, &pki);
            plan.protocol = protocol;
            plan.proxy = Some(ProxyHeader {
                version,
                source: Some("192.0.2.7:1000".parse().unwrap()),
            });
            measure_well(&plan).await;
            answered += 20;
            assert_eq!(haproxy_count(&server, "hrsp_2xx").await, answered);
        }
        // Its own address is another one.
        let mut plan = plan_for(&server, &pki);
        plan.proxy = Some(ProxyHeader {
            version,
            source: None,
        });
        let stats = measure(&plan).await;
        assert_eq!(stats.errors.by_kind(), [(ErrorKind::Status(403), 20)]);
    }
    assert_eq!(haproxy_count(&server, "hrsp_4xx").await, 40);
    // Without a header it refuses the connection.
    let stats = measure(&plan_for(&server, &pki)).await;
    assert_eq!(stats.counts.operations, 0);
    assert_eq!(stats.errors.total(), 20);
}
