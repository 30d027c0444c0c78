//! Behaviour over real sockets, against origins that follow a script.

mod answers;
mod balancing;
mod connecting;
mod early;
mod failures;
mod http2;
mod names;
mod pooling;
mod streaming;
mod unix;
mod waiting;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::snapshot::{HostHeader, OriginHost, OriginProtocol, OriginServer, PoolSpec};
use crate::confirm::Settler;
use crate::forwarded::Fields;

/// An origin that follows a script.
struct Stub {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// Every request head, in the order of arrival.
    heads: mpsc::Receiver<String>,
}

impl Stub {
    /// Runs `script` for each connection; its first argument counts them from 0.
    async fn new<F, A>(script: F) -> Self
    where
        F: Fn(usize, Peer) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (seen, heads) = mpsc::channel(64);
        let counts = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counts.fetch_add(1, Ordering::SeqCst);
                let peer = Peer {
                    stream,
                    buffer: Vec::new(),
                    seen: seen.clone(),
                };
                tokio::spawn(script(number, peer));
            }
        });
        Self {
            address,
            accepted,
            heads,
        }
    }

    /// Runs `script` for each connection; it tells the test what it sees.
    async fn telling<T, F, A>(script: F) -> (Self, mpsc::Receiver<T>)
    where
        T: Send + 'static,
        F: Fn(Peer, mpsc::Sender<T>) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let (tell, told) = mpsc::channel(64);
        let stub = Self::new(move |_, peer| script(peer, tell.clone())).await;
        (stub, told)
    }

    /// Answers every request of every connection alike.
    async fn answering(answer: &'static str) -> Self {
        Self::new(move |_, mut peer| async move {
            while peer.head().await.is_some() {
                peer.send(answer).await;
            }
        })
        .await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    async fn head(&mut self) -> String {
        self.heads.recv().await.unwrap()
    }
}

/// The origin's end of a connection.
struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
    seen: mpsc::Sender<String>,
}

impl Peer {
    /// The next request head, lower-cased; `None` at the end of the connection.
    async fn head(&mut self) -> Option<String> {
        let head = self.until(b"\r\n\r\n").await?.to_ascii_lowercase();
        self.seen.try_send(head.clone()).ok()?;
        Some(head)
    }

    /// What comes up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            let found = self.buffer.windows(end.len()).position(|w| w == end);
            if let Some(found) = found {
                let text = self.buffer.drain(..found + end.len()).collect();
                return Some(String::from_utf8(text).unwrap());
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    /// Exactly `length` bytes.
    async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert_ne!(self.more().await, 0, "the edge closed too soon");
        }
        self.buffer.drain(..length).collect()
    }

    /// Reads on; 0 at the end of the connection, also if it was reset.
    async fn more(&mut self) -> usize {
        self.stream.read_buf(&mut self.buffer).await.unwrap_or(0)
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.ok();
    }

    /// Waits for the end of the connection.
    async fn closed(&mut self) {
        while self.more().await != 0 {}
    }
}

/// A worker's origins with a running ticker.
struct Worker {
    origins: Arc<Origins>,
    metrics: Arc<Metrics>,
    ticker: Arc<Ticker>,
    upstreams: Arc<Upstreams>,
    resolver: Arc<Resolver>,
}

impl Worker {
    fn new() -> Self {
        Self::resolving(Default::default())
    }

    fn resolving(settings: crate::config::snapshot::Resolver) -> Self {
        let ticker = Ticker::new();
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let resolver = Resolver::new(Arc::clone(&metrics), settings);
        let upstreams = Upstreams::new(&metrics, &resolver);
        let (runs, checks) = (Arc::clone(&ticker), Arc::clone(&upstreams));
        tokio::spawn(async move { runs.run(|_| checks.tick(&runs)).await });
        let (clock, shared) = (Arc::clone(&ticker), Arc::clone(&upstreams));
        Self {
            origins: Arc::new(Origins::new(clock, Arc::clone(&metrics), shared)),
            metrics,
            ticker,
            upstreams,
            resolver,
        }
    }

