//! h2load's load through the edge, with nginx and HAProxy as origins: every request succeeds.

use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Command;

use crate::http::stand::{NAME, Stand, route};
use crate::support::daemon::{Daemon, free_address};
use crate::support::tool::tool;
use crate::support::within;

/// Requests of each run.
const REQUESTS: usize = 2000;

/// What a client of h2load's does.
const RUNS: [&[&str]; 3] = [
    // Ten connections of ten streams each.
    &["-c10", "-m10"],
    &["-c10", "--h1"],
    // Bodies.
    &["-c10", "-m10", "-dbody"],
];

/// One run of h2load against a path.
async fn load(h2load: &Path, stand: &Stand, path: &str, arguments: &[&str]) {
    let port = stand.edge.address().port();
    let command = Command::new(h2load)
        .current_dir(stand.edge.directory())
        .arg(format!("-n{REQUESTS}"))
        .arg(format!("--connect-to=127.0.0.1:{port}"))
        .args(arguments)
        .arg(format!("https://{NAME}{path}"))
        .kill_on_drop(true)
        .output();
    let output = within("h2load", command).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let requests = format!(
        "requests: {REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, \
         0 failed, 0 errored, 0 timeout"
    );
    let statuses = format!("status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx");
    for expected in [requests, statuses] {
        let failed = stand.edge.access();
        let failed = failed.iter().find(|line| line["status"] != 200);
        assert!(
            said.contains(&expected),
            "{path} {arguments:?}: {said}{failed:?}"
        );
    }
}

/// An edge before these origins, each under a path.
async fn stand(origins: &[(&str, String)]) -> Stand {
    let routes = origins
        .iter()
        .map(|(path, url)| route(path, &format!("origin = [{url:?}]")));
    let stand = Stand::start(&routes.collect::<String>()).await;
    stand.edge.write("body", &"0123456789".repeat(1000));
    stand
}

/// Every run against every origin.
async fn all(h2load: &Path, origins: &[(&str, String)]) {
    let stand = stand(origins).await;
    for (path, _) in origins {
        for arguments in RUNS {
            load(h2load, &stand, path, arguments).await;
        }
    }
}

/// nginx, over HTTP/1.1 and HTTP/2; each of its connections takes so many requests.
async fn nginx(requests: u32) -> Option<(Daemon, [(&'static str, String); 2])> {
    let (http1, http2) = (free_address(), free_address());
    let blocks = format!(
        "http {{ access_log off; keepalive_requests {requests};\n\
         server {{ listen {http1}; location / {{ return 200 \"hello\"; }} }}\n\
         server {{ listen {http2} http2; location / {{ return 200 \"hello\"; }} }} }}"
    );
    let daemon = Daemon::nginx(&blocks, http1).await?;
    Some((daemon, both(http1, http2)))
}

/// The origins at these two addresses, by their routes.
fn both(http1: SocketAddr, http2: SocketAddr) -> [(&'static str, String); 2] {
    [
        ("/http", format!("http://{http1}")),
        ("/h2c", format!("h2c://{http2}")),
    ]
}

#[tokio::test]
async fn every_request_through_the_edge_to_nginx_succeeds() {
    let Some(h2load) = tool("h2load") else { return };
    let Some((_nginx, origins)) = nginx(1000000).await else {
        return;
    };
    all(&h2load, &origins).await;
}

#[tokio::test]
async fn every_request_through_the_edge_to_haproxy_succeeds() {
    let Some(h2load) = tool("h2load") else { return };
    let (http1, http2) = (free_address(), free_address());
    let sections = format!(
        "frontend in\n  mode http\n  bind {http1}\n  bind {http2} proto h2\n  \
         http-request return status 200 content-type text/plain string hello\n"
    );
    let Some(_haproxy) = Daemon::haproxy(&sections, http1).await else {
        return;
    };
    all(&h2load, &both(http1, http2)).await;
}

/// nginx ends each of its connections after a hundred requests, with a GOAWAY where it speaks
/// HTTP/2 (RFC 9113 §6.8).
#[tokio::test]
async fn no_request_is_lost_where_an_origin_ends_its_connections() {
    let Some(h2load) = tool("h2load") else { return };
    let Some((_nginx, origins)) = nginx(100).await else {
        return;
    };
    let stand = stand(&origins).await;
    for (path, _) in &origins {
        for arguments in &RUNS[..2] {
            load(&h2load, &stand, path, arguments).await;
        }
    }
}
