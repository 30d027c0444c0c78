//! nginx, HAProxy and curl as those who send PROXY protocol headers.

use std::net::SocketAddr;

use tokio::process::Command;

use super::{ANY, echoing, stand};
use crate::http::stand::{NAME, Stand};
use crate::support::daemon::{Daemon, free_address};
use crate::support::tool::curl;
use crate::support::within;

/// What curl gets from `address`, and the port that it came from.
async fn ask(stand: &Stand, address: SocketAddr, arguments: &[&str]) -> Option<(String, String)> {
    let curl = curl()?;
    let port = address.port();
    let command = Command::new(curl)
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--noproxy",
            "*",
            "--include",
        ])
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .args(["--write-out", "port=%{local_port}"])
        .arg("--cacert")
        .arg(stand.pki.ca_file())
        .args(arguments)
        .arg(format!("https://{NAME}:{port}/"))
        .output();
    let output = within("curl", command).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (answer, port) = text.rsplit_once("port=").unwrap();
    Some((answer.to_owned(), port.to_owned()))
}

/// That the edge takes curl for its client, whoever stands between.
async fn is_seen(stand: &Stand, port: &str) {
    let client = format!("127.0.0.1:{port}");
    let line = stand
        .edge
        .until_access(|line| line["client"] == client.as_str())
        .await;
    assert!(line["peer"].is_string(), "{line}");
}

#[tokio::test]
async fn curl_names_itself() {
    let stand = stand(ANY, &echoing()).await;
    for version in ["--http1.1", "--http2"] {
        let arguments = ["--haproxy-protocol", version];
        let Some((answer, _)) = ask(&stand, stand.edge.address(), &arguments).await else {
            return;
        };
        assert!(answer.contains("x-client: 127.0.0.1"), "{answer}");
    }
}

#[tokio::test]
async fn haproxy_names_the_client_in_every_form() {
    let stand = stand(ANY, &echoing()).await;
    for sends in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
    ] {
        let address = free_address();
        let edge = stand.edge.address();
        // Its health checks send headers of their own.
        let sections = format!(
            "listen in\n  mode tcp\n  unique-id-format %ci:%cp-%rt\n  bind {address}\n  \
             server edge {edge} {sends} check check-ssl check-sni {NAME} verify none check-send-proxy inter 100ms\n"
        );
        let Some(_haproxy) = Daemon::haproxy(&sections, address).await else {
            return;
        };
        for version in ["--http1.1", "--http2"] {
            let Some((_, port)) = ask(&stand, address, &[version]).await else {
                return;
            };
            is_seen(&stand, &port).await;
        }
    }
    for reason in ["malformed", "checksum", "missing"] {
        let label = format!("error=\"{reason}\"");
        let count = stand
            .edge
            .metric("cutwater_proxy_header_errors_total", &[&label])
            .await;
        assert_eq!(count, 0.0, "{reason}");
    }
}

#[tokio::test]
async fn a_chain_of_balancers_names_the_client_at_its_end() {
    let stand = stand(ANY, &echoing()).await;
    let (first, second) = (free_address(), free_address());
    let edge = stand.edge.address();
    let sections = format!(
        "listen first\n  mode tcp\n  bind {first}\n  server second {second} send-proxy\n\
         listen second\n  mode tcp\n  bind {second} accept-proxy\n  server edge {edge} send-proxy-v2\n"
    );
    let Some(_haproxy) = Daemon::haproxy(&sections, first).await else {
        return;
    };
    if let Some((_, port)) = ask(&stand, first, &[]).await {
        is_seen(&stand, &port).await;
    }
}

#[tokio::test]
async fn nginx_names_the_client() {
    let stand = stand(ANY, &echoing()).await;
    let address = free_address();
    let Some(module) = Daemon::nginx_stream() else {
        return;
    };
    let edge = stand.edge.address();
    let blocks = format!(
        "stream {{ server {{ listen {address}; proxy_pass {edge}; proxy_protocol on; }} }}"
    );
    let Some(_nginx) = Daemon::nginx_with(&module, &blocks, address).await else {
        return;
    };
    for version in ["--http1.1", "--http2"] {
        let Some((_, port)) = ask(&stand, address, &[version]).await else {
            return;
        };
        is_seen(&stand, &port).await;
    }
}