    /// Another worker of the same process.
    fn beside(&self) -> Self {
        let ticker = Ticker::new();
        let runs = Arc::clone(&ticker);
        tokio::spawn(async move { runs.run(|_| ()).await });
        let (metrics, upstreams) = (Arc::clone(&self.metrics), Arc::clone(&self.upstreams));
        let clock = Arc::clone(&ticker);
        Self {
            origins: Arc::new(Origins::new(
                clock,
                Arc::clone(&metrics),
                Arc::clone(&upstreams),
            )),
            metrics,
            ticker,
            upstreams,
            resolver: Arc::clone(&self.resolver),
        }
    }

    /// Lets so many seconds pass on a clock that is paused, or waits for them.
    async fn until(&self, seconds: u64) {
        let due = self.ticker.now() + Duration::from_secs(seconds);
        self.when(|| self.ticker.now() >= due).await;
    }

    /// Waits, tick by tick, until something is so.
    async fn when(&self, so: impl Fn() -> bool) {
        let mut ticks = tokio::time::interval(crate::deadline::TICK);
        while !so() {
            ticks.tick().await;
        }
    }

    async fn send(&self, forward: Forward) -> Result<Forwarded, ForwardError> {
        self.origins.forward(forward).await
    }

    /// The status and the whole body.
    async fn fetch(&self, forward: Forward) -> (u16, String) {
        whole(self.send(forward).await.unwrap()).await
    }
}

async fn whole(forwarded: Forwarded) -> (u16, String) {
    let status = forwarded.response.status().as_u16();
    let body = forwarded.response.into_body().collect().await.unwrap();
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

fn spec(servers: &[SocketAddr]) -> Arc<OriginSpec> {
    let servers = servers
        .iter()
        .map(|address| OriginServer::plain(OriginHost::Address(address.ip()), address.port()));
    Arc::new(OriginSpec {
        name: "app".into(),
        servers: servers.collect(),
        early_data_aware: true,
        host: HostHeader::default(),
        pool: PoolSpec::default(),
        forwarded: Fields::default(),
        proxy_protocol: None,
        tls: None,
    })
}

/// Servers with a pool of their own kind.
fn pooled(servers: &[SocketAddr], change: impl FnOnce(&mut PoolSpec)) -> Arc<OriginSpec> {
    let mut spec = Arc::into_inner(spec(servers)).unwrap();
    change(&mut spec.pool);
    Arc::new(spec)
}

fn forward(spec: &Arc<OriginSpec>, request: Request<Body>) -> Forward {
    let (parts, body) = request.into_parts();
    Forward {
        spec: Arc::clone(spec),
        parts,
        body,
        host: HeaderValue::from_static("site.example"),
        request_id: HeaderValue::from_static("0123"),
        client: HeaderValue::from_static("192.0.2.7"),
        peer: IpAddr::from([192, 0, 2, 7]),
        ends: Ends {
            client: SocketAddr::from(([192, 0, 2, 7], 4711)),
            local: SocketAddr::from(([192, 0, 2, 1], 443)),
        },
        told: None,
        timeouts: RouteTimeouts::default(),
        deadline: None,
        confirmation: Confirmation::confirmed(),
        early: EarlyForward::No,
        fields: None,
        interims: None,
    }
}

fn get(spec: &Arc<OriginSpec>) -> Forward {
    forward(spec, Request::get("/").body(Body::empty()).unwrap())
}

fn post(spec: &Arc<OriginSpec>, body: impl Into<Body>) -> Forward {
    forward(spec, Request::post("/").body(body.into()).unwrap())
}

/// The same request, sent before the client's Finished.
fn early(mut forward: Forward) -> (Forward, Settler) {
    let (settler, confirmation) = Confirmation::pending();
    forward.confirmation = confirmation;
    forward.early = EarlyForward::Early;
    (forward, settler)
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Lets the reactor see what the kernel already knows.
async fn settle() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
