//! Other people's servers, each on a port of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use crate::support::pki::Files;
use crate::support::tool::{openssl, tool};
use crate::support::{polled, within};

/// A running server; killed when dropped.
pub struct Other {
    pub address: SocketAddr,
    _child: Child,
    _directory: TempDir,
    /// OpenSSL ends when it has read all of its input.
    _input: Option<ChildStdin>,
}

impl Other {
    /// A file of its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self._directory.path().join(name)
    }
}

/// nginx, its `server` block with these lines. `None` where there is none.
pub async fn nginx(files: &Files, server: &str) -> Option<Other> {
    nginx_on("ssl", files, server).await
}

/// nginx with HTTP/2 and HTTP/1.1.
pub async fn nginx_h2(files: &Files, server: &str) -> Option<Other> {
    nginx_on("ssl http2", files, server).await
}

async fn nginx_on(listen: &str, files: &Files, server: &str) -> Option<Other> {
    let program = tool("nginx")?;
    let start = |directory: &Path, address| {
        let config = nginx_config(directory, &format!("{address} {listen}"), files, server);
        let file = directory.join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(&program);
        command.arg("-p").arg(directory);
        command.args(["-e", "stderr", "-c"]).arg(&file);
        command
    };
    Some(on_a_free_port("nginx", start).await)
}

/// HAProxy that awaits the PROXY protocol, then TLS, and answers by itself: with 403 to those who
/// do not come from `source`. It tells its statistics on `stats` in its directory. `None` where
/// there is none.
pub async fn haproxy(files: &Files, source: &str) -> Option<Other> {
    let program = tool("haproxy")?;
    let start = |directory: &Path, address| {
        let pem = directory.join("both.pem");
        let both = [
            fs::read(&files.chain).unwrap(),
            fs::read(&files.key).unwrap(),
        ];
        fs::write(&pem, both.concat()).unwrap();
        let (pem, directory_name) = (pem.display(), directory.display());
        let config = format!(
            r#"
            global
                stats socket {directory_name}/stats
            defaults
                mode http
                timeout connect 5s
                timeout client 5s
                timeout server 5s
            frontend front
                bind {address} accept-proxy ssl crt {pem} ssl-min-ver TLSv1.3 alpn h2,http/1.1
                http-request return status 403 unless {{ src {source} }}
                http-request return status 200 content-type text/plain string "hello"
            "#
        );
        let config = config.trim_end().to_owned() + "\n"; // Without it, it takes no last line.
        let file = directory.join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(&program);
        command.args(["-q", "-db", "-f"]).arg(&file);
        command
    };
    Some(on_a_free_port("haproxy", start).await)
}

/// Starts a program that takes no port of the system's choice: one that was free may be taken
/// when it comes to that.
async fn on_a_free_port(name: &str, start: impl Fn(&Path, SocketAddr) -> Command) -> Other {
    for _ in 0..5 {
        let directory = TempDir::new().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut child = start(directory.path(), address)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let started = tokio::select! {
            _ = child.wait() => false,
            _ = polled("its port", async || TcpStream::connect(address).await.ok()) => true,
        };
        if started {
            return Other {
                address,
                _child: child,
                _directory: directory,
                _input: None,
            };
        }
    }
    panic!("{name} does not start")
}

fn nginx_config(directory: &Path, listen: &str, files: &Files, server: &str) -> String {
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
                listen {listen};
                ssl_certificate {chain};
                ssl_certificate_key {key};
                ssl_protocols TLSv1.3;
                {server}
            }}
        }}
        "
    )
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
