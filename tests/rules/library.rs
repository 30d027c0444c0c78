//! The library inside another program: its life, its sites, its registry.

use std::net::SocketAddr;
use std::time::Duration;

use cutwater::body::Body;
use cutwater::certs::ocsp::OcspMode;
use cutwater::early::EarlyDataPolicy;
use cutwater::edge::{Destination, Edge, EdgeError, EdgeHandle, Site};
use cutwater::handler::{EarlyRequest, Handler, early};
use cutwater::telemetry::connections::ConnectionLog;
use cutwater::telemetry::labels::TimeoutKind;
use http::Response;
use prometheus::Registry;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::client::{Client, Ending};
use crate::support::h2::{H2, request};
use crate::support::pki::Pki;
use crate::support::within;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn says(text: &'static str) -> impl Handler {
    early(move |request: EarlyRequest| async move {
        request.confirmed().await?;
        Ok(Response::new(Body::from(text)))
    })
}

fn site(pki: &Pki, name: &str) -> Site {
    let leaf = pki.leaf(&[name]);
    Site::new(name).certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
}

fn edge(sites: impl IntoIterator<Item = Site>) -> Edge {
    let builder = Edge::builder().listen(ANY).workers(2);
    let builder = sites.into_iter().fold(builder, |b, site| b.site(site));
    builder.build().unwrap()
}

async fn fetch(client: &mut Client, host: &str) -> (u16, String) {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    client.send(request.as_bytes()).await;
    let response = client.response().await;
    (response.status, response.text().to_owned())
}

#[tokio::test]
async fn a_site_that_requires_a_staple_which_can_never_come_is_not_built() {
    let pki = Pki::new();
    let site = site(&pki, "a.example").ocsp(OcspMode::Required);
    let built = Edge::builder().listen(ANY).site(site.handler(says("a")));
    let error = built.build().err().unwrap().to_string();
    assert!(error.contains("names no responder"), "{error}");
}

