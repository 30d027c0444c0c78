//! An edge with the site `example.com`, its authority and its clients.

use crate::support::client::Client;
use crate::support::edge::{Edge, Start};
use crate::support::h2::H2;
use crate::support::http1::Response;
use crate::support::origin::Origin;
use crate::support::pki::Pki;
use crate::support::setup::ClientSetup;

pub const NAME: &str = "example.com";

/// A running edge.
pub struct Stand {
    pub pki: Pki,
    pub edge: Edge,
}

/// What every config here begins with: one worker, all connections logged, one listener.
pub const GENERAL: &str = r#"
[server]
workers = 1
[log]
connections = "all"
[admin]
address = "127.0.0.1:0"
[[listen]]
address = "127.0.0.1:0"
name = "public"
"#;

/// A `[[site]]` table with a good certificate; routes follow.
pub fn site(pki: &Pki, names: &[&str]) -> String {
    format!(
        "[[site]]\nnames = {names:?}\ncertificate = {}\n",
        pki.files(names).toml()
    )
}

/// A `[[site.route]]` table for a path prefix; keys of its own follow.
pub fn route(path: &str, keys: &str) -> String {
    format!("[[site.route]]\npath = {path:?}\n{keys}\n")
}

/// A route with a fixed answer.
pub fn respond(path: &str, body: &str) -> String {
    route(
        path,
        &format!("respond = {{ status = 200, body = {body:?} }}"),
    )
}

/// A route to an origin.
pub fn forward(path: &str, origin: &Origin) -> String {
    route(path, &format!("origin = [{:?}]", origin.url()))
}

impl Stand {
    /// With these tables of `example.com` (and of further sites).
    pub async fn start(routes: &str) -> Self {
        Self::start_with(routes, |start| start).await
    }

    /// As [`Stand::start`], with more said about the start.
    pub async fn start_with(routes: &str, more: impl FnOnce(Start) -> Start) -> Self {
        let pki = Pki::new();
        let config = format!("{GENERAL}{}{routes}", site(&pki, &[NAME]));
        let edge = more(Start::with(&config)).run().await;
        Self { pki, edge }
    }

    /// A client that offers HTTP/1.1.
    pub fn setup1(&self) -> ClientSetup {
        self.pki.client().alpn(&["http/1.1"])
    }

    /// A client that offers HTTP/2.
    pub fn setup2(&self) -> ClientSetup {
        self.pki.client().alpn(&["h2"])
    }

    /// An HTTP/1.1 connection, its handshake done.
    pub async fn http1(&self) -> Client {
        Client::open(self.edge.address(), NAME, &self.setup1()).await
    }

    /// An HTTP/2 connection.
    pub async fn http2(&self) -> H2 {
        H2::start(Client::open(self.edge.address(), NAME, &self.setup2()).await).await
    }

    /// The answer to one HTTP/1.1 request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Response {
        let mut client = self.http1().await;
        client.send(request.as_bytes()).await;
        let response = client.try_response(request.starts_with("HEAD")).await;
        response.unwrap_or_else(|ending| panic!("{request:?}: {ending:?}"))
    }

    /// The status of the answer to a GET on a connection of its own.
    pub async fn status_of(&self, path: &str) -> u16 {
        self.ask(&get(path)).await.status
    }
}

/// A GET request.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\n\r\n")
}

/// A POST request with a stated length.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Bytes that differ from place to place.
pub fn pattern(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(next).collect()
}

/// What a process holds in memory, in bytes.
pub fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
