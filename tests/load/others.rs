//! Other people's servers, each on a port of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use crate::support::pki::Files;
use crate::support::tool::{openssl, tool};
use crate::support::within;

/// A running server; killed when dropped.
pub struct Other {
    pub address: SocketAddr,
    _child: Child,
    _directory: TempDir,
    /// OpenSSL ends when it has read all of its input.
    _input: Option<ChildStdin>,
}

/// nginx, its `server` block with these lines. `None` where there is none.
pub async fn nginx(files: &Files, server: &str) -> Option<Other> {
    let program = tool("nginx")?;
    // It takes no port of the system's choice: one that was free may be taken by now.
    for _ in 0..5 {
        let directory = TempDir::new().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = nginx_config(directory.path(), address, files, server);
        let file = directory.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut child = Command::new(&program)
            .arg("-p")
            .arg(directory.path())
            .args(["-e", "stderr", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let started = tokio::select! {
            _ = child.wait() => false,
            () = within("nginx", until_connected(address)) => true,
        };
        if started {
            return Some(Other {
                address,
                _child: child,
                _directory: directory,
                _input: None,
            });
        }
    }
    panic!("nginx does not start")
}

fn nginx_config(directory: &Path, address: SocketAddr, files: &Files, server: &str) -> String {
    let (chain, key) = (files.chain.display(), files.key.display());
    let directory = directory.display();
    format!(
        r"
        daemon off;
        master_process off;
        pid {directory}/nginx.pid;
        error_log stderr;
        events {{ worker_connections 512; }}
        http {{
            access_log off;
            client_body_temp_path {directory}/body;
            proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi;
            uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            server {{
                listen {address} ssl;
                ssl_certificate {chain};
                ssl_certificate_key {key};
                ssl_protocols TLSv1.3;
                {server}
            }}
        }}
        "
    )
}

async fn until_connected(address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        #[expect(
            clippy::disallowed_methods,
            reason = "another process cannot be awaited"
        )]
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// OpenSSL's `s_server` for TLS 1.3, with these arguments more. It serves one connection after the
/// other. `None` where there is none.
pub async fn s_server(files: &Files, arguments: &[&str]) -> Option<Other> {
    let program = openssl()?;
    let mut child = Command::new(program)
        .args(["s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-cert"])
        .arg(&files.chain)
        .arg("-key")
        .arg(&files.key)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("a line of ACCEPT");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                return address.parse().unwrap();
            }
        }
    };
    let address = within("s_server", listening).await;
    // A full pipe would hold it up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Some(Other {
        address,
        _input: child.stdin.take(),
        _child: child,
        _directory: TempDir::new().unwrap(),
    })
}