async fn refused(address: SocketAddr) {
    within("the port's end", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_inside_a_multi_thread_runtime_until_shutdown() {
    let pki = Pki::new();
    let edge = edge([site(&pki, "a.test").handler(says("a"))]);
    let (address, handle) = (edge.addresses()[0], edge.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    let runs = tokio::spawn(edge.run(async { drop(stopped.await) }));
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(address, "a.test", &setup).await;
    assert_eq!(fetch(&mut client, "a.test").await, (200, "a".to_owned()));
    assert!(handle.is_ready());
    stop.send(()).unwrap();
    // An idle connection does not hold a drain up.
    assert_eq!(client.ending().await, Ending::CloseNotify);
    drop(client);
    within("the end of run", runs).await.unwrap().unwrap();
    assert!(!handle.is_ready());
    refused(address).await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_in_a_drain() {
    let pki = Pki::new();
    let (go, gone) = tokio::sync::watch::channel(false);
    let (begun, begins) = tokio::sync::watch::channel(false);
    let slow = early(move |request: EarlyRequest| {
        let (mut gone, begun) = (gone.clone(), begun.clone());
        async move {
            request.confirmed().await?;
            begun.send_replace(true);
            let _ = gone.wait_for(|gone| *gone).await;
            Ok(Response::new(Body::from("slow")))
        }
    });
    let edge = edge([site(&pki, "a.test").handler(slow)]);
    let address = edge.addresses()[0];
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(address, "a.test", &setup).await;
    client.send(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let mut begins = begins;
    within("the request", begins.wait_for(|begun| *begun))
        .await
        .unwrap();
    let runs = tokio::spawn(edge.run(std::future::ready(())));
    refused(address).await;
    go.send_replace(true);
    let response = client.response().await;
    assert_eq!(response.text(), "slow");
    assert_eq!(client.ending().await, Ending::CloseNotify);
    drop(client);
    within("the end of run", runs).await.unwrap().unwrap();
}

/// An edge with a request that is never answered, and who asked.
async fn stuck(drain_timeout: Duration) -> (Edge, Client) {
    let pki = Pki::new();
    let never = early(|request: EarlyRequest| async move {
        request.confirmed().await?;
        std::future::pending().await
    });
    let edge = Edge::builder()
        .listen(ANY)
        .workers(1)
        .drain_timeout(drain_timeout)
        .site(site(&pki, "a.test").handler(never))
        .build()
        .unwrap();
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(edge.addresses()[0], "a.test", &setup).await;
    client.send(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    (edge, client)
}

#[tokio::test]
async fn what_a_drain_has_not_ended_is_cut() {
    let (edge, mut client) = stuck(Duration::from_secs(3600)).await;
    let (address, handle) = (edge.addresses()[0], edge.handle());
    let runs = tokio::spawn(edge.run(std::future::ready(())));
    refused(address).await;
    handle.cut();
    within("the end of run", runs).await.unwrap().unwrap();
    client.ending().await;
}

#[tokio::test]
async fn what_is_cut_when_the_time_to_drain_is_over_is_counted() {
    let (edge, mut client) = stuck(Duration::from_millis(100)).await;
    let handle = edge.handle();
    let run = edge.run(std::future::ready(()));
    within("the end of run", run).await.unwrap();
    client.ending().await;
    assert_eq!(handle.metrics().timeouts.get(TimeoutKind::Drain), 1);
}

#[tokio::test]
async fn dropped_it_ends() {
    let pki = Pki::new();
    let edge = edge([site(&pki, "a.test").handler(says("a"))]);
    let (address, handle) = (edge.addresses()[0], edge.handle());
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(address, "a.test", &setup).await;
    assert_eq!(fetch(&mut client, "a.test").await.0, 200);
    drop(edge);
    client.ending().await;
    refused(address).await;
    assert!(!handle.is_ready());
}

#[tokio::test]
async fn a_run_that_is_given_up_ends_it() {
    let pki = Pki::new();
    let edge = edge([site(&pki, "a.test").handler(says("a"))]);
    let address = edge.addresses()[0];
    let runs = tokio::spawn(edge.run(std::future::pending()));
    runs.abort();
    assert!(runs.await.unwrap_err().is_cancelled());
    refused(address).await;
}

#[tokio::test]
async fn every_listener_has_its_own_free_port() {
    let pki = Pki::new();
    let edge = Edge::builder()
        .listen(ANY)
        .listen(ANY)
        .listen("[::1]:0".parse().unwrap())
        .workers(2)
        .site(site(&pki, "a.test").handler(says("a")))
        .build()
        .unwrap();
    let addresses = edge.addresses();
    assert_eq!(addresses.len(), 3);
    assert_ne!(addresses[0], addresses[1]);
    assert!(addresses[2].is_ipv6());
    let setup = pki.client().alpn(&["http/1.1"]);
    for address in addresses {
        assert_ne!(address.port(), 0);
        let mut client = Client::open(address, "a.test", &setup).await;
        assert_eq!(fetch(&mut client, "a.test").await.0, 200);
    }
}

async fn replaced(handle: &EdgeHandle, sites: Vec<Site>) {
    handle.replace_sites(sites).unwrap();
}

#[tokio::test]
async fn replaced_sites_serve_at_once_and_lost_ones_are_misdirected() {
    let pki = Pki::new();
    let (kept, lost) = (pki.leaf(&["kept.test"]), pki.leaf(&["lost.test"]));
    let with = |name: &str, leaf: &crate::support::pki::Leaf| {
        Site::new(name).certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
    };
    let edge = edge([
        with("kept.test", &kept).handler(says("old")),
        with("lost.test", &lost).handler(says("lost")),
    ]);
    let (address, handle) = (edge.addresses()[0], edge.handle());
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut stays = Client::open(address, "kept.test", &setup).await;
    let mut goes = Client::open(address, "lost.test", &setup).await;
    let h2 = setup.clone().alpn(&["h2"]);
    let mut goes_too = H2::start(Client::open(address, "lost.test", &h2).await).await;
    assert_eq!(fetch(&mut stays, "kept.test").await.1, "old");
    assert_eq!(fetch(&mut goes, "lost.test").await.1, "lost");

    let new = [
        with("kept.test", &kept).handler(says("new")),
        site(&pki, "more.test").handler(says("more")),
    ];
    replaced(&handle, new.into()).await;
    assert_eq!(fetch(&mut stays, "kept.test").await.1, "new");
    let mut more = Client::open(address, "more.test", &setup).await;
    assert_eq!(fetch(&mut more, "more.test").await.1, "more");
    assert_eq!(fetch(&mut goes, "lost.test").await.0, 421);
    assert_eq!(goes.ending().await, Ending::CloseNotify);
    let answer = goes_too
        .fetch(request("GET", "https://lost.test/", ""))
        .await;
    assert_eq!(answer.unwrap().status, 421);
    within("the end of h2", goes_too.ended()).await;
}

#[tokio::test]
async fn refused_sites_change_nothing() {
    let pki = Pki::new();
    let edge = edge([site(&pki, "a.test").handler(says("a"))]);
    let handle = edge.handle();
    let wrong = [
        vec![site(&pki, "no name").handler(says("x"))],
        vec![site(&pki, "a.test")],
        vec![Site::new("a.test").handler(says("x"))],
        vec![
            site(&pki, "a.test")
                .early_data_policy(EarlyDataPolicy::Allow)
                .handler(says("x")),
        ],
        vec![
            site(&pki, "a.test").handler(says("x")),
            site(&pki, "a.test").handler(says("y")),
        ],
    ];
    for (number, sites) in wrong.into_iter().enumerate() {
        let error = handle.replace_sites(sites).unwrap_err();
        assert!(!error.to_string().is_empty(), "{number}");
    }
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(edge.addresses()[0], "a.test", &setup).await;
    assert_eq!(fetch(&mut client, "a.test").await.1, "a");
}

#[tokio::test]
async fn early_requests_get_425_once_their_site_takes_none_any_more() {
    let pki = Pki::new();
    let leaf = pki.leaf(&["a.test"]);
    let with = |early_data: bool| {
        Site::new("a.test")
            .certificate(leaf.chain_pem.as_bytes(), leaf.key_pem.as_bytes())
            .early_data(early_data)
            .handler(says("a"))
    };
    let edge = edge([with(true)]);
    let (address, handle) = (edge.addresses()[0], edge.handle());
    let setup = pki.client().alpn(&["http/1.1"]);
    Client::fetch_ticket(address, "a.test", &setup).await;
    let mut client = Client::connect(address, "a.test", &setup).await;
    // Half a request: its other half comes after the change, and is early data still.
    client.early(b"GET / HTTP/1.1\r\n");
    client.hold_finished();
    client.send_pending().await;
    let metrics = handle.metrics();
    within("the ClientHello", async {
        while metrics.early.offered.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    handle.replace_sites(vec![with(false)]).unwrap();
    client.early(b"host: a.test\r\n\r\n");
    client.send_pending().await;
    assert_eq!(client.response().await.status, 425);
    assert!(client.early_accepted());
    client.finish().await;
    assert_eq!(fetch(&mut client, "a.test").await.0, 200);
    assert_eq!(metrics.early.delayed.get(), 0);
}

#[tokio::test]
async fn metrics_go_into_a_registry_of_ones_own_and_only_one_edge_does() {
    let pki = Pki::new();
    let registry = Registry::new();
    let build = || {
        Edge::builder()
            .listen(ANY)
            .workers(1)
            .registry(registry.clone())
            .site(site(&pki, "a.test").handler(says("a")))
            .build()
    };
    let edge = build().unwrap();
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(edge.addresses()[0], "a.test", &setup).await;
    assert_eq!(fetch(&mut client, "a.test").await.0, 200);
    let families = registry.gather();
    let accepted = families
        .iter()
        .find(|family| family.name() == "cutwater_connections_accepted_total")
        .unwrap();
    assert_eq!(accepted.get_metric()[0].get_counter().get_value(), 1.0);
    assert!(matches!(build(), Err(EdgeError::Registry(_))));
}

#[tokio::test]
async fn the_log_is_whole_when_run_has_ended() {
    let pki = Pki::new();
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("access.log");
    let edge = Edge::builder()
        .listen(ANY)
        .workers(2)
        .access_log(Destination::File(path.clone()))
        .connection_log(ConnectionLog::All)
        .site(site(&pki, "a.test").handler(says("a")))
        .build()
        .unwrap();
    let address = edge.addresses()[0];
    let setup = pki.client().alpn(&["http/1.1"]);
    let mut client = Client::open(address, "a.test", &setup).await;
    for _ in 0..3 {
        assert_eq!(fetch(&mut client, "a.test").await.0, 200);
    }
    client.close_notify().await;
    client.ending().await;
    drop(client);
    edge.handle().drain();
    let run = edge.run(std::future::pending());
    within("the end of run", run).await.unwrap();
    let log = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4, "{log}");
    for line in &lines {
        assert_eq!(line["sni"], "a.test", "{line}");
    }
    let requests = lines.iter().filter(|line| line["status"] == 200).count();
    assert_eq!(requests, 3, "{log}");
}
