//! nginx and HAProxy, each with a configuration of the test's, nghttpd, and the servers that come
//! with OpenSSL and GnuTLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use super::tool::tool;
use super::{BOUND, poll};

/// A running program; killed when dropped.
pub struct Daemon {
    child: Child,
    directory: TempDir,
}

/// An address that nobody listens on now.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Daemon {
    /// HAProxy with these sections, behind defaults with timeouts. `None` if it is not installed.
    /// Waits until `address` is listened on.
    pub async fn haproxy(sections: &str, address: SocketAddr) -> Option<Self> {
        let program = tool("haproxy")?;
        let config = format!(
            "global\n  maxconn 1000\ndefaults\n  timeout connect 5s\n  timeout client 10s\n  \
             timeout server 10s\n{sections}\n"
        );
        let arguments = |directory: &Path| {
            let config = directory.join("config").display().to_string();
            ["-db", "-f"]
                .map(str::to_owned)
                .into_iter()
                .chain([config])
                .collect()
        };
        Some(Self::start(&program, &config, arguments, address).await)
    }

    /// nghttpd, which sends what is posted to it back. `None` if it is not installed. Waits until
    /// `address`, of which it uses the port, is listened on.
    pub async fn nghttpd(arguments: &[&str], address: SocketAddr) -> Option<Self> {
        let program = tool("nghttpd")?;
        let all = |directory: &Path| {
            let first = ["--echo-upload", "--address=127.0.0.1"].map(str::to_owned);
            let files = format!("--htdocs={}", directory.display());
            let arguments = arguments.iter().map(|argument| (*argument).to_owned());
            first.into_iter().chain([files]).chain(arguments).collect()
        };
        Some(Self::start(&program, "", all, address).await)
    }

    /// OpenSSL's `s_server`, which answers over HTTP/1.0 with what it knows of the connection.
    /// `None` if it is not installed. Waits until `address` is listened on.
    pub async fn s_server(arguments: &[&str], address: SocketAddr) -> Option<Self> {
        let program = tool("openssl")?;
        let all = |_: &Path| {
            let first = ["s_server", "-www", "-accept", &address.to_string()].map(str::to_owned);
            let arguments = arguments.iter().map(|argument| (*argument).to_owned());
            first.into_iter().chain(arguments).collect()
        };
        Some(Self::start(&program, "", all, address).await)
    }

    /// GnuTLS's `gnutls-serv` as a server of HTTP/1.0. `None` if it is not installed. Waits until
    /// `address`, of which it uses the port, is listened on.
    pub async fn gnutls_serv(arguments: &[&str], address: SocketAddr) -> Option<Self> {
        let program = tool("gnutls-serv")?;
        let all = |_: &Path| {
            let port = address.port().to_string();
            let first = ["--http", "--quiet", "--port", &port].map(str::to_owned);
            let arguments = arguments.iter().map(|argument| (*argument).to_owned());
            first.into_iter().chain(arguments).collect()
        };
        Some(Self::start(&program, "", all, address).await)
    }

    /// nginx with these blocks; `DIRECTORY` in them is where its files are. `None` if it is not
    /// installed. Waits until `address` is listened on.
    pub async fn nginx(blocks: &str, address: SocketAddr) -> Option<Self> {
        Self::nginx_with("", blocks, address).await
    }

    /// As [`Daemon::nginx`], with lines that have to stand before all others.
    pub async fn nginx_with(first: &str, blocks: &str, address: SocketAddr) -> Option<Self> {
        let program = tool("nginx")?;
        let config = format!(
            "{first}\ndaemon off;\nmaster_process off;\npid DIRECTORY/nginx.pid;\n\
             error_log DIRECTORY/error.log info;\nevents {{ worker_connections 256; }}\n{blocks}\n"
        );
        let arguments = |directory: &Path| {
            let directory = directory.display();
            vec![
                "-p".to_owned(),
                format!("{directory}"),
                "-e".to_owned(),
                format!("{directory}/error.log"),
                "-c".to_owned(),
                format!("{directory}/config"),
            ]
        };
        Some(Self::start(&program, &config, arguments, address).await)
    }

    /// What nginx needs to pass connections on; `None` if the module is not installed.
    pub fn nginx_stream() -> Option<String> {
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        if Path::new(module).exists() {
            return Some(format!("load_module {module};"));
        }
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "nginx's stream module is not installed");
        eprintln!("skipped: nginx's stream module is not installed");
        None
    }

    async fn start(
        program: &PathBuf,
        config: &str,
        arguments: impl Fn(&Path) -> Vec<String>,
        address: SocketAddr,
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let config = config.replace("DIRECTORY", &path.display().to_string());
        std::fs::write(path.join("config"), &config).unwrap();
        let mut child = Command::new(program)
            .args(arguments(path))
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(path.join("stderr")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = || {
            let read = |name| std::fs::read_to_string(path.join(name)).unwrap_or_default();
            format!("{}{}", read("stderr"), read("error.log"))
        };
        let connects = poll(async || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{program:?} ended: {}\n{config}", said());
            TcpStream::connect(address).await.ok()
        });
        if tokio::time::timeout(BOUND, connects).await.is_err() {
            panic!("{program:?} does not listen on {address}: {}", said());
        }
        Self { child, directory }
    }

    /// Its standard output; to be asked once.
    pub fn output(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}
