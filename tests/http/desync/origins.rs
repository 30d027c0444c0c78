//! Origins that parse differently, and tell what they believe to have been asked.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

use crate::support::daemon::{Daemon, free_address};
use crate::support::tool::{find, tool};
use crate::support::{BOUND, within};

/// A request as an origin believes it to be.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: String,
    pub method: String,
    pub target: String,
    pub body: String,
    /// It ended as its framing says.
    pub whole: bool,
}

/// A running origin.
pub struct Watched {
    pub address: SocketAddr,
    seen: watch::Receiver<Vec<Seen>>,
    /// Ends with it.
    _child: Option<Child>,
    _daemon: Option<Daemon>,
}

impl Watched {
    /// nginx.
    pub async fn nginx() -> Option<Self> {
        let address = free_address();
        let blocks = include_str!("origin.nginx").replace("ADDRESS", &address.to_string());
        let mut daemon = Daemon::nginx(&blocks, address).await?;
        let output = daemon.output();
        Some(Self {
            address,
            seen: gather(BufReader::new(output)),
            _child: None,
            _daemon: Some(daemon),
        })
    }

    /// Python's http.server.
    pub async fn python() -> Option<Self> {
        Some(Self::script(&tool("python3")?, "origin.py").await)
    }

    /// Node's http, where there is one: a fourth opinion.
    pub async fn node() -> Option<Self> {
        let node = find("node");
        if node.is_none() {
            eprintln!("skipped: node is not installed");
        }
        Some(Self::script(&node?, "origin.js").await)
    }

    async fn script(program: &Path, name: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/desync");
        let mut child = Command::new(program)
            .arg(directory.join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        within("the port", output.read_line(&mut line))
            .await
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let port = said["port"].as_u64().unwrap();
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap())),
            seen: gather(output),
            _child: Some(child),
            _daemon: None,
        }
    }

    /// hyper's server.
    pub async fn hyper() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service =
                    hyper::service::service_fn(move |request| answer(request, sender.clone()));
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            seen,
            _child: None,
            _daemon: None,
        }
    }

    /// Everything that was seen so far.
    pub fn all(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Waits until all of `ids` were seen whole.
    pub async fn until_seen(&self, name: &str, ids: &HashSet<&str>) {
        let mut seen = self.seen.clone();
        let all = |seen: &Vec<Seen>| {
            let found = seen
                .iter()
                .filter(|seen| seen.whole && ids.contains(seen.id.as_str()));
            found.count() >= ids.len()
        };
        let waited = tokio::time::timeout(BOUND, seen.wait_for(all)).await;
        assert!(waited.is_ok(), "{name}: the origin did not see {ids:?}");
    }
}

async fn answer(
    request: Request<Incoming>,
    sender: watch::Sender<Vec<Seen>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes);
    let id = parts.headers.get("x-request-id");
    let text = |bytes: &Bytes| bytes.iter().map(|byte| char::from(*byte)).collect();
    let seen = Seen {
        id: id.map_or(String::new(), |id| id.to_str().unwrap().to_owned()),
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        whole: body.is_ok(),
        body: body.as_ref().map_or(String::new(), text),
    };
    let text = format!("{} {}", seen.method, seen.target);
    sender.send_modify(|all| all.push(seen));
    body.map(|_| Response::new(Full::new(Bytes::from(text))))
}

/// Reads lines of JSON.
fn gather(mut output: BufReader<ChildStdout>) -> watch::Receiver<Vec<Seen>> {
    let (sender, seen) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut line = Vec::new();
        while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
            // nginx writes bytes as they are.
            let text: String = line.iter().map(|byte| char::from(*byte)).collect();
            let said: Value = serde_json::from_str(&text).unwrap();
            let word = |name: &str| said[name].as_str().unwrap().to_owned();
            let seen = Seen {
                id: word("id"),
                method: word("method"),
                target: word("target"),
                body: word("body"),
                whole: said["whole"] == true || said["status"] == 200,
            };
            sender.send_modify(|all| all.push(seen));
            line.clear();
        }
    });
    seen
}
