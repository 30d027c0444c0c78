//! nginx as an origin.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::tool::tool;
use super::within;

/// A running nginx; killed when dropped.
pub struct Nginx {
    _child: Child,
    directory: TempDir,
}

impl Nginx {
    /// Starts with these `server` blocks and waits until `socket`, a Unix socket among them, takes
    /// connections. `{dir}` in them is a directory of its own. `None` where there is no nginx.
    pub async fn start(servers: &str, socket: &str) -> Option<Self> {
        let program = tool("nginx")?;
        let directory = TempDir::new().unwrap();
        let dir = directory.path().display().to_string();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {dir}/pid;\n\
             error_log stderr; events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_temp_path {dir}/body; \
             proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi; \
             uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n{}\n}}\n",
            servers.replace("{dir}", &dir)
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(program)
            .args(["-p", &dir, "-e", "stderr", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let socket = directory.path().join(socket);
        let listens = async {
            while UnixStream::connect(&socket).await.is_err() {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "another process cannot be awaited"
                )]
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        within("nginx", listens).await;
        Some(Self {
            _child: child,
            directory,
        })
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
